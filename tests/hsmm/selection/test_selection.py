"""Candidates are weighed as the formulas say, and ranked in their direction."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import polars as pl
import pytest
import torch

import hsmm
from hsmm.models import Estimator
from hsmm.selection import CRITERIA, Evidence

LENGTHS = [60, 41, 5]
QUICK = {"n_init": 3, "max_iter": 60, "random_state": 1}


def switching() -> np.ndarray:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(sum(LENGTHS), 1)) + 6.0 * (np.arange(sum(LENGTHS))[:, None] // 10 % 2)
    X[::17] = np.nan
    return X


X = switching()
N_OBSERVED = int(np.isfinite(X).sum())


def candidates() -> list[Estimator]:
    return [hsmm.HMM(1, **QUICK), hsmm.HSMM(2, max_duration=12, **QUICK), hsmm.HMM(2, tol=1e-4, **QUICK)]


@pytest.fixture(scope="module", params=CRITERIA)
def selection(request: pytest.FixtureRequest) -> hsmm.Selection:
    return hsmm.select_model(X, candidates(), LENGTHS, criterion=request.param)


def test_each_criterion_is_its_formula() -> None:
    evidence = Evidence(-100.0, -110.0, n_parameters=7, n_observations=50, held_out=-1.5)
    expected = {
        "aic": 200.0 + 14.0,
        "bic": 200.0 + 7.0 * math.log(50.0),
        "hqc": 200.0 + 14.0 * math.log(math.log(50.0)),
        "icl": 220.0 + 7.0 * math.log(50.0),
        "held_out": -1.5,
    }
    assert {name: criterion.score(evidence) for name, criterion in CRITERIA.items()} == pytest.approx(expected)


def test_the_table_holds_what_the_models_say(selection: hsmm.Selection) -> None:
    for row in selection.table.iter_rows(named=True):
        model = selection.models[row["candidate"]]
        log_likelihood, p = model.score(X, LENGTHS), model.n_parameters_
        assert row["n_parameters"] == p
        assert row["aic"] == pytest.approx(2 * p - 2 * log_likelihood)
        assert row["bic"] == pytest.approx(p * math.log(N_OBSERVED) - 2 * log_likelihood)
        assert row["hqc"] == pytest.approx(2 * p * math.log(math.log(N_OBSERVED)) - 2 * log_likelihood)
        assert row["icl"] >= row["bic"]
        assert (row["n_states"], row["converged"]) == (model.n_states, model.converged_)
    assert selection.table["candidate"].sort().to_list() == [0, 1, 2]


def test_the_best_is_at_the_head(selection: hsmm.Selection) -> None:
    scores = selection.table[selection.criterion].to_list()
    assert scores == sorted(scores, reverse=CRITERIA[selection.criterion].best_is == "highest")
    assert selection.best is selection.models[selection.table["candidate"][0]]
    assert selection.best.n_states == 2


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
        ({"criterion": "dic"}, "criterion is 'dic'; expected one of aic, bic"),
        ({"candidates": []}, "no candidates"),
        ({"lengths": [5]}, "sum to 5"),
    ],
)
def test_bad_questions_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hsmm.select_model(**({"X": X, "candidates": candidates(), "lengths": LENGTHS} | arguments))


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


def driven(n_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Counts of a state whose moves nothing drives, beside a context that nothing depends on."""
    rng = np.random.default_rng(0)
    return 5.0 * (np.arange(n_rows) // 15 % 2) + rng.normal(size=n_rows), rng.normal(size=(n_rows, 2))


def test_context_goes_to_the_candidates_that_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader(hsmm.HMM):
        seen: list[bool] = []  # noqa: RUF012
        uses_context = True

        def fit_sequences(self, sequences: hsmm.Sequences) -> Reader:
            Reader.seen.append(sequences.covariates is not None)
            return super().fit_sequences(dataclasses.replace(sequences, covariates=None))

    Y, C = driven()
    monkeypatch.setattr(Reader, "_potentials", lambda self, rows: self._fitted_model().potentials(rows))
    found = hsmm.select_model(Y, [hsmm.HMM(2, **QUICK), Reader(2, **QUICK)], context=C)
    assert Reader.seen == [True]
    assert None not in found.models
    with pytest.raises(ValueError, match="no candidate uses it"):
        hsmm.select_model(Y, [hsmm.HMM(2, **QUICK)], context=C)
    with pytest.raises(ValueError, match="context has 299 rows but X has 300"):
        hsmm.select_model(Y, [Reader(2, **QUICK)], context=C[1:])
