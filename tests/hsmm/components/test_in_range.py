"""Parameters that cannot be computed with are known before they are."""

from __future__ import annotations

import pytest
import torch

from hsmm.components.emission import Gaussian, Product
from hsmm.sequences import Sequences

ROWS = Sequences.from_arrays(torch.tensor([[0.5], [-1.0]], dtype=torch.float64))


@pytest.mark.parametrize("power", [0, 100, 160, 300])
def test_what_is_in_range_has_finite_densities_and_no_other(power: int) -> None:
    law = Gaussian.from_parameters(mean=[[10.0**power]], covariance=[[1.0]])
    assert bool(law.in_range()) is bool(law.log_potentials(ROWS).isfinite().all())


@pytest.mark.parametrize("improper", [(), (0,), (1,), (0, 1)])
def test_a_product_is_proper_if_all_its_parts_are(improper: tuple[int, ...]) -> None:
    part = Gaussian.from_parameters(mean=[[0.0]], covariance=[[1.0]])
    law = Product.from_parameters([part, part], columns=[[0], [1]])
    law = law.with_parameters(**{f"{i}.covariance": -law.parameters[f"{i}.covariance"] for i in improper})
    assert law.is_proper().tolist() == [not improper]
