"""Expected durations where they are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.duration import Geometric


def test_a_tail_keeps_the_mean_of_a_geometric_law() -> None:
    dwell = torch.tensor([[3.0, 200.0]], dtype=torch.float64)
    for max_duration in (1, 2, 30):
        law = Geometric(max_duration=max_duration).initialise(dwell)
        assert law.mean() == pytest.approx(dwell, rel=1e-9)


def test_an_hmm_stays_as_long_as_its_diagonal_says() -> None:
    emission = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [1.0]], covariance=[[1.0], [1.0]])
    model = hsmm.HMM.from_parameters(
        initial_prob=[0.5, 0.5], transition_prob=[[0.9, 0.1], [0.0, 1.0]], emission=emission
    )
    assert model.mean_duration_ == pytest.approx(np.array([10.0, np.inf]))
