"""A state whose likelihood feeds on equal values is known for it, where the data vary; other states are not."""

from __future__ import annotations

import pytest
import torch

from hsmm.components.emission import GLM, Contextual, Emission, Gamma, Gaussian, Mixture, Neural, Poisson, Product
from hsmm.components.emission.spikes import widened_axes
from hsmm.sequences import Sequences

VARYING = Sequences.from_arrays([[1.0, 1.0], [2.0, 5.0], [4.0, 3.0]], covariates=torch.zeros(3, 1))
CONSTANT = Sequences.from_arrays([[2.0, 3.0]] * 3, covariates=torch.zeros(3, 1))
SOUND, LARGEST = 4.0, 1e6


def gamma(shape: float) -> Gamma:
    return Gamma.from_parameters(mean=[[2.0, 3.0], [4.0, 1.0]], shape=[[SOUND, SOUND], [SOUND, shape]])


def gaussian(variance: float) -> Gaussian:
    return Gaussian.from_parameters(mean=[[2.0], [4.0]], covariance=[[1.0], [variance]])


def regression(family: str, scale: float) -> GLM:
    options = {"family": family, "inverse_link": "exp" if family == "gamma" else None}
    return GLM.from_parameters([[[0.1, 0.1]]] * 2, [[1.0, 1.0]] * 2, [[1.0, 1.0], [1.0, scale]], **options)


def beside_counts(law: Emission) -> Product:
    return Product.from_parameters((Poisson.from_parameters([[1.0], [2.0]]), law))


LAWS = {
    "gamma": (gamma(LARGEST), gamma(0.9 * LARGEST)),
    "gaussian regression": (regression("gaussian", 1e-6), regression("gaussian", 1.0)),
    "gamma regression": (regression("gamma", 1e-8), regression("gamma", 0.5)),
    "product": (beside_counts(gaussian(1e-9)), beside_counts(gaussian(1.0))),
    "mixture": tuple(Mixture.from_parameters([[0.5, 0.5]], gamma(shape)) for shape in (LARGEST, SOUND)),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_state_at_its_floor_is_known(name: str) -> None:
    degenerate, sound = LAWS[name]
    assert degenerate.collapsed(VARYING).tolist() == [True]
    assert sound.collapsed(VARYING).tolist() == [False]
    assert degenerate.joined(sound).collapsed(VARYING).tolist() == [True, False]
    if name != "mixture":
        assert degenerate.collapsed(CONSTANT).tolist() == [False]


@pytest.mark.parametrize(("share", "keeps"), [(0.3, False), (0.36, False), (0.45, True)])
def test_equal_values_are_a_regime_where_they_are_nearly_a_fair_share_of_all_rows(share: float, keeps: bool) -> None:
    """Of two states, which one is owed half of the rows."""
    n_equal = round(share * 200)
    values = torch.cat([torch.zeros(n_equal), torch.randn(200 - n_equal, generator=torch.Generator().manual_seed(0))])
    rows = Sequences.from_arrays(values.double())
    variance, floor = torch.tensor([[[1e-6], [1.0]]]).double(), torch.tensor([1e-6]).double()
    weights = torch.nn.functional.one_hot((torch.arange(200) >= n_equal).long(), 2).double()[None]
    made = widened_axes(torch.zeros_like(variance), variance, floor, rows, weights)
    assert (float(made[0, 0, 0]) < 2e-6) is keeps


def test_what_a_regression_leaves_of_ties_is_no_spread_of_values() -> None:
    """A slope of next to nothing makes the residuals of one value differ; other values that are met count."""
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(200, 1, generator=generator, dtype=torch.float64)
    spread = torch.randn(200, 1, generator=generator, dtype=torch.float64)
    tied, straight = spread.clone(), spread.clone()
    tied[:20], straight[:20] = 1.3, 1.3 + 0.5 * c[:20] + 1e-4 * spread[:20]
    weights = torch.zeros(1, 200, 2, dtype=torch.float64)
    weights[:, :20, 1] = weights[:, 20:, 0] = 1.0
    for rows, slope, is_narrow in ((tied, 1e-5, False), (straight, 0.5, True)):
        law = GLM.from_parameters([[0.0], [slope]], [0.0, 1.3], [1.0, 1e-8], family="gaussian")
        scale = law.sobered(Sequences.from_arrays(rows, covariates=c), weights).scale_
        assert scale[0] == 1.0
        assert (scale[1, 0] < 1e-3) == is_narrow


@pytest.mark.parametrize("are_tied", [True, False])
@pytest.mark.parametrize("law", [Contextual(family="gaussian"), Contextual(family="student_t"), Neural()])
def test_scales_beside_a_context_or_a_network_are_those_of_distinct_values(law: Emission, are_tied: bool) -> None:
    """Forty rows of two hundred lie within a hundredth of a standard deviation: of one value, or of forty."""
    drawn = torch.randn((200, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values, labels = drawn[:, :1].clone(), (torch.arange(200) < 40).long()
    values[:40] = 2.0 if are_tied else 2.0 + 1e-2 * values[:40]
    rows = Sequences.from_arrays(values.numpy(), covariates=drawn[:, 1:])
    made = law.initialise(rows, labels[None], 2)
    name = "log_scale" if isinstance(law, Neural) else "bias"
    made = made.with_parameters(**{name: made.parameters[name].clone()})
    scale = made.parameters[name] if isinstance(law, Neural) else made.parameters[name][..., 1]
    scale[0, 1] = -4.5
    assert made.suspects(rows).tolist() == [True]
    weights = torch.nn.functional.one_hot(labels, 2).double()[None]
    wide = made.sobered(rows, weights).parameters[name]
    widened = (wide if isinstance(law, Neural) else wide[..., 1]) - scale
    assert widened[0, 0] == 0.0
    assert (widened[0, 1] > 2.0) == are_tied
