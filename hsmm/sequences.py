"""The one container of data: series packed row after row, as Arrow packs lists."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hsmm.errors import DataWarning, warn
from hsmm.types import Covariates, Observed, Offsets, Values

_LARGEST = 1e100
_TEMPORAL = ("date", "time", "duration", "period")
_FEWEST_TO_COMPARE = 32
_FEWEST_LEVELS, _CROWD, _CROWD_SHARE, _CROWDED = 3, 5, 0.02, 30.0  # of distinct values, the densest part of a feature
_TAIL, _FENCE = 0.02, 1.0  # share of rows on each side beyond which, and widths at which, values are drawn in
_ROUNDING = 4e-15
_OFTEN = 4.0  # times as often as the median value: ties that are no rounding
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)


Rows: TypeAlias = Tensor | slice


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that observe equally many cells.

    - ``rows``: their indices, or a slice of all
    - ``features`` (f,): the columns of which each row observes ``n_observed``
    - ``missing``: the other columns, which none of the rows observes
    """

    rows: Rows
    features: Tensor
    missing: Tensor
    n_observed: int

    @cached_property
    def columns(self) -> list[int]:
        """``features`` as the host knows them."""
        return self.features.tolist()

    @cached_property
    def kind(self) -> tuple[int, ...]:
        """What sets rows apart: whether each column is one of ``features``, and ``n_observed``."""
        columns = set(self.columns)
        n_columns = len(self.features) + len(self.missing)
        return *(int(column in columns) for column in range(n_columns)), self.n_observed

    @property
    def is_gappy(self) -> bool:
        """Whether the rows miss some of ``features``."""
        return self.n_observed < len(self.features)


@dataclass(frozen=True, eq=False)
class Distinct:
    """``rows`` without repetition and ``of_row`` (N,), the index of each row's own; None where that is the row's."""

    rows: Sequences
    of_row: Tensor | None


