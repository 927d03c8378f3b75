"""Log-densities of counts beside fifty digits, and known rates of zero."""

from __future__ import annotations

from itertools import product

import mpmath
import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.counts import log_negative_binomial, log_poisson, log_rising
from hsmm.components.emission import NegativeBinomial, Poisson

COUNTS = [0, 1, 3, 20, 21, 12_345, 10**9, 10**9 + 12_345, 10**12, int(1.7e12)]
MEANS = [1e-10, 0.3, 2.5, 20.0, 1e4, 1e9, 1e9 + 3e4, 1e12]
SIZES = [1e-6, 0.5, 19.0, 21.0, 1e3, 1e9]


@pytest.fixture(autouse=True)
def _fifty_digits() -> None:
    mpmath.mp.dps = 50


def test_poisson_counts_of_any_size_keep_their_digits() -> None:
    for y, mean in product(COUNTS, MEANS):
        exact = y * mpmath.log(mean) - mpmath.mpf(mean) - mpmath.loggamma(y + 1)
        m = torch.tensor(mean, dtype=torch.float64)
        found = float(log_poisson(torch.tensor(float(y), dtype=torch.float64), m, m.log()))
        assert found == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


def test_negative_binomial_counts_of_any_size_keep_their_digits() -> None:
    for y, mean, size in product(COUNTS, MEANS, SIZES):
        m, r = torch.tensor(mean, dtype=torch.float64), torch.tensor(size, dtype=torch.float64)
        found = float(log_negative_binomial(torch.tensor(float(y), dtype=torch.float64), m, m.log(), r))
        assert found == pytest.approx(float(_exact(y, mean, size)), rel=1e-12, abs=1e-12)


def test_rising_factorials_of_large_sizes_keep_their_digits() -> None:
    for y, size in product([0, 1, 30, 5000], [1e-3, 0.5, 19.0, 21.0, 1e4, 1e8]):
        r = mpmath.mpf(size)
        exact = mpmath.loggamma(r + y) - mpmath.loggamma(r) - y * mpmath.log(r)
        steps, wide = torch.tensor(float(y), dtype=torch.float64), torch.tensor(size, dtype=torch.float64)
        assert float(log_rising(wide, steps)) == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("mean", [1e9, 1e12])
def test_the_size_of_counts_near_1e12_is_learnt(mean: float) -> None:
    """The spread of large counts is that of their logarithm's: a gamma law's shape."""
    rng = np.random.default_rng(0)
    X = rng.poisson(mean * rng.gamma(50.0, 1.0 / 50.0, 400)).astype(float)
    model = hsmm.HMM(1, emission="negative_binomial").fit(X)
    as_gamma = hsmm.HMM(1, emission="gamma").fit(X)
    assert model.emission_.size_ == pytest.approx(as_gamma.emission_.shape_, rel=1e-4)
    exact = sum(_exact(int(x), model.emission_.mean_.item(), model.emission_.size_.item()) for x in X)
    assert model.log_likelihood_ == pytest.approx(float(exact), abs=1e-6)


def test_a_known_rate_of_zero_gives_zeros_alone() -> None:
    chain = {"initial_prob": [0.5, 0.5], "transition_prob": [[0.9, 0.1], [0.2, 0.8]]}
    model = hsmm.HMM.from_parameters(**chain, emission=Poisson.from_parameters(rate=[[0.0], [4.0]]))
    assert model.score([0, 0, 3, 0]) == pytest.approx(-6.250222354716851, abs=1e-12)
    assert model.filter_proba([3])[0] == pytest.approx([0.0, 1.0])
    almost = NegativeBinomial.from_parameters(mean=[[0.0], [4.0]], size=[[2.0], [1e9]])
    near = hsmm.HMM.from_parameters(**chain, emission=almost)
    assert near.score([0, 0, 3, 0]) == pytest.approx(-6.250222354716851, abs=1e-6)
    X, states = model.sample(200, random_state=0)
    assert (X[states == 0] == 0).all()


def test_what_can_be_no_parameter_of_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="rate holds -1; expected numbers >= 0"):
        Poisson.from_parameters(rate=[[-1.0]])
    with pytest.raises(ValueError, match="mean holds -1; expected numbers >= 0"):
        NegativeBinomial.from_parameters(mean=[[-1.0]], size=[[1.0]])
    with pytest.raises(ValueError, match="size holds 0; expected positive numbers"):
        NegativeBinomial.from_parameters(mean=[[1.0]], size=[[0.0]])


def _exact(y: int, mean: float, size: float) -> mpmath.mpf:
    m, r = mpmath.mpf(mean), mpmath.mpf(size)
    rises = mpmath.loggamma(y + r) - mpmath.loggamma(r) - mpmath.loggamma(y + 1)
    return rises + r * mpmath.log(r / (r + m)) + y * mpmath.log(m / (r + m))
