"""One table says of every model of a night what it was chosen among; the tracking server holds as many runs as help."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import tasks.fitting.fit
from tasks.fitting.fit import FittedUnit
from tasks.tables.results import read_results
from tasks.tracking import results
from tasks.tracking.results import ranking_of, spread

OPTIONS = ("fit.pool=per_series", "model.n_states=[2, 3]", "promote.min_improvement=-9")
NAMES = [f"S{i}" for i in range(3)]


@pytest.fixture
def place(place_at, toy):
    """Three series of two levels."""
    here = place_at("here")
    rows = [
        toy.frame(toy.levels(toy.sojourns(140, 2, seed=s), distance=4.0, seed=s), symbol=n) for s, n in enumerate(NAMES)
    ]
    pl.concat(rows).write_parquet(here.source)
    return here


def test_every_candidate_of_every_model_is_in_one_table(place) -> None:
    said = place.night(None, *OPTIONS)
    settings = place.settings(*OPTIONS)
    beside, logged = read_results(place.states, "toy"), place.registry.results()
    assert logged.select(beside.columns).equals(beside)
    assert beside.filter(run_key=said["run_key"]).select("series_id", "candidate").rows() == [
        (name, rank) for name in NAMES for rank in (0, 1)
    ]
    best = beside.group_by("series_id").agg(pl.col("bic").min()).sort("series_id")
    assert beside.filter("chosen").sort("series_id").select("series_id", "bic").equals(best)
    assert (beside["score"] == beside[settings.select.criterion]).all()


def test_parameters_stand_in_the_order_of_the_ids(place, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    place.night(toy.day(120), *OPTIONS)
    fitting = tasks.fitting.fit._fitting_unit

    def turned(*what):
        unit = yield from fitting(*what)
        model = unit.best.model.permuted(range(unit.best.model.n_states)[::-1])
        return FittedUnit([replace(unit.best, model=model), *unit.candidates[1:]])

    monkeypatch.setattr(tasks.fitting.fit, "_fitting_unit", turned)
    said = place.night(toy.day(140), *OPTIONS)
    chosen = read_results(place.states, "toy").filter("chosen", run_key=said["run_key"])
    bundle = place.registry.bundle(said["model_version"])
    assert set(chosen["series_id"]) == set(NAMES)
    for row in chosen.iter_rows(named=True):
        member = bundle.members[row["series_id"]]
        assert row["verdict"] == "PROMOTE"
        assert row["state_ids"] == list(member.ids)
        written = json.loads(row["parameters"])["emission.mean"]
        assert np.array_equal(written, member.model._fitted_model().emission.parameters["mean"][0])


def test_a_model_that_is_held_beside_others_has_no_ids(place, toy) -> None:
    place.night(toy.day(120), *OPTIONS)
    rows = pl.read_parquet(place.source)
    blank = (pl.col("symbol") == "S2") & (pl.col("date") >= toy.day(118))
    rows.with_columns(pl.when(blank).then(None).otherwise("x").alias("x")).write_parquet(place.source)
    said = place.night(toy.day(140), *OPTIONS, "promote.holdout=5", "source.stale_after=30")
    chosen = read_results(place.states, "toy").filter("chosen", run_key=said["run_key"]).sort("series_id")
    assert chosen["gate_reasons"].to_list() == ["", "", "no_rows_to_compare_on"]
    assert chosen["state_ids"].is_null().to_list() == [False, False, True]
    assert chosen["parameters"].is_not_null().all()


def test_a_series_alone_has_the_row_that_it_has_among_others(place, place_at) -> None:
    """The same fit, bit for bit: ids and what the gate compares with may differ, numbers may not."""
    place.night(None, *OPTIONS)
    alone = place_at("alone")
    pl.read_parquet(place.source).filter(symbol="S1").write_parquet(alone.source)
    alone.night(None, *OPTIONS)
    among = read_results(place.states, "toy").filter(series_id="S1")
    numbers = pl.exclude("run_key", "state_ids")
    assert read_results(alone.states, "toy").select(numbers).equals(among.select(numbers))


def test_a_series_that_nothing_fits_says_why(place, monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = tasks.fitting.fit._fitting_unit

    def failing(name, *what):
        if name == "S1":
            raise ValueError("made up")
        return (yield from fitting(name, *what))

    monkeypatch.setattr(tasks.fitting.fit, "_fitting_unit", failing)
    place.night(None, *OPTIONS)
    found = read_results(place.states, "toy")
    (row,) = found.filter(series_id="S1").rows(named=True)
    assert (row["candidate"], row["chosen"], row["reasons"], row["warnings"]) == (None, False, "fit_failed", "made up")
    assert (row["verdict"], row["gate_reasons"]) == ("REJECT", "fit_failed")
    assert spread(found)["models.failed"] == 1
    assert set(ranking_of(found)["series_id"]) == {"S0", "S2"}


def test_a_model_of_all_is_of_no_series_and_of_many_numbers_writes_none(place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MOST_NUMBERS", 5)
    place.night(None, "model.n_states=[1, 2]")
    found = read_results(place.states, "toy").filter("chosen")
    assert found["series_id"].to_list() == found["parameters"].to_list() == [None]


def test_more_models_than_are_nested_make_one_run(place, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, logged = list[str](), dict[str, float]()
    registry = place.registry
    monkeypatch.setattr(registry, "start_run", lambda name, *_, **__: begun.append(name) or "run", raising=False)
    monkeypatch.setattr(registry, "log", lambda _, __, metrics, *___, **____: logged.update(metrics), raising=False)
    place.night(None, *OPTIONS, "tracking.nested_up_to=2")
    assert len(begun) == 1
    chosen = read_results(place.states, "toy").filter("chosen")
    assert logged["models"] == len(NAMES)
    assert logged["bic.p50"] == chosen["bic"].median()
    counts = {int(name.rpartition(".")[2]): n for name, n in logged.items() if name.startswith("n_states.")}
    assert counts == dict(chosen["n_states"].value_counts().iter_rows())


def test_as_many_models_as_are_nested_have_runs_of_their_own(place, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = list[str]()
    monkeypatch.setattr(place.registry, "start_run", lambda name, *_, **__: begun.append(name) or "run", raising=False)
    place.night(None, *OPTIONS, "tracking.nested_up_to=3")
    assert len(begun) == 1 + 2 * len(NAMES)
