"""Candidates are weighed as the formulas say, and ranked in their direction."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import hsmm
from hsmm.models import Estimator
from hsmm.selection import CRITERIA, Evidence, ForwardChaining, criterion, merge_states, stability
from hsmm.sequences import Sequences

LENGTHS = [60, 41, 5]
QUICK = {"n_init": 3, "max_iter": 60, "random_state": 1}


def switching() -> np.ndarray:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(sum(LENGTHS), 1)) + 6.0 * (np.arange(sum(LENGTHS))[:, None] // 10 % 2)
    X[::17] = np.nan
    return X


X = switching()
ROWS = Sequences.from_arrays(X, LENGTHS)
N_OBSERVED = int(np.isfinite(X).sum())


def candidates() -> list[Estimator]:
    return [hsmm.HMM(1, **QUICK), hsmm.HSMM(2, max_duration=30, **QUICK), hsmm.HMM(2, tol=1e-4, **QUICK)]


@pytest.fixture(scope="module", params=CRITERIA)
def selection(request: pytest.FixtureRequest) -> hsmm.Selection:
    return hsmm.select_model(X, candidates(), LENGTHS, criterion=request.param)


EVIDENCE = Evidence(-100.0, -110.0, n_parameters=7, n_observations=50, held_out=-1.5)
FORMULAS = {
    "aic": 200.0 + 14.0,
    "bic": 200.0 + 7.0 * math.log(50.0),
    "hqc": 200.0 + 14.0 * math.log(math.log(50.0)),
    "icl": 220.0 + 7.0 * math.log(50.0),
    "held_out": -1.5,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_criterion_of_the_books_is_its_formula(name: str) -> None:
    assert CRITERIA[name].score(EVIDENCE) == pytest.approx(FORMULAS[name])


@pytest.mark.parametrize("name", CRITERIA)
class TestEveryCriterion:
    def better(self, name: str, **changes: float) -> bool | None:
        """Whether the changed evidence ranks above, None where it changes nothing."""
        how = CRITERIA[name]
        before, after = how.score(EVIDENCE), how.score(replace(EVIDENCE, **changes))
        assert math.isfinite(before)
        assert math.isfinite(after)
        return None if before == after else (after > before) == (how.best_is == "highest")

    def test_a_better_fit_ranks_higher(self, name: str) -> None:
        assert self.better(name, log_likelihood=-90.0, log_joint=-100.0, held_out=-1.4)
        assert self.better(name, log_likelihood=-1e9, log_joint=-1.1e9, held_out=-15.0) is False

    def test_more_parameters_rank_lower_where_they_count_and_nowhere_else(self, name: str) -> None:
        assert self.better(name, n_parameters=9) is (False if CRITERIA[name].counts_parameters else None)

    def test_it_looks_at_held_out_rows_if_it_asks_for_them(self, name: str) -> None:
        assert self.better(name, held_out=-1.4) is (True if CRITERIA[name].on_held_out else None)
        if not CRITERIA[name].on_held_out:
            assert math.isfinite(CRITERIA[name].score(replace(EVIDENCE, held_out=math.nan)))

    def test_it_says_what_it_is(self, name: str) -> None:
        assert CRITERIA[name].score.__doc__


def test_the_table_holds_what_the_models_say(selection: hsmm.Selection) -> None:
    for row in selection.table.iter_rows(named=True):
        model = selection.models[row["candidate"]]
        log_likelihood, p = model.score(X, LENGTHS), model.n_parameters_
        assert row["n_parameters"] == p
        seen = Evidence(log_likelihood, model.log_joint(ROWS), p, N_OBSERVED, row["held_out"])
        for name, how in CRITERIA.items():
            assert row[name] == pytest.approx(how.score(seen), rel=1e-9, nan_ok=True)
        assert (row["n_states"], row["converged"]) == (model.n_states, model.converged_)
    assert selection.table["candidate"].sort().to_list() == [0, 1, 2]


def test_the_best_is_at_the_head(selection: hsmm.Selection) -> None:
    scores = selection.table[selection.criterion].to_list()
    assert scores == sorted(scores, reverse=CRITERIA[selection.criterion].best_is == "highest")
    assert selection.best is selection.models[selection.table["candidate"][0]]
    assert selection.best.n_states == 2


def test_a_criterion_of_ones_own_ranks_once_its_function_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CRITERIA, "fewest", None)  # forgotten afterwards

    @criterion(best_is="highest")
    def fewest(evidence: Evidence) -> float:
        return -float(evidence.n_parameters)

    table = hsmm.select_model(X, candidates(), LENGTHS, criterion="fewest").table
    assert table["candidate"][0] == 0
    assert table["fewest"].to_list() == [-float(n) for n in table["n_parameters"]]


def test_parameters_that_do_not_count_are_ranked_only_by_criteria_that_do_not_count_them() -> None:
    class Encoder(hsmm.emissions.Gaussian):
        is_countable = False

    given = [hsmm.HMM(1, emission=Encoder(), **QUICK), *candidates()]
    for name, how in CRITERIA.items():
        if how.counts_parameters:
            with pytest.raises(ValueError, match=f"{name!r}, which counts parameters.*choose one of held_out"):
                hsmm.select_model(X, given, LENGTHS, criterion=name)
    assert hsmm.select_model(X, given, LENGTHS, criterion="held_out").best.n_states == 2


def test_candidates_stay_unfitted() -> None:
    given = candidates()
    hsmm.select_model(X, given, LENGTHS)
    assert not any(hasattr(candidate, "log_likelihood_") for candidate in given)


def test_parameters_are_counted_as_one_would() -> None:
    fitted = {name: model.fit(X, LENGTHS).n_parameters_ for name, model in zip("abc", candidates(), strict=True)}
    assert fitted == {"a": 2, "b": 1 + 0 + 2 * 2 + 2 * 2, "c": 1 + 2 + 2 * 2}


def test_the_held_out_part_is_not_fitted() -> None:
    kept = [48, 33, 4]
    starts = np.cumsum([0, *LENGTHS])
    head = np.concatenate([X[start : start + n] for start, n in zip(starts, kept, strict=False)])
    model = hsmm.HMM(2, **QUICK).fit(head, kept)
    per_row = np.split(model.log_density(X, LENGTHS), starts[1:-1])
    ahead = np.concatenate([rows[n:] for rows, n in zip(per_row, kept, strict=True)])
    n_rows = np.isfinite(X).sum() - np.isfinite(head).sum()
    found = hsmm.select_model(X, [hsmm.HMM(2, **QUICK)], LENGTHS, criterion="held_out").table["held_out"][0]
    assert found == pytest.approx(ahead.sum() / n_rows)


def test_held_out_is_computed_only_where_asked() -> None:
    assert np.isnan(hsmm.select_model(X, candidates()[:1], LENGTHS).table["held_out"][0])


def test_a_candidate_without_a_score_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute(hsmm.HMM):
        pass

    monkeypatch.setattr(Mute, "log_density_sequences", lambda _, rows: torch.full((rows.n_rows,), math.nan))
    table = hsmm.select_model(X, [Mute(2, **QUICK), *candidates()], LENGTHS, criterion="held_out").table
    assert table["candidate"].to_list()[-1] == 0


def test_progress_counts_candidates() -> None:
    heard: list[tuple[int, int, str]] = []
    hsmm.select_model(X, candidates(), LENGTHS, progress=lambda *step: heard.append(step))
    assert [done for done, _, _ in heard] == [0, 1, 2, 3]
    assert {total for _, total, _ in heard} == {3}


def test_warnings_are_in_the_table_and_nowhere_else() -> None:
    short = hsmm.HMM(2, n_init=1, max_iter=1)
    table = hsmm.select_model(X, [short, *candidates()], LENGTHS).table
    warned = table.filter(pl.col("candidate") == 0)["warnings"][0]
    assert "without converging" in warned


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"criterion": "dic"}, "criterion is 'dic'; expected one of aic"),
        ({"candidates": []}, "no candidates"),
        ({"lengths": [5]}, "sum to 5"),
    ],
)
def test_bad_questions_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hsmm.select_model(**({"X": X, "candidates": candidates(), "lengths": LENGTHS} | arguments))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (hsmm.HMM(), "of type HMM.*a list"),
        ([hsmm.HMM(), 2], r"candidates\[1\] is 2"),
        ([hsmm.HMM], r"candidates\[0\] is the class HMM; expected an estimator"),
    ],
)
def test_what_is_no_candidate_is_named(given: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        hsmm.select_model(X, given, LENGTHS)


def test_series_too_short_to_hold_out_are_refused() -> None:
    with pytest.raises(ValueError, match="too short to hold out 20%"):
        hsmm.select_model([1.0, 2.0, 3.0], [hsmm.HMM(1, **QUICK)], [1, 1, 1], criterion="held_out")


def test_a_candidate_that_cannot_be_fitted_ranks_last_with_its_reason() -> None:
    few = np.random.default_rng(0).normal(size=12)
    found = hsmm.select_model(few, [hsmm.HMM(20, n_init=1), hsmm.HMM(2, n_init=2)])
    assert found.best is found.models[1]
    assert found.models[0] is None
    assert "12 rows for 20 states" in found.table["warnings"][-1]
    with pytest.raises(ValueError, match="12 rows for 20 states"):
        hsmm.select_model(few, [hsmm.HMM(20, n_init=1)])


def test_wrong_options_stop_the_search_before_it_starts() -> None:
    with pytest.raises(ValueError, match="emission is 'gauss'"):
        hsmm.select_model(np.zeros(9), [hsmm.HMM(2), hsmm.HMM(2, emission="gauss")])


def driven(n_rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """A response whose slope on its context changes sign every forty rows, and a context."""
    rng = np.random.default_rng(0)
    context = rng.normal(size=(n_rows, 2))
    slope = np.where(np.arange(n_rows) // 40 % 2, 2.0, -2.0)
    return slope * context[:, 0] + 0.3 * rng.normal(size=n_rows), context


def regressions(*numbers: int) -> list[Estimator]:
    return [hsmm.HMM(k, emission=hsmm.emissions.GLM(family="gaussian"), **(QUICK | {"tol": 1e-6})) for k in numbers]


def test_context_goes_to_the_candidates_that_use_it() -> None:
    Y, C = driven()
    found = hsmm.select_model(Y, [hsmm.HMM(2, **QUICK), *regressions(1, 2, 3)], context=C)
    assert None not in found.models
    assert found.best is found.models[2]
    assert hsmm.select_model(Y, [hsmm.HMM(2, **QUICK)]).table["bic"][0] == pytest.approx(
        found.table.filter(pl.col("candidate") == 0)["bic"][0]
    )
    ahead = hsmm.select_model(Y, regressions(1, 2), context=C, criterion="held_out", splits=ForwardChaining(3))
    assert ahead.best.n_states == 2


def test_context_goes_to_merges_and_matches() -> None:
    Y, C = driven()
    three = regressions(3)[0].fit(Y, context=C)
    assert merge_states(three, Y, context=C).n_states == 2
    assert stability(regressions(2)[0].fit(Y, context=C), Y, context=C, n_restarts=3).agreement == pytest.approx(1.0)
    found = hsmm.match_states(three, three.permuted([1, 2, 0]), Y, context=C)
    assert found.permutation.tolist() == [2, 0, 1]


def test_context_that_nobody_wants_or_that_does_not_fit_is_refused() -> None:
    Y, C = driven()
    with pytest.raises(ValueError, match="no candidate uses it"):
        hsmm.select_model(Y, [hsmm.HMM(2, **QUICK)], context=C)
    with pytest.raises(ValueError, match="context has 399 rows but X has 400"):
        hsmm.select_model(Y, regressions(2), context=C[1:])
    with pytest.raises(ValueError, match="give context="):
        hsmm.select_model(Y, regressions(2))


FAMILIES = {
    "poisson": lambda rng, high: rng.poisson(np.where(high, 9.0, 2.0)),
    "negative_binomial": lambda rng, high: rng.negative_binomial(4, np.where(high, 0.2, 0.6)),
    "gamma": lambda rng, high: rng.gamma(np.where(high, 9.0, 2.0)),
    "bernoulli": lambda rng, high: rng.random(len(high)) < np.where(high, 0.9, 0.1),
    "categorical": lambda rng, high: np.where(rng.random(len(high)) < 0.8, high, 2),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_weighed_and_merged(family: str) -> None:
    X = FAMILIES[family](np.random.default_rng(0), np.arange(400) // 20 % 2).astype(float)
    how = QUICK | {"tol": 1e-5, "max_iter": 300}
    found = hsmm.select_model(X, [hsmm.HMM(k, emission=family, **how) for k in (1, 2, 3)])
    assert found.best.n_states == 2
    assert "two_states_alike" in {reason.code for reason in found.reasons[2]}
    assert merge_states(found.models[2], X).n_states == 2
    matched = hsmm.match_states(found.best, found.best.permuted([1, 0]), X)
    assert matched.permutation.tolist() == [1, 0]
    assert matched.margin > 0.8
