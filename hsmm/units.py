"""Unrelated data sets side by side: every one is seen by models of its own only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hsmm.sequences import Block, Sequences
from hsmm.types import Offsets


@dataclass(frozen=True, eq=False)
class SharedBlock(Block):
    """Rows of several units that observe equally many cells: ``of_units`` holds those of each, ``rows`` none."""

    of_units: tuple[Block, ...] = ()


@dataclass(frozen=True, eq=False)
class Units:
    """U data sets and the R models of one leading axis: the first ``n_models[0]`` of them see the first, and so on.

    It stands where :class:`~hsmm.sequences.Sequences` do, for models that all see the same rows. A table with a number
    for every row that a model sees is not (R, N, K) but (1, M, K): unit after unit, in these model after model. Series
    are counted in the same order, so each has an owner. What belongs to a feature has a leading axis (R, 1, F).
    """

    sequences: tuple[Sequences, ...]
    n_models: tuple[int, ...]

    @property
    def n_features(self) -> int:
        return self.sequences[0].n_features

    @property
    def device(self) -> torch.device:
        return self.sequences[0].device

    @cached_property
    def n_rows(self) -> int:
        """M rows of the packed tables."""
        return sum(one.n_rows * n for one, n in self._pairs())

    @cached_property
    def offsets(self) -> Offsets:
        """(S + 1,) where each series of each model begins in the packed tables."""
        lengths = torch.cat([one.lengths.repeat(n) for one, n in self._pairs()])
        return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])

    @cached_property
    def owners(self) -> Tensor:
        """(S,) the model that sees each series."""
        n_series = torch.tensor([one.n_series for one in self.sequences]).repeat_interleave(self._counts)
        return torch.arange(sum(self.n_models)).repeat_interleave(n_series)

    @cached_property
    def first_model(self) -> Tensor:
        """(U,) where each unit's models begin."""
        return self._counts.cumsum(0) - self._counts

    @cached_property
    def first_row(self) -> Tensor:
        """(U,) where each unit's rows begin in the packed tables."""
        sizes = torch.tensor([one.n_rows * n for one, n in self._pairs()])
        return sizes.cumsum(0) - sizes

    @cached_property
    def n_observed_rows(self) -> Tensor:
        """(R,) rows with at least one observed cell that each model sees."""
        counts = [one.n_observed_rows for one in self.sequences]
        return torch.tensor(counts, dtype=torch.float64).repeat_interleave(self._counts)

    @cached_property
    def floor_scale(self) -> Tensor:
        """(R, 1, F), see :attr:`Sequences.floor_scale`."""
        scales = torch.stack([one.floor_scale for one in self.sequences])
        return scales.repeat_interleave(self._counts, 0).unsqueeze(1)

    @cached_property
    def is_complete(self) -> bool:
        return all(one.is_complete for one in self.sequences)

    @cached_property
    def patterns(self) -> list[Block]:
        """The patterns of all units, each once; in every unit in the order that it has alone."""
        return self._shared([one.patterns for one in self.sequences])

    @cached_property
    def rows_by_count(self) -> list[Block]:
        return self._shared([one.rows_by_count for one in self.sequences])

    def table_size(self, n_models: int) -> tuple[int, int]:  # noqa: ARG002 - each unit knows its own
        """The leading axes of a table with a number for every row."""
        return 1, self.n_rows

    def parts(self, table: Tensor) -> Iterator[tuple[Sequences, Tensor]]:
        """Each unit, and its models' part (r, N, ...) of a packed table (1, M, ...)."""
        start = 0
        for one, n in self._pairs():
            stop = start + one.n_rows * n
            yield one, table[0, start:stop].unflatten(0, (n, one.n_rows))
            start = stop

    def summed(self, by_series: Tensor) -> Tensor:
        """(R,) of each model, from numbers (1, S) of each series."""
        if all(one.n_series == 1 for one in self.sequences):
            return by_series[0]
        sizes = [one.n_series * n for one, n in self._pairs()]
        parts = zip(by_series[0].split(sizes), self.sequences, strict=True)
        return torch.cat([part.view(-1, one.n_series).sum(1) for part, one in parts])

    def of_models(self, kept: Tensor) -> Units:
        """What the models at these rising indices, or where a mask (R,) is True, see."""
        kept = kept.nonzero().flatten() if kept.dtype == torch.bool else kept
        counts = self._unit_of_model[kept].bincount(minlength=len(self.n_models)).tolist()
        left = [(one, n) for one, n in zip(self.sequences, counts, strict=True) if n]
        return Units(tuple(one for one, _ in left), tuple(n for _, n in left))

    def rows_of_models(self, kept: Tensor) -> Tensor:
        """Where in the packed tables the rows of these models lie, in the order of :meth:`of_models`."""
        kept = kept.nonzero().flatten() if kept.dtype == torch.bool else kept
        unit = self._unit_of_model[kept]
        sizes = torch.tensor([one.n_rows for one in self.sequences])[unit]
        first = self.first_row[unit] + (kept - self.first_model[unit]) * sizes
        ends = sizes.cumsum(0)
        return torch.arange(int(ends[-1]) if len(ends) else 0) + (first - (ends - sizes)).repeat_interleave(sizes)

    @cached_property
    def _counts(self) -> Tensor:
        return torch.tensor(self.n_models)

    @cached_property
    def _unit_of_model(self) -> Tensor:
        return torch.arange(len(self.n_models)).repeat_interleave(self._counts)

    def _pairs(self) -> Iterator[tuple[Sequences, int]]:
        return zip(self.sequences, self.n_models, strict=True)

    def _shared(self, blocks: list[list[Block]]) -> list[Block]:
        found: dict[tuple[int, ...], dict[int, Block]] = {}
        for unit, own in enumerate(blocks):
            for block in own:
                found.setdefault(block.kind, {})[unit] = block
        return [
            SharedBlock(
                of_units=tuple(at.get(unit, none) for unit in range(len(blocks))),
                rows=some.features[:0],
                features=some.features,
                missing=some.missing,
                n_observed=some.n_observed,
            )
            for _, at in sorted(found.items())
            for some in (next(iter(at.values())),)
            for none in (_without_rows(some),)
        ]


def _without_rows(block: Block) -> Block:
    return Block(block.features[:0], block.features, block.missing, block.n_observed)
