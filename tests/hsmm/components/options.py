"""The options with which each family keeps its contract. A family that is not named here is tried as it is by default.

Only what changes the code that runs is listed: a prior, a shape of covariance, a size at the edge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hsmm.components.duration import Geometric
from hsmm.components.emission import Categorical, Gaussian, Mixture, Poisson, Product, StudentT
from tests.hsmm.components.glm_cases import OPTIONS as REGRESSIONS

MASK = ((True, True, False), (True, False, True), (True, True, True))
CONCENTRATIONS = ((1.5, 1.0, 0.9), (2.0, 1.0, 3.0), (1.0, 1.2, 0.9))


@dataclass(frozen=True)
class Given:
    """Options of a family; ``missing`` tries it with missing cells, too, ``noise`` is how far random models scatter."""

    options: dict[str, Any] = field(default_factory=dict)
    missing: bool = False
    noise: float = 0.3


def given(*, missing: bool = False, noise: float = 0.3, **options: Any) -> Given:
    return Given(options, missing, noise)


_COVARIANCES = [given(missing=True, covariance=kind) for kind in ("full", "diag", "tied", "spherical")]
_FOR_HMMS = [given(self_transitions=True), given(self_transitions=False)]
_EDGES = [given(min_duration=d, max_duration=longest) for d, longest in ((1, 1), (1, 2), (3, 3))]

OPTIONS: dict[str, dict[str, list[Given]]] = {
    "initial": {
        "free": [given(), given(concentration=2.5), given(concentration=(0.9, 1.0, 3.0))],
        "fixed": [given(probability=(0.2, 0.5, 0.3))],
        "contextual": [given(), given(columns=(1,))],
        "factorial": [given(chains=(3,))],
    },
    "transition": {
        "dense": [
            *_FOR_HMMS,
            *(given(self_transitions=True, concentration=c) for c in (2.0, 0.9, CONCENTRATIONS)),
        ],
        "sticky": [given(self_transitions=True), given(self_transitions=True, kappa=3.0, concentration=0.9)],
        "masked": [
            given(self_transitions=True, allowed=MASK),
            given(self_transitions=False, allowed=MASK, concentration=CONCENTRATIONS),
        ],
        "gated": [
            given(self_transitions=True),
            given(self_transitions=True, penalty=2.0, temperature=1.7),
            given(self_transitions=True, columns=(1, 2)),
        ],
        "low_rank": [*_FOR_HMMS, given(self_transitions=True, rank=1), given(self_transitions=True, rank=3)],
        "factorial": [given(self_transitions=True, chains=(3,)), given(chains=(3,), concentration=1.5)],
        "left_to_right": [*_FOR_HMMS, given(self_transitions=True, max_step=1)],
        "contextual": [
            *_FOR_HMMS,
            given(penalty=2.0, temperature=1.7),
            given(self_transitions=True, columns=(1, 2)),
            given(self_transitions=False, allowed=MASK, penalty=1.0),
        ],
        "neural": [
            given(self_transitions=True, hidden=5),
            given(self_transitions=False, hidden=5),
            given(self_transitions=True, hidden=3, reads_context=True, penalty=8.0),
        ],
    },
    "duration": {
        "categorical": [*_EDGES, given(max_duration=8), given(min_duration=3, max_duration=8, concentration=1.5)],
        "geometric": [*_EDGES, *(given(min_duration=3, max_duration=8, tail=tail) for tail in (True, False))],
        "negative_binomial": [*_EDGES, given(max_duration=8), given(min_duration=3, max_duration=8, tail=False)],
        "contextual": [
            given(max_duration=5, family="poisson"),
            given(min_duration=3, max_duration=8, columns=(1, 2), penalty=0.0, family=Geometric(tail=False)),
            given(min_duration=2, max_duration=5, family="categorical", penalty=2.0),
        ],
    },
    "emission": {
        "gaussian": _COVARIANCES,
        "student_t": _COVARIANCES,
        "autoregressive_gaussian": [
            given(missing=True, noise=0.1),
            given(missing=True, noise=0.1, lags=2, coefficients="diag"),
            given(missing=True, noise=0.1, lags=2, covariance="diag"),
        ],
        "categorical": [given(missing=True), given(n_categories=5, concentration=(1.0, 2.0, 1.5, 3.0, 1.0))],
        "bernoulli": [given(missing=True), given(alpha=2.0, beta=3.5)],
        "poisson": [given(missing=True), given(prior_shape=3.0, prior_rate=0.7)],
        "negative_binomial": [given(missing=True)],
        "gamma": [given(missing=True)],
        "contextual": [
            given(missing=True, noise=0.1, family="gaussian"),
            given(missing=True, noise=0.1, family="student_t", columns=(1,)),
            given(family="poisson", penalty=0.0),
            *(given(family=name, columns=(0,)) for name in ("categorical", "gamma", "bernoulli")),
        ],
        "additive": [given(missing=True, chains=(3,))],
        "multinomial": [given(missing=True), given(concentration=1.5, total=9)],
        "neural": [
            given(missing=True, hidden=5),
            given(hidden=5, scale=1.5),
            given(missing=True, hidden=5, scale="shared"),
            given(missing=True, hidden=3, scale="shared", reads_context=True, penalty=8.0),
        ],
        "mixture": [
            given(missing=True),
            given(component=StudentT(covariance="diag")),
            given(component=Poisson(prior_shape=2.0), n_components=3, concentration=1.5),
            given(component=Product(("gaussian", "bernoulli"))),
        ],
        "product": [
            given(missing=True, parts=("gaussian", "bernoulli")),
            given(parts=(Poisson(), Gaussian(covariance="diag")), columns=((1,), (0,))),
            given(missing=True, parts=(Mixture("gaussian"), Categorical(concentration=2.0))),
        ],
        "glm": [
            given(
                missing=options == {"family": options["family"]},
                noise=0.01 if options.get("inverse_link") == "one_over_x" or options["family"] == "gaussian" else 0.3,
                **options,
            )
            for options in REGRESSIONS
        ],
    },
}
WITHOUT_ENTRY: dict[str, list[Given]] = {
    "initial": [given()],
    "transition": _FOR_HMMS,
    "duration": [given(max_duration=1), given(max_duration=8), given(min_duration=3, max_duration=8)],
    "emission": [given(missing=True)],
}