@dataclass(frozen=True, eq=False)
class Sequences:
    """S series of F features packed into N rows.

    - ``values`` (N, F) float64; 0 where a cell is missing
    - ``observed`` (N, F) bool
    - ``offsets`` (S + 1,): series s owns rows ``offsets[s]:offsets[s + 1]``
    - ``covariates`` (N, H) float64 or None
    - ``features`` (F,) the names of the columns, where they have any
    - ``before`` (S, B, F) the rows that came before those of each series, the last one last; NaN where missing or none
    - ``encoded`` (R, N, H) what a model's encoder makes of each row's context, while its tables are made
    """

    values: Values
    observed: Observed
    offsets: Offsets
    covariates: Covariates | None = None
    features: tuple[str, ...] | None = None
    before: Tensor | None = None
    encoded: Tensor | None = None

    @classmethod
    def from_arrays(
        cls,
        X: Any,
        lengths: Sequence[int] | np.ndarray | None = None,
        covariates: Any = None,
        *,
        may_be_missing: bool = False,
        name: str = "X",
    ) -> Sequences:
        """Pack X (n_samples, n_features), its series one after the other.

        X may be NumPy, torch, polars or anything NumPy can read; one dimension is one feature; NaN is missing.
        Raises ``ValueError`` for text, infinities, ``lengths`` that do not add up, covariates that are missing, and
        data without a single observed cell unless all of them ``may_be_missing``. ``name`` is what the user calls X.
        """
        values = torch.from_numpy(_matrix(X, name))
        refuse_infinite(values, name)
        _refuse_overflow(values, name)
        observed = ~values.isnan()
        if not may_be_missing and not bool(observed.any()):
            raise ValueError(f"all {values.numel()} cells of {name} are missing; expected at least one observed value.")
        cells = torch.where(observed, values, 0.0)
        made = cls(cells, observed, _offsets(lengths, len(values)), features=column_names(X))
        return made if covariates is None else made.with_covariates(covariates)

    def with_covariates(self, covariates: Any) -> Sequences:
        """The same series beside covariates (n_samples, n_covariates), none of which may be missing."""
        packed = torch.from_numpy(_matrix(covariates, "context"))
        _check_covariates(packed, self.n_rows)
        return replace(self, covariates=packed)

    @property
    def device(self) -> torch.device:
        return self.values.device

    @property
    def owners(self) -> None:
        """Every model sees every series."""
        return

    @property
    def n_rows(self) -> int:
        return self.values.shape[0]

    @property
    def n_features(self) -> int:
        return self.values.shape[1]

    @property
    def n_series(self) -> int:
        return self.offsets.numel() - 1

    @cached_property
    def lengths(self) -> Tensor:
        return self.offsets.diff()

    def table_size(self, n_models: int) -> tuple[int, int]:
        """The leading axes of a table with a number for every row that each of so many models sees."""
        return n_models, self.n_rows

    def parts(self, table: Tensor) -> Iterator[tuple[Sequences, Tensor]]:
        """The whole of a table: there is only this one unit."""
        yield self, table

    def summed(self, by_series: Tensor) -> Tensor:
        """(R,) of each model, from numbers (R, S) of each series."""
        return by_series.sum(1)

    @cached_property
    def n_observed_rows(self) -> int:
        """Rows with at least one observed cell: the sample size of the information criteria."""
        return int(self.observed.any(1).sum())

    @cached_property
    def is_complete(self) -> bool:
        """Whether every cell is observed."""
        return bool(self.observed.all())

    @cached_property
    def whole_rows(self) -> Tensor:
        """(n,) the rows whose every cell is observed."""
        return self.observed.all(1).nonzero().flatten()

    @cached_property
    def patterns(self) -> list[Block]:
        """Rows grouped by what they observe; rows without any observed cell are left out."""
        if self.is_complete:
            return [self._everything]
        kinds, kind_of_row = self.observed.unique(dim=0, return_inverse=True)
        return [
            Block(
                (kind_of_row == i).nonzero().flatten(),
                kind.nonzero().flatten(),
                (~kind).nonzero().flatten(),
                int(kind.sum()),
            )
            for i, kind in enumerate(kinds)
            if bool(kind.any())
        ]

    @cached_property
    def rows_by_count(self) -> list[Block]:
        """Rows grouped by how many cells they observe, without those that observe none."""
        if self.is_complete:
            return [self._everything]
        count, every = self.observed.sum(1), self._everything
        return [
            replace(every, rows=(count == n).nonzero().flatten(), n_observed=n) for n in count.unique().tolist() if n
        ]

    @property
    def _everything(self) -> Block:
        every = torch.arange(self.n_features, device=self.values.device)
        return Block(slice(None), every, every[:0], self.n_features)

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (F,) of each feature over its observed cells; exactly 0 for a constant one."""
        count = self.observed.sum(0).clamp(min=1)
        mean = self.values.sum(0) / count
        centred = torch.where(self.observed, self.values - mean, 0.0)
        lowest = self.values.where(self.observed, torch.inf).amin(0)
        highest = self.values.where(self.observed, -torch.inf).amax(0)
        return mean, torch.where(lowest < highest, (centred**2).sum(0) / count, 0.0)

    @cached_property
    def scale(self) -> Tensor:
        """(F,) standard deviation of each feature; 1 for a constant one."""
        _, variance = self.moments
        return torch.where(variance > 0, variance, 1.0).sqrt()

    @cached_property
    def logarithms(self) -> Sequences:
        """The same rows of positive numbers, in logarithms; 0 where missing."""
        return Sequences(torch.where(self.observed, self.values, 1.0).log(), self.observed, self.offsets)

    @cached_property
    def floor_scale(self) -> Tensor:
        """(F,) the scale that least variances refer to: that of the rows, or of their densest part if far less.

        Neither one wild value nor rows of another scale hide a narrow state then. 1 for a constant feature.
        """
        return torch.stack([self._floor_scale(feature) for feature in range(self.n_features)])

    @cached_property
    def tamed(self) -> Sequences:
        """The same rows, values far outside of nearly all others drawn in to a fence; the same object without any."""
        low, high = (torch.empty_like(self.scale) for _ in range(2))
        for feature in range(self.n_features):
            values = self.values[self.observed[:, feature], feature].sort().values
            if not len(values):
                values = self.values.new_zeros(1)
            outside = int(_TAIL * len(values) + 1)
            first, last = values[min(outside, len(values) - 1)], values[max(len(values) - 1 - outside, 0)]
            if first < last:
                low[feature], high[feature] = first - _FENCE * (last - first), last + _FENCE * (last - first)
            else:
                low[feature], high[feature] = values[0], values[-1]
        drawn_in = torch.where(self.observed, torch.minimum(torch.maximum(self.values, low), high), self.values)
        return self if torch.equal(drawn_in, self.values) else replace(self, values=drawn_in)

    @cached_property
    def untied(self) -> Sequences:
        """The same rows, values that recur far more often than others spread out; the same object without any."""
        spread = self.values.clone()
        for feature in range(self.n_features):
            seen = self.observed[:, feature]
            spread[seen, feature] = _spread_ties(self.values[seen, feature])
        return self if torch.equal(spread, self.values) else replace(self, values=spread)

    def columns(self, columns: Sequence[int]) -> Sequences:
        """These columns of X alone; the same object for the same columns, so that what it caches lasts."""
        made: dict[tuple[int, ...], Sequences] = self.__dict__.setdefault("_columns", {})
        key = tuple(columns)
        if key not in made:
            cells, seen = self.values[:, key].contiguous(), self.observed[:, key]
            before = None if self.before is None else self.before[..., key]
            made[key] = replace(self, values=cells, observed=seen, features=None, before=before)
        return made[key]

    @cached_property
    def distinct(self) -> Distinct:
        """The rows that differ, where they are few beside all rows; otherwise all rows, each its own."""
        every = Distinct(self, None)
        code, n_codes = torch.zeros(self.n_rows, dtype=torch.int64, device=self.values.device), 1
        if self.n_rows < _FEWEST_TO_COMPARE:
            return every
        for values, observed in zip(self.values.unbind(1), self.observed.unbind(1), strict=True):
            _, level = torch.where(observed, values, torch.inf).unique(return_inverse=True)
            joint, code = (code * (int(level.max()) + 1) + level).unique(return_inverse=True)
            n_codes = len(joint)
            if 2 * n_codes > self.n_rows:
                return every
        first = torch.full((n_codes,), self.n_rows, device=code.device)
        first = first.scatter_reduce(0, code, torch.arange(self.n_rows, device=code.device), "amin")
        rows = Sequences(self.values[first], self.observed[first], self.offsets.new_tensor([0, n_codes]))
        return Distinct(rows, code)

    def distinct_contexts(self, columns: Sequence[int] | None, *, ahead: bool) -> Distinct:
        """The covariates in these columns (None: in all), or those of the row ``ahead``, that differ, if they are few:
        series of one row each, which observe nothing. A series' last row looks at its own.
        """
        made: dict[Any, Distinct] = self.__dict__.setdefault("_contexts", {})
        assert self.covariates is not None
        wanted = tuple(range(self.covariates.shape[1]) if columns is None else columns)
        if (wanted, ahead) not in made:
            made[wanted, ahead] = self._distinct_contexts(list(wanted), ahead=ahead)
        return made[wanted, ahead]

    def _distinct_contexts(self, columns: list[int], *, ahead: bool) -> Distinct:
        assert self.covariates is not None
        read = torch.arange(self.n_rows, device=self.device) + int(ahead)
        read[self.offsets[1:] - 1] -= int(ahead)
        cells = self.covariates[read][:, columns]
        found = Sequences(cells, torch.ones_like(cells, dtype=torch.bool), self.offsets).distinct
        if found.of_row is None:
            return Distinct(self, None)
        n_rows = found.rows.n_rows
        covariates = self.covariates.new_zeros(n_rows, self.covariates.shape[1])
        covariates[:, columns] = found.rows.values
        values = self.values.new_zeros(n_rows, self.n_features)
        offsets = torch.arange(n_rows + 1, device=self.device)
        rows = Sequences(values, torch.zeros_like(values, dtype=torch.bool), offsets, covariates=covariates)
        return Distinct(rows, found.of_row)

    def series(self, indices: Sequence[int]) -> Sequences:
        """The series at these indices, in this order."""
        rows = torch.cat([torch.arange(int(self.offsets[i]), int(self.offsets[i + 1])) for i in indices])
        lengths = self.lengths[list(indices)]
        return self._rows(rows.to(self.values.device), lengths)

    def head(self, lengths: Tensor) -> Sequences:
        """The first ``lengths`` (S,) rows of each series; each at least 1."""
        position = torch.arange(self.n_rows, device=self.values.device) - self.offsets[:-1].repeat_interleave(
            self.lengths
        )
        return self._rows((position < lengths.repeat_interleave(self.lengths)).nonzero().squeeze(-1), lengths)

    def observing(self, columns: Collection[int]) -> Sequences:
        """The same rows, of which only these columns are observed."""
        seen = torch.zeros(self.n_features, dtype=torch.bool, device=self.device)
        seen[sorted(columns)] = True
        observed = self.observed & seen
        return replace(self, values=torch.where(observed, self.values, 0.0), observed=observed)

    def extended(self, horizon: int, covariates: Any = None) -> Sequences:
        """Each series followed by ``horizon`` missing rows; ``covariates`` (S · horizon, H) are theirs."""
        if (self.covariates is None) != (covariates is None):
            there, wanted = ("none", "given") if self.covariates is None else ("given", "none")
            raise ValueError(f"the context of the series is {there}, that of the steps ahead {wanted}; give both.")
        lengths = self.lengths + horizon
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        row = torch.arange(self.n_rows) + horizon * torch.arange(self.n_series).repeat_interleave(self.lengths)
        values = self.values.new_zeros(int(offsets[-1]), self.n_features).index_copy(0, row, self.values)
        observed = self.observed.new_zeros(values.shape).index_copy(0, row, self.observed)
        made = Sequences(values, observed, offsets, before=self.before)
        if self.covariates is None:
            return made
        ahead = torch.from_numpy(_matrix(covariates, "future_context"))
        if ahead.shape != (self.n_series * horizon, self.covariates.shape[1]):
            rows, columns = self.n_series * horizon, self.covariates.shape[1]
            raise ValueError(f"future_context has shape {tuple(ahead.shape)}; expected ({rows}, {columns}).")
        joined = values.new_empty(len(values), ahead.shape[1]).index_copy(0, row, self.covariates)
        beyond = torch.ones(len(values), dtype=torch.bool).index_fill(0, row, False).nonzero().flatten()
        return made.with_covariates(joined.index_copy(0, beyond, ahead))

    def last(self, n_rows: int) -> Tensor:
        """(S, n_rows, F) the last rows of each series, those before it included; NaN where missing or none."""
        place = self.offsets[1:, None] + torch.arange(-n_rows, 0, device=self.device)
        inside = place >= self.offsets[:-1, None]
        at = place.clamp(min=0)
        kept = torch.where(self.observed[at] & inside.unsqueeze(-1), self.values[at], torch.nan)
        if self.before is None:
            return kept
        n_before = self.before.shape[1]
        earlier = place - self.offsets[:-1, None] + n_before
        series = torch.arange(self.n_series, device=self.device)[:, None]
        reached = (~inside & (earlier >= 0)).unsqueeze(-1)
        return torch.where(reached, self.before[series, earlier.clamp(0, n_before - 1)], kept)

    def canonical_order(self) -> list[int]:
        """The series' indices ordered by a digest of their content."""
        bounds = self.offsets.tolist()
        return sorted(range(self.n_series), key=lambda s: self._digest(bounds[s], bounds[s + 1]))

    def in_canonical_order(self) -> Sequences:
        """The same series in their canonical order, so that no fit depends on the order given."""
        return self if self.n_series == 1 else self.series(self.canonical_order())

    def to(self, device: torch.device) -> Sequences:
        """The same series there; the same object where they are there, so that what it caches lasts."""
        if self.device == device:
            return self
        covariates = None if self.covariates is None else self.covariates.to(device)
        before = None if self.before is None else self.before.to(device)
        own = (self.values.to(device), self.observed.to(device), self.offsets.to(device))
        return Sequences(*own, covariates, before=before)

    def refuse_underflow(self, name: str = "X") -> None:
        """Raise ``ValueError`` where a feature of the table of this name varies so little that its variance would be
        none."""
        lowest = self.values.where(self.observed, torch.inf).amin(0)
        highest = self.values.where(self.observed, -torch.inf).amax(0)
        span = highest - lowest
        small = ((span > 0) & (span < 1.0 / _LARGEST)).nonzero().flatten().tolist()
        if small:
            raise ValueError(
                f"column {small[0]} of {name} varies by no more than {float(span[small[0]]):.3g}, whose square "
                f"underflows; rescale it until it varies by at least {1.0 / _LARGEST:.0e}, best by about 1."
            )

    def warn_of_odd_data(self, name: str = "X") -> None:
        """Warn of what is accepted of the table of this name, but limits what can be learnt."""
        blank = (~self.observed.any(0)).nonzero().flatten().tolist()
        constant = [i for i, v in enumerate(self.moments[1].tolist()) if v == 0.0 and i not in blank]
        for columns, what in ((blank, "all missing"), (constant, "constant")):
            if columns:
                warn(
                    f"columns {columns} of {name} are {what}; they cannot tell states apart, and their variance is "
                    "floored.",
                    DataWarning,
                )
        if int(self.lengths.min()) == 1:
            single = int((self.lengths == 1).sum())
            warn(
                f"{single} series have a single row: they say nothing about transitions or durations.",
                DataWarning,
            )

    def _floor_scale(self, feature: int) -> Tensor:
        whole = self.scale[feature]
        levels = distinct_values(self.values[self.observed[:, feature], feature])
        if len(levels) < _FEWEST_LEVELS:
            return whole
        crowd = max(2, min(len(levels) - 1, max(_CROWD, math.ceil(_CROWD_SHARE * len(levels)))))
        width = (levels[crowd - 1 :] - levels[: len(levels) - crowd + 1]).min()
        inside = torch.erfinv(torch.tensor(crowd / len(levels), dtype=levels.dtype)) * 2.0 * math.sqrt(2.0)
        return torch.minimum(whole, _CROWDED * width / inside.to(width.device))

    def _rows(self, rows: Tensor, lengths: Tensor) -> Sequences:
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        covariates = None if self.covariates is None else self.covariates[rows]
        return Sequences(self.values[rows], self.observed[rows], offsets, covariates)

    def _digest(self, start: int, stop: int) -> bytes:
        digest = hashlib.sha256(str(stop - start).encode())
        for table in (self.values, self.observed, self.covariates):
            if table is not None:
                digest.update(table[start:stop].cpu().numpy().tobytes())
        return digest.digest()


