"""Nights of a state whose moves and values networks make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import hsmm
from tasks.config.errors import ConfigurationError
from tasks.config.settings import read_settings
from tasks.fitting.candidates import candidates

LAWS = 'emission = "gaussian"\nduration = "geometric"\nmax_duration = 20\n'


@pytest.fixture
def place(place_at, toy):
    here = place_at("here")
    config = Path(here.config)
    config.write_text(config.read_text().replace(LAWS, 'estimator = "dssm"\n'))
    rows = [toy.frame(toy.levels(toy.sojourns(140, 2, seed=s), distance=4.0, seed=s), symbol=f"S{s}") for s in (1, 2)]
    pl.concat(rows).write_parquet(here.source)
    return here


def test_networks_are_fitted_published_and_read_again(place, toy) -> None:
    options = ("model.n_states=2", "promote.min_improvement=-9")
    said = place.night(toy.day(120), *options)
    assert (said["best"]["emission"], said["best"]["duration"]) == ("neural", "none")
    model = place.registry.bundle(1).members[""].model
    assert {part.name for kind, part in model._fitted_model().components().items() if kind != "initial"} == {"neural"}
    first = place.table()
    stay = model.transition_prob_.diagonal()
    likely = np.stack(first["p_filtered"].to_list())
    assert (first["remaining_mean"].to_numpy() > 0.999 * likely @ (1 / (1 - stay))).all()
    again = place.night(toy.day(140), *options)
    assert again["identity"]["ids"] == [0, 1]
    assert set(place.table()["state"]) == {0, 1}


def test_networks_are_candidates_beside_tables_once(place) -> None:
    lists = ('model.estimator=["hsmm", "dssm"]', 'model.emission=["gaussian", "student_t"]', "model.n_states=2")
    found = [(one.described["emission"], one.estimator) for one in candidates(read_settings(place.config, lists))]
    assert sorted(name for name, _ in found).count("neural") == 1
    (of_networks,) = [estimator for name, estimator in found if name == "neural"]
    assert isinstance(of_networks.trainer, hsmm.trainers.AdamW)
    chosen = candidates(read_settings(place.config, ("fit.trainer=hybrid",)))[0].estimator
    assert chosen.trainer == "hybrid"


@pytest.mark.parametrize("option", ["emission=gaussian", "transition=sticky", "duration=poisson"])
def test_what_networks_make_has_no_table(place, option) -> None:
    with pytest.raises(ConfigurationError, match=f'no `{option.split("=")[0]}` with estimator = "dssm"'):
        read_settings(place.config, (f"model.{option}",))
