"""What every component has: hyper-parameters as fields, parameters with a leading restart axis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.dirichlet import check_concentration as check_concentration
from hsmm.components.dirichlet import dirichlet_mode as dirichlet_mode
from hsmm.components.register import enrol
from hsmm.errors import NotFittedError
from hsmm.numerics import cholesky
from hsmm.sequences import Sequences
from hsmm.spelling import Spelled

Constraint = Literal["real", "positive", "unit", "simplex", "matrix"]
Bound = float | tuple[float, ...]

LARGEST = 1e120
"""Of a parameter: neither its square nor its product with the largest value there may be in the data overflows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Component(Spelled, ABC):
    """One of a model's tables as a function of parameters; immutable, every change is a new component.

    ``parameters`` maps names to float64 tensors whose first axis is the restart; ``state_axes`` says which of a
    parameter's other axes are states. Where the parameters depend on the options, it is a property.

    A class that states a ``name`` is a family from then on: known by that name wherever families are.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    state_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    uses_covariates: ClassVar[bool] = False
    is_countable: ClassVar[bool] = True
    """Whether the number of its parameters says how closely it can follow data; that of an encoder does not."""
    states_are_apart: ClassVar[bool] = True
    """Whether each state has parameters of its own, so that it can be split, or become one with another."""
    holdable: ClassVar[frozenset[str]] = frozenset()
    """Parameters that the M-step can keep while it improves the others: the names it takes as ``held``."""

    parameters: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        enrol(cls)

    @abstractmethod
    def log_potentials(self, sequences: Sequences) -> Any:
        """The table for these series, in logarithms."""

    @abstractmethod
    def maximise(self, sequences: Sequences, counts: Any, held: Collection[str] = ()) -> Self:
        """Parameters that do not lower Σ counts · log-potentials + log-prior, for expected counts in the table's shape.

        Those ``held``, of the ``holdable`` and never all, stay as they are.
        """

    @abstractmethod
    def n_parameters(self) -> int:
        """Free parameters of one model, for the information criteria."""

    def beside(self, sequences: Sequences) -> Self:
        """This start of a fit with what it takes of the context of these series: its units, and no effect yet."""
        return self

    def log_prior(self) -> Tensor:
        """(R,) log-density of the prior, up to a constant."""
        return next(iter(self.parameters.values())).new_zeros(self.n_restarts)

    @property
    def n_restarts(self) -> int:
        return next(iter(self.parameters.values())).shape[0]

    def with_parameters(self, **parameters: Tensor) -> Self:
        return self._holding({**self.parameters, **parameters})

    def _holding(self, parameters: Mapping[str, Tensor]) -> Self:
        """These options, which were checked when they were given, with other parameters."""
        made = object.__new__(type(self))
        options = {name: self.__dict__[name] for name in type(self).__dataclass_fields__ if name in self.__dict__}
        made.__dict__.update(options, parameters=parameters)
        return made

    def take(self, restarts: Tensor) -> Self:
        """The models at these indices of the restart axis."""
        return self._holding({name: value[restarts] for name, value in self.parameters.items()})

    def joined(self, *others: Self) -> Self:
        """This component's models followed by the others'."""
        return self.with_parameters(
            **{
                name: torch.cat([value, *(other.parameters[name] for other in others)])
                for name, value in self.parameters.items()
            }
        )

    def permuted(self, order: Tensor) -> Self:
        """State ``order[k]`` becomes state k."""
        return self.with_parameters(
            **{
                name: _permute(self.parameters[name], axes, order)
                for name, axes in self.state_axes.items()
                if name in self.parameters
            }
        )

    def where(self, restarts: Tensor, other: Self) -> Self:
        """This component's models where ``restarts`` (R,) is True, the other's elsewhere."""
        return self.with_parameters(
            **{
                name: torch.where(restarts.view(-1, *[1] * (value.ndim - 1)), value, other.parameters[name])
                for name, value in self.parameters.items()
            }
        )

    def constraints(self) -> Mapping[str, Constraint]:
        """What values each learnt parameter may take."""
        return {}

    def free(self) -> dict[str, Tensor]:
        """Learnt parameters in coordinates without constraints."""
        return {name: to_free(self.parameters[name], kind) for name, kind in self.constraints().items()}

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        """The least and the largest value of each parameter that is held between two; several stand for the entries of
        its last axis."""
        return {}

    def within_bounds(self, name: str, value: Tensor) -> Tensor:
        """Values of a parameter moved between its bounds."""
        low, high = self.bounds()[name]
        if not isinstance(low, tuple):
            assert not isinstance(high, tuple)
            return value.clamp(low, high)
        assert isinstance(high, tuple)
        edges = zip(value.unbind(-1), low, high, strict=True)
        return torch.stack([entry.clamp(least, most) for entry, least, most in edges], -1)

    def shared_axes(self) -> Mapping[str, tuple[int, ...]]:
        """Axes of learnt parameters along which all values are one."""
        return {}

    def sizes(self) -> dict[str, Tensor]:
        """The sizes of those :meth:`free` coordinates that change with the unit of the data."""
        return {}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        """The component whose :meth:`free` coordinates are these."""
        kinds = self.constraints()
        return self.with_parameters(**{name: from_free(value, kinds[name]) for name, value in coordinates.items()})

    def to(self, device: torch.device) -> Self:
        return replace(self, parameters={name: value.to(device) for name, value in self.parameters.items()})

    def fitted(self, name: str) -> np.ndarray:
        """A parameter of a single fitted model, without its restart axis."""
        if name not in self.parameters:
            raise NotFittedError(f"this {type(self).__name__} has no {name} yet; fit a model or use from_parameters.")
        return self.parameters[name][0].cpu().numpy()

    def in_range(self) -> Tensor:
        """(R,) models whose parameters can be computed with: those after far too long a step cannot."""
        within = [(value.abs() <= LARGEST).flatten(1).all(1) for value in self.parameters.values()]
        return torch.stack(within).all(0)

    def completed(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters of this family with those that may be left out: of models saved before there were any."""
        return dict(parameters)

    def bare(self) -> Self:
        """The family and its hyper-parameters, without parameters."""
        return replace(self, parameters={})

    def check(self) -> None:
        """Raise ``ValueError`` where parameters do not fit each other."""

    def hyperparameters(self) -> dict[str, Any]:
        """Fields other than the parameters, as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "parameters"}


def to_free(value: Tensor, constraint: Constraint) -> Tensor:
    """Unconstrained coordinates; impossible events have coordinate -inf."""
    if constraint == "matrix":
        factor = cholesky(value)
        scale = factor.diagonal(dim1=-2, dim2=-1)
        return (factor / scale.unsqueeze(-1)).tril(-1) + torch.diag_embed(scale.log())
    if constraint == "unit":
        return value.log() - torch.log1p(-value)
    return value if constraint == "real" else value.log()


def from_free(coordinates: Tensor, constraint: Constraint) -> Tensor:
    """The inverse of :func:`to_free`."""
    if constraint == "matrix":
        scale = coordinates.diagonal(dim1=-2, dim2=-1).exp()
        factor = scale.unsqueeze(-1) * coordinates.tril(-1) + torch.diag_embed(scale)
        return factor @ factor.mT
    if constraint == "simplex":
        return coordinates.softmax(-1)
    if constraint == "unit":
        return coordinates.sigmoid()
    return coordinates if constraint == "real" else coordinates.exp()


def _permute(value: Tensor, axes: tuple[int, ...], order: Tensor) -> Tensor:
    for axis in axes:
        value = value.index_select(axis, order)
    return value


def safe_log(probability: Tensor) -> Tensor:
    """log p, whose slope is 0 where p is 0: what cannot happen has no slope, not an undefined one."""
    if not probability.requires_grad:
        return probability.log()
    positive = probability > 0
    return torch.where(positive, probability.where(positive, 1.0).log(), -torch.inf)


def check_distribution(value: np.ndarray, name: str) -> None:
    """Rows of the last axis must be probabilities that sum to 1."""
    if not np.isfinite(value).all() or (value < 0).any():
        raise ValueError(f"{name} holds negative or non-finite values; expected probabilities.")
    worst = np.abs(value.sum(-1) - 1.0).max()
    if worst > 1e-6:
        raise ValueError(f"{name} has rows that sum to 1 only within {worst:.2g}; normalise them.")


def as_parameter(value: Any, name: str, ndim: tuple[int, ...]) -> Tensor:
    """A user's array as a float64 tensor with a restart axis of one."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim not in ndim:
        raise ValueError(f"{name} has shape {array.shape}; expected {' or '.join(map(str, ndim))} axes.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values.")
    return torch.from_numpy(array.copy())[None]
