"""Regressions with every family and option, and responses to fit them to."""

from __future__ import annotations

import torch

from hsmm.sequences import Sequences

N_ROWS, N_COVARIATES, N_RESPONSES = 150, 3, 2


def responses(family: str, *, missing: float = 0.0) -> Sequences:
    """Two responses to three covariates, one of them constant, in three series."""
    generator = torch.Generator().manual_seed(11)
    covariates = torch.randn((N_ROWS, N_COVARIATES), generator=generator, dtype=torch.float64)
    predictor = 0.5 * covariates[:, :1] - 0.3 * covariates[:, 1:2] + torch.tensor([[0.2, -0.4]], dtype=torch.float64)
    noise = torch.rand(predictor.shape, generator=generator, dtype=torch.float64)
    if family == "bernoulli":
        values = (noise < predictor.sigmoid()).double()
    elif family == "categorical":
        values = (3.0 * noise).floor()
    elif family == "gaussian":
        values = 20.0 * (predictor + noise)
    elif family == "gamma":
        values = (0.3 * predictor).exp() * (0.1 - noise.log())
    else:
        values = torch.poisson((1.0 + predictor).exp() * 4.0 * noise**2, generator=generator)
    gone = torch.rand(values.shape, generator=generator) < missing
    if missing:
        gone[5] = True
    return Sequences.from_arrays(
        values.masked_fill(gone, torch.nan), lengths=[N_ROWS - 41, 40, 1], covariates=covariates
    )


OPTIONS: list[dict] = [
    {"family": "bernoulli"},
    {"family": "bernoulli", "inverse_link": "norm_cdf", "regularizer": "ridge"},
    {"family": "bernoulli", "regularizer": "ridge", "tied": ("coef",)},
    {"family": "poisson"},
    {"family": "poisson", "inverse_link": "softplus", "regularizer": "ridge"},
    {"family": "gamma", "inverse_link": "exp"},
    {"family": "gamma", "inverse_link": "one_over_x", "regularizer": "ridge"},
    {"family": "gamma", "inverse_link": "exp", "tied": ("scale",)},
    {"family": "negative_binomial", "regularizer": "ridge", "strength": 0.1},
    {"family": "negative_binomial", "tied": ("scale",)},
    {"family": "gaussian"},
    {"family": "gaussian", "regularizer": "ridge", "tied": ("scale",)},
    {"family": "gaussian", "tied": ("coef", "intercept")},
    {"family": "categorical"},
    {"family": "categorical", "regularizer": "ridge", "tied": ("coef",)},
]
