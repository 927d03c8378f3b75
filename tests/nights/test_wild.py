"""A value far from all that was learnt is no evidence of a state: other rows are known without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.config.columns import STATE_COLUMNS
from tasks.fitting.scaling import scaling_for
from tasks.source.ingest import ingest
from tasks.source.validate import validate
from tasks.source.wild import without_far

TRAINED, N, WILD = 150, 220, 170
HOW = ("model.n_states=2", "model.duration=negative_binomial", "model.max_duration=60")
HOW_NOT = {"reason", "log_density", "status", "run_key", "model_name"}
ABOUT = [name for name in STATE_COLUMNS if name not in HOW_NOT]


def sets(*options: str) -> list[str]:
    return [f"--set={option}" for option in (*HOW, *options)]


def calm_and_wide(toy: Any, symbol: str, seed: int = 0) -> pl.DataFrame:
    """Two states that differ in their spread alone: one value is then held against the calm one for long."""
    states = np.repeat(np.arange(N) // 25 % 2, 1)
    rng = np.random.default_rng(seed)
    x = np.where(states == 1, 3.0, 0.5) * rng.normal(size=N)
    return toy.frame(x, symbol).with_columns(y=pl.Series(rng.normal(size=N) + states))


def with_values(frame: pl.DataFrame, values: dict[int, float | None], column: str = "x") -> pl.DataFrame:
    told = pl.int_range(pl.len()).replace_strict(
        list(values), list(values.values()), default=None, return_dtype=pl.Float64
    )
    there = pl.int_range(pl.len()).is_in(list(values))
    return frame.with_columns(pl.when(there).then(told).otherwise(column).alias(column))


def decoded(place: Any, toy: Any, rows: pl.DataFrame, *options: str) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The table after a night on the first rows, and a decoding of all: that of series W, by time."""
    both = pl.concat([rows, calm_and_wide(toy, "other", seed=1).head(len(rows))])
    both.write_parquet(place.source)
    first = place.command("run", "--as-of", toy.day(TRAINED).isoformat(), *sets(*options))
    assert first.status == 0, first.err
    said = place.command("decode", "--json", *sets(*options))
    assert said.status == 0, said.err
    return place.table().filter(series_id="W").sort("time"), said.last_json


@pytest.mark.parametrize("scale", ["series", "pooled", "none"])
def test_a_wild_value_is_decoded_as_if_it_were_missing(place_at, toy, scale: str) -> None:
    """To the last bit, for every other row; its own row says why, and how surprising it was."""
    rows, option = calm_and_wide(toy, "W"), f"fit.scale={scale}"
    wild, said = decoded(place_at("wild"), toy, with_values(rows, {WILD: 300.0}), option)
    empty, _ = decoded(place_at("empty"), toy, with_values(rows, {WILD: None}), option)
    assert wild.select(ABOUT).equals(empty.select(ABOUT))
    others = pl.int_range(pl.len()) != WILD
    assert (
        wild.filter(others)
        .select("status", "reason", "log_density")
        .equals(empty.filter(others).select("status", "reason", "log_density"))
    )
    assert wild.row(WILD, named=True)["status"] == "MISSING"
    assert wild.row(WILD, named=True)["reason"] == "wild_value"
    assert wild["log_density"][WILD] < wild.filter(others)["log_density"].min() - 1000
    assert [one["released"][:10] for one in said["alerts"]["new"] if one["kind"] == "wild"] == [str(toy.day(WILD + 1))]


def test_a_wild_value_is_an_alert_until_another_comes(place, toy) -> None:
    rows = with_values(calm_and_wide(toy, "W"), {N - 1: -400.0})
    _, said = decoded(place, toy, rows)
    assert "failed" not in said["alerts"], said["alerts"]
    (one,) = [one for one in said["alerts"]["new"] if one["kind"] == "wild"]
    assert (one["series_id"], one["time"][:10], one["released"]) == ("W", f"{toy.day(N - 1)}", None)
    assert "W  wild: a value too far from all others to be evidence  open" in place.command("alerts", *sets()).out


def test_a_level_that_has_moved_is_evidence(place, toy) -> None:
    """From its third row on; a sensor that is stuck confirms nothing, and what is missing breaks nothing."""
    moved = {WILD + i: 300.0 + i for i in range(6)} | {WILD + 2: None}
    stuck = {WILD + 20 + i: 500.0 for i in range(6)}
    table, _ = decoded(place, toy, with_values(calm_and_wide(toy, "W"), moved | stuck))
    told = table["status", "reason"][WILD : WILD + 6].rows()
    wild, empty, sound = ("MISSING", "wild_value"), ("MISSING", "no_value"), ("OK", None)
    assert told == [wild, wild, empty, sound, sound, sound]
    assert table["status", "reason"][WILD + 20 : WILD + 26].rows() == [wild] * 6
    assert table["status", "reason"][WILD + 26 :].unique().rows() == [sound]


def test_of_several_features_only_the_wild_one_is_missing(place_at, toy) -> None:
    rows, two = calm_and_wide(toy, "W"), 'features.y={op="identity", column="y"}'
    wild, _ = decoded(place_at("wild"), toy, with_values(rows, {WILD: 300.0, WILD + 1: -300.0}), two)
    empty, _ = decoded(place_at("empty"), toy, with_values(rows, {WILD: None, WILD + 1: None}), two)
    assert wild.select(ABOUT).equals(empty.select(ABOUT))
    assert wild["status", "reason"][WILD : WILD + 2].rows() == [("OK", "wild_value")] * 2
    assert wild["log_density"][WILD] < empty["log_density"][WILD] - 1000


