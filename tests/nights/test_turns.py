"""A backfill and a night do not come between each other: no day is published under a later moment than its own."""

from __future__ import annotations

import fcntl
from threading import Event, Thread

import pytest

import flows.backfill
import flows.decoding
import flows.nightly
import tasks.tables.turns
from tasks.config.errors import ModelError
from tasks.config.progress import listening
from tasks.tables.turns import in_turn

SET = ("--set", "model.n_states=2")


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False), (True, True)])
def test_a_backfill_goes_alone(place, first: bool, second: bool) -> None:
    waits, entered = Event(), Event()

    def other() -> None:
        with (
            listening(lambda stage, *_: waits.set() if stage == "turn" else None),
            in_turn(place.settings(), alone=second),
        ):
            entered.set()

    with in_turn(place.settings(), alone=first):
        follower = Thread(target=other)
        follower.start()
        assert waits.wait(60)
        assert not entered.is_set()
    follower.join()
    assert entered.is_set()


def test_nights_go_beside_each_other(place) -> None:
    with in_turn(place.settings()), in_turn(place.settings()):
        pass


@pytest.mark.parametrize(
    ("command", "module", "work", "is_alone"),
    [
        (["run"], flows.nightly, "night", False),
        (["decode"], flows.decoding, "decode_rows", False),
        (["backfill", "--start", "2020-04-29", "--end", "2020-05-01"], flows.backfill, "night", True),
        (["backfill", "--start", "2020-04-29", "--end", "2020-06-01", "--walk-forward"], flows.backfill, "walk", True),
    ],
)
def test_each_command_takes_its_turn(place, monkeypatch, command, module, work: str, is_alone: bool) -> None:
    seen = []

    def look(*_: object, **__: object) -> None:
        with (place.folder / ".states_toy.turn").open() as turn:
            try:
                fcntl.flock(turn, fcntl.LOCK_SH | fcntl.LOCK_NB)
                seen.append(False)
            except BlockingIOError:
                seen.append(True)
        with (place.folder / ".states_toy.turn").open() as turn, pytest.raises(BlockingIOError):
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise ModelError("stopped.")

    monkeypatch.setattr(module, work, look)
    assert place.command(*command, *SET).status == 1
    assert seen == [is_alone]


def test_days_that_a_later_night_has_published_are_said(place, toy) -> None:
    days = ["--start", str(toy.day(110)), "--end", str(toy.day(130)), "--every", "10d", *SET]
    first = place.command("backfill", *days, "--json").last_json
    assert (first["notes"], first["n_published"]) == ([], 130)
    place.command("run", "--as-of", str(toy.day(150)), *SET)
    assert place.command("backfill", *days, "--json").last_json["notes"] == []
    days[3] = str(toy.day(140))
    said = place.command("backfill", *days, "--json")
    (note,) = said.last_json["notes"]
    assert note.startswith(f"10 rows of these days are published as of {toy.day(150)} or later, and stay; ")
    assert note in said.out


def test_where_there_are_no_turns_a_backfill_says_so_before_it_begins(place, monkeypatch) -> None:
    """A table elsewhere: what could come between is said at once, and again with the outcome; a night says nothing."""
    monkeypatch.setattr(tasks.tables.turns, "is_local", lambda _: False)
    said = place.command("backfill", "--start", "2020-04-29", "--end", "2020-04-30", "--every", "1d", *SET, "--json")
    told = " ".join(said.err.split())
    assert told.index("no night waits for a backfill") < told.index("partition 1/2")
    assert [note for note in said.last_json["notes"] if "no night waits" in note]
    night = place.command("run", *SET, "--json")
    assert "no night waits" not in night.out + night.err
