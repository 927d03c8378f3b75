"""What every encoder of a context offers: features of each row, for the heads of a model to share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from hsmm.components.base import Component, Constraint
from hsmm.components.head import check_penalty, standard, units
from hsmm.components.register import KINDS
from hsmm.sequences import Sequences
from hsmm.spelling import nearest

Weights: TypeAlias = Mapping[str, Tensor]
Source: TypeAlias = Literal["context", "x", "both"]

BLOCK = 64
"""Rows that are multiplied at once. Products of one shape have the same bits whatever else there is of a series."""

_SOURCES: tuple[Source, ...] = get_args(Source)
_FARTHEST = 10.0  # standard deviations from the mean at which inputs are drawn in
_UNITS = ("centre", "spread")
_NORM = ("norm_gain", "norm_shift")


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoder(Component):
    """Features (N, ``width``) of each row, made of the context, series by series.

    ``source`` says of what: "context", the columns beside the data; "x", the series itself up to the row before, so
    that densities of a row given its past integrate to one; or "both". Inputs are standardised by the fit, and missing
    cells are at their mean. ``hidden`` features go through ``layer_norm``; in gradient training each is left out with
    probability ``dropout``. An encoder is causal unless it is ``bidirectional``, which causal questions refuse.

    ``penalty`` / 2 · Σ weight² is its log-prior. A family writes :meth:`shapes` and :meth:`encode`.
    """

    kind: ClassVar[str] = "context"
    is_countable: ClassVar[bool] = False
    has_memory: ClassVar[bool] = True
    """Whether a row's features depend on rows before it."""
    standardises: ClassVar[bool] = True

    hidden: int = 32
    dropout: float = 0.0
    layer_norm: bool = False
    bidirectional: bool = False
    source: Source = "context"
    penalty: float = 0.1

    def __post_init__(self) -> None:
        check_penalty(self.penalty)
        check_whole("hidden", self.hidden)
        if not (isinstance(self.dropout, (int, float)) and 0.0 <= self.dropout < 1.0):
            raise ValueError(f"dropout is {self.dropout!r}; expected a probability below 1 (0 is none).")
        if self.source not in _SOURCES:
            raise ValueError(
                f"source is {self.source!r}; expected one of {', '.join(_SOURCES)}{nearest(self.source, _SOURCES)}"
            )
        if self.bidirectional and self.source != "context":
            raise ValueError(
                f"bidirectional is True with source={self.source!r}: a row would be explained by rows to come, itself "
                "among them, and no density of it remain; leave one of them out."
            )

    @abstractmethod
    def shapes(self, inputs: Tensor) -> dict[str, tuple[int, ...]]:
        """The weights by name, for inputs (N, C): matrices and larger are drawn at random, vectors begin at 0."""

    @abstractmethod
    def encode(self, weights: Weights, rows: Tensor) -> Tensor:
        """(T, width) features of the rows (T, C) of one series, those of a row made of rows up to it alone."""

    def encode_all(self, weights: Weights, series: Sequence[Tensor]) -> Tensor:
        """(N, width) features of the rows of several series, one after the other."""
        return torch.cat([self.encode(weights, rows) for rows in series])

    def encode_together(self, weights: Weights, series: Sequence[Tensor]) -> Tensor:
        """:meth:`encode_all` where it may be faster if other series may move the last bits of one."""
        return self.encode_all(weights, series)

    @property
    def width(self) -> int:
        """Features of a row."""
        return self.hidden

    @property
    def reads_context(self) -> bool:
        return self.source != "x"

    @property
    def is_causal(self) -> bool:
        return not self.bidirectional

    @property
    def state_axes(self) -> Mapping[str, tuple[int, ...]]:  # type: ignore[override]
        names = [*self.shapes(torch.zeros(1, 1)), *(_NORM if self.layer_norm else ()), *_UNITS]
        return dict.fromkeys(names, ())

    def initialise(self, sequences: Sequences, n_restarts: int, generator: torch.Generator) -> Self:
        """Random weights; inputs in the units of these series."""
        inputs = self._inputs(sequences)
        centre, spread = self._units(sequences, inputs, n_restarts)
        drawn = {name: _drawn(n_restarts, shape, generator) for name, shape in self.shapes(inputs.cpu()).items()}
        if self.layer_norm:
            drawn |= {
                "norm_gain": torch.ones(n_restarts, self.width),
                "norm_shift": torch.zeros(n_restarts, self.width),
            }
        weights = {name: value.to(inputs) for name, value in drawn.items()}
        return self.with_parameters(**weights, centre=centre.to(inputs), spread=spread.to(inputs))

    def features(self, sequences: Sequences, drop: torch.Generator | None = None, *, together: bool = False) -> Tensor:
        """(R, N, width) of all rows; with ``drop``, some of them left out at random.

        Series are encoded ``together`` where none need have the bits that it has alone.

        Raises ``ValueError`` where the context is missing, or is not as wide as that of the fit.
        """
        rows = self._standard(sequences)
        lengths, encode = sequences.lengths.tolist(), self.encode_together if together else self.encode_all
        found = []
        for restart in range(self.n_restarts):
            weights = {name: value[restart] for name, value in self.parameters.items() if name not in _UNITS}
            own = encode(weights, rows[restart].split(lengths))
            found.append(self._finished(own, weights))
        features = torch.stack(found)
        if drop is None or not self.dropout:
            return features
        kept = torch.rand(features.shape, generator=drop, dtype=features.dtype).to(features) >= self.dropout
        return features * kept / (1.0 - self.dropout)

    def log_potentials(self, sequences: Sequences) -> Tensor:
        return self.features(sequences)

    def maximise(self, sequences: Sequences, counts: Any, held: Collection[str] = ()) -> Self:
        """Itself: only together with the heads has it an objective; training climbs that."""
        return self

    def constraints(self) -> Mapping[str, Constraint]:
        return {name: "real" for name in self.parameters if name not in _UNITS}

    def log_prior(self) -> Tensor:
        learnt = [self.parameters[name].square().flatten(1).sum(1) for name in self.constraints() if name not in _NORM]
        return -0.5 * self.penalty * torch.stack(learnt).sum(0)

    def n_parameters(self) -> int:
        return sum(self.parameters[name][0].numel() for name in self.constraints())

    def check(self) -> None:
        spread = self.parameters["spread"]
        wanted = self.shapes(self._example(spread.shape[-1]))
        found = {name: tuple(self.parameters[name].shape[1:]) for name in wanted}
        if found != wanted or self.parameters["centre"].shape != spread.shape or spread.ndim != 2:
            raise ValueError(f"the {self.name} encoder has weights of shapes {found}; expected {wanted}.")

    def _example(self, n_columns: int) -> Tensor:
        """Inputs as wide as those of the fit."""
        return torch.zeros(1, n_columns)

    def _inputs(self, sequences: Sequences) -> Tensor:
        """(N, C)"""
        parts = []
        if self.source != "x":
            if sequences.covariates is None:
                raise ValueError(f"the {self.name} encoder reads a context; give context=, or choose source='x'.")
            parts.append(sequences.covariates)
        if self.source != "context":
            parts.append(sequences.values)
        return torch.cat(parts, 1)

    def _units(self, sequences: Sequences, inputs: Tensor, n_restarts: int) -> tuple[Tensor, Tensor]:
        if not self.standardises:
            return inputs.new_zeros(n_restarts, inputs.shape[1]), inputs.new_ones(n_restarts, inputs.shape[1])
        centre, spread = units(inputs, n_restarts)
        if self.source != "context":
            n_features = sequences.n_features
            mean, variance = sequences.moments
            centre[:, -n_features:], spread[:, -n_features:] = mean, variance.sqrt()
        return centre, spread

    def _standard(self, sequences: Sequences) -> Tensor:
        """(R, N, C) inputs in the units of the fit; of the series itself those of the row before, at first the mean."""
        inputs, n_columns = self._inputs(sequences), self.parameters["centre"].shape[-1]
        if inputs.shape[1] != n_columns:
            raise ValueError(
                f"the inputs have {inputs.shape[1]} columns for the {self.name} encoder, fitted on {n_columns}."
            )
        if not self.standardises:
            return inputs.expand(self.n_restarts, -1, -1)
        rows = standard(inputs, self.parameters["centre"], self.parameters["spread"]).clamp(-_FARTHEST, _FARTHEST)
        if self.source == "context":
            return rows
        beside, own = rows.split([n_columns - sequences.n_features, sequences.n_features], -1)
        own = torch.where(sequences.observed, own, 0.0).roll(1, 1)
        own = own.index_fill(1, sequences.offsets[:-1], 0.0)
        return torch.cat([beside, own], -1)

    def _finished(self, features: Tensor, weights: Weights) -> Tensor:
        if not self.layer_norm:
            return features
        centred = features - features.mean(-1, keepdim=True)
        scaled = centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        return scaled * weights["norm_gain"] + weights["norm_shift"]


