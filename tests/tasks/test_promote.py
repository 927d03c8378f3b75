"""The promotion that follows a night: what the night may have left undone, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tasks.judgement.promote
from tasks.config.errors import AnotherTableError, PromotionError
from tasks.judgement.promote import promote, promote_newest, rollback
from tasks.registry.client import FOLLOWED, PREVIOUS, TABLE, Version
from tasks.registry.local import resolved


class Register:
    """Versions and an alias."""

    place = "sqlite:////srv/mlflow.db"

    def __init__(self, *verdicts: str) -> None:
        self._versions = {
            number: Version(number, {"verdict": verdict, "as_of": f"2024-01-0{number}T00:00:00+00:00"})
            for number, verdict in enumerate(verdicts, start=1)
        }
        self.alias: int | None = None

    def versions(self, name: str) -> list[Version]:  # noqa: ARG002
        return list(self._versions.values())

    def champion(self, name: str) -> int | None:  # noqa: ARG002
        return self.alias

    def set_champion(self, name: str, version: int) -> None:
        if self.alias is not None:
            self.tag_version(name, version, {PREVIOUS: str(self.alias)})
        self.alias = version

    def move_champion(self, name: str, version: int) -> None:  # noqa: ARG002
        self.alias = version

    def tag_version(self, name: str, version: int, tags: dict[str, str]) -> None:  # noqa: ARG002
        self._versions[version].tags.update(tags)


@pytest.fixture(autouse=True)
def usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.judgement.promote, "check_usable", lambda *_: None)


def promoted(register: Any) -> int | None:
    said = promote_newest(register, "toy")
    assert said == {"model_name": "toy", "model_version": register.alias}
    return register.alias


@pytest.mark.parametrize(
    ("verdicts", "champion"),
    [
        ((), None),
        (("REJECT",), None),
        (("PROMOTE", "PROMOTE"), 2),
        (("PROMOTE", "HOLD"), 1),
        (("HOLD", "REJECT"), None),
    ],
)
def test_the_newest_that_passed_its_gate_is_the_champion(verdicts: tuple[str, ...], champion: int | None) -> None:
    assert promoted(Register(*verdicts)) == champion


def test_doing_it_twice_changes_nothing() -> None:
    register = Register("PROMOTE", "PROMOTE")
    assert promoted(register) == promoted(register) == 2
    assert PREVIOUS not in register.versions("toy")[1].tags


@pytest.mark.parametrize(("followed", "champion"), [("1", 2), ("2", 3), ("", 2)])
def test_a_version_replaces_only_the_champion_it_was_judged_against(followed: str, champion: int) -> None:
    register = Register("PROMOTE", "PROMOTE", "PROMOTE")
    register.alias = 2
    register.tag_version("toy", 3, {FOLLOWED: followed})
    assert promoted(register) == champion


def test_a_rollback_is_not_undone() -> None:
    register = Register("PROMOTE", "PROMOTE")
    register.alias = 1
    promoted(register)
    rollback(register, "toy")  # type: ignore[arg-type]
    assert promoted(register) == 1


def test_a_version_of_the_past_does_not_replace_a_newer_champion() -> None:
    register = Register("PROMOTE", "PROMOTE", "PROMOTE")
    register.alias = 3
    register.tag_version("toy", 3, {"as_of": "2024-02-01T00:00:00+00:00", "rolled_back": "true"})
    assert promoted(register) == 3


@pytest.mark.parametrize(("verdicts", "there"), [(("PROMOTE",), "1"), (("PROMOTE", "HOLD"), "one of 1, 2")])
def test_a_version_that_there_is_not_is_answered_with_those_that_there_are(
    verdicts: tuple[str, ...], there: str
) -> None:
    with pytest.raises(PromotionError, match=rf"^--version: toy has no version 9; expected {there}\.$"):
        promote(Register(*verdicts), "toy", 9)  # type: ignore[arg-type]


def test_a_version_of_another_table_is_refused_for_that_whatever_its_gate_said() -> None:
    register = Register("PROMOTE", "HOLD")
    register.alias = 1
    for version, table in ((1, "out/day"), (2, "out/week")):
        register.tag_version("toy", version, {TABLE: table})
    with pytest.raises(AnotherTableError, match="was made for the table 'out/week'"):
        promote(register, "toy", 2)  # type: ignore[arg-type]


def test_where_no_champion_is_found_it_is_said_where_that_is() -> None:
    for move, register in ((rollback, Register("HOLD")), (promote, Register())):
        with pytest.raises(PromotionError, match=rf"at {register.place} \(tracking\.uri\)"):
            move(register, "toy")  # type: ignore[operator]
    assert resolved("sqlite:///mlflow.db") == f"sqlite:///{Path.cwd()}/mlflow.db"
    assert resolved("https://me:word@host/x") == "https://***@host/x"
