"""A row does not tell when it was made: night by night, or in one backfill long after."""

from __future__ import annotations

import os
from datetime import date

import polars as pl
import pytest

N_NIGHTS = int(os.environ.get("HSMM_NIGHTS", "4"))
START = 150


@pytest.mark.parametrize("pool", ["pooled", pytest.param("per_series", marks=pytest.mark.costly)])
def test_nights_and_a_later_backfill_publish_the_same_rows(place_at, toy, pool: str) -> None:
    rows = pl.concat(
        [toy.frame(toy.levels(toy.sojourns(START + N_NIGHTS, seed=s), seed=s), symbol=f"S{s}") for s in (1, 2)]
    )
    live, later = place_at("live"), place_at("later")
    options = [f"fit.pool={pool}"]
    for n in range(START, START + N_NIGHTS):
        rows.filter(pl.col("date") < toy.day(n)).write_parquet(live.source)
        said = live.night(None, *options)
        assert date.fromisoformat(said["as_of"][:10]) == toy.day(n)
    rows.write_parquet(later.source)
    said = later.backfill(toy.day(START), toy.day(START + N_NIGHTS - 1), "1d", *options)
    assert {p["status"] for p in said["partitions"]} == {"DONE"}
    made, remade = (place.table().sort("as_of", "series_id", "time") for place in (live, later))
    assert made["as_of"].n_unique() == N_NIGHTS
    assert made.equals(remade)
    assert {v.number: v.tags["verdict"] for v in live.registry.versions("toy")} == {
        v.number: v.tags["verdict"] for v in later.registry.versions("toy")
    }
