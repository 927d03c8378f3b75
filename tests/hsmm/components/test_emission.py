"""Densities against an independent library, with and without missing cells; samples and fits that agree."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal

from hsmm.components.emission import Gaussian, StudentT
from hsmm.components.emission.elliptical import Elliptical
from hsmm.sequences import Sequences
from tests.hsmm.components.cases import ELLIPTICAL

COVARIANCES = ("full", "diag", "tied", "spherical")
LAWS = list(itertools.product(ELLIPTICAL, COVARIANCES))
N_STATES, N_FEATURES = 3, 4


def law(name: str, covariance: str, seed: int = 0) -> Elliptical:
    """Random parameters of two models in the shape of the family."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, N_STATES, N_FEATURES)
    mean = 3.0 * torch.randn(shape, generator=generator, dtype=torch.float64)
    root = torch.randn((*shape, N_FEATURES), generator=generator, dtype=torch.float64)
    scatter = root @ root.mT + torch.eye(N_FEATURES, dtype=torch.float64)
    if covariance == "tied":
        scatter = scatter[:, :1].expand_as(scatter)
    if covariance in ("diag", "spherical"):
        scatter = scatter.diagonal(dim1=-2, dim2=-1)
    if covariance == "spherical":
        scatter = scatter[..., :1].expand_as(scatter)
    parameters = {"mean": mean, "covariance": scatter.clone()}
    if name == "student_t":
        parameters["dof"] = 3.0 + 5.0 * torch.rand(shape[:2], generator=generator, dtype=torch.float64)
    return ELLIPTICAL[name](covariance=covariance, parameters=parameters)


def density(emission: Elliptical, restart: int, state: int, row: Tensor) -> float:
    """The log-density of a row's observed block, from textbook formulas."""
    seen = ~row.isnan()
    n = int(seen.sum())
    if n == 0:
        return 0.0
    scatter = emission.parameters["covariance"][restart, state]
    matrix = torch.diag(scatter) if scatter.ndim == 1 else scatter
    mean, block = emission.parameters["mean"][restart, state, seen], matrix[seen][:, seen]
    if isinstance(emission, Gaussian):
        return float(MultivariateNormal(mean, block).log_prob(row[seen]))
    dof = emission.parameters["dof"][restart, state]
    distance = (row[seen] - mean) @ torch.linalg.solve(block, row[seen] - mean)
    constant = torch.lgamma((dof + n) / 2) - torch.lgamma(dof / 2) - n / 2 * torch.log(dof * np.pi)
    return float(constant - torch.logdet(block) / 2 - (dof + n) / 2 * torch.log1p(distance / dof))


