"""Many series, some poisoned: each is set aside for its own reason, and nobody else notices."""

from __future__ import annotations

import os

import numpy as np
import polars as pl
import pytest

from tests.sources import Poison, poisons

N_ROWS = 90
IS_PICKED, X = pl.int_range(pl.len()) == 40, pl.col("x")
POISONS: dict[str, Poison] = {
    **poisons("x"),
    "wild_value": lambda frame: frame.with_columns(x=pl.when(IS_PICKED).then(1e300).otherwise("x")),
    "bad_value": lambda frame: frame.with_columns(
        x=pl.when(IS_PICKED).then(pl.lit("n/a?")).otherwise(X.cast(pl.String))
    ),
}
"""By reason, what sets a series aside."""
ODD: dict[str, Poison] = {
    "z: without values for a while": lambda frame: frame.with_columns(
        x=pl.when(~pl.int_range(pl.len()).is_between(30, 60)).then("x")
    ),
    "z: of two values": lambda frame: frame.with_columns(x=pl.when(X.median() < X).then(2.0).otherwise(1.0)),
    "z: of a scale of its own": lambda frame: frame.with_columns(x=X**30),
}
"""What does not."""
N_SERIES = int(os.environ.get("HSMM_SERIES", str(len(POISONS) + len(ODD) + 4)))
OPTIONS = (
    *("fit.pool=per_series", "model.n_states=2", "fit.n_init=2", "source.unsorted=reject"),
    *('features={x={op="log", column="x"}}', "promote.min_share=0", "source.wild_spreads=50"),
)


@pytest.fixture
def sources(toy) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The healthy series, and all of them in a mixed order."""

    def series(name: str, seed: int) -> pl.DataFrame:
        x = np.exp(toy.levels(toy.sojourns(N_ROWS, 2, seed=seed), distance=4.0, seed=seed))
        return toy.frame(x, symbol=name).with_columns(pl.col("date").cast(pl.Datetime("us", "UTC")))

    n_healthy = N_SERIES - len(POISONS) - len(ODD)
    healthy = [series(f"H{seed:03}", seed) for seed in range(n_healthy)]
    poisoned = [poison(series(reason, 1000)) for reason, poison in {**POISONS, **ODD}.items()]
    as_text = [part.with_columns(pl.col("x").cast(pl.String)) for part in (healthy[0], *poisoned, *healthy[1:])]
    return pl.concat(healthy), pl.concat(as_text)


def test_healthy_rows_are_those_of_a_clean_run(place_at, sources) -> None:
    clean, mixed = place_at("clean"), place_at("mixed")
    for place, rows in zip((clean, mixed), sources, strict=True):
        rows.write_parquet(place.source)
    shards = ("run.shard_series=5", "run.runner=sequential")
    first, said = clean.night(None, *OPTIONS), mixed.night(None, *OPTIONS, *shards)
    order, is_odd = ["series_id", "time"], pl.col("series_id").is_in([*ODD])
    healthy = mixed.table().filter(~is_odd).drop("run_key").sort(order)
    assert healthy.equals(clean.table().drop("run_key").sort(order))
    quarantine = pl.read_delta(f"{mixed.states}_quarantine").filter(run_key=said["run_key"])
    refused = {series for series, reasons in said["gate"]["reasons"].items() if reasons}
    assert refused - {*ODD} == {series for series, reasons in first["gate"]["reasons"].items() if reasons}
    found = {row["series_id"]: row["reason"] for row in quarantine.iter_rows(named=True)}
    assert found == {("" if reason == "missing_series" else reason): reason for reason in POISONS} | dict.fromkeys(
        refused, "no_model"
    )
    served = mixed.table().filter(pl.col("status") == "OK")["series_id"].n_unique()
    assert said["n_series"] == N_SERIES == served + said["n_held"] + said["n_quarantined"]
    assert len(refused) <= N_SERIES // 5
    assert not mixed.table().filter(is_odd).is_empty()


def test_held_and_unserved_series_are_counted_once(place_at, toy, sources) -> None:
    place = place_at("counted")
    sources[1].write_parquet(place.source)
    place.night(toy.day(80), *OPTIONS)
    said = place.night(None, *OPTIONS, "promote.min_improvement=0.0")
    new = place.table().filter(run_key=said["run_key"])
    by_status = {name[0]: part["series_id"].n_unique() for name, part in new.group_by("status")}
    assert by_status.get("OK", 0) + by_status["HELD"] + said["n_quarantined"] == said["n_series"] == N_SERIES
    assert by_status["HELD"] == said["n_held"]
    assert new["series_id"].n_unique() == N_SERIES - said["n_quarantined"]
    told = pl.read_delta(f"{place.states}_quarantine").filter(run_key=said["run_key"])
    assert len(told) == said["n_quarantined"]
