"""States go from where there are too many to where there are too few."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import hsmm
from benchmarks.search import problems
from hsmm.components.emission import Gaussian
from hsmm.sequences import Sequences
from hsmm.training.em import expectation_maximisation
from hsmm.training.moves import can_move, neighbours
from hsmm.training.objective import Objective
from hsmm.training.restarts import _prospect


def levels() -> tuple[np.ndarray, np.ndarray]:
    states = np.tile(np.repeat(np.arange(4), 20), 6)
    return np.random.default_rng(0).normal(5.0 * states, 1.0), states


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
    ("name", "seed", "reached"), [("overlapping chain 5", 0, -2340.95), ("earthquakes, free 4", 0, -326.286)]
)
def test_a_fit_ends_higher_than_all_its_restarts_would(name: str, seed: int, reached: float) -> None:
    assert problems()[name]().fit(random_state=seed).log_likelihood_ >= reached
