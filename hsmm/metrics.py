"""How well decoded states agree with known ones, and their segments with known segments.

States are labels (n_samples,), numbers or text; which label stands for which state never matters. Where segments do,
``lengths`` cuts the rows into series, as in ``fit``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

MARGIN = 5


def aligned_accuracy(truth: Any, states: Any) -> float:
    """Share of rows that agree under the best one-to-one naming of states (Hungarian method; Kuhn 1955).

    Where there are more states on one side than on the other, the rows of those left over count as wrong.
    """
    from scipy.optimize import linear_sum_assignment

    table = _contingency(truth, states)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def adjusted_rand(truth: Any, states: Any) -> float:
    """Agreement over pairs of rows, corrected for chance: 1 the same, 0 by chance (Hubert & Arabie 1985)."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(*_pair(truth, states)))


def normalized_mutual_info(truth: Any, states: Any) -> float:
    """Mutual information over the mean of both entropies, 0 to 1; not corrected for chance."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(*_pair(truth, states)))


def adjusted_mutual_info(truth: Any, states: Any) -> float:
    """Mutual information corrected for chance, over the mean of both entropies (Vinh, Epps & Bailey 2010)."""
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(*_pair(truth, states)))


def covering(truth: Any, states: Any, lengths: Sequence[int] | None = None) -> float:
    """Σ over true segments of their share of the rows times their best Jaccard overlap with a found segment, 0 to 1.

    ``truth`` may be (n_annotators, n_samples): the mean over annotators. With several series each segment is compared
    with the segments of its own, and weighs with its rows. Source: van den Burg & Williams (2020), "An evaluation of
    change point detection algorithms", equation 4.
    """
    known, found = _annotated(truth, states)
    starts = _series_starts(lengths, len(found))
    segments = _segments(found, starts)
    return float(np.mean([_covered(_segments(labels, starts), segments) for labels in known]))


def segment_f1(truth: Any, states: Any, lengths: Sequence[int] | None = None, *, margin: int = MARGIN) -> float:
    """F1 of the rows at which segments begin; a found start serves at most one true start, within ``margin`` rows.

    The first row of a series counts as a start on both sides. ``truth`` may be (n_annotators, n_samples): precision is
    then against the starts of all of them together, recall the mean over annotators. The margin of 5 rows and the
    definition are those of van den Burg & Williams (2020), section 3.1.
    """
    if isinstance(margin, bool) or not isinstance(margin, (int, np.integer)) or margin < 0:
        raise ValueError(f"margin is {margin!r}; expected a whole number of rows >= 0.")
    known, found = _annotated(truth, states)
    offsets = _series_starts(lengths, len(found))
    guesses = _starts(found, offsets)
    truths = [_starts(labels, offsets) for labels in known]
    together = np.unique(np.concatenate(truths))
    precision = _matched(together, guesses, offsets, margin) / len(guesses)
    recall = np.mean([_matched(starts, guesses, offsets, margin) / len(starts) for starts in truths])
    return float(2.0 * precision * recall / (precision + recall))


def _contingency(truth: Any, states: Any) -> np.ndarray:
    """Rows that carry each true label (down) and each found one (across)."""
    known, found = _pair(truth, states)
    table = np.zeros((known.max() + 1, found.max() + 1))
    np.add.at(table, (known, found), 1.0)
    return table


def _pair(truth: Any, states: Any) -> tuple[np.ndarray, np.ndarray]:
    known, found = _codes(truth, "truth", 1), _codes(states, "states", 1)
    if len(known) != len(found):
        raise ValueError(f"truth has {len(known)} rows but states {len(found)}; give one label for each row in both.")
    return known, found


def _annotated(truth: Any, states: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels of each annotator (A, N), and the found ones (N,)."""
    known, found = np.atleast_2d(_codes(truth, "truth", 2)), _codes(states, "states", 1)
    if known.shape[1] != len(found):
        raise ValueError(
            f"truth has {known.shape[1]} rows but states {len(found)}; give one label for each row in both."
        )
    return known, found


def _codes(labels: Any, name: str, most_axes: int) -> np.ndarray:
    """Labels as whole numbers from 0."""
    found = np.asarray(labels.to_numpy() if hasattr(labels, "to_numpy") else labels)
    if not 1 <= found.ndim <= most_axes or found.size == 0:
        wanted = "(n_samples,)" if most_axes == 1 else "(n_samples,) or (n_annotators, n_samples)"
        raise ValueError(f"{name} has shape {found.shape}; expected {wanted} with at least one row.")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"{name} holds NaN or infinite labels; leave those rows out of both.")
    try:
        _, codes = np.unique(found, return_inverse=True)
    except TypeError:
        raise ValueError(f"{name} holds labels of different kinds; give all numbers or all text.") from None
    return codes.reshape(found.shape)


