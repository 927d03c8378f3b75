"""First states that have the law of the process itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import hsmm
from hsmm import inference
from hsmm.components.duration import DURATIONS
from hsmm.components.emission import Gaussian
from hsmm.components.initial import StationaryInitial, UniformInitial
from hsmm.components.model import Model
from hsmm.components.stationary import share_of_time, stationary_law
from hsmm.components.transition import Dense, LeftToRight, Masked, Sticky
from hsmm.sequences import Sequences
from hsmm.training.em import expectation_maximisation
from hsmm.training.m_step import maximise
from hsmm.training.starts import draw_starts, initial_model
from hsmm.training.stationary import with_first_state
from tests.hsmm.components.cases import generator, normalised
from tests.hsmm.components.options import MASK
from tests.hsmm.models.cases import regimes

LENGTHS = [9, 3, 15, 2, 20, 6, 11, 30]
SERIES = Sequences.from_arrays(regimes(missing=0.1, lengths=LENGTHS), LENGTHS)
N_STATES = 3


def chain(seed: int, n_states: int = 5, n_models: int = 4) -> Tensor:
    weights = torch.rand((n_models, n_states, n_states), generator=generator(seed), dtype=torch.float64)
    return normalised(weights**4)


@pytest.mark.parametrize("n_states", [1, 2, 5, 12])
def test_the_law_is_unchanged_by_a_move(n_states: int) -> None:
    moves = chain(0, n_states)
    law = stationary_law(moves)
    torch.testing.assert_close((law.unsqueeze(-2) @ moves).squeeze(-2), law, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(law.sum(-1), torch.ones(4, dtype=torch.float64), rtol=1e-14, atol=0.0)


def test_rare_states_keep_their_digits() -> None:
    rare = 1e-9
    moves = torch.tensor([[[1 - rare, rare], [0.5, 0.5]]], dtype=torch.float64)
    assert float(stationary_law(moves)[0, 1]) == pytest.approx(rare / (0.5 + rare), rel=1e-10, abs=0.0)


def test_a_periodic_chain_has_its_law() -> None:
    law = stationary_law(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64))
    torch.testing.assert_close(law, torch.full((1, 2), 0.5, dtype=torch.float64))


def test_closed_classes_share_what_a_start_anywhere_would_give_them() -> None:
    moves = torch.tensor(
        [[0.2, 0.4, 0.2, 0.2], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5]], dtype=torch.float64
    )
    expected = torch.tensor([0.0, 0.25 * 1.5, 0.25 * 2.5 / 2, 0.25 * 2.5 / 2], dtype=torch.float64)
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        law = stationary_law(moves[order][:, order][None])[0]
        torch.testing.assert_close(law, expected[order], rtol=0.0, atol=1e-9)
        assert (law > 0).all()


def test_the_slope_of_the_law_equals_finite_differences() -> None:
    logits = chain(1, 3, 2).log().requires_grad_()
    mean = torch.tensor([[2.0, 5.0, 9.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: share_of_time(stationary_law(x.softmax(-1)), mean, x.softmax(-1)).log(), (logits,)
    )


def test_the_equilibrium_law_is_the_share_of_time() -> None:
    moves = np.array([[0.0, 0.7, 0.3], [0.2, 0.0, 0.8], [0.5, 0.5, 0.0]])
    known = hsmm.HSMM.from_parameters(
        initial_prob=[1.0, 0.0, 0.0],
        transition_prob=moves,
        duration_prob=[[0.5, 0.5, 0.0], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]],
        emission=hsmm.emissions.Gaussian.from_parameters(mean=np.zeros((3, 1)), covariance=np.ones((3, 1))),
    )
    _, states = known.sample(30_000, random_state=3)
    model = replace(known._model, initial=StationaryInitial().initialise(1, 3)).settled()
    np.testing.assert_allclose(np.bincount(states) / 30_000, model.initial.parameters["probability"][0], atol=0.015)


def structure(name: str) -> Model:
    transitions = {
        "sparse": Dense(self_transitions=True, concentration=0.6),
        "sticky": Sticky(self_transitions=True, kappa=3.0),
        "masked": Masked(self_transitions=True, allowed=MASK),
        "left to right": LeftToRight(self_transitions=True),
    }
    if name in ("hmm", *transitions):
        transition = transitions.get(name, Dense(self_transitions=True))
        return Model(StationaryInitial(), transition, None, Gaussian())
    duration, _, censored = name.partition(" ")
    law = DURATIONS[duration](max_duration=8)
    return Model(StationaryInitial(), Dense(), law, Gaussian(), left_censored=bool(censored))


STRUCTURES = [
    *("hmm", "sparse", "sticky", "masked", "left to right"),
    *("categorical", "poisson", "negative_binomial", "geometric", "categorical censored", "negative_binomial censored"),
]


def started(name: str) -> Model:
    return initial_model(structure(name), SERIES, draw_starts(SERIES, N_STATES, 4, 6, 0), 0)


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("name", STRUCTURES)
def test_every_climb_is_monotone_and_ends_at_its_likelihood(name: str, accelerate: bool) -> None:
    fit = expectation_maximisation(started(name), SERIES, max_iter=12, tol=0.0, accelerate=accelerate)
    assert (fit.fall <= 1e-8).all()
    reached = inference.log_partition(fit.model.potentials(SERIES)).sum(1)
    torch.testing.assert_close(fit.log_likelihood, reached, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(fit.model.initial.log_potentials(), fit.model.log_initial(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["hmm", "sticky", "masked", "categorical", "poisson", "negative_binomial"])
def test_a_climb_ends_where_the_exact_slope_is_zero(name: str) -> None:
    fit = expectation_maximisation(started(name), SERIES, max_iter=200, tol=1e-13, accelerate=True)
    free = {key: value.detach().requires_grad_() for key, value in fit.model.free().items()}
    model = fit.model.with_free(free)
    objective = inference.log_partition(model.potentials(SERIES)).sum(1) + model.log_prior()
    objective.sum().backward()
    for key in [key for key in free if not key.startswith("emission")]:
        slope = free[key].grad.abs()
        above = free[key].exp() > 1e-6 if key.startswith(("transition", "duration.probability")) else slope > -1
        assert float(torch.where(above, slope, 0.0).max()) < 1e-4, key


def test_an_m_step_weighs_first_states_and_moves_together() -> None:
    model = started("hmm")
    counts = inference.posterior(model.potentials(SERIES))
    apart = maximise(replace(model, initial=UniformInitial().initialise(4, N_STATES)), SERIES, counts)
    joint = with_first_state(model, replace(apart, initial=model.initial), counts, n_steps=1000)

    def objective(transition: Dense) -> Tensor:
        first = (counts.initial * stationary_law(transition.parameters["probability"]).log()).sum(-1)
        return first + (counts.transition * transition.log_potentials()).sum((-1, -2))

    best = objective(joint.transition)
    assert (best > objective(apart.transition) + 1e-4).all()
    for seed in range(200):
        noise = torch.randn(
            joint.transition.parameters["probability"].shape, generator=generator(seed), dtype=torch.float64
        )
        moved = {"probability": joint.transition.free()["probability"] + 10.0 ** -(seed % 4) * noise}
        assert (objective(joint.transition.with_free(moved)) <= best + 1e-9 * best.abs()).all()


def test_renaming_the_states_renames_the_law() -> None:
    order = torch.tensor([2, 0, 1])
    for name in ("hmm", "poisson"):
        model = started(name).settled()
        law = model.initial.parameters["probability"][:, order]
        torch.testing.assert_close(model.permuted(order).log_initial().exp(), law, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM])
def test_estimators_fit_save_and_load_it(estimator: type, tmp_path: object) -> None:
    X = regimes(missing=0.0, lengths=LENGTHS)
    model = estimator(2, initial="stationary", n_init=2, max_iter=20, tol=0.0).fit(X, LENGTHS)
    free = estimator(2, n_init=2, max_iter=20, tol=0.0).fit(X, LENGTHS)
    assert model.n_parameters_ == free.n_parameters_ - 1
    assert model.score(X, LENGTHS) == pytest.approx(model.log_likelihood_, rel=1e-12)
    again = hsmm.load(model.save(tmp_path))
    assert again.score(X, LENGTHS) == model.score(X, LENGTHS)
    assert np.array_equal(again.initial_prob_, model.initial_prob_)
    if estimator is hsmm.HMM:
        np.testing.assert_allclose(model.initial_prob_ @ model.transition_prob_, model.initial_prob_, atol=1e-12)


def test_a_state_that_is_never_left_has_no_duration_to_press_on() -> None:
    """However long its table says that it lasts, its share is that of single steps, as in a chain without durations."""
    moves = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    segments = stationary_law(moves)
    shares = [
        share_of_time(segments, torch.tensor([[4.0, 2.0, long]], dtype=torch.float64), moves) for long in (1.0, 9.0)
    ]
    assert torch.equal(*shares)
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(3.0 * level, 1.0, 30) for level in (0, 1, 2)])
    model = hsmm.HSMM(3, transition="left_to_right", initial="stationary", max_duration=50, n_init=3, max_iter=200).fit(
        X
    )
    assert model.converged_
    assert model.initial_prob_[2] > 0.999
