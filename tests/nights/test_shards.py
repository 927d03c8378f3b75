"""A night in shards is the night in one piece, and one that was stopped goes on after its last finished shard."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import flows.publishing
import flows.shards
import tasks.judgement.shards
from tasks.config.columns import STATE_COLUMNS
from tasks.config.errors import PipelineError
from tasks.judgement.shards import fit_shards
from tasks.tables.publish import publish_shard
from tasks.tables.publishes import published_summary, read_publishes
from tasks.tables.results import read_results
from tasks.tables.runs import read_runs
from tasks.tables.storage import DTYPES

OPTIONS = ("fit.pool=per_series", "model.n_states=2", "fit.n_init=2", "promote.min_improvement=-9")
SHARDS = ("run.shard_series=2", "run.runner=sequential")
N_SERIES, N_SHARDS = 5, 3


@pytest.fixture
def places(place_at, toy):
    """Two places with the same five series, of which one is not to be served."""
    x = [toy.levels(toy.sojourns(105, 2, seed=s), distance=4.0, seed=s) for s in range(N_SERIES)]
    x[3][5:] = 0.0
    rows = pl.concat([toy.frame(own, symbol=f"S{s}") for s, own in enumerate(x)])
    both = place_at("whole"), place_at("shards")
    for place in both:
        rows.write_parquet(place.source)
    return both


def same(whole, shards) -> None:
    order = ["as_of", "series_id", "time"]
    assert shards.table().sort(order).equals(whole.table().sort(order))
    assert read_results(shards.states, "toy").equals(read_results(whole.states, "toy"))
    assert shards.quarantine().sort("as_of", "series_id").equals(whole.quarantine().sort("as_of", "series_id"))
    for name in ("names", "quarantine"):
        one, other = (pl.read_delta(f"{place.states}_{name}").sort(pl.all()) for place in (whole, shards))
        assert one.equals(other)


def said_alike(one: dict, other: dict) -> None:
    local = {"states_table", "report", "seconds"}
    assert {k: v for k, v in one.items() if k not in local} == {k: v for k, v in other.items() if k not in local}


def test_a_night_in_shards_has_the_rows_of_one_in_one_piece(places, toy, monkeypatch) -> None:
    """Fitted by the run itself, and by workers."""
    whole, shards = places
    by_workers = list[str]()

    def fitted_beside(settings, run, folders) -> None:
        assert run.runner == "process"
        by_workers.extend(folders)
        fit_shards(settings, folders)

    monkeypatch.setattr(flows.shards, "fit_beside", fitted_beside)
    for day, workers in (toy.day(90), []), (toy.day(100), ["run.runner=process"]):
        said_alike(shards.night(day, *OPTIONS, *SHARDS, *workers), whole.night(day, *OPTIONS))
        same(whole, shards)
    assert len(by_workers) == N_SHARDS
    assert len(read_publishes(shards.states, "toy")) == 2
    said_alike(shards.decode(toy.day(105), *OPTIONS, *SHARDS), whole.decode(toy.day(105), *OPTIONS))
    same(whole, shards)
    assert shards.table().filter(as_of=shards.table()["as_of"].max())["series_id"].n_unique() == N_SERIES - 1
    assert shards.registry.bundle(2).scaling.statistics.equals(whole.registry.bundle(2).scaling.statistics)
    assert not [*Path(shards.folder).glob("states_fits/*")]


def stopped_at(monkeypatch: pytest.MonkeyPatch, name: str, n: int) -> list[int]:
    """The n-th call of a step of the flow is the last; how often it was called."""
    module = flows.shards if name == "fit_shard_task" else flows.publishing
    calls, step = [0], getattr(module, name)

    def stopping(*what, **options):
        calls[0] += 1
        if calls[0] == n:
            raise PipelineError("stopped")
        return step(*what, **options)

    monkeypatch.setattr(module, name, stopping)
    return calls


@pytest.mark.parametrize("step", ["fit_shard_task", "publish_shard_task", "publish_after_task"])
def test_a_night_that_was_stopped_goes_on_after_its_last_shard(places, toy, monkeypatch, step: str) -> None:
    whole, shards = places
    expected = whole.night(toy.day(100), *OPTIONS)
    fitting, fitted = tasks.judgement.shards.fit_units, list[str]()

    def counted(groups, *what):
        fitted.extend(groups)
        return fitting(groups, *what)

    monkeypatch.setattr(tasks.judgement.shards, "fit_units", counted)
    with monkeypatch.context() as stopped:
        stopped_at(stopped, step, 1 if step == "publish_after_task" else 2)
        with pytest.raises(PipelineError, match="stopped"):
            shards.night(toy.day(100), *OPTIONS, *SHARDS)
    assert published_summary(shards.states, expected["run_key"]) is None
    assert read_runs(shards.states, "toy")["status"].to_list() == ["FAILED"]
    said_alike(shards.night(toy.day(100), *OPTIONS, *SHARDS), expected)
    same(whole, shards)
    assert sorted(fitted) == sorted({*fitted})
    assert read_runs(shards.states, "toy")["status"].to_list() == ["DONE"]
    again = shards.night(toy.day(100), *OPTIONS, *SHARDS)
    assert again["verdict"] == "ALREADY_PUBLISHED"
    same(whole, shards)


def test_a_night_that_is_never_made_again_leaves_the_next_what_it_lacks(places, toy, monkeypatch) -> None:
    _, shards = places
    with monkeypatch.context() as stopped:
        stopped_at(stopped, "publish_shard_task", 2)
        with pytest.raises(PipelineError, match="stopped"):
            shards.night(toy.day(90), *OPTIONS, *SHARDS)
    before = shards.table()
    said = shards.night(toy.day(100), *OPTIONS, *SHARDS)
    after = shards.table()
    assert said["n_published"] == len(after) - len(before) > 0
    assert before.join(after, on=["series_id", "time"]).height == len(before)
    assert not after.select("series_id", "time").is_duplicated().any()
    assert after["series_id"].n_unique() == said["n_series"] - said["n_quarantined"]
    assert read_publishes(shards.states, "toy")["as_of"].n_unique() == 2


def test_shards_of_another_size_lose_no_series_of_a_run_that_was_stopped(tmp_path: Path, toy) -> None:
    said = {"run_key": "k", "model_name": "toy", "as_of": "2020-01-03T00:00:00+00:00", "occasion": "night"}
    settings = SimpleNamespace(name="toy", output=SimpleNamespace(states=str(tmp_path / "states")))
    validated = SimpleNamespace(as_of=datetime(2020, 1, 3, tzinfo=UTC), stale=pl.DataFrame({"series_id": [""]}))
    for series in (["A", "B"], ["A", "B", "C"], ["A", "B", "C"]):
        rows = pl.concat(toy.frame(np.zeros(2), symbol=name) for name in series)
        decoded = rows.select(
            pl.col("symbol").alias("series_id"),
            pl.col("date").cast(DTYPES["timestamp"]).alias("time"),
            pl.lit(validated.as_of).alias("as_of"),
            pl.lit("OK").alias("status"),
            pl.lit("toy").alias("model_name"),
        ).with_columns(pl.lit(0).alias("state"), pl.lit("calm").alias("state_name"))
        absent = [pl.lit(None, DTYPES[kind]).alias(c) for c, kind in STATE_COLUMNS.items() if c not in decoded.columns]
        publish_shard(decoded.with_columns(absent), validated, settings, "k", series, said)
    table = pl.read_delta(settings.output.states)
    assert sorted(table["series_id"]) == ["A", "A", "B", "B", "C", "C"]