@pytest.mark.parametrize(("name", "covariance"), LAWS)
def test_a_partly_missing_row_has_its_marginal_density(name: str, covariance: str) -> None:
    emission = law(name, covariance)
    patterns = torch.tensor(list(itertools.product([False, True], repeat=N_FEATURES)))
    values = torch.randn((len(patterns), N_FEATURES), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = values.masked_fill(patterns, torch.nan)
    found = emission.log_potentials(Sequences.from_arrays(rows))
    expected = [[[density(emission, r, k, row) for k in range(N_STATES)] for row in rows] for r in range(2)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)
    assert (found[:, patterns.all(1)] == 0.0).all()


@pytest.mark.parametrize(("name", "covariance"), LAWS)
def test_a_row_has_the_same_bits_whatever_is_beside_it(name: str, covariance: str) -> None:
    emission = law(name, covariance)
    rows = torch.randn((40, N_FEATURES), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gappy = rows.clone()
    gappy[1::3, 1] = gappy[::5] = torch.nan
    alone = emission.log_potentials(Sequences.from_arrays(rows))
    beside = emission.log_potentials(Sequences.from_arrays(torch.cat([gappy, rows])))
    assert torch.equal(beside[:, 40:], alone)
    assert torch.equal(emission.log_potentials(Sequences.from_arrays(rows[7:8])), alone[:, 7:8])
    assert torch.equal(emission.take(torch.tensor([1])).log_potentials(Sequences.from_arrays(rows)), alone[1:])


@pytest.mark.parametrize(("name", "covariance"), LAWS)
def test_what_is_sampled_is_found_again(name: str, covariance: str) -> None:
    truth = law(name, covariance, seed=3).take(torch.tensor([0]))
    states = torch.arange(N_STATES).repeat(8000)
    drawn = truth.sample(states, torch.Generator().manual_seed(4))
    drawn[::11, 0] = drawn[::13, 2] = torch.nan
    sequences = Sequences.from_arrays(drawn)
    weights = torch.nn.functional.one_hot(states, N_STATES).double()[None]
    found = ELLIPTICAL[name](covariance=covariance).initialise(sequences, states[None], N_STATES)
    for _ in range(25):
        found = found.maximise(sequences, weights)
    scale = truth.parameters["covariance"].abs().amax().sqrt()
    assert (found.parameters["mean"] - truth.parameters["mean"]).abs().max() < 0.06 * scale
    assert (found.parameters["covariance"] - truth.parameters["covariance"]).abs().max() < 0.08 * scale**2
    if isinstance(truth, StudentT):
        assert (found.parameters["dof"] / truth.parameters["dof"] - 1.0).abs().max() < 0.2


def test_many_degrees_of_freedom_are_gaussian() -> None:
    student = law("student_t", "full")
    student = student.with_parameters(dof=torch.full_like(student.parameters["dof"], 1e9))
    gaussian = Gaussian(parameters={name: student.parameters[name] for name in ("mean", "covariance")})
    rows = Sequences.from_arrays(torch.zeros(1, N_FEATURES))
    torch.testing.assert_close(student.log_potentials(rows), gaussian.log_potentials(rows), rtol=1e-6, atol=1e-6)


@given(dof=st.floats(1e-3, 1e6), restarts=st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_degrees_of_freedom_stay_within_their_bounds(dof: float, restarts: int) -> None:
    free = law("student_t", "diag").take(torch.zeros(restarts, dtype=torch.int64)).free()
    free["dof"] = torch.full_like(free["dof"], np.log(dof))
    made = StudentT(covariance="diag", dof_bounds=(2.0, 50.0)).with_free(free)
    assert made.parameters["dof"].min() >= 2.0
    assert made.parameters["dof"].max() <= 50.0


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_state_of_one_row_is_floored_at_its_share_of_the_variance(covariance: str) -> None:
    rows = 1e3 * torch.randn((30, 2), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    sequences = Sequences.from_arrays(rows)
    weights = torch.zeros(1, 30, 2, dtype=torch.float64)
    weights[:, 0, 0] = weights[:, 1:, 1] = 1.0
    start = Gaussian(covariance=covariance, min_covariance=1e-3).initialise(sequences, torch.zeros(1, 30).long(), 2)
    found = start.maximise(sequences, weights)
    variance = sequences.moments[1]
    alone = found.parameters["covariance"][0, 0]
    if covariance == "spherical":
        torch.testing.assert_close(alone, 1e-3 * variance.mean().expand(2))
    elif covariance == "diag":
        torch.testing.assert_close(alone, 1e-3 * variance)
    elif covariance == "full":
        torch.testing.assert_close(alone, 1e-3 * torch.diag(variance))
    assert bool(found.collapsed(sequences)) == (covariance != "tied")


@pytest.mark.parametrize(("name", "covariance"), LAWS)
def test_an_empty_state_keeps_its_law(name: str, covariance: str) -> None:
    before = law(name, covariance)
    sequences = Sequences.from_arrays(torch.randn((20, N_FEATURES), generator=torch.Generator().manual_seed(6)))
    weights = torch.zeros(2, 20, N_STATES, dtype=torch.float64)
    weights[..., 1:] = 0.5
    after = before.maximise(sequences, weights)
    kept = ["mean", *(["covariance"] if covariance != "tied" else []), *(["dof"] if name == "student_t" else [])]
    for parameter in kept:
        torch.testing.assert_close(after.parameters[parameter][:, 0], before.parameters[parameter][:, 0])


def test_states_are_ordered_by_place_and_then_by_spread() -> None:
    apart = Gaussian.from_parameters(mean=[[5.0], [0.0], [9.0]], covariance=[1.0, 2.0, 0.5])
    assert apart.order().tolist() == [1, 0, 2]
    together = Gaussian.from_parameters(mean=[[0.1], [0.0], [-0.1]], covariance=[4.0, 1.0, 2.0])
    assert together.order().tolist() == [1, 2, 0]


@pytest.mark.parametrize("law", [Gaussian, StudentT])
def test_a_matrix_that_is_not_symmetric_is_no_covariance(law: Any) -> None:
    more = {"dof": [5.0, 5.0]} if law is StudentT else {}
    mean, sound = np.zeros((2, 2)), np.array([[4.0, 1e-3], [1e-3, 1e-4]])
    rounded = sound + np.array([[0.0, 1e-12], [0.0, 0.0]])
    assert law.from_parameters(mean=mean, covariance=[sound, rounded], **more).n_features == 2
    with pytest.raises(ValueError, match=r"covariance of state 1 is not symmetric: \[0, 1\] is 0.002"):
        law.from_parameters(mean=mean, covariance=[sound, [[4.0, 2e-3], [1e-3, 1e-4]]], **more)
