"""More zeros than the law has: the likeliest share of them, and how they are told from the law's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize, stats

import hsmm
from hsmm.sequences import Sequences

COUNTS = np.array([0.0] * 40 + [1.0] * 5 + [2.0] * 9 + [3.0] * 8 + [4.0] * 3 + [7.0])


def fitted(counts: np.ndarray) -> hsmm.emissions.ZeroInflatedPoisson:
    rows = Sequences.from_arrays(counts)
    every = torch.ones(1, len(counts), 1, dtype=torch.float64)
    return hsmm.emissions.ZeroInflatedPoisson().pooled(rows, 1, 1).maximise(rows, every)


def log_likelihood(zero: float, rate: float, counts: np.ndarray) -> float:
    pmf = (1.0 - zero) * stats.poisson.pmf(counts, rate) + zero * (counts == 0)
    return float(np.log(pmf).sum())


def test_one_m_step_is_the_likeliest_law() -> None:
    law = fitted(COUNTS)
    best = optimize.minimize(
        lambda x: -log_likelihood(1.0 / (1.0 + np.exp(-x[0])), np.exp(x[1]), COUNTS),
        [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12},
    )  # fmt: skip
    own = log_likelihood(law.zero_.item(), law.rate_.item(), COUNTS)
    assert own >= -best.fun - 1e-9
    assert float(law.log_potentials(Sequences.from_arrays(COUNTS)).sum()) == pytest.approx(own, rel=1e-12)


@pytest.mark.parametrize("counts", [[1.0, 1.0, 0.0, 1.0], [2.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
def test_too_few_zeros_make_a_poisson_law(counts: list[float]) -> None:
    law = fitted(np.array(counts))
    assert law.zero_.item() == 0.0
    assert law.rate_.item() == pytest.approx(max(np.mean(counts), 1e-10), rel=1e-9)


def test_days_without_rain_are_told_from_dry_seasons() -> None:
    drawn = np.random.default_rng(0)
    states = np.tile(np.repeat([0, 1], 30), 8)
    wet = drawn.random(len(states)) < np.array([0.15, 0.8])[states]
    rain = np.where(wet, drawn.gamma(1.5, np.array([2.0, 6.0])[states]), 0.0)
    model = hsmm.HMM(2, emission="zero_inflated_gamma", n_init=4, random_state=0).fit(rain)
    assert hsmm.metrics.aligned_accuracy(states, model.predict(rain)) > 0.9
    for state, share in enumerate((0.85, 0.2)):
        assert model.emission_.zero_[state, 0] == pytest.approx(share, abs=0.08)
    with pytest.raises(ValueError, match="holds 0 at row"):
        hsmm.HMM(2, emission="gamma").fit(rain)


def test_no_share_closes_a_state_for_zeros_or_for_others() -> None:
    for family, name in ((hsmm.emissions.ZeroInflatedPoisson, "rate"), (hsmm.emissions.ZeroInflatedGamma, "mean")):
        for counts in ([3.0, 4.0, 6.0], [0.0, 0.0, 0.0]):
            rows = Sequences.from_arrays(np.r_[counts, 5.0, 0.0])
            weights = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)[None, :, None]
            law = family().pooled(rows, 1, 1).maximise(rows, weights)
            assert law.log_potentials(rows).isfinite().all(), name


def test_equal_amounts_on_wet_days_are_no_degenerate_state() -> None:
    rows = Sequences.from_arrays(np.tile([0.0, 5.0], 20))
    law = hsmm.emissions.ZeroInflatedGamma().pooled(rows, 1, 1)
    for _ in range(40):
        law = law.maximise(rows, torch.ones(1, 40, 1, dtype=torch.float64))
    assert law.shape_[0, 0] >= 0.99e6
    assert not law.collapsed(rows).any()


def test_where_states_are_sought_a_dry_day_is_not_a_day_of_usual_rain() -> None:
    rows = Sequences.from_arrays([0.0, 1.0, np.e, np.e**2, np.nan])
    points = hsmm.emissions.ZeroInflatedGamma().points(rows)
    assert torch.cdist(points, points)[0, 2] >= 1.0
    assert torch.cdist(points, points)[4, 2] < 1e-9


def test_shares_are_shares() -> None:
    with pytest.raises(ValueError, match=r"zero holds 1.5; expected shares from 0 to 1"):
        hsmm.emissions.ZeroInflatedPoisson.from_parameters([[1.0]], [[1.5]])
    known = hsmm.emissions.ZeroInflatedPoisson.from_parameters([[2.0]])
    plain = hsmm.emissions.Poisson.from_parameters([[2.0]])
    rows = Sequences.from_arrays(np.arange(9.0))
    torch.testing.assert_close(known.log_potentials(rows), plain.log_potentials(rows), rtol=1e-12, atol=1e-12)
