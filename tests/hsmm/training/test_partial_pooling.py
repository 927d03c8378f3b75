"""What the strength of a group's prior is chosen by, beside the integral that it stands for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import hsmm
from hsmm import inference
from hsmm.training.objective import Objective
from hsmm.training.partial_pooling import _Climb

GRID = torch.linspace(-7.0, 7.0, 181, dtype=torch.float64)


def integrated(model: hsmm.HMM, series: list[hsmm.Sequences], strength: float) -> float:
    """Σ over series log ∫ p(series | moves) Dirichlet(moves | strength · the model's) of two states."""
    first, second = (axis.flatten() for axis in torch.meshgrid(GRID, GRID, indexing="ij"))
    stay = torch.stack([first, second], -1).sigmoid()
    moves = torch.stack(
        [torch.stack([stay[:, 0], 1 - stay[:, 0]], -1), torch.stack([1 - stay[:, 1], stay[:, 1]], -1)], 1
    )
    one = model._fitted_model()
    all_moves = one.take(torch.zeros(len(moves), dtype=torch.int64))
    all_moves = replace(all_moves, transition=all_moves.transition.with_parameters(probability=moves))
    alpha = strength * one.transition.parameters["probability"]
    density = (torch.lgamma(alpha.sum(-1)) - torch.lgamma(alpha).sum(-1) + (alpha * moves.log()).sum(-1)).sum(-1)
    cell = 2 * torch.log(GRID[1] - GRID[0])  # in logits, whose Jacobian turns α - 1 into α
    reached = [inference.log_partition(all_moves.potentials(one_series))[:, 0] for one_series in series]
    return float(sum((value + density + cell).logsumexp(0) for value in reached))


@pytest.mark.parametrize("apart", [1.5, 6.0])
def test_the_evidence_of_a_strength_is_the_rows_likelihood(apart: float) -> None:
    """To a quarter of a nat, be the states plain to see or not, over a sixtyfold of strengths."""
    law = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [apart]], covariance=[[1.0], [1.0]])
    moves = np.array([[0.8, 0.2], [0.3, 0.7]])
    model = hsmm.HMM.from_parameters(initial_prob=[0.5, 0.5], transition_prob=moves, emission=law)
    X = [np.asarray(model.sample(40, random_state=seed)[0]) for seed in range(3)]
    packed = hsmm.Sequences.from_arrays(np.concatenate(X), [40, 40, 40])
    series, found, exact = [packed.series([s]) for s in range(3)], [], []
    for strength in (5.0, 30.0, 300.0):
        objective = Objective(packed, frozen=frozenset(["emission", "initial"]))
        climb = _Climb(model._fitted_model(), objective, torch.arange(3), ("transition",), {"transition": strength})
        for _ in range(80):
            climb.step()
        found.append(climb.evidence("transition"))
        exact.append(integrated(model, series, strength))
    np.testing.assert_allclose(np.diff(found), np.diff(exact), atol=0.25)
