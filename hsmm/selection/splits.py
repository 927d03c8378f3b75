"""What is fitted and what is scored when candidates are compared on rows that they have not seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from hsmm.sequences import Sequences


@dataclass(frozen=True, eq=False)
class Fold:
    """Fit on ``train``; in each series of ``scored`` the rows after the first ``given`` (S,) count, given those."""

    train: Sequences
    scored: Sequences
    given: Tensor

    @property
    def counts(self) -> Tensor:
        """(N,) whether a row of ``scored`` counts: observed, and not given."""
        position = torch.arange(self.scored.n_rows) - self.scored.offsets[:-1].repeat_interleave(self.scored.lengths)
        return (position >= self.given.repeat_interleave(self.scored.lengths)) & self.scored.observed.any(1)

    def sums(self, values: Tensor) -> Tensor:
        """(S,) sum over the rows of each series of ``scored`` that count."""
        series = torch.arange(self.scored.n_series).repeat_interleave(self.scored.lengths)
        kept = self.counts
        return values.new_zeros(self.scored.n_series).index_add_(0, series[kept], values[kept])


class Splitter(Protocol):
    """Makes folds of packed series."""

    name: ClassVar[str]

    def split(self, sequences: Sequences) -> Iterator[Fold]: ...


@dataclass(frozen=True)
class LastShare:
    """One fold: fit on the first rows of every series, score its last ``share`` given them."""

    name: ClassVar[str] = "last_share"
    share: float = 0.2

    def __post_init__(self) -> None:
        _check_share("share", self.share)

    def split(self, sequences: Sequences) -> Iterator[Fold]:
        given = torch.ceil(sequences.lengths * (1.0 - self.share)).long().clamp(min=1)
        if bool((given == sequences.lengths).all()):
            raise ValueError(f"every series is too short to hold out {self.share:.0%} of it; choose another criterion.")
        yield _fold(sequences.head(given), sequences, given)


@dataclass(frozen=True)
class KFold:
    """Whole series held out: each belongs to one of ``n_splits`` folds, drawn with ``random_state``."""

    name: ClassVar[str] = "k_fold"
    n_splits: int = 5
    random_state: int = 0

    def __post_init__(self) -> None:
        _check_whole("n_splits", self.n_splits, 2)
        _check_whole("random_state", self.random_state, 0)

    def split(self, sequences: Sequences) -> Iterator[Fold]:
        if sequences.n_series < self.n_splits:
            raise ValueError(
                f"there are {sequences.n_series} series for {self.n_splits} folds of whole series; lower n_splits, "
                "or use ForwardChaining, which cuts every series in time."
            )
        drawn = torch.randperm(sequences.n_series, generator=torch.Generator().manual_seed(self.random_state))
        for left_out in drawn.tensor_split(self.n_splits):
            kept = sorted(set(range(sequences.n_series)) - set(left_out.tolist()))
            scored = sequences.series(sorted(left_out.tolist()))
            yield _fold(sequences.series(kept), scored, torch.zeros(len(left_out), dtype=torch.int64))


@dataclass(frozen=True)
class ForwardChaining:
    """Time goes on: fit on the past of every series, score its next block given that past, then add the block.

    The first fold trains on the first ``initial`` share of each series; the rest is cut into ``n_splits`` blocks.
    """

    name: ClassVar[str] = "forward_chaining"
    n_splits: int = 4
    initial: float = 0.5

    def __post_init__(self) -> None:
        _check_whole("n_splits", self.n_splits, 1)
        _check_share("initial", self.initial)

    def split(self, sequences: Sequences) -> Iterator[Fold]:
        shares = [self.initial + (1.0 - self.initial) * fold / self.n_splits for fold in range(self.n_splits + 1)]
        ends = [torch.ceil(sequences.lengths * share).long().clamp(min=1) for share in shares]
        ends = [torch.minimum(end, sequences.lengths) for end in ends]
        for given, end in pairwise(ends):
            if bool((given == end).all()):
                raise ValueError(
                    f"every series is too short to be cut into {self.n_splits} blocks after its first "
                    f"{self.initial:.0%}; lower n_splits."
                )
            yield _fold(sequences.head(given), sequences.head(end), given)


SPLITTERS: dict[str, type[Splitter]] = {splitter.name: splitter for splitter in (LastShare, KFold, ForwardChaining)}


def _fold(train: Sequences, scored: Sequences, given: Tensor) -> Fold:
    if train.n_observed_rows == 0:
        raise ValueError("a fold has no observed row to fit on; use fewer folds, or leave out series that are missing.")
    return Fold(train, scored, given)


def _check_share(name: str, value: float) -> None:
    if not isinstance(value, (int, float)) or not 0.0 < value < 1.0:
        raise ValueError(f"{name} is {value!r}; expected a share between 0 and 1.")


def _check_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number >= {least}.")
