"""The gate: every kind of bad candidate is stopped, for its own reason, and good ones are not rejected."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import flows.nightly
import tasks.judgement.judge
from tasks.config.errors import GateError, ModelError, PromotionError
from tasks.fitting.bundle import ALL
from tasks.fitting.fit import Fitted
from tasks.judgement.promote import promote
from tests.broken import Change, never_done, unloadable, with_parameters, with_value

N_REFITS = int(os.environ.get("HSMM_NIGHTS", "5"))
N_ROWS = 220
WIDE_OPEN = "promote.min_improvement=-9"


@pytest.fixture
def place(place_at, toy):
    """A champion of two hundred and ten days, three well-separated levels."""
    here = place_at("gate")
    toy.frame(toy.levels(toy.sojourns(N_ROWS), distance=4.0)).write_parquet(here.source)
    here.night(toy.day(210))
    return here


def loads_as_another(model: Any) -> Any:
    changed = copy.copy(model)
    changed.save = model.permuted([1, 2, 0]).save
    return changed


BAD: dict[str, tuple[Change, str, str]] = {
    "NaN mean": (with_parameters("emission", mean=with_value((0, 1, 0), np.nan)), "REJECT", "not_finite"),
    "NaN moves": (with_parameters("transition", probability=with_value((0, 0, 1), np.nan)), "REJECT", "not_finite"),
    "infinite variance": (
        with_parameters("emission", covariance=with_value((0, 0, 0, 0), np.inf)),
        "REJECT",
        "not_finite",
    ),
    "collapsed": (
        with_parameters("emission", covariance=with_value((0, 2, 0, 0), 1e-7)),
        "REJECT",
        "collapsed_state",
    ),
    "dead state": (with_parameters("emission", mean=with_value((0, 2, 0), 90.0)), "REJECT", "dead_state"),
    "not converged": (never_done, "REJECT", "not_converged"),
    "unloadable": (unloadable, "REJECT", "not_usable"),
    "decodes otherwise once loaded": (loads_as_another, "REJECT", "not_usable"),
    "overfit": (with_parameters("emission", covariance=lambda c: c / 20), "HOLD", "no_improvement"),
}


def planted(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    honest = flows.nightly.fit_task

    def fit(*arguments: Any) -> Fitted:
        fitted = honest(*arguments)
        best = fitted.units[ALL].best
        worse = replace(best, model=change(best.model))
        return replace(fitted, units={ALL: replace(fitted.units[ALL], candidates=[worse])})

    monkeypatch.setattr(flows.nightly, "fit_task", fit)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_candidate_is_stopped_for_its_own_reason(place, toy, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    change, verdict, reason = BAD[kind]
    planted(monkeypatch, change)
    said = place.night(toy.day(N_ROWS))
    assert said["gate"]["verdict"] == verdict
    assert reason in said["gate"]["reasons"]
    assert place.registry.champion("toy") == 1
    new = place.table().filter(run_key=said["run_key"])
    assert set(new.select("status", "model_version").rows()) == {("HELD", 1)}
    with pytest.raises(PromotionError, match=reason):
        promote(place.registry, "toy", said["model_version"])


def test_the_message_names_rule_state_run_and_remedy(place_at, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    here = place_at("first")
    toy.frame(toy.levels(toy.sojourns(N_ROWS), distance=4.0)).write_parquet(here.source)
    planted(monkeypatch, BAD["collapsed"][0])
    said = here.command("run")
    assert said.status == 1
    assert re.search(r"collapsed_state \(state \d\): A state's spread lies at its floor", said.err)
    assert "`promote.allow_collapsed = true`" in said.err
    assert "gate.json of the run run" in said.err
    allowed = here.command("run", "--set", "promote.allow_collapsed=true")
    assert "collapsed_state" not in allowed.err + allowed.out


def test_a_light_sensor_at_night(place_at, toy) -> None:
    """True zeros: the message names run, state and key, and with the key they are a state."""
    here, hour = place_at("first"), np.arange(40 * 24) % 24
    light = np.where((hour < 6) | (hour >= 18), 0.0, 300 + 40 * np.random.default_rng(0).normal(size=len(hour)))
    times = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=i) for i in range(len(light))]
    toy.frame(light).with_columns(date=pl.Series(times)).write_parquet(here.source)
    hourly = ("--set", "source.frequency=1h", "--set", "source.available_after=1h", "--set", "model.n_states=2")
    said = here.command("run", *hourly)
    assert said.status == 1
    for words in ("collapsed_state (state 0)", "`promote.allow_collapsed = true`", "gate.json of the run run"):
        assert words in said.err
    allowed = here.command("run", *hourly, "--set", "promote.allow_collapsed=true", "--json")
    assert (allowed.status, allowed.last_json["gate"]["remedies"]) == (0, [])
    dark = here.table().filter(pl.col("time").dt.hour().is_between(6, 17).not_())
    assert dark["state"].unique().to_list() == [0]


def test_a_pool_that_shrinks_is_held_with_its_remedy(place_at, toy) -> None:
    """Half of four series are gone from one night to the next; with the key, the half that is left has a champion."""
    here = place_at("first")
    four = [toy.frame(toy.levels(toy.sojourns(140, 2, seed=s), distance=4.0, seed=s), symbol=f"S{s}") for s in range(4)]
    more = ("--set", "model.n_states=2", "--set", "promote.min_improvement=-9", "--json")
    pl.concat(four).write_parquet(here.source)
    here.command("run", "--as-of", str(toy.day(120)), *more)
    pl.concat(four[:2]).write_parquet(here.source)
    held = here.command("run", "--as-of", str(toy.day(125)), *more)
    (remedy,) = held.last_json["gate"]["remedies"]
    assert remedy in held.out
    assert remedy.startswith("series_not_covered: It was fitted on a smaller share of the champion's series")
    assert "a smaller `promote.min_coverage`, if the series are gone for good" in remedy
    allowed = here.command("run", "--as-of", str(toy.day(130)), *more, "--set", "promote.min_coverage=0.5")
    assert allowed.last_json["gate"]["verdict"] == "PROMOTE"
    assert here.command("run", "--as-of", str(toy.day(135)), *more).last_json["gate"]["verdict"] == "PROMOTE"


def test_durations_at_a_wall_are_stopped(place, toy) -> None:
    said = place.night(toy.day(N_ROWS), "model.duration=categorical", "model.max_duration=4")
    assert (said["gate"]["verdict"], "duration_wall" in said["gate"]["reasons"]) == ("REJECT", True)


def test_states_that_cannot_be_told_apart_are_not_swapped(place, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tasks.judgement.judge.align

    def undecided(*arguments: Any) -> Any:
        model, identity = honest(*arguments)
        return model, replace(identity, margin=0.01)

    monkeypatch.setattr(tasks.judgement.judge, "align", undecided)
    said = place.night(toy.day(N_ROWS))
    assert (said["gate"]["verdict"], said["gate"]["reasons"][0]) == ("HOLD", "states_not_matched")


def test_permuted_labels_are_put_back(place, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda model: model.permuted([2, 0, 1]))
    said = place.night(toy.day(N_ROWS))
    assert said["identity"]["ids"] == [0, 1, 2]
    means = [place.registry.bundle(n).members[ALL].model.emission_.fitted("mean") for n in (1, 2)]
    np.testing.assert_allclose(*means, atol=0.3)


def test_without_rows_to_compare_on_the_champion_stays(place, toy) -> None:
    rows = toy.frame(toy.levels(toy.sojourns(210), distance=4.0))
    pl.concat([rows, toy.frame(np.full(N_ROWS, np.nan)).tail(N_ROWS - 210)]).write_parquet(place.source)
    said = place.night(toy.day(N_ROWS))
    assert (said["gate"]["verdict"], said["gate"]["reasons"]) == ("HOLD", ["no_rows_to_compare_on"])


def test_an_older_version_does_not_take_the_place_of_a_newer(place, toy) -> None:
    place.night(toy.day(N_ROWS), WIDE_OPEN)
    place.night(toy.day(200), "fit.seed=3", f"output.states={place.folder}/other")
    third = place.registry.versions("toy")[-1]
    assert third.tags["verdict"] == "PROMOTE"
    assert promote(place.registry, "toy", third.number, only_newer=True)["previous"] == 2
    assert place.registry.champion("toy") == 2


def test_without_a_champion_a_bad_first_candidate_publishes_nothing(
    place_at, toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = place_at("first")
    toy.frame(toy.levels(toy.sojourns(N_ROWS), distance=4.0)).write_parquet(here.source)
    planted(monkeypatch, BAD["NaN mean"][0])
    with pytest.raises(GateError, match="not_finite"):
        here.night()
    assert not (here.folder / "states").exists()
    assert here.registry.champion("toy") is None


def rewritten(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def rewrite(folder: Any) -> None:
        told = change(json.loads((folder / name).read_text()))
        (folder / name).write_text(json.dumps(told))

    return rewrite


def _first_member(**changes: Any) -> Callable[[Any], Any]:
    return lambda told: {**told, "members": [{**told["members"][0], **changes}]}


DAMAGE: dict[str, tuple[Callable[[Any], None], str]] = {
    "gone": (lambda folder: shutil.rmtree(folder / "models"), "cannot be used"),
    "canary": (rewritten("canary.json", lambda told: [{**told[0], "decoded": told[0]["decoded"][::-1]}]), "canary"),
    "ids exchanged": (rewritten("bundle.json", _first_member(ids=[1, 0, 2])), "other ids"),
    "columns": (rewritten("bundle.json", lambda told: {**told, "columns": ["y"]}), "not those of y"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_version_is_not_promoted(place, toy, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    place.night(toy.day(N_ROWS), WIDE_OPEN)
    assert place.registry.champion("toy") == 2
    place.registry.move_champion("toy", 1)
    damage(place.registry.folder / "2")
    with pytest.raises(ModelError, match=reason):
        promote(place.registry, "toy", 2)
    assert place.registry.champion("toy") == 1


def test_good_refits_are_not_rejected(place_at, toy) -> None:
    here, told = place_at("good"), []
    rows = toy.frame(toy.levels(toy.sojourns(200 + N_REFITS, seed=5), distance=4.0))
    for n in range(200, 200 + N_REFITS):
        rows.head(n).write_parquet(here.source)
        told.append(here.night(None, f"fit.seed={n}")["gate"])
    assert {gate["verdict"] for gate in told} <= {"PROMOTE", "HOLD"}
    assert pl.Series([gate["verdict"] for gate in told]).eq("PROMOTE").mean() > 0.5
