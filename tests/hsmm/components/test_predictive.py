"""Durations to be expected are the law's, averaged over all the parameters that the segments allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hsmm.components.duration import DURATIONS, DurationCounts
from hsmm.components.duration.base import expected_log_likelihood
from hsmm.components.duration.parametric import Parametric
from hsmm.components.duration.predictive import predictive_probability
from tests.hsmm.components.cases import rows_of

LONGEST = 40


def counted(*lengths: int) -> DurationCounts:
    """Segments of one state, seen from beginning to end."""
    seen = torch.tensor(lengths)
    duration = torch.bincount((seen - 1).clamp(max=LONGEST), minlength=LONGEST + 1).double().view(1, 1, -1)
    stay = (seen - LONGEST - 1).clamp(min=0).sum().double().view(1, 1)
    return DurationCounts(duration, torch.zeros_like(duration), stay, duration[..., -1])


def fitted(name: str, *lengths: int) -> Parametric:
    law = DURATIONS[name](max_duration=LONGEST).initialise(torch.full((1, 1), np.mean(lengths), dtype=torch.float64))
    for _ in range(20):
        law = law.maximise(rows_of(), counted(*lengths))
    return law


def held(law: np.ndarray, durations: np.ndarray) -> float:
    """How many of these lie within the middle 80 % of a law (D,), whose last column has no end."""
    low, high = np.searchsorted(law.cumsum(), [0.1, 0.9]) + 1
    return float(((durations >= low) & ((durations <= high) | (high >= len(law)))).mean())


@pytest.mark.parametrize("name", ["negative_binomial", "log_normal"])
def test_of_truths_as_the_prior_has_them_intervals_hold_as_often_as_the_truth_s_own(name: str) -> None:
    """Four stays were seen: neither too few of those to come lie within, as by the fitted law, nor too many."""
    rng, found = np.random.default_rng(0), []
    for _ in range(100):
        law = DURATIONS[name](max_duration=1000)
        form = law.form_spread * rng.normal()
        shape = law.within_bounds("shape", torch.tensor([[[np.log(11.0), form]]], dtype=torch.float64))
        truth = law.with_parameters(shape=shape).probability()[0, 0].numpy()
        stays = 1 + rng.choice(len(truth), 204, p=truth / truth.sum())
        few = fitted(name, *stays[:4].tolist())
        expected = predictive_probability(few, torch.full((1, 1), 4.0).double(), 8 * LONGEST)[0, 0].numpy()
        own = replace(few, max_duration=8 * LONGEST).probability()[0, 0].numpy()
        found.append([held(each, stays[4:]) for each in (expected, own, truth)])
    expected, own, truth = np.mean(found, 0)
    assert own < truth - 0.1
    assert expected == pytest.approx(truth, abs=0.035)


@pytest.mark.parametrize("lengths", [(3, 9, 5, 14), (6,), (2, 4, 3) * 30])
def test_a_geometric_law_is_averaged_over_all_its_parameters(lengths: tuple[int, ...]) -> None:
    fitted = np.log(np.log1p(1.0 / (np.mean(lengths) - 1.0)))
    law = DURATIONS["geometric"](max_duration=LONGEST, parameters={"shape": torch.full((1, 1, 1), fitted).double()})
    found = predictive_probability(law, torch.full((1, 1), float(len(lengths))).double(), 4 * LONGEST)[0, 0].numpy()
    hazard = np.exp(np.linspace(fitted - 6.0, fitted + 6.0, 4001))[:, None]
    n_stays, steps = len(lengths), np.arange(4 * LONGEST)
    weight = n_stays * np.log(-np.expm1(-hazard)) - (sum(lengths) - n_stays) * hazard
    weight = np.exp(weight - weight.max())
    expected = (weight * -np.expm1(-hazard) * np.exp(-hazard * steps)).sum(0) / weight.sum()
    np.testing.assert_allclose(found[:-1], expected[:-1], rtol=0.02, atol=2e-4)
    assert found.sum() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("lengths", [(3, 9, 5, 14), (7, 8, 7, 6, 8, 9, 7, 7)])
def test_a_law_with_a_form_is_averaged_over_that_too_under_its_prior(lengths: tuple[int, ...]) -> None:
    law = fitted("negative_binomial", *lengths)
    centre = law.parameters["shape"][0, 0]
    places = centre[0] + torch.linspace(-4.0, 4.0, 161, dtype=torch.float64)
    forms = torch.linspace(-9.0, 9.0, 161, dtype=torch.float64)
    grid = law.within_bounds("shape", torch.cartesian_prod(places, forms).unsqueeze(1))
    one_each = law.with_parameters(shape=grid)
    tables = law.log_potentials()
    spread = len(lengths) * tables.log_duration.exp()
    further = spread[..., -1] * tables.log_tail.exp() / (1.0 - tables.log_tail.exp())
    counts = DurationCounts(spread, torch.zeros_like(spread), further, spread[..., -1])
    seen = expected_log_likelihood(one_each.log_potentials(), counts, law.min_duration)
    weight = (seen - 0.5 * (grid[..., 1] / law.form_spread).square()).softmax(0)
    expected = (weight.unsqueeze(-1) * one_each.probability()).sum(0)
    found = predictive_probability(law, torch.full((1, 1), float(len(lengths))).double(), LONGEST)
    torch.testing.assert_close(found[0], expected, rtol=0.0, atol=0.01)
