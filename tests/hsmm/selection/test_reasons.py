"""What is doubtful about a candidate is said in codes, and only then."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from torch.linalg import LinAlgError

import hsmm
from hsmm.selection import DEAD_SHARE, stability
from hsmm.selection.reasons import Reason, seeking_reasons
from hsmm.training.together import alone
from tests.hsmm.selection.planted import QUICK, fitted, levels, made


def doubts(model: hsmm.HMM | hsmm.HSMM, X: np.ndarray) -> dict[str, Reason]:
    return {reason.code: reason for reason in alone(seeking_reasons(model, hsmm.Sequences.from_arrays(X)))}


def selected(candidate: hsmm.HMM | hsmm.HSMM, X: np.ndarray) -> tuple[list[str], str]:
    found = hsmm.select_model(X, [candidate])
    codes = found.table["reasons"][0].split()
    assert codes == list(dict.fromkeys(reason.code for reason in found.reasons[0]))
    return codes, found.table["warnings"][0]


def test_a_sound_fit_is_not_doubted() -> None:
    assert selected(hsmm.HMM(3, **QUICK), levels(3)) == ([], "")


def test_a_dead_state_is_named() -> None:
    found = doubts(made([0.0, 400.0, 5.0]), levels(2))
    assert found["dead_state"].states == (1,)
    assert found["dead_state"].detail == "state 1 holds 0.00% of the rows"


@pytest.mark.parametrize(("n_rare", "dead"), [(0, True), (60, False)])
def test_a_rare_state_is_not_dead(n_rare: int, dead: bool) -> None:
    X = levels(2)
    X[100 : 100 + n_rare] = 100.0 + np.random.default_rng(0).normal(size=n_rare)
    assert n_rare / len(X) > DEAD_SHARE or dead
    assert ("dead_state" in doubts(made([0.0, 5.0, 100.0]), X)) is dead


def test_two_states_alike_are_named() -> None:
    assert doubts(made([0.0, 5.0, 5.2]), levels(2))["two_states_alike"].states == (1, 2)
    assert "two_states_alike" not in doubts(made([0.0, 5.0]), levels(2))
    codes, words = selected(hsmm.HMM(3, **QUICK), levels(1))
    assert "two_states_alike" in codes
    assert "improve bic by" in words


def test_states_alike_are_found_among_many() -> None:
    """Beyond the number of states up to which every pair is tried."""
    means = [5.0 * k for k in range(6)]
    assert doubts(made([*means, 10.2]), levels(6, 900))["two_states_alike"].states == (2, 6)
    assert "two_states_alike" not in doubts(made(means), levels(6, 900))


def test_a_fit_cut_short_is_said_once() -> None:
    codes, words = selected(hsmm.HMM(2, n_init=1, max_iter=1), levels(2))
    assert "not_converged" in codes
    assert words.count("without converging") == 1
    assert "stopped after" not in words


def test_a_duration_wall_is_said() -> None:
    X = np.repeat([0.0, 6.0] * 12, 25) + np.random.default_rng(1).normal(size=600)
    codes, _ = selected(hsmm.HSMM(2, duration="categorical", max_duration=25, **QUICK), X)
    assert "duration_wall" in codes


def test_odd_data_is_said() -> None:
    X = np.stack([levels(2), np.ones(600)], 1)
    assert "odd_data" in selected(hsmm.HMM(2, **QUICK), X)[0]


def test_parameters_at_their_bounds_are_named() -> None:
    normal = hsmm.HMM(2, emission="student_t", n_init=2, max_iter=300).fit(levels(2))
    edge = normal.emission_.with_parameters(dof=normal.emission_.parameters["dof"].clone().fill_(1000.0))
    at_edge = hsmm.HMM.from_parameters(
        initial_prob=normal.initial_prob_, transition_prob=normal.transition_prob_, emission=edge
    )
    assert doubts(at_edge, levels(2))["boundary"].states == (0, 1)
    tied = np.where(levels(2) > 2.5, 5.0, levels(2))
    collapsed = hsmm.HMM(2, **QUICK)
    with pytest.warns(hsmm.errors.ConvergenceWarning, match="floored variance"):
        collapsed.fit(tied)
    assert "boundary" in doubts(collapsed, tied)


def test_stability_is_the_share_of_restarts_that_came_near() -> None:
    table = hsmm.select_model(levels(3), [hsmm.HMM(3, **QUICK), hsmm.HMM(1, **QUICK)]).table
    assert dict(zip(table["n_states"], table["stability"], strict=True))[1] == 1.0
    objective = fitted(3, 3).restarts_["objective"]
    near = (objective >= objective.max() - 1e-3 * 600).mean()
    assert dict(zip(table["n_states"], table["stability"], strict=True))[3] == near


def test_other_starts_lead_to_clear_states() -> None:
    found = stability(fitted(2, 2), levels(2), n_restarts=5)
    assert found.reached == pytest.approx(1.0)
    assert found.agreement == pytest.approx(1.0)
    noise = stability(fitted(3, 1), levels(1), n_restarts=5)
    assert noise.agreement < 0.8
    assert len(noise.table) == 5


def test_stability_keeps_what_the_fit_was_given() -> None:
    """Frozen tables stay at their values and given ones begin there: as in the fit, no start leads elsewhere."""
    law = hsmm.emissions.Gaussian.from_parameters([[0.0], [1.0]], [[[9.0]], [[9.0]]])
    held = hsmm.HMM(2, emission=law, frozen=["emission"], **QUICK).fit(levels(2))
    found = stability(held, levels(2), n_restarts=3)
    np.testing.assert_allclose(found.table["objective"], held.log_likelihood_, atol=0.01)


@pytest.mark.filterwarnings("ignore::hsmm.errors.ConvergenceWarning")
def test_starts_beside_a_fit_are_those_that_a_fit_of_the_next_seed_draws() -> None:
    beside = stability(hsmm.HMM(2, n_init=1, random_state=4).fit(levels(2)), levels(2), n_restarts=5, max_iter=1).table
    fit = hsmm.HMM(2, n_init=5, random_state=5, tol=0.0, max_iter=1).fit(levels(2)).restarts_
    assert beside["start"].to_list() == fit["start"].to_list()
    np.testing.assert_allclose(beside["objective"], fit["objective"], rtol=1e-12)


def test_starts_beside_a_fit_begin_with_what_it_was_given() -> None:
    away = hsmm.emissions.Gaussian.from_parameters([[-300.0], [300.0]], [[[1e4]], [[1e4]]])
    with pytest.warns(hsmm.errors.ConvergenceWarning):
        begun = hsmm.HMM(2, emission=away, n_init=1, max_iter=1).fit(levels(2))
    drawn = stability(hsmm.HMM(2, n_init=1).fit(levels(2)), levels(2), max_iter=0).table["objective"]
    found = stability(begun, levels(2), max_iter=0).table["objective"]
    assert found.max() < drawn.min() - 100.0


def test_stability_of_a_bad_model_is_low() -> None:
    """The share is counted against the best of all, the fitted model or any restart."""
    found = stability(made([0.0, 1.0]), levels(2), n_restarts=4)
    assert found.reached == pytest.approx(1.0)
    with pytest.raises(ValueError, match="n_restarts is 0"):
        stability(made([0.0, 1.0]), levels(2), n_restarts=0)


def test_a_test_that_fails_is_a_doubt_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LinAlgError("no factor")

    monkeypatch.setattr("hsmm.selection.reasons.Merging", broken)
    found = hsmm.select_model(levels(2), [hsmm.HMM(1), hsmm.HMM(2, **QUICK)])
    row = found.table.row(by_predicate=pl.col("n_states") == 2, named=True)
    assert found.best.n_states == 2
    assert row["reasons"] == "not_tested"
    assert "the test for states alike failed: no factor" in row["warnings"]


def test_a_fit_that_fails_in_its_algebra_is_a_candidate_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hsmm.HMM.fitting

    def broken(self: hsmm.HMM, *arguments: object, **options: object) -> hsmm.HMM:
        if self.n_states == 2:
            raise LinAlgError("no factor")
        return whole(self, *arguments, **options)

    monkeypatch.setattr(hsmm.HMM, "fitting", broken)
    found = hsmm.select_model(levels(2), [hsmm.HMM(1), hsmm.HMM(2, **QUICK)])
    assert found.best.n_states == 1
    assert found.table["reasons"].to_list()[-1] == "failed"
