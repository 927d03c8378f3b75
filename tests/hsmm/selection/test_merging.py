"""How many states there are, asked by merging them."""

from __future__ import annotations

import numpy as np
import pytest

import hsmm
from hsmm.selection import merge_states, merge_test
from tests.costly import costly_beyond
from tests.hsmm.selection.planted import QUICK, fitted, levels, made


@pytest.mark.parametrize("n_true", costly_beyond(1, [3, 1, 2, 4]))
def test_both_ways_find_the_number_of_states(n_true: int) -> None:
    X = levels(n_true)
    by_bic = hsmm.select_model(X, [hsmm.HMM(k, **QUICK) for k in range(1, n_true + 3)]).best
    by_merging = merge_states(fitted(n_true + 2, n_true), X)
    assert by_bic.n_states == by_merging.n_states == n_true
    assert by_merging.log_likelihood_ == pytest.approx(by_bic.log_likelihood_, abs=0.01)


def test_a_semi_markov_model_too() -> None:
    X = levels(2)
    model = hsmm.HSMM(4, max_duration=60, **QUICK).fit(X)
    assert merge_states(model, X).n_states == 2


def test_the_split_pair_is_found() -> None:
    """A third state of which EM has made the second half of the middle one."""
    X = levels(3)
    model = made([0.0, 5.0, 5.3, 10.0])
    test = merge_test(model, X)
    assert test.pair == (1, 2)
    assert test.prefers_merge
    assert test.merged.n_states == 3
    np.testing.assert_allclose(test.merged.emission_.mean_[:, 0], [0.0, 5.0, 10.0], atol=0.3)


def test_clear_states_are_worth_keeping() -> None:
    test = merge_test(fitted(3, 3), levels(3))
    assert not test.prefers_merge
    assert test.bic_change > 100
    assert merge_states(fitted(3, 3), levels(3)) is fitted(3, 3)


def test_the_merged_model_is_what_it_says() -> None:
    X = levels(3)
    test = merge_test(fitted(4, 3), X)
    assert test.merged.score(X) == pytest.approx(test.merged.log_likelihood_)
    assert test.loss == pytest.approx(fitted(4, 3).score(X) - test.merged.log_likelihood_)
    saved = (fitted(4, 3).n_parameters_ - test.merged.n_parameters_) * np.log(len(X))
    assert test.bic_change == pytest.approx(2 * test.loss - saved)
    assert test.loss <= test.table["loss"][0] + 1e-9
    assert test.table["loss"].is_sorted()
    assert len(test.table) == 6


def test_a_merge_does_not_depend_on_the_numbers_of_states() -> None:
    X, order = levels(3), [2, 0, 3, 1]
    plain, moved = merge_test(fitted(4, 3), X), merge_test(fitted(4, 3).permuted(order), X)
    assert {order[k] for k in moved.pair} == set(plain.pair)
    assert moved.loss == pytest.approx(plain.loss, abs=1e-3)


def test_pairs_may_be_chosen() -> None:
    test = merge_test(fitted(3, 3), levels(3), pairs=[(2, 0)])
    assert test.table.select("first", "second").rows() == [(0, 2)]


def test_two_states_become_one() -> None:
    test = merge_test(fitted(2, 1), levels(1))
    assert test.prefers_merge
    assert test.merged.n_states == 1
    assert test.merged.emission_.mean_[0, 0] == pytest.approx(levels(1).mean(), abs=1e-6)


def test_what_cannot_be_merged_is_refused() -> None:
    with pytest.raises(ValueError, match="a single state"):
        merge_test(fitted(1, 1), levels(1))
    with pytest.raises(ValueError, match="two different states from 0 to 2"):
        merge_test(fitted(3, 3), levels(3), pairs=[(1, 1)])
    with pytest.raises(ValueError, match="pairs are empty"):
        merge_test(fitted(3, 3), levels(3), pairs=[])
    fixed = hsmm.HMM(2, initial=hsmm.initials.FixedInitial(probability=[0.9, 0.1]), **QUICK).fit(levels(2))
    with pytest.raises(ValueError, match="fixed places"):
        merge_test(fixed, levels(2))
    frozen = fitted(2, 2).clone().set_params(frozen=("transition",)).fit(levels(2), start=fitted(2, 2))
    with pytest.raises(ValueError, match="transition of this model are frozen"):
        merge_test(frozen, levels(2))
