"""A model: its components side by side, and the potentials they make together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.context import Encoder
from hsmm.components.covariates import OnCovariates
from hsmm.components.duration import Duration, DurationTables
from hsmm.components.emission import Emission
from hsmm.components.initial import Initial
from hsmm.components.stationary import share_of_time, stationary_law
from hsmm.components.transition import Transition
from hsmm.potentials import Potentials
from hsmm.sequences import Distinct, Sequences
from hsmm.types import StateVector


@dataclass(frozen=True, eq=False)
class Model:
    """R models of one structure; without a ``duration`` they are HMMs.

    What components read as the context is what the encoder ``context`` makes of it, where there is one.
    """

    initial: Initial
    transition: Transition
    duration: Duration | None
    emission: Emission
    left_censored: bool = False
    right_censored: bool = True
    context: Encoder | None = None

    def __post_init__(self) -> None:
        if self.context is not None:
            self._check_heads(self.context)
        if self.duration is not None:
            self.transition.check_semi_markov()
        if self.initial.follows_transition:
            changing = {"transition": self.transition, "duration": self.duration}
            for kind, part in changing.items():
                if part is not None and part.uses_covariates:
                    raise ValueError(
                        f"initial is {self.initial.name!r}, but {part.name!r} {kind}s change with the context and have "
                        "no stationary law; choose another initial."
                    )

    def _check_heads(self, encoder: Encoder) -> None:
        """Raise ``ValueError`` unless a component reads what the encoder makes, and each that does reads all of it."""
        readers = {kind: part for kind, part in self.components().items() if part.uses_covariates}
        if not readers:
            raise ValueError(
                f"context is the encoder {encoder.name!r}, but no component reads it; make one contextual, such as "
                "transition='contextual'."
            )
        for kind, part in readers.items():
            if type(part).beside is Component.beside:
                raise ValueError(f"{part.name} {kind}s cannot read what an encoder makes; make it contextual.")
            if part.columns is not None:
                raise ValueError(
                    f"the {kind} reads columns {list(part.columns)}, but an encoder reads all; leave them out."
                )

    def beside(self, sequences: Sequences, drop: torch.Generator | None = None) -> Sequences:
        """The series with what the encoder makes of their context, some of it left out at random with ``drop``."""
        return sequences if self.context is None else replace(sequences, encoded=self.context.features(sequences, drop))

    def potentials(
        self,
        sequences: Sequences,
        log_emission: Tensor | None = None,
        *,
        begun: bool = False,
        drop: torch.Generator | None = None,
    ) -> Potentials:
        """All tables; that of the emissions is written into ``log_emission`` (R, N, K) where it is given.

        ``begun`` says that the series go on where others ended, so that their first rows are no beginnings; ``drop`` is
        what an encoder's dropout is drawn from.
        """
        sequences = self.beside(sequences, drop)
        moving, lasting = (self.table_rows(kind, sequences) for kind in ("transition", "duration"))
        tables = self.duration_tables(lasting.rows)
        log_initial = self._log_initial(tables, sequences)
        emitted = self.emission.log_potentials(sequences, log_emission)
        if log_initial.ndim == 3:  # a law for each series is a part of its first row
            first = sequences.offsets[:-1]
            if not begun:
                in_place = log_emission is not None
                emitted = (emitted.index_add_ if in_place else emitted.index_add)(1, first, log_initial)
            log_initial = torch.zeros_like(log_initial[:, 0])
        p = Potentials(
            log_initial=log_initial,
            log_transition=self.transition.log_potentials(moving.rows),
            log_duration=None if tables is None else tables.log_duration,
            log_emission=emitted,
            offsets=sequences.offsets,
            log_tail=None if tables is None else tables.log_tail,
            left_censored=self.left_censored,
            right_censored=self.right_censored,
            owners=sequences.owners,
            transition_of_row=moving.of_row,
            duration_of_row=lasting.of_row,
        )
        by_row = self.left_censored and tables is not None and tables.log_duration.ndim == 4
        return replace(p, log_residual=p.residual_law()) if by_row else p  # whose counts are those of each series

    def table_rows(self, kind: str, sequences: Sequences) -> Distinct:
        """The rows that transitions or durations have a table for, and which each row of ``sequences`` reads.

        Where the context has few values, rows share tables; but the counts of left-censored first segments are of each
        series, and so are then its durations.
        """
        part = self.components().get(kind)
        if not isinstance(part, OnCovariates) or not part.reads_one_row or sequences.device.type != "cpu":
            return Distinct(sequences, None)
        censored = kind == "duration" and self.left_censored
        if censored or sequences.covariates is None or sequences.encoded is not None:
            return Distinct(sequences, None)
        part.design(sequences)  # has these columns, or says which there are
        return sequences.distinct_contexts(part.columns, ahead=kind == "transition")

    def log_initial(self) -> StateVector:
        """(R, K) law of the first state; a stationary one is made anew of the other tables."""
        return self._log_initial(self.duration_tables() if self.initial.follows_transition else None)

    def settled(self) -> Self:
        """The same models, a stationary law of the first state being that of the present other tables."""
        if not self.initial.follows_transition:
            return self
        return replace(self, initial=self.initial.with_parameters(probability=self.log_initial().exp()))

    def _log_initial(self, tables: DurationTables | None, sequences: Sequences | None = None) -> StateVector:
        if not self.initial.follows_transition:
            return self.initial.log_potentials(sequences)
        moves = self.transition.typical()
        segments = stationary_law(moves)
        return (segments if tables is None else share_of_time(segments, tables.mean(), moves)).log()

    def duration_tables(self, sequences: Sequences | None = None) -> DurationTables | None:
        return None if self.duration is None else self.duration.log_potentials(sequences)

    def in_units_of(self, sequences: Sequences) -> Self:
        """The same models, whose priors and further learning are in units of what these rows depend on."""
        return replace(self, emission=self.emission.in_units_of(sequences))

    def log_prior(self) -> Tensor:
        """(R,) log-density of the priors of all components."""
        first, *others = (component.log_prior() for component in self.components().values())
        return sum(others, first)  # one after the other, however many models there are

    def n_parameters(self) -> int:
        """Free parameters of one model."""
        return sum(self.n_parameters_by_kind().values())

    def n_parameters_by_kind(self) -> dict[str, int]:
        """Free parameters of each component of one model; a state that never ends has none for its durations."""
        found = {kind: part.n_parameters() for kind, part in self.components().items()}
        if self.duration is not None:
            n_states = self.transition.n_states
            found["duration"] = found["duration"] * (n_states - self.transition.n_absorbing) // n_states
        return found

    def check_sizes(self) -> int:
        """The number of states, if all components agree on it."""
        for kind, part in self.components().items():
            if not part.parameters:
                raise ValueError(
                    f"the {kind} has no parameters yet; make it with {type(part).__name__}.from_parameters."
                )
        sizes = {
            "initial_prob": self.initial.log_potentials().shape[-1],
            "transition_prob": self.transition.n_states,
            "emission": len(self.emission.order()),
        }
        if self.duration is not None:
            sizes["duration_prob"] = self.duration.log_potentials().log_duration.shape[-2]
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ValueError(f"the tables disagree on the number of states: {found}.")
        return sizes["emission"]

    def in_range(self) -> Tensor:
        """(R,) models whose parameters can be computed with, in every table."""
        return torch.stack([part.in_range() for part in self.components().values()]).all(0)

    def take(self, restarts: Tensor) -> Self:
        return replace(self, **{name: part.take(restarts) for name, part in self.components().items()})

    def joined(self, *others: Self) -> Self:
        """This structure's models followed by the others'."""
        theirs = [other.components() for other in others]
        parts = self.components().items()
        return replace(self, **{name: part.joined(*(other[name] for other in theirs)) for name, part in parts})

    def where(self, restarts: Tensor, other: Self) -> Self:
        """This structure's models where ``restarts`` (R,) is True, the other's elsewhere."""
        theirs = other.components()
        return replace(self, **{name: part.where(restarts, theirs[name]) for name, part in self.components().items()})

    def free(self) -> dict[str, Tensor]:
        """Learnt parameters in coordinates without constraints, by "component.name"."""
        return {f"{kind}.{name}": x for kind, part in self.components().items() for name, x in part.free().items()}

    def sizes(self) -> dict[str, Tensor]:
        """The sizes of those :meth:`free` coordinates that change with the unit of the data."""
        return {f"{kind}.{name}": x for kind, part in self.components().items() for name, x in part.sizes().items()}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        """The models whose :meth:`free` coordinates are these."""
        own: dict[str, dict[str, Tensor]] = {kind: {} for kind in self.components()}
        for key, value in coordinates.items():
            kind, _, name = key.partition(".")
            own[kind][name] = value
        made = {kind: part.with_free(own[kind]) for kind, part in self.components().items()}
        return replace(self, **made).settled()

    @property
    def uses_covariates(self) -> bool:
        """Whether it must be given a context."""
        if self.context is not None:
            return self.context.reads_context
        return any(part.uses_covariates for part in self.components().values())

    @property
    def is_causal(self) -> bool:
        """Whether the tables of a row depend on rows up to it alone."""
        return self.context is None or self.context.is_causal

    @property
    def is_countable(self) -> bool:
        """Whether :meth:`n_parameters` says how closely the model can follow data."""
        return all(part.is_countable for part in self.components().values())

    @property
    def is_exchangeable(self) -> bool:
        """Whether the states may be numbered anew without changing what was asked for."""
        return self.initial.is_exchangeable and self.transition.is_exchangeable

    @property
    def is_divisible(self) -> bool:
        """Whether states may be split and merged: none has a fixed place, nor parameters that others share."""
        return self.is_exchangeable and all(part.states_are_apart for part in self.components().values())

    def permuted(self, order: Tensor) -> Self:
        """State ``order[k]`` becomes state k, in every table."""
        return replace(self, **{name: part.permuted(order) for name, part in self.components().items()})

    def to(self, device: torch.device) -> Self:
        return replace(self, **{name: part.to(device) for name, part in self.components().items()})

    def components(self) -> dict[str, Any]:
        """The components that are present, by kind."""
        parts: dict[str, Any] = {
            "initial": self.initial,
            "transition": self.transition,
            "emission": self.emission,
            "duration": self.duration,
            "context": self.context,
        }
        return {kind: part for kind, part in parts.items() if part is not None}
