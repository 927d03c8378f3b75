"""What the kernels return, each field as a formula.

y are the observations of one series, z_t the state at row t, a segment a maximal run that was drawn as one duration.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Concatenate, Literal, ParamSpec, TypeAlias, TypeVar

import torch
from torch import Tensor

from hsmm.potentials import Potentials
from hsmm.types import DurationSeries, PerSeries, StatePaths, StateSeries, StateVector

CausalName: TypeAlias = Literal["filtered", "predicted", "log_density", "elapsed", "remaining", "filter_state"]


@dataclass(frozen=True, eq=False)
class Posterior:
    """Expected counts given all rows; each is the gradient of the summed log-likelihood in one log-table.

    - ``log_likelihood`` (R, S): log p(y of series s)
    - ``state`` (R, N, K): P(z_n = k | y)
    - ``initial`` (R, K): E[number of series that start in k]
    - ``transition`` (R, K, K): E[segments of i followed by one of j]; per row where the table is, (R, N, K, K), and per
      table where rows share some, (R, U, K, K)
    - ``duration`` (R, K, D): E[number of segments of k with duration d]; a right-censored segment counts with its
      full latent duration, a left-censored first one not at all; per row where the table is, (R, N, K, D), and per
      table where rows share some, (R, U, K, D)
    - ``residual`` (R, K, D): E[number of left-censored first segments of k with r steps left]; per series where
      ``log_residual`` is, (R, S, K, D)
    - ``tail_stay``, ``tail_leave`` (R, K): E[number of visible steps that stayed in (left) the tail slot]; zero
      without a tail. The gradient in ``log_tail`` is ``tail_stay - tail_leave * s / (1 - s)``, s = exp(log_tail).
    """

    log_likelihood: PerSeries
    state: StateSeries
    initial: StateVector
    transition: Tensor
    duration: Tensor
    residual: Tensor
    tail_stay: StateVector
    tail_leave: StateVector

    def by_table(self, p: Potentials) -> Posterior:
        """With counts that were by row summed by the tables that rows of ``p`` share."""
        shared = {
            "transition": (p.transition_of_row, p.log_transition),
            "duration": (p.duration_of_row, p.log_duration),
        }
        sums = {
            name: (by_row := getattr(self, name)).new_zeros(table.shape).index_add_(1, of_row, by_row)
            for name, (of_row, table) in shared.items()
            if of_row is not None and table is not None
        }
        return replace(self, **sums)


Rest = ParamSpec("Rest")
Found = TypeVar("Found")


def with_tables_by_row(
    answer: Callable[Concatenate[Potentials, Rest], Found],
) -> Callable[Concatenate[Potentials, Rest], Found]:
    """For a back end that knows tables for every row, but none that rows share."""

    @functools.wraps(answer)
    def answered(p: Potentials, *args: Rest.args, **kwargs: Rest.kwargs) -> Found:
        found = answer(p.by_row(), *args, **kwargs)
        return found.by_table(p.detach()) if isinstance(found, Posterior) else found  # type: ignore[return-value]

    return answered


@dataclass(frozen=True, eq=False)
class Sums(Posterior):
    """The fields of a posterior while kernels add to them: in float64, but ``state``, which is written row by row."""

    def keep_states(self, found: Tensor, rows: Tensor) -> None:
        """Take these (R, N) rows of posteriors ``found`` (R, N, K), which may be of another type."""
        self.state.copy_(torch.where(rows.unsqueeze(-1), found.to(self.state.dtype), self.state))

    def posterior(self, p: Potentials) -> Posterior:
        """In the type of the tables."""
        return Posterior(**{name: x.to(p.log_emission.dtype) for name, x in vars(self).items()})


@dataclass(frozen=True, eq=False)
class FilterState:
    """All that the rows so far say about the rows to come, so that a forward pass can go on where another stopped.

    - ``starting`` (R, S, K): log P(a segment of k begins at the next row | y so far)
    - ``steps_left`` (R, S, K, D): log P(z_n = k, d steps left, this one counted | y so far) at the last row n
    - ``by_age`` (R, S, K, D): log-weights of the open segments by the steps since their start, before the law of their
      duration is applied; with a tail the last column holds all in the tail slot, law and stays applied
    - ``n_rows`` (S,): rows seen so far

    Float64 whatever the tables' dtype.
    """

    starting: Tensor
    steps_left: Tensor
    by_age: Tensor
    n_rows: Tensor

    @classmethod
    def empty(cls, p: Potentials, after: FilterState | None) -> FilterState:
        """To be filled with what the rows of ``p`` say, which follow those of ``after``."""
        shape = (p.n_restarts, p.n_series, p.n_states)
        starting = torch.empty(shape, dtype=torch.float64, device=p.log_emission.device)
        steps_left, by_age = (starting.new_empty(*shape, p.n_durations) for _ in range(2))
        return cls(starting, steps_left, by_age, p.lengths if after is None else after.n_rows + p.lengths)


@dataclass(frozen=True, eq=False)
class Causal:
    """What is known at each row from that row and those before it; None what was not asked for.

    - ``filtered`` (R, N, K): P(z_n = k | y_1..n)
    - ``predicted`` (R, N, K): log P(z_n = k | y_1..n-1), in logarithms so that nothing is lost of unlikely states
    - ``log_density`` (R, N): log p(y_n | y_1..n-1); -inf at the first impossible row of a series and after it
    - ``elapsed`` (R, N, D): P(the segment is r steps old, this one counted | y_1..n), column r - 1
    - ``remaining`` (R, N, D): P(the segment has r steps left, this one counted | y_1..n), column r - 1
    - ``filter_state``: what all rows say about the rows to come
    """

    filtered: StateSeries | None = None
    predicted: StateSeries | None = None
    log_density: Tensor | None = None
    elapsed: DurationSeries | None = None
    remaining: DurationSeries | None = None
    filter_state: FilterState | None = None

    def __getitem__(self, name: CausalName) -> Tensor:
        """A field that was asked for, by name; ``KeyError`` where it was not."""
        if not isinstance(field := getattr(self, name, None), Tensor):
            raise KeyError(f"{name!r} is no table that was asked for; name it in want.")
        return field

    @classmethod
    def empty(cls, p: Potentials, want: Collection[CausalName], after: FilterState | None) -> Causal:
        """What is wanted, to be filled; in the type of the tables."""

        def rows(name: CausalName, *size: int) -> Tensor | None:
            return p.log_emission.new_empty(p.n_restarts, p.n_rows, *size) if name in want else None

        return cls(
            filtered=rows("filtered", p.n_states),
            predicted=rows("predicted", p.n_states),
            log_density=rows("log_density"),
            elapsed=rows("elapsed", p.n_durations),
            remaining=rows("remaining", p.n_durations),
            filter_state=FilterState.empty(p, after) if "filter_state" in want else None,
        )


@dataclass(frozen=True, eq=False)
class Decoded:
    """The most probable sequence of segments; a right-censored last one of n steps weighs log P(d >= n).

    - ``states`` (R, N) int64; -1 throughout a series that is impossible
    - ``log_probability`` (R, S): its joint log-probability with the data
    """

    states: StatePaths
    log_probability: PerSeries