def test_how_surprising_a_wild_value_is_says_none_before_it(place_at, toy) -> None:
    rows = calm_and_wide(toy, "W")
    after_one, _ = decoded(place_at("one"), toy, with_values(rows, {WILD: 300.0, WILD + 1: -300.0}))
    after_none, _ = decoded(place_at("none"), toy, with_values(rows, {WILD: None, WILD + 1: -300.0}))
    assert after_one["log_density"][WILD + 1] == after_none["log_density"][WILD + 1]


@pytest.mark.parametrize("scale", ["pooled", "none"])
def test_a_series_that_is_new_is_judged_by_what_all_others_taught(place, toy, scale: str) -> None:
    rows = with_values(calm_and_wide(toy, "W"), {WILD: 300.0})
    others = pl.concat([calm_and_wide(toy, symbol, seed) for seed, symbol in enumerate("AB")])
    others.write_parquet(place.source)
    assert place.command("run", *sets(f"fit.scale={scale}")).status == 0
    pl.concat([others, rows]).write_parquet(place.source)
    assert place.command("decode", *sets(f"fit.scale={scale}")).status == 0
    told = place.table().filter(pl.col("reason").is_in(["wild_value"]))
    assert told["series_id", "status"].rows() == [("W", "MISSING")]


def test_nothing_looks_ahead_where_values_are_wild(place, toy) -> None:
    moved = {60: 300.0} | {WILD + i: 300.0 + i for i in range(6)}
    decoded(place, toy, with_values(calm_and_wide(toy, "W"), moved))
    said = place.command("check", "--cuts", "12", "--json", *sets())
    assert said.status == 0, said.out
    assert said.last_json["n_compared"] > 1000


def test_what_was_wild_and_is_mended_is_known_from_then_on(place, toy) -> None:
    rows = calm_and_wide(toy, "W")
    decoded(place, toy, with_values(rows, {WILD: 300.0}).head(WILD + 5))
    table, _ = decoded(place, toy, rows)
    mended = table.filter(pl.col("time").dt.date() == toy.day(WILD)).sort("as_of")
    assert table.height == N + 1
    assert mended["status", "reason"].rows() == [("MISSING", "wild_value"), ("OK", None)]


@pytest.mark.costly
def test_a_row_beside_a_wild_context_is_missing(place_at, toy) -> None:
    """What its laws depend on is not known: the context of the row before goes on, in gaps too."""
    rows, told = calm_and_wide(toy, "W"), ('context.z={op="identity", column="y"}', "select.criterion=held_out")
    law = ('model.emission={name="glm", family="gaussian"}', 'model.duration={name="contextual", columns=["z"]}')
    wild, _ = decoded(place_at("wild"), toy, with_values(rows, {WILD: 9e3}, "y"), *told, *law)
    carried = with_values(with_values(rows, {WILD: None}), {WILD: rows["y"][WILD - 1]}, "y")
    empty, _ = decoded(place_at("empty"), toy, carried, *told, *law)
    assert wild.select(ABOUT).equals(empty.select(ABOUT))
    assert wild["status", "reason", "log_density"][WILD].rows() == [("MISSING", "wild_context", None)]


def test_an_amount_may_be_wild_too(place_at, toy) -> None:
    """Of a law of zeros and positive amounts: neither learnt from nor decoded."""
    rng = np.random.default_rng(3)
    sold = np.where(rng.random(N) < 0.7, 0.0, rng.gamma(4.0, np.where(np.arange(N) // 40 % 2 == 1, 30.0, 5.0)))
    rows, law = toy.frame(sold, "W"), ("model.emission=zero_inflated_gamma", "fit.scale=none")
    tables = {}
    for name, value in (("wild", 20_000.0), ("empty", None)):
        place = place_at(name)
        with_values(rows, {30: value, WILD: value}).write_parquet(place.source)
        assert place.command("run", "--as-of", toy.day(TRAINED).isoformat(), *sets(*law)).status == 0
        assert place.command("decode", *sets(*law)).status == 0
        tables[name] = place.table().sort("time")
    wild = tables["wild"]
    assert wild.select(ABOUT).equals(tables["empty"].select(ABOUT))
    assert wild["reason"].to_list().count("wild_value") == 2
    assert [wild["reason"][place] for place in (30, WILD)] == ["wild_value"] * 2


@pytest.mark.parametrize(("count", "is_evidence"), [(300.0, True), (1e4, False)])
def test_a_burst_of_counts_is_evidence_and_what_no_count_could_be_is_not(
    place_at, toy, count: float, *, is_evidence: bool
) -> None:
    """A hundred times the mean, and three thousand times."""
    place, rng = place_at("one"), np.random.default_rng(4)
    counts = rng.poisson(np.where(np.arange(N) // 40 % 2 == 1, 1.0, 5.0)).astype(float)
    with_values(toy.frame(counts), {30: count, WILD: count}).write_parquet(place.source)
    law = ("model.emission=['poisson', 'negative_binomial']", "source.wild_spreads=1e6")
    settings = place.settings(*law)
    rows = validate(ingest(settings), settings).rows
    training = rows.head(TRAINED)
    assert without_far(training, settings)["x"].null_count() == (0 if is_evidence else 1)
    seen = scaling_for(training, settings).seen(rows)
    assert seen["x"].is_null().arg_true().to_list() == ([] if is_evidence else [30, WILD])
