"""Inputs that jump - a split nobody adjusted for, another unit - are said before the fit, and hold the champion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tasks.alerts.inputs import told_drift
from tasks.source.jumps import jumps, lasting_jumps
from tests.costly import costly_beyond

SET = ("--set", "model.n_states=2", "--set", "promote.min_improvement=-1e9", "--set", "promote.min_margin=0")
RETURNS = ("--set", 'features={x={op="log_return", column="x"}}', "--set", "source.wild_spreads=1e6")


@pytest.fixture
def place(place_at):
    return place_at("here")


def prices(toy, symbol: str, seed: int, factor: float = 1.0, since: int = 125) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = 100 * np.exp(np.cumsum(0.01 * (1 + 2 * toy.sojourns(160, 2, seed=seed)) * rng.normal(size=160)))
    return toy.frame(np.where(np.arange(160) < since, x, factor * x), symbol=symbol)


def night(place, toy, n: int, *more: str, command: str = "run"):
    said = place.command(command, "--as-of", str(toy.day(n)), *SET, *more, "--json")
    assert said.status == 0, said.err
    return said


@pytest.mark.parametrize(
    ("how", "factor"), [((), 100.0), pytest.param(RETURNS, 0.01, marks=pytest.mark.costly)], ids=["prices", "returns"]
)
def test_a_split_is_said_and_holds(place, toy, factor: float, how: tuple[str, ...]) -> None:
    prices(toy, "A", 1, factor).write_parquet(place.source)
    night(place, toy, 120, *how)
    assert night(place, toy, 124, *how).last_json["notes"] == []
    said = night(place, toy, 126, *how)
    (note,) = said.last_json["notes"]
    assert note in said.out
    assert note.startswith("x of A moved ")
    assert " at 2020-05-05T00:00:00Z as ever before" in note
    assert (said.last_json["gate"]["verdict"], said.last_json["gate"]["reasons"]) == ("HOLD", ["inputs_jumped"])
    reasons = place.table().filter(run_key=said.last_json["run_key"]).sort("time")["reason"].to_list()
    assert set(reasons) - {"wild_value"} == {"inputs_jumped"}
    assert reasons.count("wild_value") <= 1
    assert place.registry.champion("toy") == 2
    later = night(place, toy, 130, *how)
    assert later.last_json["gate"]["reasons"] == ["inputs_jumped"]
    assert night(place, toy, 131, *how, "--set", "promote.max_jump=1e6").last_json["gate"]["verdict"] == "PROMOTE"


def test_decoding_says_it_too(place, toy) -> None:
    prices(toy, "A", 1, 100.0).write_parquet(place.source)
    night(place, toy, 120)
    assert "x of A moved" in night(place, toy, 126, command="decode").out


@pytest.mark.parametrize(("most", "verdict"), [(0.1, "PROMOTE"), (0.09, "HOLD")])
def test_of_many_series_a_few_may_jump(place, toy, most: float, verdict: str) -> None:
    pl.concat([prices(toy, f"S{i:02d}", i, 100.0 if i == 0 else 1.0) for i in range(10)]).write_parquet(place.source)
    night(place, toy, 120)
    said = night(place, toy, 126, "--set", f"promote.max_jumped={most}")
    assert (said.last_json["gate"]["evidence"]["jumped"], said.last_json["gate"]["verdict"]) == (0.1, verdict)
    assert "x of S00 moved" in said.out


def test_gaps_and_first_rows_are_no_jumps(place, toy) -> None:
    """A value after a gap is compared with the last known one; a series of few rows has nothing unheard of."""
    long = prices(toy, "A", 1).filter(~pl.int_range(pl.len()).is_between(118, 123))
    pl.concat([long, prices(toy, "B", 2, 100.0).tail(55)]).write_parquet(place.source)
    night(place, toy, 118, "--set", "source.min_rows=2", "--set", "promote.max_jumped=0")
    said = night(place, toy, 134, "--set", "source.min_rows=2", "--set", "promote.max_jumped=0")
    assert said.last_json["gate"]["evidence"]["jumped"] == 0.0


def test_a_hundredth_is_as_far_as_a_hundredfold(toy) -> None:
    """Of positive values; as a distance, a fall to a hundredth is not much more than moves that were seen."""
    x = 1000.0 * np.where(np.arange(60) % 2 == 0, 1.0, 1.3)
    for factor, found in ((0.01, 1), (100.0, 1), (1.3, 0)):
        rows = toy.frame(np.append(x, factor * x[0])).with_columns(pl.col("date").cast(pl.Datetime("us", "UTC")))
        rows = rows.rename({"symbol": "series_id", "date": "time"})
        assert jumps(rows, ["x"], rows["time"][-2], 10.0).height == found


@pytest.mark.parametrize("factor", [1000.0, 0.001])
@pytest.mark.parametrize("middle", [10.0, 0.0])
def test_what_is_of_another_scale_since_some_row_is_found_among_all(toy, factor: float, middle: float) -> None:
    """Regimes, a lone spike, wild tails and what came back are of one scale; so is a machine that is off at first."""
    rng, third = np.random.default_rng(3), np.arange(300) >= 200
    calm = middle + 2 * toy.sojourns(300, 2, seed=3) + 0.3 * rng.normal(size=300)
    is_off = (np.arange(300) < 40) | (toy.sojourns(300, 2, seed=1) == 0)
    series = {
        "changed": np.where(third, factor * calm, calm),
        "regimes": calm,
        "came back": np.where(third, calm, np.where(np.arange(300) < 100, calm, factor * calm)),
        "spike": np.where(np.arange(300) == 150, 1e4, calm),
        "tails": rng.standard_t(2, size=300),
        "off at first": np.where(is_off, 0.01, 5.0) * rng.normal(1, 0.01, 300),
    }
    rows = pl.concat([toy.frame(x, symbol=name) for name, x in series.items()]).select(
        pl.col("symbol").alias("series_id"), pl.col("date").cast(pl.Datetime("us", "UTC")).alias("time"), "x"
    )
    found = lasting_jumps(rows, ["x"], 10.0)
    assert found.select("series_id", pl.col("time").dt.date()).rows() == [("changed", toy.day(200))]


@pytest.mark.parametrize("pool", costly_beyond(1, ["pooled", "per_series"]))
def test_a_first_night_names_the_series_whose_unit_changes(place, toy, pool: str) -> None:
    """On the console, in JSON, on the page and as one alert, which ends once the source is mended."""
    options = ("--set", f"fit.pool={pool}", "--set", "source.wild_spreads=1e9")
    told = "x is of another scale or level since 2020-04-20T00:00:00Z, when it moved"

    def worked(n: int, factor: float):
        pl.concat([prices(toy, "A", 1, factor, since=110), prices(toy, "B", 2)]).write_parquet(place.source)
        return night(place, toy, n, *options)

    said = worked(150, 1000.0)
    (drift,) = said.last_json["drift"]
    assert (drift["series_id"], drift["reason"]) == ("A", "jump at 2020-04-20T00:00:00Z")
    assert drift["value"] > 100
    assert f"A: {told}" in said.out
    assert f"A: {told}" in Path(place.command("report", *options, *SET, "--json").last_json["report"]).read_text()
    worked(152, 1000.0)
    alerts = [one for one in place.command("alerts", "--json").last_json["alerts"] if one["kind"] == "drift"]
    assert [(one["series_id"], one["released"]) for one in alerts] == [("A", None)]
    assert alerts[0]["detail"].startswith(told)
    assert worked(154, 1.0).last_json["drift"] == []
    ended = [one for one in place.command("alerts", "--every", "--json").last_json["alerts"] if one["kind"] == "drift"]
    assert [(one["series_id"], one["released"][:10]) for one in ended] == [("A", str(toy.day(154)))]


@pytest.mark.parametrize(("times", "words"), [(500.0, "moved 500 times as far"), (2.68e5, "it hardly moves")])
def test_a_move_beside_rows_that_stand_still_is_not_told_as_a_multiple(times: float, words: str) -> None:
    reason = "jump at 2020-04-20T00:00:00Z"
    found = {"series_id": "A", "feature": "x", "reason": reason, "value": times, "least": 0.0, "most": 10.0}
    assert words in told_drift(pl.DataFrame([found]))[0]["detail"]