def as_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor of any number type and device; NumPy has no bfloat16."""
    found = tensor.detach().cpu()
    return (found.double() if found.is_floating_point() else found).numpy()


def distinct_values(values: Tensor) -> Tensor:
    """(U,) the sorted values that differ by more than rounding."""
    levels = values.unique()
    if len(levels) < 2:
        return levels
    rounding = _ROUNDING * float(levels.abs().max())
    return levels[torch.cat([levels.new_ones(1) > 0, levels.diff() > rounding])]


def _spread_ties(values: Tensor) -> Tensor:
    """Each value that recurs often, over the distance within which all recur as often together."""
    levels, level, count = values.unique(return_inverse=True, return_counts=True)
    if not len(levels):
        return values
    often = count > _OFTEN * torch.maximum(count.double().median(), count.new_ones(()))
    made = values.clone()
    for tie in often.nonzero().flatten().tolist():
        rows = (level == tie).nonzero().flatten()
        n_near = min(-(-len(rows) * len(levels) // len(values)) + 1, len(levels))
        reach = (levels - levels[tie]).abs().kthvalue(n_near).values
        if bool(levels[0] > 0):  # and is to stay so
            reach = reach.clamp(max=0.99 * float(levels[tie]))
        place = torch.arange(len(rows), dtype=values.dtype, device=values.device) * _GOLDEN % 1.0
        made[rows] = levels[tie] + reach * (2.0 * place - 1.0)
    return made


def column_names(X: Any) -> tuple[str, ...] | None:
    """The columns of a frame, or the name of a series, of pandas or polars; None where one is no text, and for else."""
    if type(X).__module__.partition(".")[0] not in ("pandas", "polars"):
        return None
    columns = list(X.columns) if hasattr(X, "columns") else [getattr(X, "name", None)]
    names = [name for name in columns if isinstance(name, str) and name]
    return tuple(names) if len(names) == len(columns) else None


def _matrix(X: Any, name: str) -> np.ndarray:
    if X is None:
        raise ValueError(f"{name} is None; expected numbers (n_samples, n_features).")
    if hasattr(X, "toarray"):
        raise ValueError(f"{name} is a sparse matrix; expected a dense one: give {name}.toarray().")
    if isinstance(X, np.ma.MaskedArray):
        X = np.ma.filled(X.astype(np.float64), np.nan)
    elif isinstance(X, Tensor):
        X = as_numpy(X)
    elif isinstance(X, (list, tuple)) and (parts := _maybe_series(X)):
        raise ValueError(
            f"{name} is a {type(X).__name__} of {len(X)} {parts}, which may be series or rows; expected one table "
            "(n_samples, n_features): join series with numpy.concatenate and give their sizes as lengths, stack rows "
            "with numpy.stack."
        )
    elif hasattr(X, "to_numpy"):
        _refuse_temporal(X, name)
        X = _to_numpy(X)
    elif hasattr(X, "collect"):
        raise ValueError(f"{name} is a lazy frame; collect it first.")
    try:
        array = np.asarray(X)
    except ValueError:
        raise ValueError(
            f"{name} holds rows of different sizes; join the series into one table and give their sizes as lengths."
        ) from None
    if array.dtype == object:
        try:
            if any(isinstance(cell, (str, bytes)) for cell in array.flat):
                raise TypeError("text")
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} holds values that are not numbers ({error}); give numeric columns only."
            ) from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {array.dtype}; expected numbers, with NaN for a missing value.")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; expected (n_samples, n_features) with at least one of each.")
    return np.array(array, dtype=np.float64, order="C")


def _maybe_series(X: Sequence[Any]) -> str | None:
    """What a list holds if that may be series as well as rows: arrays, or lists that are longer than it is."""
    if any(len(getattr(part, "shape", ())) > 0 for part in X):
        return "arrays"
    return "lists" if any(isinstance(part, (list, tuple)) and len(part) > len(X) for part in X) else None


def _to_numpy(X: Any) -> np.ndarray:
    """A frame's cells; in columns of numbers those that pandas knows as missing are NaN."""
    if type(X).__module__.partition(".")[0] == "pandas":
        dtypes = X.dtypes if X.ndim == 2 else [X.dtype]
        if all(dtype.kind in "fiub" for dtype in dtypes):
            return X.to_numpy(dtype=np.float64, na_value=np.nan)
    return X.to_numpy()


