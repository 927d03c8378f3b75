"""Published and independently computed fits of counts, symbols and mixed columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import hsmm
from hsmm.components.emission import Product
from tests.hsmm.test_published import EXAMPLES, REFERENCE, needs_reference


def counts(file: str) -> np.ndarray:
    return pl.read_csv(EXAMPLES / file)["count"].to_numpy()


def reference(file: str) -> pl.DataFrame:
    return pl.read_csv(Path(REFERENCE or "") / file)


@pytest.mark.parametrize(
    ("file", "initial", "n_states", "published"),
    [
        ("earthquakes.csv", "stationary", 1, -391.9189),
        ("earthquakes.csv", "stationary", 2, -342.3183),
        ("earthquakes.csv", "stationary", 3, -329.4603),
        ("earthquakes.csv", "stationary", 4, -327.8316),
        ("earthquakes.csv", "free", 2, -341.8787),
        ("earthquakes.csv", "free", 3, -328.5275),
        ("earthquakes.csv", "free", 4, -326.2850),
        ("fetal_lamb.csv", "stationary", 1, -201.0436),
        ("fetal_lamb.csv", "stationary", 2, -177.5188),
        ("fetal_lamb.csv", "stationary", 3, -166.4879),
        ("fetal_lamb.csv", "free", 2, -177.4833),
        ("fetal_lamb.csv", "free", 3, -166.2794),
    ],
)
def test_poisson_counts(file: str, initial: str, n_states: int, published: float) -> None:
    model = hsmm.HMM(n_states, emission="poisson", initial=initial, n_init=32).fit(counts(file))
    assert model.log_likelihood_ == pytest.approx(published, abs=1e-3)
    if (file, initial, n_states) == ("earthquakes.csv", "stationary", 3):
        assert model.emission_.rate_[:, 0] == pytest.approx([13.146, 19.721, 29.714], abs=2e-3)


@pytest.mark.parametrize(("n_states", "published"), [(2, -360.369), (3, -356.8489), (4, -356.7337)])
def test_a_mixture_of_poisson_laws_is_a_model_of_one_state(n_states: int, published: float) -> None:
    emission = hsmm.emissions.Mixture("poisson", n_components=n_states)
    model = hsmm.HMM(1, emission=emission, tol=1e-11, max_iter=20_000).fit(counts("earthquakes.csv"))
    assert model.log_likelihood_ == pytest.approx(published, abs=1e-3)


def walks_and_shopping() -> np.ndarray:
    """60 sequences of 100 activities of a person, seen by one who does not see the weather."""
    generator = torch.Generator().manual_seed(1)
    first, moves = torch.tensor([0.6, 0.4]), torch.tensor([[0.7, 0.3], [0.4, 0.6]])
    activity = torch.tensor([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])
    seen = []
    for _ in range(60):
        law = first
        for _ in range(100):
            weather = int(torch.multinomial(law, 1, generator=generator))
            seen.append(int(torch.multinomial(activity[weather], 1, generator=generator)))
            law = moves[weather]
    return np.array(seen)


def test_the_tutorial_of_three_activities() -> None:
    X = walks_and_shopping()
    assert X[:18].tolist() == [1, 2, 2, 1, 2, 2, 1, 2, 2, 2, 0, 2, 1, 2, 2, 0, 1, 2]
    model = hsmm.HMM(2, emission="categorical", n_init=8).fit(X, [100] * 60)
    assert model.log_likelihood_ >= -6528.3930
    rainy, sunny = 1, 0  # states are ordered by their mean symbol
    order = [rainy, sunny]
    moves, activity = model.transition_prob_[np.ix_(order, order)], model.emission_.probability_[order, 0]
    assert np.abs(moves - [[0.7, 0.3], [0.4, 0.6]]).max() <= 0.036
    assert np.abs(activity - [[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]]).max() <= 0.027


@needs_reference
def test_step_lengths_of_a_simulated_animal() -> None:
    data = reference("hmm_trex_labelled.csv")
    X = data["step"].to_numpy()
    model = hsmm.HMM(2, emission="gamma", initial="stationary", n_init=8).fit(X)
    assert model.log_likelihood_ == pytest.approx(-10847.1231, abs=1e-3)
    assert np.mean(model.predict(X) == data["state"].to_numpy() - 1) == pytest.approx(0.9718, abs=1e-4)


@needs_reference
def test_reaction_times_and_answers_whose_moves_follow_the_pay_off() -> None:
    data = reference("cls_speed_accuracy_depmix.csv")
    X = np.c_[data["rt"].to_numpy(), data["corr"].to_numpy() == "cor"]
    before = data["Pacc"].shift(1, fill_value=0.0).to_numpy()
    model = hsmm.HMM(2, emission=Product(("gaussian", "bernoulli")), transition="contextual").fit(X, context=before)
    assert model.log_likelihood_ == pytest.approx(-255.5337, abs=1e-3)
