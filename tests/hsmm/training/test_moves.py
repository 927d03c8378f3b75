"""States go from where there are too many to where there are too few."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import hsmm
from benchmarks.search import problems
from hsmm.components.emission import Gaussian
from hsmm.sequences import Sequences
from hsmm.training.em import expectation_maximisation
from hsmm.training.moves import _around, _splits, can_move, neighbours
from hsmm.training.objective import Objective
from hsmm.training.restarts import _furthest, _prospect, _Race
from hsmm.training.together import alone
from hsmm.training.trainers import EM


def levels() -> tuple[np.ndarray, np.ndarray]:
    states = np.tile(np.repeat(np.arange(4), 20), 6)
    return np.random.default_rng(0).normal(5.0 * states, 1.0), states


def levels_only() -> Sequences:
    return Sequences.from_arrays(levels()[0])


def misplaced(estimator: type) -> tuple[hsmm.HMM, Sequences]:
    """Two states share the lowest level, one has the two highest."""
    X, _ = levels()
    start = estimator(4, n_init=1).fit(X)
    law = Gaussian.from_parameters([[-0.5], [0.5], [5.0], [12.5]], [[[1.0]], [[1.0]], [[1.0]], [[7.0]]])
    tables = start._fitted_model()
    start._model = type(tables)(**{**vars(tables), "emission": law})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator(4, n_init=1).fit(X, start=start), Sequences.from_arrays(X)


def test_a_split_and_a_merge_lead_out_of_a_wrong_optimum() -> None:
    stuck, sequences = misplaced(hsmm.HMM)
    X, states = levels()
    assert hsmm.metrics.aligned_accuracy(states, stuck.predict(X)) < 0.9
    near = neighbours(stuck._fitted_model(), Objective(sequences), 4, torch.Generator().manual_seed(0))
    assert near is not None
    fit = expectation_maximisation(near, sequences, max_iter=40, tol=1e-8, accelerate=True)
    assert fit.objective.max() > stuck.log_likelihood_ + 100.0


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM], ids=["HMM", "HSMM"])
def test_every_neighbour_is_a_model(estimator: type) -> None:
    stuck, sequences = misplaced(estimator)
    near = neighbours(stuck._fitted_model(), Objective(sequences), 6, torch.Generator().manual_seed(0))
    assert near is not None
    assert near.emission.n_restarts == 6
    for part in (near.initial, near.transition):
        total = part.parameters["probability"].sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total))
    assert hsmm.inference.log_partition(near.potentials(sequences)).isfinite().all()


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM], ids=["HMM", "HSMM"])
def test_a_transition_that_has_died_may_return(estimator: type) -> None:
    """EM never leaves a probability of zero; the first neighbour lets it, and ends higher for it."""
    states = np.tile(np.repeat([0, 1, 2, 0, 2, 1], 9), 12)
    sequences = Sequences.from_arrays(np.random.default_rng(0).normal(5.0 * states, 1.0))
    options = {"duration": "poisson", "max_duration": 20} if estimator is hsmm.HSMM else {}
    model = estimator(3, n_init=4, **options).fit(sequences.values.numpy())._fitted_model()
    law = model.transition.parameters["probability"].clone()
    law[0, 0, 2] = 0.0
    dead = replace(model, transition=model.transition.with_parameters(probability=law / law.sum(-1, keepdim=True)))
    stuck = expectation_maximisation(dead, sequences, max_iter=50, tol=0.0)
    assert float(stuck.model.transition.parameters["probability"][0, 0, 2]) == 0.0
    near = neighbours(stuck.model, Objective(sequences), 2, torch.Generator().manual_seed(0))
    assert near is not None
    revived = expectation_maximisation(near.take(torch.tensor([0])), sequences, max_iter=50, tol=0.0)
    assert float(revived.objective) > float(stuck.objective) + 10.0


def test_young_climbs_that_promise_less_are_given_up_where_rows_are_many() -> None:
    stuck, sequences = misplaced(hsmm.HMM)
    near = stuck._fitted_model().take(torch.zeros(8, dtype=torch.int64))
    told: dict[int, list[torch.Tensor]] = {1: [], 30: []}
    for at_once, heights in told.items():
        objective = Objective(sequences, watch=heights.append)
        assert alone(_furthest(near, math.inf, EM(), objective, 100, 1e-6, at_once)) is None
    assert 3 * len(told[1]) <= len(told[30])


def test_a_state_splits_by_what_is_around_its_rows_where_they_are_alike() -> None:
    states = np.tile([0, 1, 2, 3], 60)
    X = np.random.default_rng(0).normal(np.array([0.0, 5.0, 0.0, 10.0])[states], 1.0)
    sequences = Sequences.from_arrays(X)
    model = hsmm.HMM(3, n_init=4).fit(X)
    objective = Objective(sequences)
    weights = objective.expected_counts(objective.potentials(model._fitted_model())).state
    law = model._fitted_model()
    own = law.emission.log_potentials(sequences)[0]
    around = _around(weights[0], objective)
    shares, gains = _splits(law, objective, weights, own, around, torch.Generator().manual_seed(0))
    lowest = int(law.emission.parameters["mean"][0, :, 0].argmin())
    way = int(gains[:, lowest].argmax())
    second = shares[way, :, lowest].numpy().round()
    assert gains[:, lowest].max() > gains.max(0).values.sum() - gains[:, lowest].max()
    inner = slice(4, -4)
    assert len({(a, b) for a, b in zip(states[inner], second[inner], strict=True) if a in (0, 2)}) == 2


def test_of_restarts_that_came_to_one_height_one_goes_on() -> None:
    race = _Race(["clusters"] * 5, seed=0)
    model, _ = misplaced(hsmm.HMM)
    tables = model._fitted_model()
    fit = expectation_maximisation(tables.take(torch.zeros(5, dtype=torch.int64)), levels_only(), max_iter=0, tol=0.0)
    for position, (runner, height) in enumerate(zip(race.runners, (-3.0, -1.0, -1.001, -9.0, -5.0), strict=True)):
        runner.took_part(fit, position, collapsed=False, standing=height)
    race.halve(3)
    assert [runner.restart for runner in race.alive] == [0, 1, 4]


def test_states_with_a_place_do_not_move() -> None:
    stuck, sequences = misplaced(hsmm.HMM)
    model = stuck._fitted_model()
    assert can_move(model, Objective(sequences))
    assert not can_move(model, Objective(sequences, frozen=frozenset({"emission.mean"})))
    assert not can_move(model, Objective(sequences, states=torch.full((sequences.n_rows,), -1)))
    ordered = hsmm.HMM(3, transition="left_to_right", n_init=2, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not can_move(ordered.fit(levels()[0])._fitted_model(), Objective(sequences))


@pytest.mark.parametrize("ratio", [0.3, 0.85])
def test_a_prospect_is_what_a_geometric_climb_has_left(ratio: float) -> None:
    steps = torch.arange(13, dtype=torch.float64)
    history = torch.stack([-(ratio**steps), torch.where(steps < 7, -(ratio**steps), torch.nan)], 1)
    left = torch.tensor([ratio**12, ratio**6], dtype=torch.float64)
    torch.testing.assert_close(_prospect(history), left, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize(
    ("name", "seed", "reached"),
    [
        ("overlapping chain 5", 0, -2338.65),
        ("weekly counts, stationary 4", 2, -634.84),
        ("earthquakes, free 4", 0, -326.286),
    ],
)
def test_a_fit_ends_higher_than_all_its_restarts_would(name: str, seed: int, reached: float) -> None:
    assert problems()[name]().fit(random_state=seed).log_likelihood_ >= reached