def _refuse_temporal(X: Any, name: str) -> None:
    """A frame's dates would become numbers without a word."""
    dtypes = getattr(X, "dtypes", None)
    columns = getattr(X, "columns", None)
    if dtypes is None or columns is None:
        return
    temporal = [str(c) for c, dtype in zip(columns, dtypes, strict=True) if str(dtype).lower().startswith(_TEMPORAL)]
    if temporal:
        raise ValueError(f"{name} holds dates or times in columns {temporal}; give the numeric columns only.")


def _refuse_overflow(values: Tensor, name: str) -> None:
    largest = float(values.nan_to_num(0.0).abs().max())
    if largest > _LARGEST:
        raise ValueError(
            f"{name} holds values as large as {largest:.3g}, whose squares overflow; rescale it to at most "
            f"{_LARGEST:.0e}."
        )


def refuse_infinite(values: Tensor, name: str) -> None:
    """Raise ``ValueError`` for infinite values (N, F) of the table of this name, with the place of the first."""
    infinite = values.isinf()
    if bool(infinite.any()):
        row, column = infinite.nonzero()[0].tolist()
        raise ValueError(
            f"{name} holds {int(infinite.sum())} infinite values, the first at row {row}, column {column}; "
            "replace them, or mark them missing with NaN."
        )


