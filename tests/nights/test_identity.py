"""Persistent states over many refits: the same ids for the same states, births and deaths declared, no id twice."""

from __future__ import annotations

import os
from itertools import pairwise, permutations

import numpy as np
import polars as pl
import pytest

from tasks.fitting.bundle import ALL, Bundle, Member
from tasks.fitting.scaling import Scaling
from tasks.source.ingest import ingest
from tasks.source.validate import validate

N_NIGHTS = int(os.environ.get("HSMM_NIGHTS", "5"))
START = 300


def ids_by_row(bundle: Bundle, rows: pl.DataFrame) -> np.ndarray:
    """The persistent id of each row's most probable state, in hindsight."""
    member: Member = bundle.members[ALL]
    scaling: Scaling = bundle.scaling
    return np.array(member.ids)[member.model.predict_proba(scaling.apply(rows)).argmax(1)]


def agreement(ids: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Share of rows with the same id, and the best share that any renaming could reach."""
    names = sorted({*ids.tolist(), *others.tolist()})
    renamed = [np.array(order)[np.searchsorted(names, ids)] for order in permutations(names)]
    return float((ids == others).mean()), max(float((new == others).mean()) for new in renamed)


@pytest.mark.parametrize("kind", ["levels", "spreads"])
def test_every_night_means_the_same_states(place_at, toy, kind: str) -> None:
    place, path = place_at(kind), toy.sojourns(START + N_NIGHTS, mean=20)
    x = toy.levels(path, distance=2.5) if kind == "levels" else toy.levels(path, distance=0) * 3.0**path
    rows = toy.frame(x)
    history, served = rows.head(START), []
    for n in range(START, START + N_NIGHTS):
        rows.head(n).write_parquet(place.source)
        said = place.night(None, f"fit.seed={n}")
        assert (said["identity"]["births"], said["identity"]["deaths"]) == ([], [])
        served.append(place.registry.bundle(place.registry.champion("toy")))
    settings = place.settings()
    validated = validate(ingest(settings), settings).rows.head(len(history))
    ids = [ids_by_row(bundle, validated) for bundle in served]
    by_night = [agreement(a, b) for a, b in pairwise(ids)]
    since_the_first = [agreement(ids[0], b) for b in ids[1:]]
    assert np.mean([same for same, _ in by_night]) >= 0.99
    assert all(same >= 0.95 and same == best for same, best in by_night)
    assert all(same == best for same, best in since_the_first)


@pytest.mark.costly
def test_a_birth_and_a_death_are_declared_and_no_id_comes_back(place_at, toy) -> None:
    """Three regimes, then a fourth beside them; the first ceases, and leaves the window; one like it comes back."""
    place = place_at("lives")
    three, four = toy.sojourns(200, seed=1), toy.sojourns(200, 4, seed=2)
    without, again = 1 + toy.sojourns(300, 3, seed=3), toy.sojourns(160, 4, seed=4)
    rows = toy.frame(toy.levels(np.concatenate([three, four, without, again]), distance=5.0))
    options = ("model.n_states=[2, 3, 4]", "fit.train_window=240d", "fit.scale=none")
    told = {}
    for n in (200, 340, 400, 700, 860):
        rows.head(n).write_parquet(place.source)
        told[n] = place.night(None, *options)
    identity = {n: said["identity"] for n, said in told.items()}
    assert identity[200]["ids"] == [0, 1, 2]
    (born,) = identity[340]["births"]
    assert (born, identity[340]["deaths"]) == (3, [])
    assert identity[700]["deaths"] == [0]
    assert identity[700]["ids"] == [1, 2, 3]
    assert identity[860]["births"] == [4]
    names = pl.read_delta(f"{place.states}_names").sort("state")
    assert names["state"].to_list() == [0, 1, 2, 3, 4]
    assert names["born"].dt.date().to_list() == [toy.day(n) for n in (200, 200, 200, 340, 860)]
    assert [d and d.date() for d in names["died"].to_list()] == [toy.day(700), None, None, None, None]
    last = place.table().filter(pl.col("as_of") == pl.col("as_of").max())
    assert (last["p_filtered"].list.get(0) == 0.0).all()


def test_lives_of_one_series_are_not_those_of_another(place_at, toy) -> None:
    """One series gains a regime and loses another, while its neighbour goes on with two."""
    place = place_at("pool")
    three, without = toy.sojourns(200, seed=1), 1 + toy.sojourns(300, 3, seed=3)
    changing = toy.levels(np.concatenate([three, without]), distance=6.0)
    steady = toy.levels(toy.sojourns(500, 2, seed=5), distance=6.0, seed=5)
    rows = pl.concat([toy.frame(changing, symbol="changing"), toy.frame(steady, symbol="steady")])
    options = ("model.n_states=[2, 3]", "fit.train_window=190d", "fit.scale=none", "fit.pool=per_series")
    told = {}
    for n in (200, 480):
        rows.filter(pl.col("date") < toy.day(n)).write_parquet(place.source)
        told[n] = place.night(None, *options, "promote.min_improvement=-9")
    assert told[480]["gate"]["verdict"] == "PROMOTE"
    identity = told[480]["identity"]
    assert (identity["changing"]["births"], identity["changing"]["deaths"]) == ([3], [0])
    assert "steady" not in identity
    assert told[480]["states"] == {"alive": [0, 1, 2, 3], "died": []}
    newest = place.table().filter(run_key=told[480]["run_key"])
    by_series = {name: set(part["state"]) for (name,), part in newest.group_by("series_id")}
    assert by_series["changing"] <= {1, 2, 3}
    assert by_series["steady"] == {0, 1}
    means = newest.join(
        rows.rename({"symbol": "series_id", "date": "time"}).cast({"time": newest["time"].dtype}),
        on=["series_id", "time"],
    )
    levels = {key: part["x"].mean() for key, part in means.group_by("series_id", "state")}
    assert levels["changing", 1] == pytest.approx(levels["steady", 1], abs=1.0)
