"""Columns of few values: their likelihood has spikes, and climbs leap beyond what numbers can hold."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import hsmm
from benchmarks.hard import case
from hsmm.components.emission import Gaussian, Mixture, Poisson, Product, StudentT
from hsmm.components.emission.base import standardised
from hsmm.components.initial import FreeInitial
from hsmm.components.model import Model
from hsmm.components.transition import Dense
from hsmm.sequences import Sequences
from hsmm.training.coordinates import Coordinates
from hsmm.training.em import Fit, expectation_maximisation
from hsmm.training.gradient import slope
from hsmm.training.levels import Levels, partitions
from hsmm.training.objective import Objective
from hsmm.training.race import Runner
from hsmm.training.starts import draw_starts, initial_model
from tests.costly import costly_beyond

ALTERNATING = np.tile([1.0, 0.0], 15)
FAMILIES = [*(Gaussian(covariance=c) for c in ("full", "diag", "tied")), StudentT(), StudentT(covariance="tied")]


@pytest.mark.parametrize("emission", FAMILIES, ids=lambda law: f"{law.name}-{law.covariance}")
def test_two_values_are_two_states_at_the_floor_of_the_spread(emission: Any) -> None:
    model = _fitted(hsmm.HMM(2, emission=emission), ALTERNATING)
    floor = 1e-6 * ALTERNATING.var()
    assert model.emission_.mean_.ravel() == pytest.approx([0.0, 1.0], abs=1e-6)
    exact = -0.5 * len(ALTERNATING) * math.log(2.0 * math.pi * floor)
    assert model.log_likelihood_ == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(("number", "reached"), [(0, -351.787), (1, 468.289), (53, 445.684), (91, 707.224)])
def test_levels_are_shared_by_states_as_well_as_the_best_of_many_starts_shares_them(
    number: int, reached: float
) -> None:
    """Pairs of levels that alternate, with gaps; one level with others in its tails; blurred levels; fewer levels than
    states."""
    rows = case("few values", number)
    assert _fitted(rows.make(), rows.X)._best_fit().objective > reached - 0.05


@pytest.mark.parametrize("seed", costly_beyond(6, range(12)))
def test_few_values_end_no_fit(seed: int) -> None:
    """Levels drawn, repeated or alternating, exact or blurred, in units from 1e-3 to 1e3, some missing."""
    rng = np.random.default_rng(seed)
    n_levels, n_features = int(rng.integers(2, 6)), int(rng.integers(1, 3))
    levels = np.arange(n_levels) * 10.0 ** rng.integers(-3, 4)
    X = np.tile(levels, 60)[: 40 * n_features].reshape(-1, n_features) if seed % 2 else levels[
        rng.integers(0, n_levels, (40, n_features))
    ]  # fmt: skip
    X = X + 1e-5 * rng.normal(size=X.shape) * (seed % 3 == 0)
    X[rng.random(X.shape) < 0.1 * (seed % 4 == 0)] = np.nan
    one = [Gaussian(), StudentT(), Mixture(Gaussian(), n_components=2)][seed % 3]
    emission = Product([Gaussian(), StudentT()]) if n_features == 2 and seed % 2 else one
    shared = {"emission": emission, "n_init": 4, "max_iter": 200}
    for estimator in (hsmm.HMM(3, **shared), hsmm.HSMM(3, **shared, duration="gamma", max_duration=8)):
        assert math.isfinite(_fitted(estimator, X).log_likelihood_)


def test_a_step_out_of_the_range_of_numbers_is_no_step() -> None:
    """Where a model far away cannot be computed, its objective is -inf and the models beside it are not touched."""
    model, objective = _models(ALTERNATING)
    coordinates = Coordinates(model, frozenset())
    here = coordinates.of(model)
    far = here.clone()
    far[1, coordinates.blocks["emission.covariance"]] = 800.0
    both, alone = slope(coordinates, objective, far), slope(coordinates, objective, here)
    assert both.value[1] == -torch.inf
    assert bool((both.gradient[1] == 0).all() | both.gradient[1].isfinite().all())
    assert torch.equal(both.value[[0, 2]], alone.value[[0, 2]])
    assert torch.equal(both.gradient[[0, 2]], alone.gradient[[0, 2]])


def test_accelerated_climbs_never_fall_where_values_are_few() -> None:
    model, objective = _models(ALTERNATING, n_restarts=16)
    fit = expectation_maximisation(model, objective, max_iter=200, tol=1e-8, accelerate=True)
    assert bool(fit.objective.isfinite().all())
    assert float(fit.fall.max()) < 1e-8


def _models(X: np.ndarray, n_restarts: int = 3) -> tuple[Model, Objective]:
    sequences = Sequences.from_arrays(X)
    structure = Model(
        initial=FreeInitial(), transition=Dense(self_transitions=True), duration=None, emission=Gaussian()
    )
    starts = draw_starts(sequences, 2, n_restarts, 4, 0)
    return initial_model(structure, sequences, starts, 0), Objective(sequences)


def _fitted(estimator: Any, X: np.ndarray, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, **options)


def _five_levels(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.permutation(np.array([0.0, 1.0, 3.0, 4.0, 8.0]))[rng.integers(0, 5, 60)] + 1e-5 * rng.normal(size=60)


@pytest.mark.parametrize("seed", costly_beyond(1, range(4)))
def test_levels_are_shared_out_as_well_as_they_can_be(seed: int) -> None:
    """Five levels and two states: no share of the levels, each climbed to its end, stands higher than the fit."""
    X = _five_levels(seed)
    fit = _fitted(hsmm.HMM(2), X)
    known = hsmm.HMM(2, n_init=1)
    for share in partitions(5, 2).numpy():
        labels = share[np.unique(X.round(), return_inverse=True)[1]]
        start = _fitted(known.clone(), X, states=labels)
        assert fit._best.objective >= _fitted(known.clone(), X, start=start)._best.objective - 1e-6


def test_a_climb_that_has_ended_promises_no_more() -> None:
    """Climbs of few values leap, and a leap is no sign of another: the highest of those that have ended is kept."""
    model, _ = _models(ALTERNATING, n_restarts=2)
    leap = torch.tensor([-90.0, -80.0, -75.0, -72.0, -70.0, 60.0, 60.0], dtype=torch.float64)
    reached, ended = torch.full((2,), 60.0, dtype=torch.float64), torch.tensor([True, False])
    fit = Fit(model, reached, reached, leap[:, None].repeat(1, 2), torch.tensor([6, 6]), ended, torch.zeros(2))
    runners = [Runner(restart, "levels") for restart in range(2)]
    for position, runner in enumerate(runners):
        runner.took_part(fit, position, collapsed=False, standing=60.0)
    assert runners[0].prospect == 0.0
    assert runners[1].prospect > 100.0


def test_every_partition_is_listed_once() -> None:
    ways = partitions(5, 3).tolist()
    assert len({tuple(way) for way in ways}) == len(ways) == 25  # Stirling's number of the second kind
    assert all(set(way) == {0, 1, 2} for way in ways)


@pytest.mark.parametrize(("least_dof", "together"), [(None, True), (0.5, False)])
def test_a_state_with_heavy_tails_rather_holds_few_far_rows_than_another_level(
    least_dof: float | None, together: bool
) -> None:
    values = np.random.default_rng(0).permutation(np.repeat([0.0, 1.0, 40.0], [20, 20, 6]))
    rows = Sequences.from_arrays(values)
    labels = Levels(standardised(rows), rows, 2, least_dof).labels(0).numpy()
    assert (labels[values == 0.0][0] == labels[values == 1.0][0]) == together


def test_rows_without_tight_groups_have_no_levels() -> None:
    rng = np.random.default_rng(0)
    tails = np.r_[rng.uniform(-1.0, 1.0, 1000), -9.0, 9.0]
    for X in (rng.normal(size=(80, 2)), tails, np.arange(12.0)[rng.integers(0, 12, 200)]):
        rows = Sequences.from_arrays(X)
        assert "levels" not in draw_starts(rows, 3, 12, 4, 0).kinds
    rows = Sequences.from_arrays(_five_levels(0))
    assert draw_starts(rows, 3, 12, 4, 0).kinds[::2] == ["levels"] * 6
    counts = Sequences.from_arrays(_five_levels(0).round())
    assert "levels" not in draw_starts(counts, 3, 12, 4, 0, Poisson()).kinds