def _check_covariates(covariates: Tensor, n_rows: int) -> None:
    if len(covariates) != n_rows:
        raise ValueError(f"context has {len(covariates)} rows but X has {n_rows}; give one row for each row of X.")
    refuse_infinite(covariates, "context")
    if bool(covariates.isnan().any()):
        row = int(covariates.isnan().any(1).nonzero()[0])
        raise ValueError(f"context is missing at row {row}; only X may have missing values, so fill them in.")


def _offsets(lengths: Sequence[int] | np.ndarray | None, n_rows: int) -> Tensor:
    if lengths is None:
        return torch.tensor([0, n_rows])
    found = np.asarray(lengths)
    whole = found.dtype.kind in "iu"
    if n_rows > 1 and found.shape == (n_rows,) and not (whole and found.sum() == n_rows):
        raise ValueError(
            f"lengths hold {n_rows} numbers, one for each row of X, as labels do; expected one for each series, its "
            "number of rows. States that are known are `states=`, names of series are `groups=`; a target is left out."
        )
    if found.ndim != 1 or found.size == 0 or not whole:
        raise ValueError(f"lengths are {lengths!r}; expected a list of whole numbers, one for each series.")
    if (found < 1).any():
        raise ValueError(f"lengths hold {found.min()}; expected every series to have at least one row.")
    if found.sum() != n_rows:
        raise ValueError(f"lengths sum to {found.sum()}, but X has {n_rows} rows; they must agree.")
    return torch.cat([torch.zeros(1, dtype=torch.int64), torch.from_numpy(found.astype(np.int64)).cumsum(0)])
