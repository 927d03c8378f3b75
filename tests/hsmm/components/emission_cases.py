"""Emission families beside the elliptical ones, with options and data of their kind."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hsmm.components.emission import (
    Bernoulli,
    Categorical,
    Emission,
    Gamma,
    Gaussian,
    Mixture,
    Multinomial,
    NegativeBinomial,
    Poisson,
    Product,
    StudentT,
)
from hsmm.sequences import Sequences
from tests.hsmm.components.cases import N_ROWS, Case, EmissionCase, odd_values

Data = Callable[[float], Sequences]


def counts(*, missing: float, largest: int = 60) -> Sequences:
    """Counts of two kinds, many of one value, in three series; where some are missing, a whole row too."""
    generator = torch.Generator().manual_seed(8)
    rate = torch.tensor([[1.5, 6.0], [9.0, 2.0], [4.0, 20.0]], dtype=torch.float64).repeat_interleave(N_ROWS // 3, 0)
    values = torch.poisson(rate * torch.rand(rate.shape, generator=generator, dtype=torch.float64) * 2.0, generator)
    gone = torch.rand(values.shape, generator=generator) < missing
    gone[5] |= missing > 0
    return Sequences.from_arrays(values.clamp(max=largest).masked_fill(gone, torch.nan), lengths=[N_ROWS - 41, 40, 1])


def positive_values(*, missing: float) -> Sequences:
    """Waiting times, some of them equal, where :func:`counts` has counts."""
    plain = counts(missing=missing)
    noise = torch.rand(plain.values.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    values = plain.values + 0.01 + torch.where(plain.values > 3.0, noise, 0.0)
    return Sequences(values * plain.observed, plain.observed, plain.offsets)


def _up_to(largest: int) -> Data:
    return lambda missing: counts(missing=missing, largest=largest)


def _continuous(missing: float) -> Sequences:
    return odd_values(missing=missing)


def _mixed(missing: float) -> Sequences:
    """A continuous column and one of zeros and ones."""
    amounts, answers = odd_values(missing=missing), counts(missing=missing, largest=1)
    values = torch.stack([amounts.values[:, 0], answers.values[:, 1]], 1)
    return Sequences(values, torch.stack([amounts.observed[:, 0], answers.observed[:, 1]], 1), amounts.offsets)


# Laws by name, with the data they are fitted to and the M-steps to their optimum.
LAWS: dict[str, tuple[Emission, Data, int]] = {
    "categorical": (Categorical(), _up_to(4), 1),
    "categorical-prior": (Categorical(concentration=1.5), _up_to(4), 1),
    "categorical-priors": (
        Categorical(n_categories=5, concentration=(1.0, 2.0, 1.5, 3.0, 1.0)),
        _up_to(4),
        1,
    ),
    "bernoulli": (Bernoulli(), _up_to(1), 1),
    "bernoulli-prior": (Bernoulli(alpha=2.0, beta=3.5), _up_to(1), 1),
    "poisson": (Poisson(), _up_to(60), 1),
    "poisson-prior": (Poisson(prior_shape=3.0, prior_rate=0.7), _up_to(60), 1),
    "negative_binomial": (NegativeBinomial(), _up_to(60), 20),
    "gamma": (Gamma(), lambda missing: positive_values(missing=missing), 20),
    "multinomial": (Multinomial(), _up_to(9), 1),
    "multinomial-prior": (Multinomial(concentration=1.5), _up_to(9), 1),
    "mixture-gaussian": (Mixture("gaussian"), _continuous, 200),
    "mixture-student_t": (Mixture(StudentT(covariance="diag")), _continuous, 200),
    "mixture-poisson": (Mixture(Poisson(prior_shape=2.0), n_components=3, concentration=1.5), _up_to(60), 200),
    "product": (Product(("gaussian", "bernoulli")), _mixed, 1),
    "product-back": (Product((Poisson(), Gaussian(covariance="diag")), columns=((1,), (0,))), _mixed, 1),
    "product-mixture": (Product((Mixture("gaussian"), Categorical(concentration=2.0))), _mixed, 200),
    "mixture-product": (Mixture(Product(("gaussian", "bernoulli"))), _mixed, 1000),
}


def other_emission_cases() -> list[Case]:
    return [
        EmissionCase(f"{name}-{kind}", law, steps, data(missing))
        for name, (law, data, steps) in LAWS.items()
        for kind, missing in (("complete", 0.0), ("missing", 0.2))
    ]
