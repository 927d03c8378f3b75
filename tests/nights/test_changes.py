"""When the configuration changes under a champion: other features, another pool, new series."""

from __future__ import annotations

import polars as pl
import pytest

OPTIONS = ("model.n_states=2", "promote.min_improvement=-9")


@pytest.fixture
def place(place_at, toy):
    """Two series of two levels."""
    here = place_at("here")
    rows = [toy.frame(toy.levels(toy.sojourns(140, 2, seed=s), distance=4.0, seed=s), symbol=f"S{s}") for s in (1, 2)]
    pl.concat(rows).write_parquet(here.source)
    return here


def states(place) -> set[int]:
    newest = place.table().filter(pl.col("as_of") == pl.col("as_of").max())
    return set(newest["state"])


def test_other_features_have_other_states(place, toy) -> None:
    place.night(toy.day(120), *OPTIONS)
    said = place.night(toy.day(140), *OPTIONS, 'features={y={op="diff", column="x"}}', new_lineage=True)
    assert said["identity"] | {"margin": 0} == {"ids": [2, 3], "margin": 0, "births": [2, 3], "deaths": [0, 1]}
    assert states(place) <= {2, 3}
    died = pl.read_delta(f"{place.states}_names").sort("state")["died"].is_not_null()
    assert died.to_list() == [True, True, False, False]


def test_a_model_of_all_hands_its_states_to_those_of_each(place, toy) -> None:
    place.night(toy.day(120), *OPTIONS)
    said = place.night(toy.day(140), *OPTIONS, "fit.pool=per_series")
    assert (said["identity"], states(place)) == ({}, {0, 1})
    new = place.table().filter(run_key=said["run_key"])
    assert new.select("series_id", "time").is_unique().all()
    assert sorted(place.registry.bundle(2).members) == ["S1", "S2"]


def test_a_series_whose_fit_is_held_stays_with_the_model_of_all(place, toy) -> None:
    place.night(toy.day(120), *OPTIONS)
    rows = pl.read_parquet(place.source)
    blank = (pl.col("symbol") == "S2") & (pl.col("date") >= toy.day(118))
    rows.with_columns(pl.when(blank).then(None).otherwise("x").alias("x")).write_parquet(place.source)
    said = place.night(toy.day(140), *OPTIONS, "fit.pool=per_series", "promote.holdout=5", "source.stale_after=30")
    assert said["gate"]["reasons"] == {"S2": ["no_rows_to_compare_on"]}
    assert said["n_held"] == 0  # none of its new rows has a value
    assert sorted(place.registry.bundle(2).members) == ["", "S1"]
    new = place.table().filter(run_key=said["run_key"])
    assert set(new.select("series_id", "model_version").rows()) == {("S1", 2), ("S2", 1)}


def test_one_model_for_all_takes_over_from_many(place, toy) -> None:
    place.night(toy.day(120), *OPTIONS, "fit.pool=per_series")
    said = place.night(toy.day(140), *OPTIONS)
    assert said["identity"]["ids"] == [0, 1]
    assert said["states"] == {"alive": [0, 1], "died": []}


def test_a_new_series_has_states_of_its_own(place, toy) -> None:
    rows = pl.read_parquet(place.source)
    rows.filter(symbol="S1").write_parquet(place.source)
    place.night(toy.day(120), *OPTIONS, "fit.pool=per_series")
    rows.write_parquet(place.source)
    said = place.night(toy.day(140), *OPTIONS, "fit.pool=per_series")
    assert said["gate"]["verdict"] == "PROMOTE"
    assert states(place) == {0, 1}
    assert said["states"]["died"] == []


def test_one_model_after_models_of_their_own_has_their_states(place_at, toy) -> None:
    """pooled, per_series, pooled: an id is the same level all the while."""
    place = place_at("there and back")
    rows = [toy.frame(toy.levels(toy.sojourns(160, 2, seed=s), distance=5.0, seed=s), symbol=f"S{s}") for s in (1, 2)]
    pl.concat(rows).write_parquet(place.source)
    means: list[list[float]] = []
    for n, pool in ((120, "pooled"), (130, "per_series"), (140, "pooled"), (150, "pooled")):
        said = place.night(toy.day(n), "model.n_states=2", f"fit.pool={pool}", "promote.min_improvement=-9")
        assert said["gate"]["verdict"] == "PROMOTE"
        for member in place.registry.bundle(said["model_version"]).members.values():
            assert member.ids == (0, 1)
            means.append(member.model.emission_.moments()[0].ravel().tolist())
    assert len({low < high for low, high in means}) == 1
    assert said["states"] == {"alive": [0, 1], "died": []}