def _series_starts(lengths: Sequence[int] | None, n_rows: int) -> np.ndarray:
    """(S + 1,) first row of each series, and the number of rows."""
    if lengths is None:
        return np.array([0, n_rows])
    found = np.asarray(lengths)
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iu" or (found < 1).any():
        raise ValueError(f"lengths are {lengths!r}; expected whole numbers >= 1, one for each series.")
    if found.sum() != n_rows:
        raise ValueError(f"lengths sum to {found.sum()}, but there are {n_rows} rows; they must agree.")
    return np.concatenate([[0], found.cumsum()])


def _starts(labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rows at which segments begin."""
    changes = np.flatnonzero(np.diff(labels)) + 1
    return np.union1d(changes, offsets[:-1])


def _segments(labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(G, 2) first row of each segment and the row after its last."""
    starts = _starts(labels, offsets)
    return np.column_stack([starts, np.append(starts[1:], len(labels))])


def _covered(known: np.ndarray, found: np.ndarray) -> float:
    """Mean over rows of the best overlap of the row's segment with a found one."""
    first = np.searchsorted(found[:, 1], known[:, 0], side="right")
    last = np.searchsorted(found[:, 0], known[:, 1], side="left")
    best = [_best_overlap(segment, found[i:j]) for segment, i, j in zip(known, first, last, strict=True)]
    return float(np.average(best, weights=known[:, 1] - known[:, 0]))


def _best_overlap(segment: np.ndarray, others: np.ndarray) -> float:
    """Largest Jaccard index with one of these segments, all of which meet it."""
    shared = np.minimum(segment[1], others[:, 1]) - np.maximum(segment[0], others[:, 0])
    joined = np.maximum(segment[1], others[:, 1]) - np.minimum(segment[0], others[:, 0])
    return float((shared / joined).max())


def _matched(truths: np.ndarray, guesses: np.ndarray, offsets: np.ndarray, margin: int) -> int:
    """How many true starts, in order, find a start of their own within the margin: the nearest, of two the earlier."""
    return sum(
        _matched_within(truths[i:j], guesses[k:m].tolist(), margin)
        for i, j, k, m in zip(*_bounds(truths, offsets), *_bounds(guesses, offsets), strict=True)
    )


def _bounds(starts: np.ndarray, offsets: np.ndarray) -> Iterator[np.ndarray]:
    """Where the starts of each series begin and end among all."""
    edges = np.searchsorted(starts, offsets)
    yield edges[:-1]
    yield edges[1:]


def _matched_within(truths: np.ndarray, free: list[int], margin: int) -> int:
    matched = 0
    for start in truths.tolist():
        nearest = min(free, key=lambda guess: (abs(guess - start), guess), default=None)
        if nearest is not None and abs(nearest - start) <= margin:
            free.remove(nearest)
            matched += 1
    return matched


def energy_assigned(truth: Any, estimate: Any) -> float:
    """Share of the total that is assigned to the right part, 1 - Σ|estimate - truth| / (2 Σ truth), at most 1.

    ``truth`` and ``estimate`` (n_samples, n_parts) >= 0 are what each part takes at each row; rows with NaN on either
    side are left out. Source: Kolter & Johnson (2011), *REDD: a public data set for energy disaggregation research*.
    """
    known, found = _parts(truth, estimate)
    total = known.sum()
    if not total > 0:
        raise ValueError(f"truth sums to {total:g}; expected parts that take something.")
    return float(1.0 - np.abs(found - known).sum() / (2.0 * total))


def energy_error(truth: Any, estimate: Any) -> np.ndarray:
    """(n_parts,) |Σ estimate - Σ truth| / Σ truth of each part, over all rows; NaN for a part that takes nothing."""
    known, found = _parts(truth, estimate)
    total = known.sum(0)
    return np.abs(found.sum(0) - total) / np.where(total > 0, total, np.nan)


def on_off_f1(truth: Any, estimate: Any, threshold: float) -> np.ndarray:
    """(n_parts,) F1 of the rows in which each part takes more than ``threshold``; NaN where neither ever does."""
    known, found = (part > threshold for part in _parts(truth, estimate))
    both, either = (known & found).sum(0), known.sum(0) + found.sum(0)
    return np.where(either > 0, 2.0 * both, np.nan) / np.maximum(either, 1)


def _parts(truth: Any, estimate: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as (rows that are known on both sides, n_parts)."""
    known, found = (np.asarray(side, dtype=np.float64) for side in (truth, estimate))
    if known.ndim != 2 or known.shape != found.shape:
        raise ValueError(
            f"truth has shape {known.shape} and estimate {found.shape}; expected both (n_samples, n_parts)."
        )
    seen = np.isfinite(known).all(1) & np.isfinite(found).all(1)
    if not seen.any():
        raise ValueError("no row is known in truth and estimate; expected some without NaN.")
    return known[seen], found[seen]
