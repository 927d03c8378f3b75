"""Nights of series that share states and move among them each in its own way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import flows.nightly
import hsmm
from hsmm import PartialPooling
from tasks.config.errors import ConfigurationError, FitError
from tasks.fitting.bundle import Member
from tasks.fitting.sharing import made_apart, members_of

OPTIONS = ("fit.pool=shared", "model.n_states=2", "fit.n_init=2", "promote.min_improvement=-9", "fit.scale=none")


@pytest.fixture
def place(place_at, toy):
    """Four series of two levels: two stay for long, two move often; a fifth has rows of its own."""
    here, rows = place_at("here"), []
    for s in range(5):
        rng, stay = np.random.default_rng(s), (0.97 if s < 2 else 0.6)
        states = np.cumsum(rng.random(140) > stay) % 2
        rows.append(toy.frame(toy.levels(states, distance=6.0, seed=s), symbol=f"S{s}"))
    pl.concat(rows).write_parquet(here.source)
    return here


def test_series_share_states_and_stay_in_them_as_they_do(place, toy) -> None:
    rows = pl.read_parquet(place.source)
    rows.filter(pl.col("symbol") != "S4").write_parquet(place.source)
    said = place.night(toy.day(120), *OPTIONS)
    assert said["gate"]["verdict"] == "PROMOTE"
    bundle = place.registry.bundle(1)
    assert sorted(bundle.members) == ["", "S0", "S1", "S2", "S3"]
    models = {unit: member.model for unit, member in bundle.members.items()}
    group = models.pop("")
    for unit, model in models.items():
        assert bundle.members[unit].ids == bundle.members[""].ids
        np.testing.assert_array_equal(model.emission_.mean_, group.emission_.mean_)
    lasts = {unit: model.summary()["mean_duration"].min() for unit, model in models.items()}
    assert min(lasts["S0"], lasts["S1"]) > 2 * max(lasts["S2"], lasts["S3"])
    first = place.table()
    left = first.filter(pl.col("time") == pl.col("time").max()).select("series_id", "remaining_mean").rows()
    assert {series: steps > 8 for series, steps in left} == {"S0": True, "S1": True, "S2": False, "S3": False}

    rows.write_parquet(place.source)
    place.decode(toy.day(130), *OPTIONS)  # of the new series nothing was learnt
    new = place.table().filter(pl.col("series_id") == "S4")
    assert len(new) > 100
    scaled = bundle.scaling.given(rows.filter(symbol="S4").select(series_id="symbol", x="x")[: len(new)], group)
    np.testing.assert_array_equal(np.stack(new["p_filtered"].to_list()), group.filter_proba(**scaled))

    again = place.night(toy.day(140), *OPTIONS)
    assert again["identity"]["ids"] == [0, 1]
    assert {*place.registry.bundle(2).members} == {"", "S0", "S1", "S2", "S3", "S4"}
    both = first.join(place.table().filter(run_key=again["run_key"]), on=["series_id"], how="semi")
    assert len(both)
    levels = (
        place.table()
        .with_columns(pl.col("time").dt.date())
        .join(rows.select("x", series_id="symbol", time="date"), on=["series_id", "time"])
    )
    apart = levels.group_by("state", "series_id").agg(pl.col("x").mean()).sort("state", "series_id")
    assert apart.filter(state=0)["x"].max() < apart.filter(state=1)["x"].min()


def test_states_of_series_are_renumbered_as_those_of_their_group(toy) -> None:
    X = toy.levels(toy.sojourns(80, 2, seed=1), distance=6.0, seed=1)
    found = PartialPooling(hsmm.HMM(2, n_init=1), concentration=5.0).fit(X, np.repeat(["a", "b"], 40))
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    group = Member(found.group_.permuted([1, 0]), (4, 7), 8, None, moment, moment)
    for series, member in members_of(found, group, (1, 0)):
        assert (member.ids, member.next_id) == ((4, 7), 8)
        np.testing.assert_array_equal(member.model.emission_.mean_, group.model.emission_.mean_)
        np.testing.assert_array_equal(member.model.transition_prob_, found.of(series).transition_prob_[::-1, ::-1])


def test_which_series_were_fitted_with_the_model_of_all() -> None:
    """Of those with models of their own: they are of its version."""
    one = Member(hsmm.HMM(2), (0,), 1, None, datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC))
    assert made_apart({"": one, "a": one, "b": replace(one, version=3)}) == {"b"}
    assert made_apart({"a": one, "b": one}) == {"a", "b"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("model.initial=stationary",), "initial is 'stationary'"),
        (('model.duration={name="contextual", context=["z"]}', 'context={z={op="identity", column="x"}}'), "duration"),
    ],
)
def test_what_series_cannot_have_of_their_own_is_told_before_anything_is_read(place, toy, options, says) -> None:
    with pytest.raises(ConfigurationError, match=f'fit.pool is "shared", but .*{says}'):
        place.night(toy.day(120), *OPTIONS, *options)


@pytest.mark.parametrize("key", ["run.runner=process", "run.shard_series=2"])
def test_what_divides_a_night_is_refused_where_series_share_a_model(place, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f'fit.pool = "per_series" with `{key.partition("=")[0]}`'):
        place.settings(*OPTIONS, key)


def test_what_series_have_of_their_own_is_not_made_twice(place, toy, monkeypatch) -> None:
    """A night that was stopped after it goes on with it."""
    made = list[int]()
    fit_sequences = PartialPooling.fit_sequences

    def counted(self, *given):
        made.append(1)
        return fit_sequences(self, *given)

    def stopped(*_):
        raise FitError("stopped")

    monkeypatch.setattr(PartialPooling, "fit_sequences", counted)
    with monkeypatch.context() as broken:
        broken.setattr(flows.nightly, "judge_task", stopped)
        with pytest.raises(FitError, match="stopped"):
            place.night(toy.day(120), *OPTIONS)
    said = place.night(toy.day(120), *OPTIONS)
    assert len(made) == 1
    assert said["gate"]["verdict"] == "PROMOTE"
    assert sorted(place.registry.bundle(1).members) == ["", "S0", "S1", "S2", "S3", "S4"]
    assert not [*Path(place.folder).glob("states_fits/*")]