ENCODERS: dict[str, type[Encoder]] = KINDS["context"].families


def blocks(rows: Tensor, before: int = 0, after: int = 0) -> tuple[Tensor, ...]:
    """Windows (before + BLOCK + after, C) over rows (T, C), one for each BLOCK of them; 0 beyond the ends."""
    n_blocks = -(-len(rows) // BLOCK)
    padded = torch.nn.functional.pad(rows, (0, 0, before, n_blocks * BLOCK - len(rows) + after))
    return tuple(padded[start : start + before + BLOCK + after] for start in range(0, n_blocks * BLOCK, BLOCK))


def by_blocks(rows: Tensor, weight: Tensor, shift: Tensor | None = None) -> Tensor:
    """rows (T, C) @ weight (C, H) + shift (H,), whose bits of a row depend on that row alone."""
    found = torch.cat([block @ weight for block in blocks(rows)])[: len(rows)]
    return found if shift is None else found + shift


def check_whole(name: str, value: Any, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number >= {least}.")


def _drawn(n_restarts: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform within ±1 / √(numbers that a feature is made of); zeros for a vector."""
    if len(shape) < 2:
        return torch.zeros(n_restarts, *shape, dtype=torch.float64)
    reach = 1.0 / math.sqrt(math.prod(shape) / shape[-1])
    return (2.0 * torch.rand((n_restarts, *shape), generator=generator, dtype=torch.float64) - 1.0) * reach
