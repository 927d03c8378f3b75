"""States keep their identity from one fit to the next."""

from __future__ import annotations

import functools
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

import hsmm
from hsmm.identity import overlap

LEVELS = (0.0, 4.0, 8.0, 12.0)
LENGTHS = [150, 100]


def rows(levels: tuple[float, ...] = LEVELS[:3], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    levels_in_turn = np.repeat(rng.permutation(np.arange(250) % len(levels)), rng.poisson(6, 250))[:250]
    return np.array(levels)[levels_in_turn] + rng.normal(size=250)


def made(means: tuple[float, ...], stay: float = 0.8) -> hsmm.HMM:
    n = len(means)
    moves = np.full((n, n), (1.0 - stay) / (n - 1)) if n > 1 else np.ones((1, 1))
    np.fill_diagonal(moves, stay if n > 1 else 1.0)
    emission = hsmm.emissions.Gaussian.from_parameters(mean=np.array(means)[:, None], covariance=np.ones((n, 1)))
    return hsmm.HMM.from_parameters(initial_prob=np.full(n, 1 / n), transition_prob=moves, emission=emission)


@functools.cache
def fitted(kind: str = "hsmm") -> hsmm.HMM | hsmm.HSMM:
    how = {"n_init": 5, "max_iter": 100}
    model = hsmm.HMM(3, emission="student_t", **how) if kind == "hmm" else hsmm.HSMM(3, max_duration=20, **how)
    return model.fit(rows(), LENGTHS)


@pytest.mark.parametrize("kind", ["hsmm", "hmm"])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_renumbered_states_are_found_again(kind: str, order: tuple[int, ...]) -> None:
    reference = fitted(kind)
    found = hsmm.match_states(reference, reference.permuted(order), rows(), LENGTHS)
    assert found.permutation.tolist() == np.argsort(order).tolist()
    assert found.margin > 0.9
    assert (found.births, found.deaths) == ((), ())


def test_apply_reaches_every_table_and_answer() -> None:
    reference = fitted()
    model = reference.permuted([2, 0, 1])
    assert not np.allclose(model.predict_proba(rows(), LENGTHS), reference.predict_proba(rows(), LENGTHS), atol=0.1)
    found = hsmm.match_states(reference, model, rows(), LENGTHS)
    same = found.apply(model)
    for name in ("initial_prob_", "transition_prob_", "duration_prob_", "mean_duration_"):
        np.testing.assert_array_equal(getattr(same, name), getattr(reference, name))
    np.testing.assert_array_equal(same.emission_.mean_, reference.emission_.mean_)
    np.testing.assert_allclose(same.predict_proba(rows(), LENGTHS), reference.predict_proba(rows(), LENGTHS), atol=1e-9)
    decoded = found.rename(model.predict(rows(), LENGTHS))
    np.testing.assert_array_equal(decoded, reference.predict(rows(), LENGTHS))
    assert model.score(rows(), LENGTHS) == pytest.approx(reference.score(rows(), LENGTHS), rel=1e-12)


def test_a_renumbered_model_is_saved_as_it_is(tmp_path: Path) -> None:
    fixed = hsmm.HMM(2, initial=hsmm.initials.FixedInitial(probability=[0.8, 0.2]), n_init=2, max_iter=50, tol=1e-5)
    moved = fixed.fit(rows()).permuted([1, 0])
    again = hsmm.load(moved.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(rows()), moved.predict_proba(rows()))
    assert again.initial_prob_.tolist() == [0.2, 0.8]
    assert again.initial.probability == moved._fitted_model().initial.probability == (0.2, 0.8)


def test_the_model_itself_stays_as_it_was() -> None:
    before = fitted().transition_prob_.copy()
    fitted().permuted([1, 2, 0])
    np.testing.assert_array_equal(fitted().transition_prob_, before)


@pytest.mark.parametrize("means", [(0.0, 4.0, 8.0), (0.3, 3.5, 8.2), (8.0, 4.5, 0.0, 12.0), (3.8, 0.1)])
def test_reference_and_model_may_change_places(means: tuple[float, ...]) -> None:
    reference, model = made(LEVELS[:3]), made(means)
    there, back = (hsmm.match_states(*pair, rows()) for pair in ((reference, model), (model, reference)))
    np.testing.assert_allclose(there.similarity, back.similarity.T, atol=1e-12)
    assert there.margin == pytest.approx(back.margin, abs=1e-12)
    assert (there.births, there.deaths) == (back.deaths, back.births)
    if len(means) == 3:
        assert back.permutation.tolist() == np.argsort(there.permutation).tolist()


def test_a_state_is_most_like_itself() -> None:
    found = hsmm.match_states(fitted(), fitted(), rows(), LENGTHS)
    np.testing.assert_allclose(found.similarity.diagonal(), 1.0, atol=1e-12)
    assert (found.similarity >= 0).all()
    assert (found.similarity <= 1 + 1e-12).all()


def test_two_states_alike_are_hard_to_tell_apart() -> None:
    X = rows(LEVELS[:2])
    clear, alike = (hsmm.match_states(made(means), made(means), X) for means in ((0.0, 4.0), (0.0, 4.0, 4.05)))
    assert clear.margin > 0.8
    assert alike.margin < 0.1
    assert alike.margins[0] > 0.5  # only the pair that is alike is in doubt


def test_the_margin_grows_with_the_distance_of_states() -> None:
    margins = [
        hsmm.match_states(made((0.0, 4.0, 4.0 + gap)), made((0.0, 4.0, 4.0 + gap)), rows()).margin
        for gap in (0.0, 0.5, 1.0, 2.0, 4.0)
    ]
    assert margins == sorted(margins)
    assert margins[0] == pytest.approx(0.0, abs=1e-9)


def test_births_and_deaths() -> None:
    X = rows(LEVELS)
    born = hsmm.match_states(made(LEVELS[:3]), made((12.0, 8.0, 0.0, 4.0)), X[X < 10])
    assert (born.births, born.deaths) == ((0,), ())
    assert born.permutation.tolist() == [2, 3, 1, 0]
    assert born.identities.tolist() == [3, 2, 0, 1]
    died = hsmm.match_states(made(LEVELS), made((8.0, 0.0, 12.0)), X)
    assert (died.births, died.deaths) == ((), (1,))
    assert died.partners.tolist() == [1, -1, 0, 2]
    assert died.identities.tolist() == [2, 0, 3]
    assert np.isnan(died.margins[1])


def test_a_state_that_turns_into_another_dies() -> None:
    """As many states as before, but one lies where none was, its rows now another's."""
    X = rows((0.0, 4.0, 4.0, 8.0))
    found = hsmm.match_states(made((0.0, 4.0, 8.0)), made((4.0, 40.0, 0.0)), X)
    assert (found.births, found.deaths) == ((1,), (2,))
    assert found.permutation.tolist() == [2, 0, 1]
    assert found.identities.tolist() == [1, 3, 0]


def test_emission_laws_decide_where_no_row_speaks() -> None:
    """Two states that no row visits have no overlap; the laws of their rows still differ."""
    X = rows((0.0, 4.0))
    reference, model = made((0.0, 4.0, 30.0, 90.0)), made((90.0, 4.0, 30.0, 0.0))
    found = hsmm.match_states(reference, model, X, min_similarity=0.0)
    assert found.permutation.tolist() == [3, 1, 2, 0]


def test_rows_in_other_units() -> None:
    reference = fitted()
    scaled = reference.clone().fit(10.0 * rows() - 3.0, LENGTHS)
    found = hsmm.match_states(reference, scaled, 10.0 * rows() - 3.0, LENGTHS, reference_X=rows())
    assert found.permutation.tolist() == [0, 1, 2]
    assert found.margin > 0.9


def test_refits_on_more_rows_keep_their_states() -> None:
    X = rows()
    agreements = []
    for seed in range(4):
        model = hsmm.HMM(3, n_init=5, max_iter=60, random_state=seed).fit(X[: 130 + 30 * seed])
        model = model.permuted(np.random.default_rng(seed).permutation(3))
        found = hsmm.match_states(fitted("hmm"), model, X, LENGTHS)
        decoded = found.apply(model).predict(X, LENGTHS)
        agreements.append((decoded == fitted("hmm").predict(X, LENGTHS)).mean())
    assert min(agreements) > 0.95


def test_one_state() -> None:
    one = hsmm.match_states(made((4.0,)), made((4.0,)), rows())
    assert one.permutation.tolist() == [0]
    assert one.margin == pytest.approx(1.0)


def test_overlap_is_shared_over_joined_mass() -> None:
    first = torch.tensor([[1.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    second = torch.tensor([[0.5, 0.0], [1.0, 0.0]], dtype=torch.float64)
    np.testing.assert_allclose(overlap(first, second), [[0.5, 0.0], [0.0, 0.0]])


def test_bad_questions_are_refused() -> None:
    with pytest.raises(hsmm.errors.NotFittedError, match="not fitted"):
        hsmm.match_states(fitted(), hsmm.HMM(3), rows())
    with pytest.raises(ValueError, match="X has 2 features"):
        hsmm.match_states(fitted(), fitted(), np.zeros((9, 2)))
    with pytest.raises(ValueError, match="min_similarity is 2"):
        hsmm.match_states(fitted(), fitted(), rows(), min_similarity=2)
    with pytest.raises(ValueError, match="reference_X has 5 rows but X has 250"):
        hsmm.match_states(fitted(), fitted(), rows(), reference_X=rows()[:5])
    with pytest.raises(ValueError, match="expected each state from 0 to 2 once"):
        fitted().permuted([0, 0, 1])
    with pytest.raises(ValueError, match="decode with this model"):
        hsmm.match_states(fitted(), fitted(), rows()).rename([3])
