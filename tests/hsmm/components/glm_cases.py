"""Generalised linear emissions with every family and option, for the laws that all components keep."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hsmm.components.emission import Emission
from hsmm.components.emission.glm import GLM
from hsmm.sequences import Sequences
from tests.hsmm.components.cases import N_RESTARTS, N_ROWS, N_STATES, EmissionCase

N_COVARIATES, N_RESPONSES = 3, 2


@dataclass(frozen=True)
class GLMCase(EmissionCase):
    def random(self, seed: int) -> Emission:
        """Smooth starts, moved by no more than keeps every mean within its range."""
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(N_STATES, (N_RESTARTS, self.sequences.n_rows), generator=generator)
        made = self.component.initialise(self.sequences, labels, N_STATES)
        size = 0.01 if made._link.name in ("one_over_x", "identity") else 0.3
        free = made.free()
        noise = {name: size * torch.randn(v.shape, generator=generator, dtype=v.dtype) for name, v in free.items()}
        return made.with_free({name: value + noise[name] for name, value in free.items()})

    def tied(self, component: Emission) -> Emission:
        return component


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
SMOOTH = [{**options, "missing": missing} for options in OPTIONS for missing in (0.0, 0.2)]


def glm_cases() -> list[GLMCase]:
    cases = []
    for options in SMOOTH:
        chosen = {name: value for name, value in options.items() if name != "missing"}
        data = responses(options["family"], missing=options["missing"])
        name = "-".join(str(value) for value in options.values())
        cases.append(GLMCase(f"glm-{name}", GLM(**chosen), 40, data))
    return cases
