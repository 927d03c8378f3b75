"""Agreement of states and of segments: known values, and laws."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hsmm import metrics

REFERENCE = os.environ.get("HSMM_REFERENCE_DATA") or None
OVER_ROWS = (
    metrics.aligned_accuracy,
    metrics.adjusted_rand,
    metrics.normalized_mutual_info,
    metrics.adjusted_mutual_info,
)
OVER_SEGMENTS = (metrics.covering, metrics.segment_f1)


def labels(change_points: list[int], n_samples: int) -> np.ndarray:
    """Segment numbers of rows, from the rows at which segments begin."""
    return np.isin(np.arange(n_samples), change_points).cumsum()


def states(seed: int, n_states: int = 3, n_samples: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(0, n_states, n_samples), rng.poisson(6, n_samples))[:n_samples]


def test_accuracy_renames_states() -> None:
    assert metrics.aligned_accuracy([0, 0, 1, 1, 2, 2], [2, 2, 0, 0, 1, 0]) == pytest.approx(5 / 6)


def test_accuracy_leaves_states_without_a_partner_wrong() -> None:
    assert metrics.aligned_accuracy([0, 0, 0, 0], [0, 0, 0, 1]) == 0.75
    assert metrics.aligned_accuracy([0, 0, 0, 1], [7, 7, 7, 7]) == 0.75


def test_rand_index_of_hubert_and_arabie() -> None:
    """Pairs together in both 2, in one 6 and 4, of 28: (2 - 24/28) / (5 - 24/28)."""
    assert metrics.adjusted_rand([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3]) == pytest.approx(
        (4 - 12 * 4 / 28) / (8 - 12 * 4 / 28)
    )


def test_information_of_a_split_state() -> None:
    """A half, split in two: the information is log 2, the entropies log 2 and 1.5 log 2."""
    assert metrics.normalized_mutual_info([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx(1.0 / 1.25)
    assert 0.0 < metrics.adjusted_mutual_info([0, 0, 1, 1], [0, 0, 1, 2]) < 0.8


@pytest.mark.parametrize("metric", OVER_ROWS)
def test_only_the_partition_matters(metric: Callable[..., float]) -> None:
    truth, found = states(0), states(1)
    renamed = np.array(["calm", "crisis", "none"])[found]
    assert metric(truth, renamed) == pytest.approx(metric(truth, found), abs=1e-12)
    assert metric(truth, 10.0 - truth) == pytest.approx(1.0)
    assert metric(found, truth) == pytest.approx(metric(truth, found), abs=1e-12)


@pytest.mark.parametrize("metric", [metrics.adjusted_rand, metrics.adjusted_mutual_info])
def test_chance_is_nothing(metric: Callable[..., float]) -> None:
    rng = np.random.default_rng(0)
    assert abs(metric(rng.integers(0, 4, 5000), rng.integers(0, 3, 5000))) < 0.01


def test_covering_by_hand() -> None:
    """Segments of 10, 10 and 25 rows; found ones of 10 and 35: (10 + 10 · 10/35 + 25 · 25/35) / 45."""
    expected = (10 + 10 * 10 / 35 + 25 * 25 / 35) / 45
    assert metrics.covering(labels([10, 20], 45), labels([10], 45)) == pytest.approx(expected)


def test_covering_is_the_mean_over_annotators() -> None:
    known, found = np.stack([labels([10, 20], 45), labels([10], 45), labels([5], 45)]), labels([10, 20], 45)
    assert metrics.covering(known, found) == pytest.approx(np.mean([metrics.covering(one, found) for one in known]))
    assert metrics.covering(known, found) == pytest.approx(0.7962962962962963)  # published with the definition


def test_f1_by_hand() -> None:
    """One of two found starts is near a true one; with the first row: precision 2/3, recall 2/2."""
    assert metrics.segment_f1(labels([30], 90), labels([34, 70], 90)) == pytest.approx(0.8)
    assert metrics.segment_f1(labels([30], 90), labels([34, 70], 90), margin=3) == pytest.approx(0.4)


def test_a_found_start_serves_one_true_start() -> None:
    assert metrics.segment_f1(labels([30, 33], 90), labels([31], 90)) == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))


def test_f1_with_annotators_that_disagree() -> None:
    """The published examples of the definition."""
    known = np.stack([labels([], 60), labels([10], 60), labels([50], 60)])
    assert metrics.segment_f1(known, labels([10], 60)) == pytest.approx(0.9090909090909091)
    assert metrics.segment_f1(known, labels([], 60)) == pytest.approx(0.8)


@pytest.mark.parametrize("metric", OVER_SEGMENTS)
def test_segments_that_are_the_same_score_one(metric: Callable[..., float]) -> None:
    assert metric(states(3), 5 - states(3), [120, 80]) == 1.0


@pytest.mark.parametrize("metric", OVER_SEGMENTS)
def test_series_never_meet(metric: Callable[..., float]) -> None:
    """A boundary between series is none of the states' doing, and starts match within their series only."""
    truth, found = np.repeat([0, 1], [50, 50]), np.repeat([0, 1], [47, 53])
    assert metric(truth, found, [50, 50]) < 1.0
    assert metric(np.zeros(100), np.repeat([0, 1], 50), [50, 50]) == 1.0
    assert metric(np.zeros(100), np.repeat([0, 1], 50)) < 1.0


def test_covering_of_series_weighs_rows() -> None:
    truth, found, lengths = states(5), states(6), [50, 150]
    parts = [metrics.covering(truth[:50], found[:50]), metrics.covering(truth[50:], found[50:])]
    assert metrics.covering(truth, found, lengths) == pytest.approx(np.average(parts, weights=lengths))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.aligned_accuracy([0, 1], [0]), "truth has 2 rows but states 1"),
        (lambda: metrics.covering([[0, 1]], [0]), "truth has 2 rows but states 1"),
        (lambda: metrics.adjusted_rand([[0], [1]], [0, 1]), r"truth has shape \(2, 1\)"),
        (lambda: metrics.adjusted_rand([], []), r"truth has shape \(0,\)"),
        (lambda: metrics.adjusted_rand([0, 1], [0.0, np.nan]), "states holds NaN"),
        (lambda: metrics.covering([0, 1], [0, 1], [3]), "lengths sum to 3, but there are 2 rows"),
        (lambda: metrics.covering([0, 1], [0, 1], [2.0]), "whole numbers"),
        (lambda: metrics.segment_f1([0, 1], [0, 1], margin=-1), "margin is -1"),
        (lambda: metrics.adjusted_rand(np.array([0, "a"], dtype=object), [0, 1]), "labels of different kinds"),
    ],
)
def test_bad_labels_are_refused(call: Callable[[], float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.skipif(REFERENCE is None, reason="HSMM_REFERENCE_DATA names no folder")
def test_published_scores_of_no_change_at_all() -> None:
    folder = Path(REFERENCE or "")
    annotations = pl.read_csv(folder / "seg_tcpd_annotations.csv")
    published = pl.read_csv(folder / "published_tcpd_default_selected.csv")
    rows = annotations.join(published, on="series").rows(named=True)
    assert len(rows) >= 8
    for row in rows:
        marked = json.loads(row["annotations_json"]).values()
        known = np.stack([labels(points, row["n_obs"]) for points in marked])
        nothing = np.zeros(row["n_obs"])
        assert metrics.covering(known, nothing) == pytest.approx(row["zero_cover"], abs=6e-4), row["series"]
        assert metrics.segment_f1(known, nothing) == pytest.approx(row["zero_f1"], abs=6e-4), row["series"]
