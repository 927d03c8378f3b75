"""Laws of durations beside the ones that the contract states for every family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gamma

import hsmm
from hsmm.components.register import resolve
from tests.hsmm.components.cases import DurationCase, duration_cases

STEPS = np.arange(1, 41)
LAWS = [case for case in duration_cases() if not case.residual]


@pytest.mark.parametrize("family", [hsmm.durations.Gamma, hsmm.durations.Weibull])
def test_a_shape_of_one_is_geometric(family: type) -> None:
    mean = torch.tensor([[2.0, 5.0, 30.0]], dtype=torch.float64)
    shape = torch.stack([mean.log(), torch.zeros_like(mean)], -1)
    found = family(max_duration=40, parameters={"shape": shape}).log_potentials()
    decay = -mean.log().unsqueeze(-1)
    expected = hsmm.durations.Geometric(max_duration=40, parameters={"shape": decay}).log_potentials()
    torch.testing.assert_close(found.log_duration, expected.log_duration, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.log_tail, expected.log_tail, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("family", "shape", "density"),
    [
        (hsmm.durations.Gamma, (np.log(6.0), np.log(2.5)), stats.gamma(2.5, scale=6.0 / 2.5)),
        (hsmm.durations.LogNormal, (1.5, np.log(0.4)), stats.lognorm(0.4, scale=np.exp(1.5))),
        (
            hsmm.durations.Weibull,
            (np.log(6.0), np.log(1.8)),
            stats.weibull_min(1.8, scale=6.0 / gamma(1 + 1 / 1.8)),
        ),
        (
            hsmm.durations.Weibull,
            (np.log(6.0), np.log(0.6)),
            stats.weibull_min(0.6, scale=6.0 / gamma(1 + 1 / 0.6)),
        ),
    ],
)
def test_densities_at_whole_numbers_are_the_textbook_ones(family: type, shape: tuple, density: object) -> None:
    law = family(max_duration=40, tail=False, parameters={"shape": torch.tensor([[shape]], dtype=torch.float64)})
    expected = density.pdf(STEPS)
    np.testing.assert_allclose(law.probability()[0, 0].numpy(), expected / expected.sum(), rtol=1e-9)


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_mean_and_deviation_are_those_of_all_durations(case: DurationCase) -> None:
    law = case.random(0)
    tables = law.log_potentials()
    mass, steps = tables.log_duration.exp(), torch.arange(1.0, tables.log_duration.shape[-1] + 1.0).double()
    if tables.log_tail is not None:
        stay = tables.log_tail.exp().unsqueeze(-1)
        more = torch.arange(40_000).double()
        slot = mass[..., -1:] * (1.0 - stay) * stay**more
        mass, steps = torch.cat([mass[..., :-1], slot], -1), torch.cat([steps[:-1], steps[-1] + more])
    mean = (mass * steps).sum(-1)
    torch.testing.assert_close(law.mean(), mean, rtol=1e-8, atol=0.0)
    spread = (mass * (steps - mean.unsqueeze(-1)).square()).sum(-1).sqrt()
    torch.testing.assert_close(law.deviation(), spread, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["poisson", "categorical", "geometric", "weibull", "log_normal"])
def test_a_law_says_how_long_it_may_last_once_that_is_known(family: str) -> None:
    law = resolve("duration", family)
    assert "max_duration" not in repr(law)
    assert "max_duration=40" in repr(replace(law, max_duration=40))
    assert "min_duration=3" in repr(replace(law, max_duration=40, min_duration=3))
