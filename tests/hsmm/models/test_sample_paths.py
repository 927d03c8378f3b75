"""Paths drawn from the posterior follow it, and come back under the same seed."""

from __future__ import annotations

import numpy as np
import pytest

import hsmm


@pytest.mark.parametrize("kind", ["hsmm", "hmm"])
def test_drawn_paths_visit_states_as_often_as_the_posterior_says(kind: str) -> None:
    emission = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [1.0]], covariance=np.ones((2, 1, 1)))
    initial, swap = np.array([0.5, 0.5]), np.array([[0.0, 1.0], [1.0, 0.0]])
    model = (
        hsmm.HSMM.from_parameters(
            initial_prob=initial, transition_prob=swap, duration_prob=np.full((2, 6), 1 / 6), emission=emission
        )
        if kind == "hsmm"
        else hsmm.HMM.from_parameters(
            initial_prob=initial, transition_prob=0.8 * np.eye(2) + 0.2 * swap, emission=emission
        )
    )
    X, lengths = np.random.default_rng(0).normal(size=(30, 1)), [20, 10]
    paths = model.sample_paths(X, lengths, n_paths=4000)
    shares = np.stack([(paths == state).mean(axis=0) for state in range(2)], axis=1)
    assert paths.shape == (4000, 30)
    assert shares == pytest.approx(model.predict_proba(X, lengths), abs=0.04)
    assert (model.sample_paths(X, lengths, n_paths=3) == model.sample_paths(X, lengths, n_paths=3)).all()
    assert (model.sample_paths(X, lengths, random_state=1) != paths[:1]).any()


def test_no_path_is_drawn_of_what_cannot_be() -> None:
    sure = hsmm.emissions.Categorical.from_parameters([[1.0, 0.0]])
    model = hsmm.HMM.from_parameters(initial_prob=[1.0], transition_prob=[[1.0]], emission=sure)
    with pytest.raises(ValueError, match="probability zero"):
        model.sample_paths([[1.0]])
    with pytest.raises(ValueError, match="n_paths"):
        model.sample_paths([[0.0]], n_paths=0)
