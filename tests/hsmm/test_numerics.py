"""Sums in a fixed order, and logarithms that keep their accuracy at both ends."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsmm.numerics import (
    cholesky,
    eigvalsh,
    inverse_of_lower,
    log_one_minus_exp,
    log_survival,
    logaddexp,
    logsumexp,
    ordered_sum,
)

LOGS = st.one_of(st.just(-math.inf), st.floats(-700.0, 50.0))


@given(st.lists(LOGS, min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_sums_of_exponentials_agree_with_exact_ones(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(logsumexp(x), x.logsumexp(0), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(log_survival(x), x.flip(0).logcumsumexp(0).flip(0), rtol=1e-13, atol=1e-13)
    total = math.fsum(math.exp(v) for v in values)
    assert float(ordered_sum(x.exp())) == pytest.approx(total, rel=1e-14)


@given(LOGS, LOGS)
@settings(deadline=None, max_examples=60)
def test_two_terms_agree_with_torch(a: float, b: float) -> None:
    x, y = (torch.tensor(v, dtype=torch.float64) for v in (a, b))
    torch.testing.assert_close(logaddexp(x, y), torch.logaddexp(x, y), rtol=1e-14, atol=1e-14)


@given(st.integers(1, 50), st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_a_slice_of_a_batch_gives_the_bits_of_the_slice(n_terms: int, n_batch: int) -> None:
    x = torch.randn((n_batch, n_terms), generator=torch.Generator().manual_seed(n_terms), dtype=torch.float64)
    for function in (ordered_sum, logsumexp):
        together = function(x)
        assert all(torch.equal(function(row), together[i]) for i, row in enumerate(x))
        assert torch.equal(function(x.mT.contiguous(), 0), together)


@pytest.mark.parametrize("x", [-1e-300, -1e-17, -1e-8, -0.5, -0.7, -40.0, -700.0])
def test_the_complement_is_accurate_at_both_ends(x: float) -> None:
    exact = math.log(-math.expm1(x)) if x > -1.0 else math.log1p(-math.exp(x))
    assert float(log_one_minus_exp(torch.tensor(x, dtype=torch.float64))) == pytest.approx(exact, rel=1e-14)


def test_nothing_sums_to_nothing() -> None:
    assert ordered_sum(torch.empty(3, 0)).tolist() == [0.0] * 3
    assert logsumexp(torch.full((4,), -torch.inf)).item() == -math.inf
    assert log_one_minus_exp(torch.tensor([0.0, -torch.inf])).tolist() == [-math.inf, 0.0]


def test_matrices_of_one_number_are_computed_with_as_lapack_does() -> None:
    numbers = torch.rand(40, 3, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1e-12
    factor = torch.linalg.cholesky(numbers)
    assert torch.equal(cholesky(numbers), factor)
    assert torch.equal(eigvalsh(numbers), torch.linalg.eigvalsh(numbers))
    unit = torch.ones(1, 1, dtype=torch.float64)
    assert torch.equal(inverse_of_lower(factor), torch.linalg.solve_triangular(factor, unit, upper=False))
    with pytest.raises(torch.linalg.LinAlgError):
        cholesky(-numbers)
