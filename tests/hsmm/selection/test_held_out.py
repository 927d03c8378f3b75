"""Held-out rows are never fitted, the future never seen, and errors are what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import hsmm
from hsmm.selection import Fold, ForwardChaining, HeldOut, KFold, LastShare, Splitter
from hsmm.selection.held_out import held_out_scores
from hsmm.selection.ranking import RULES
from hsmm.training.together import alone
from tests.costly import costly_beyond
from tests.hsmm.selection.planted import QUICK, levels

LENGTHS = [60, 41, 80, 30, 25]
SPLITTERS: dict[str, Splitter] = {
    "last share": LastShare(0.3),
    "k-fold": KFold(3, random_state=4),
    "forward": ForwardChaining(3, initial=0.4),
}


def packed(X: np.ndarray | None = None) -> hsmm.Sequences:
    values = levels(2, sum(LENGTHS)) if X is None else X
    return hsmm.Sequences.from_arrays(values, LENGTHS)


def row_numbers() -> hsmm.Sequences:
    """Rows that hold their own number, so that folds show which they took."""
    return packed(np.arange(sum(LENGTHS), dtype=float))


def scored_rows(fold: Fold) -> list[float]:
    return fold.scored.values[fold.counts, 0].tolist()


@pytest.mark.parametrize("splits", SPLITTERS.values(), ids=SPLITTERS)
def test_no_row_is_both_fitted_and_scored(splits: Splitter) -> None:
    for fold in splits.split(row_numbers()):
        assert not set(fold.train.values[:, 0].tolist()) & set(scored_rows(fold))
        assert scored_rows(fold)


@pytest.mark.parametrize("splits", SPLITTERS.values(), ids=SPLITTERS)
def test_no_row_is_scored_twice(splits: Splitter) -> None:
    scored = [row for fold in splits.split(row_numbers()) for row in scored_rows(fold)]
    assert len(scored) == len(set(scored))


def test_k_fold_scores_every_series_once_and_whole() -> None:
    scored = [row for fold in KFold(5).split(row_numbers()) for row in scored_rows(fold)]
    assert sorted(scored) == list(range(sum(LENGTHS)))


def test_k_fold_follows_its_seed() -> None:
    def first(seed: int) -> list[float]:
        return scored_rows(next(iter(KFold(3, random_state=seed).split(row_numbers()))))

    assert first(0) == first(0)
    assert len({tuple(first(seed)) for seed in range(6)}) > 1


def test_forward_chaining_scores_all_after_the_first_part() -> None:
    folds = list(ForwardChaining(4, initial=0.5).split(row_numbers()))
    scored = sorted(row for fold in folds for row in scored_rows(fold))
    starts = np.cumsum([0, *LENGTHS[:-1]])
    expected = [s + i for s, n in zip(starts, LENGTHS, strict=True) for i in range(math.ceil(n / 2), n)]
    assert scored == expected
    sizes = [fold.train.n_rows for fold in folds]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("changed", [1, 2, 3])
def test_forward_chaining_never_sees_the_future(changed: int) -> None:
    """Other rows from fold ``changed`` on leave the scores of earlier folds as they were, to the bit."""
    splits, candidate = (
        ForwardChaining(4),
        hsmm.HSMM(2, duration="geometric", max_duration=8, n_init=2, max_iter=6, tol=0.0),
    )
    before = packed()
    rows = np.cumsum([0, *LENGTHS[:-1]])
    future = before.values.clone()
    for start, length, n_known in zip(rows, LENGTHS, list(splits.split(before))[changed].given.tolist(), strict=True):
        future[start + n_known : start + length] = torch.randn(length - n_known, 1, dtype=torch.float64) * 9 + 20
    one = alone(held_out_scores(candidate, splits.split(before)))
    two = alone(held_out_scores(candidate, splits.split(packed(future.numpy()))))
    earlier = one.fold < changed
    np.testing.assert_array_equal(one.log_density[earlier], two.log_density[earlier])
    assert (one.log_density[~earlier] != two.log_density[~earlier]).all()


def test_held_out_is_what_the_fitted_fold_says() -> None:
    X, candidate = levels(2, sum(LENGTHS)), hsmm.HMM(2, **QUICK)
    bounds = np.cumsum([0, *LENGTHS])
    total = 0.0
    for fold in KFold(3, random_state=4).split(row_numbers()):
        train, scored = fold.train.values[:, 0].long().numpy(), fold.scored.values[:, 0].long().numpy()
        model = candidate.clone().fit(X[train], fold.train.lengths.numpy())
        total += model.score(X[scored], fold.scored.lengths.numpy())
    found = hsmm.select_model(X, [candidate], LENGTHS, criterion="held_out", splits=KFold(3, random_state=4))
    assert found.table["held_out"][0] == pytest.approx(total / bounds[-1])
    assert found.held_out[0] is not None
    assert found.held_out[0].by_fold.shape == (3,)
    assert len(found.held_out[0].n_rows) == len(LENGTHS)


def test_missing_rows_count_nowhere() -> None:
    X = levels(2, sum(LENGTHS))
    X[::7] = np.nan
    found = hsmm.select_model(X, [hsmm.HMM(2, **QUICK)], LENGTHS, criterion="held_out", splits=KFold(3))
    assert found.held_out[0] is not None
    assert found.held_out[0].n_rows.sum() == np.isfinite(X).sum()


def scores(sums: list[float], n_rows: list[float] | None = None) -> HeldOut:
    rows = np.ones(len(sums)) if n_rows is None else np.array(n_rows)
    return HeldOut(np.array(sums), rows, np.arange(len(sums)))


def test_the_standard_error_of_equal_pieces_is_the_textbooks() -> None:
    values = [1.0, 4.0, 2.0, 7.0]
    assert scores(values).standard_error == pytest.approx(np.std(values, ddof=1) / 2)
    doubled = scores([2 * v for v in values], [2.0] * 4)
    assert doubled.standard_error == pytest.approx(scores(values).standard_error)
    assert math.isnan(scores([1.0]).standard_error)


def test_the_error_of_a_difference_forgets_what_both_find_hard() -> None:
    hard = np.array([-9.0, -1.0, -4.0])
    one, other = scores(list(hard)), scores((hard + np.array([0.1, 0.2, 0.15])).tolist())
    assert one.standard_error_beside(other) < 0.1 < one.standard_error
    assert one.standard_error_beside(one) == 0.0


@pytest.mark.parametrize("rule", costly_beyond(1, RULES[1:]))
def test_on_flat_data_the_simplest_is_taken(rule: str) -> None:
    X = np.random.default_rng(0).normal(size=400)
    candidates = [hsmm.HMM(k, **(QUICK | {"max_iter": 60})) for k in (3, 2, 1)]
    found = hsmm.select_model(X, candidates, [50] * 8, criterion="held_out", splits=KFold(3), rule=rule)
    assert found.best.n_states == 1
    assert found.table["candidate"].sort().to_list() == [0, 1, 2]


@pytest.mark.parametrize("rule", RULES)
def test_clear_states_survive_the_rule(rule: str) -> None:
    X = levels(2, 400)
    candidates = [hsmm.HMM(k, **QUICK) for k in (1, 2)]
    found = hsmm.select_model(X, candidates, criterion="held_out", splits=ForwardChaining(4), rule=rule)
    assert found.best.n_states == 2


@pytest.mark.costly
def test_the_choice_is_the_simplest_within_one_error_of_the_best() -> None:
    X = levels(2, 500, seed=3, gap=1.6)
    candidates = [hsmm.HMM(k, **QUICK) for k in (1, 2, 3)]
    arguments = {"criterion": "held_out", "splits": ForwardChaining(5)}
    best = hsmm.select_model(X, candidates, **arguments).table.row(0, named=True)
    table = hsmm.select_model(X, candidates, rule="one_standard_error", **arguments).table
    near = table.filter(table["held_out"] >= best["held_out"] - best["held_out_se"])
    assert best["held_out_se"] > 0
    assert table["n_parameters"][0] == near["n_parameters"].min()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "one_standard_error"}, "use criterion='held_out', not 'bic'"),
        ({"splits": KFold(2)}, "splits needs scores on held-out rows"),
        ({"rule": "simplest", "criterion": "held_out"}, "rule is 'simplest'; expected one of best"),
        ({"rule": "one_standard_error", "criterion": "held_out", "lengths": None}, "two held-out pieces"),
        ({"criterion": "held_out", "splits": KFold(9)}, "5 series for 9 folds"),
        ({"criterion": "held_out", "splits": ForwardChaining(200), "lengths": None}, "200 blocks"),
        ({"criterion": "held_out", "lengths": [236], "splits": KFold(2)}, "1 series for 2 folds"),
    ],
)
def test_bad_questions_are_refused(arguments: dict, message: str) -> None:
    asked = {"lengths": LENGTHS} | arguments
    with pytest.raises(ValueError, match=message):
        hsmm.select_model(levels(2, sum(LENGTHS)), [hsmm.HMM(1, **QUICK)], **asked)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KFold(1), "n_splits is 1"),
        (lambda: KFold(2, random_state=-1), "random_state is -1"),
        (lambda: ForwardChaining(0), "n_splits is 0"),
        (lambda: ForwardChaining(2, initial=1.0), "initial is 1.0"),
        (lambda: LastShare(0.0), "share is 0.0"),
    ],
)
def test_bad_splits_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
