"""Which columns a sum over columns that depend on each other is owed to: Shapley's shares (Shapley 1953)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

_MOST_EXACT = 8  # columns, of 256 subsets
_ORDERS = 64

Value = Callable[[frozenset[int]], np.ndarray]


def shapley_shares(value: Value, n_columns: int, seed: int) -> np.ndarray:
    """(…, n_columns) shares of ``value`` (…) of all columns less that of none; they sum to it exactly.

    A column's share is what it adds to the value of those before it, averaged over the orders of the columns: all
    orders up to eight columns, above these ``_ORDERS`` drawn ones, each with its reverse. Where a value is -inf
    already, a further column adds nothing.
    """
    known: dict[frozenset[int], np.ndarray] = {}

    def of(columns: frozenset[int]) -> np.ndarray:
        if columns not in known:
            known[columns] = value(columns)
        return known[columns]

    weighed = _all_steps(n_columns) if n_columns <= _MOST_EXACT else _drawn_steps(n_columns, seed)
    shares = np.zeros((*of(frozenset()).shape, n_columns))
    for before, column, weight in weighed:
        shares[..., column] += weight * _gain(of(before), of(before | {column}))
    return shares


def _gain(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    gone = np.isneginf(before)
    return np.where(gone, 0.0, after - np.where(gone, 0.0, before))


def _all_steps(n_columns: int) -> Iterator[tuple[frozenset[int], int, float]]:
    for size in range(n_columns):
        weight = 1.0 / (n_columns * math.comb(n_columns - 1, size))
        for before in itertools.combinations(range(n_columns), size):
            for column in set(range(n_columns)) - set(before):
                yield frozenset(before), column, weight


def _drawn_steps(n_columns: int, seed: int) -> Iterator[tuple[frozenset[int], int, float]]:
    generator = np.random.default_rng(seed)
    for _ in range(_ORDERS // 2):
        order = generator.permutation(n_columns).tolist()
        for way in (order, order[::-1]):
            yield from _steps(way)


def _steps(order: Sequence[int]) -> Iterator[tuple[frozenset[int], int, float]]:
    for place, column in enumerate(order):
        yield frozenset(order[:place]), column, 1.0 / _ORDERS
