"""Rough states from stretches of rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch

import hsmm
from hsmm.sequences import Sequences
from hsmm.training.starts import draw_starts, k_means
from hsmm.training.stretches import _cut, _dendrogram, _of_laws, _of_levels, _Pieces, stretches

WAYS = range(4)


def rough(X: np.ndarray, n_states: int, way: int, lengths: list[int] | None = None, seed: int = 0) -> np.ndarray:
    X = X.reshape(len(X), -1)
    points = torch.from_numpy(np.nan_to_num(X))
    generator = torch.Generator().manual_seed(seed)
    return stretches(points, Sequences.from_arrays(X, lengths), n_states, generator, way).numpy()


def test_states_that_overlap_row_by_row_come_apart() -> None:
    states = np.tile(np.repeat(np.arange(3), 15), 10)
    X = np.random.default_rng(0).normal(2.0 * states, 1.0)
    rows = k_means(torch.from_numpy(X[:, None]), 3, [torch.Generator().manual_seed(0)])[0].numpy()
    assert hsmm.metrics.aligned_accuracy(states, rows) < 0.85
    assert hsmm.metrics.aligned_accuracy(states, rough(X, 3, 0)) > 0.9


def test_states_that_differ_in_spread_alone_come_apart() -> None:
    states = np.tile(np.repeat(np.arange(2), 30), 10)
    X = np.random.default_rng(1).normal(0.0, np.array([0.3, 3.0])[states])
    assert hsmm.metrics.aligned_accuracy(states, rough(X, 2, 3)) > 0.9


@pytest.mark.parametrize("way", WAYS)
def test_none_of_many_states_is_left_out(way: int) -> None:
    rng = np.random.default_rng(2)
    centres = 10.0 * np.stack(np.meshgrid(np.arange(5), np.arange(5)), -1).reshape(25, 2)
    states = np.concatenate([rng.permutation(25).repeat(6) for _ in range(8)])
    labels = rough(rng.normal(centres[states], 0.5), 25, way)
    assert hsmm.metrics.adjusted_rand(states, labels) > 0.999


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_show_nothing_go_with_the_row_before(way: int) -> None:
    X = np.random.default_rng(3).normal(np.tile(np.repeat([0.0, 5.0], 10), 5))
    gaps = np.insert(X, [25, 25, 71], np.nan)
    labels = rough(gaps, 2, way)
    np.testing.assert_array_equal(labels[~np.isnan(gaps)], rough(X, 2, way))
    np.testing.assert_array_equal(labels[25:27], labels[24])


def single(rows: np.ndarray) -> _Pieces:
    return _Pieces(np.ones(len(rows)), rows, np.zeros_like(rows))


def test_no_stretch_crosses_from_one_series_to_the_next() -> None:
    begins = np.isin(np.arange(12), [0, 5, 6])
    of_row, pieces = _cut(single(np.zeros((12, 1))), begins, _of_levels, 1.0)
    np.testing.assert_array_equal(of_row, begins.cumsum() - 1)
    np.testing.assert_array_equal(pieces.size, [5, 1, 6])


@pytest.mark.parametrize("cost", [_of_levels, _of_laws])
def test_the_two_pieces_most_alike_are_merged_first(cost: Callable[[_Pieces, _Pieces], np.ndarray]) -> None:
    rows = np.random.default_rng(6).standard_t(2, size=(60, 2))
    groups = [([i], single(rows[[i]])) for i in range(len(rows))]
    while len(groups) > 5:
        first, second = min(combinations(range(len(groups)), 2), key=lambda at: cost(*(groups[i][1] for i in at)))
        members, pieces = groups.pop(second)
        groups[first] = (groups[first][0] + members, groups[first][1].joined(pieces))
    labels = _dendrogram(single(rows), 5, cost)
    found = {frozenset(np.flatnonzero(labels == state).tolist()) for state in range(5)}
    assert found == {frozenset(members) for members, _ in groups}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("X", [np.zeros(30), np.arange(3.0), np.tile([0.0, 1.0], 15)], ids=["constant", "few", "two"])
def test_rows_of_few_values_and_few_rows_have_rough_states_too(X: np.ndarray, way: int) -> None:
    labels = rough(X, 5, way)
    assert labels.shape == X.shape
    assert set(labels) <= set(range(5))


def test_starts_of_fewer_restarts_are_the_first_of_those_of_more() -> None:
    sequences = Sequences.from_arrays(np.random.default_rng(5).normal(size=(60, 2)))
    for n_states in (3, 9):
        few, many = (draw_starts(sequences, n_states, n, 10, seed=0) for n in (7, 15))
        torch.testing.assert_close(few.labels, many.labels[:7])
        assert few.kinds == many.kinds[:7]
        assert many.kinds.count("stretches") == (5 if n_states == 9 else 0)
