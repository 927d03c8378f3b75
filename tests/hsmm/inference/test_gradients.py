"""The gradient of the log-likelihood is the vector of expected counts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hsmm import inference
from hsmm.inference.engine import KERNELS
from hsmm.potentials import Potentials, equilibrium_residual
from hsmm.types import KernelName
from tests.hsmm.inference.cases import random_potentials, require_support

FLAGS = list(itertools.product([False, True], repeat=4))
NAMES = ("left_censored", "right_censored", "tail", "time_varying")


def _differentiable(p: Potentials) -> Potentials:
    return replace(p, **{name: table.clone().requires_grad_() for name, table in p.tables().items()})


def _log_tail_slope(p: Potentials, counts: inference.Posterior) -> Tensor:
    stay = p.log_tail.exp()
    return counts.tail_stay - counts.tail_leave * stay / (1 - stay)


def _assert_gradient_is_counts(p: Potentials, counts: inference.Posterior) -> None:
    for name, table in p.tables().items():
        field = "state" if name == "log_emission" else name.removeprefix("log_")
        wanted = _log_tail_slope(p, counts) if name == "log_tail" else getattr(counts, field)
        np.testing.assert_allclose(table.grad, wanted.detach(), rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(NAMES, FLAGS)
def test_the_gradient_is_the_posterior(kernel: KernelName, left_censored, right_censored, tail, time_varying):
    p = _differentiable(
        random_potentials(
            0,
            tail=tail,
            residual=True,
            time_varying=time_varying,
            left_censored=left_censored,
            right_censored=right_censored,
        )
    )
    require_support(kernel, p)
    inference.log_partition(p, kernel=kernel).sum().backward()
    _assert_gradient_is_counts(p, inference.expected_counts(p, kernel=kernel))


def test_the_gradient_of_an_hmm_is_the_posterior(kernel: KernelName):
    p = _differentiable(random_potentials(1, n_durations=None))
    inference.log_partition(p, kernel=kernel).sum().backward()
    _assert_gradient_is_counts(p, inference.expected_counts(p, kernel=kernel))


@pytest.mark.parametrize("time_varying", [False, True])
def test_weights_of_series_weigh_their_counts(kernel: KernelName, time_varying):
    p = _differentiable(random_potentials(2, tail=True, residual=True, left_censored=True, time_varying=time_varying))
    require_support(kernel, p)
    weight = torch.tensor([[0.5, 2.0, 0.0], [1.0, -3.0, 0.25]], dtype=torch.float64)
    (inference.log_partition(p, kernel=kernel) * weight).sum().backward()
    counts = inference.expected_counts(p, weight, kernel=kernel)
    _assert_gradient_is_counts(p, counts)
    alone = inference.expected_counts(p, kernel=kernel)
    assert not torch.allclose(counts.initial, alone.initial)
    torch.testing.assert_close(counts.log_likelihood, alone.log_likelihood)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(NAMES, FLAGS)
def test_the_gradient_is_the_slope(kernel: KernelName, left_censored, right_censored, tail, time_varying, residual):
    p = random_potentials(
        3,
        (3, 2) if residual or not time_varying else (4,),
        n_restarts=1,
        n_states=2,
        n_durations=2,
        tail=tail,
        residual=residual,
        time_varying=time_varying,
        left_censored=left_censored,
        right_censored=right_censored,
        self_transitions=True,
    )
    require_support(kernel, p)
    names = tuple(p.tables())

    def log_likelihood(*tables: Tensor) -> Tensor:
        return inference.log_partition(replace(p, **dict(zip(names, tables, strict=True))), kernel=kernel)

    tables = tuple(table.clone().requires_grad_() for table in p.tables().values())
    along_one_direction = kernel == "reference"
    assert torch.autograd.gradcheck(log_likelihood, tables, atol=1e-6, fast_mode=along_one_direction)


@pytest.mark.parametrize("tail", [False, True])
def test_the_equilibrium_law_is_part_of_the_derivative(kernel: KernelName, tail):
    implied = _differentiable(random_potentials(4, tail=tail, left_censored=True))
    spelt_out = _differentiable(implied.detach())
    inference.log_partition(implied, kernel=kernel).sum().backward()
    law = equilibrium_residual(spelt_out.log_duration, spelt_out.log_tail)
    inference.log_partition(replace(spelt_out, log_residual=law), kernel=kernel).sum().backward()
    for name, table in implied.tables().items():
        torch.testing.assert_close(table.grad, getattr(spelt_out, name).grad, rtol=1e-10, atol=1e-12)


def test_zero_probabilities_have_finite_gradients(kernel: KernelName):
    p = _differentiable(random_potentials(5, (5, 6, 7), sparse=True, tail=True))
    log_likelihood = inference.log_partition(p, kernel=kernel)
    log_likelihood[log_likelihood.isfinite()].sum().backward()
    for name, table in p.tables().items():
        assert table.grad.isfinite().all(), name


def test_a_second_derivative_is_refused(kernel: KernelName):
    p = _differentiable(random_potentials(6))
    log_likelihood = inference.log_partition(p, kernel=kernel).sum()
    (slope,) = torch.autograd.grad(log_likelihood, p.log_emission, create_graph=True)
    penalised = slope.square().sum() - log_likelihood
    with pytest.raises(RuntimeError, match="differentiated only once"):
        penalised.backward()


@pytest.mark.parametrize("tail", [False, True])
def test_counts_made_beside_the_likelihood_are_its_gradient_to_the_bit(kernel: KernelName, tail, monkeypatch):
    """Of the plain sum, for which they are not made again, and of another."""
    made: list[int] = []
    chosen = KERNELS[kernel]
    counted = chosen.expected_counts
    monkeypatch.setattr(chosen, "expected_counts", lambda *given: (made.append(1), counted(*given))[1])
    p = random_potentials(7, tail=tail)
    weights = torch.arange(1.0, p.n_series + 1, dtype=torch.float64)
    for weight, n_made in ((torch.ones_like(weights), 1), (weights, 2)):
        one, other = _differentiable(p), _differentiable(p)
        (inference.log_partition(one, kernel=kernel) * weight).sum().backward()
        made.clear()
        (inference.log_partition(other, kernel=kernel, with_counts=True) * weight).sum().backward()
        assert len(made) == n_made
        for name, table in one.tables().items():
            assert torch.equal(table.grad, other.tables()[name].grad)
