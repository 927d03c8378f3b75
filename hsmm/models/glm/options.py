"""nemos' words for families, penalties and solvers, and ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hsmm.spelling import Spelled, nearest

FAMILIES = {
    "Bernoulli": "bernoulli",
    "Poisson": "poisson",
    "Gamma": "gamma",
    "NegativeBinomial": "negative_binomial",
    "Gaussian": "gaussian",
    "Categorical": "categorical",
}
SOLVERS = {"Newton": "newton", "LBFGS": "lbfgs", "ProximalGradient": "proximal_gradient"}
ALL_SOLVERS = tuple(SOLVERS)
ROUGH_SOLVERS = ("Newton", "ProximalGradient")


@dataclass(frozen=True)
class Regularizer(Spelled):
    """A penalty by name; ``solvers`` can minimise it."""

    name: ClassVar[str]
    solvers: ClassVar[tuple[str, ...]] = ALL_SOLVERS


@dataclass(frozen=True)
class UnRegularized(Regularizer):
    """No penalty."""

    name: ClassVar[str] = "unregularized"


@dataclass(frozen=True)
class Ridge(Regularizer):
    """½ strength Σ w²."""

    name: ClassVar[str] = "ridge"


@dataclass(frozen=True)
class Lasso(Regularizer):
    """strength Σ |w|."""

    name: ClassVar[str] = "lasso"
    solvers: ClassVar[tuple[str, ...]] = ROUGH_SOLVERS


@dataclass(frozen=True)
class ElasticNet(Regularizer):
    """strength Σ (½ (1 - ratio) w² + ratio |w|); ``regularizer_strength`` is (strength, ratio), or strength alone for
    a ratio of ½."""

    name: ClassVar[str] = "elastic_net"
    solvers: ClassVar[tuple[str, ...]] = ROUGH_SOLVERS


@dataclass(frozen=True)
class GroupLasso(Regularizer):
    """strength Σ √size ‖w_group‖₂; ``mask`` (n_groups, n_features) of 0 and 1 says what a group is made of.

    A feature belongs to one group at most, and one of none is not penalised. Without a mask all are one group.
    """

    name: ClassVar[str] = "group_lasso"
    solvers: ClassVar[tuple[str, ...]] = ROUGH_SOLVERS
    mask: Any = None

    def groups(self) -> tuple[int, ...] | None:
        """The group of each feature, -1 for none."""
        if self.mask is None:
            return None
        mask = np.atleast_2d(np.asarray(self.mask, dtype=np.float64))
        if mask.ndim != 2 or not np.isin(mask, (0.0, 1.0)).all() or (mask.sum(0) > 1).any():
            raise ValueError("mask must be (n_groups, n_features) of 0 and 1, each feature in one group at most.")
        return tuple(int(column.argmax()) if column.any() else -1 for column in mask.T)


REGULARIZERS: dict[str, type[Regularizer]] = {
    kind.__name__: kind for kind in (UnRegularized, Ridge, Lasso, ElasticNet, GroupLasso)
}


def family(observation_model: Any) -> str:
    """Our name of an observation model, from its name or from an object named for it."""
    found = observation_model if isinstance(observation_model, str) else type(observation_model).__name__
    short = found.removesuffix("Observations").lower()
    known = {name.lower(): ours for name, ours in FAMILIES.items()} | {ours: ours for ours in FAMILIES.values()}
    if short not in known:
        raise ValueError(
            f"observation_model is {observation_model!r}; expected one of {', '.join(FAMILIES)}"
            f"{nearest(observation_model, FAMILIES)}"
        )
    return known[short]


def regularizer(choice: Any) -> Regularizer:
    """A penalty from its name or an object of ours, or of a class of the same name; None is none."""
    if isinstance(choice, Regularizer):
        return choice
    found = "UnRegularized" if choice is None else choice if isinstance(choice, str) else type(choice).__name__
    if found not in REGULARIZERS:
        raise ValueError(
            f"regularizer is {choice!r}; expected one of {', '.join(REGULARIZERS)}{nearest(choice, REGULARIZERS)}"
        )
    if found == "GroupLasso" and not isinstance(choice, str):
        return GroupLasso(getattr(choice, "mask", None))
    return REGULARIZERS[found]()


def strength(kind: Regularizer, value: Any) -> tuple[float, float]:
    """Strength and mix of the emission."""
    pair = value if isinstance(value, (tuple, list, np.ndarray)) else (value, 0.5)
    wanted = "(strength, ratio)" if kind.name == "elastic_net" else "a number >= 0"
    if len(pair) != 2 or (kind.name != "elastic_net" and pair is value):
        raise ValueError(f"regularizer_strength is {value!r}; expected {wanted} for {type(kind).__name__}.")
    try:
        size, mix = (1.0 if part is None else float(part) for part in pair)
    except (TypeError, ValueError):
        raise TypeError(f"regularizer_strength is {value!r}; expected {wanted} for {type(kind).__name__}.") from None
    if not (0.0 <= size < np.inf and 0.0 <= mix <= 1.0):
        raise ValueError(f"regularizer_strength is {value!r}; expected {wanted} for {type(kind).__name__}.")
    return size, mix


def solver(name: Any, kind: Regularizer) -> str:
    """Our solver of this name. Raises ``ValueError`` with those that can minimise the penalty."""
    chosen = "Newton" if name is None else name
    if chosen not in kind.solvers:
        allowed = ", ".join(kind.solvers)
        raise ValueError(
            f"solver_name is {name!r}, which is not allowed for {type(kind).__name__}; expected one of {allowed}"
            f"{nearest(name, kind.solvers)}"
        )
    return SOLVERS[chosen]
