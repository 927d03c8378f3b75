"""A GLM-HMM has the manners of the other estimators: tables, frames, names, progress, and how it looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import hsmm
from hsmm import GLMHMM
from hsmm.errors import DataWarning

RNG = np.random.default_rng(8)
X = RNG.normal(size=(200, 2))
SIGN = np.where(np.arange(200) // 50 % 2, 2.5, -2.5)
Y = (RNG.uniform(size=200) < 1 / (1 + np.exp(-SIGN * X[:, 0]))).astype(float)
FRAME = pl.DataFrame(X, schema=["tone", "bias"])
MODEL = GLMHMM(2).fit(FRAME, Y, session_starts=[0, 100])


def test_summary_is_that_of_the_hmm_by_the_covariates_names() -> None:
    ours = MODEL.summary(FRAME, Y, [0, 100], std_errors=True)
    theirs = MODEL.as_hmm().summary(Y, [100, 100], context=X, std_errors=True)
    assert "coef[tone]" in ours.columns
    for f, name in enumerate(("tone", "bias")):
        np.testing.assert_allclose(ours[f"coef[{name}]"], theirs[f"x0.coef[{f}]"])
        np.testing.assert_allclose(ours[f"coef[{name}]_se"], theirs[f"x0.coef[{f}]_se"], rtol=1e-5)
    np.testing.assert_allclose(ours["share"], MODEL.smooth_proba(FRAME, Y, [0, 100]).mean(0))
    np.testing.assert_allclose(MODEL.summary()["share"], ours["share"])
    learnt = {f"coef[{f}]" for f in range(2)} | {"intercept"}
    assert {name for name in theirs.columns if name.startswith("x0.") and not name.endswith("_se")} == {
        f"x0.{name}" for name in learnt
    }
    with pytest.raises(ValueError, match="X is given without y"):
        MODEL.summary(FRAME)


def test_it_looks_like_what_it_has_found() -> None:
    assert repr(GLMHMM(2)) == "GLMHMM(n_states=2)"
    for shown in (repr(MODEL), MODEL._repr_html_()):
        assert "GLMHMM(n_states=2)" in shown
        assert f"log-likelihood {MODEL.log_likelihood_:.2f}" in shown
        assert "coef[tone]" in shown
    assert MODEL._repr_html_().startswith("<div")


def test_what_is_set_by_hand_is_shown_as_known_or_not_at_all() -> None:
    model = GLMHMM(2)
    for name in ("coef_", "intercept_", "scale_", "initial_prob_", "transition_prob_"):
        setattr(model, name, getattr(MODEL, name))
    assert "known parameters" in repr(model)
    model.intercept_ = np.zeros(5)
    assert repr(model) == "GLMHMM(n_states=2)"


def test_a_step_forgets_what_the_fit_had_reached() -> None:
    model = GLMHMM(2).fit(X, Y)
    model.update(model._params(), model.initialize_state(model._params(), X, Y), X, Y)
    assert not hasattr(model, "log_likelihood_")
    assert "known parameters" in repr(model)


def test_covariates_keep_their_names(tmp_path: Path) -> None:
    assert MODEL.feature_names_in_.tolist() == ["tone", "bias"]
    assert MODEL.n_features_in_ == 2
    MODEL.save_params(tmp_path / "params")
    for model in (hsmm.load(MODEL.save(tmp_path / "model")), GLMHMM.load_params(tmp_path / "params")):
        with pytest.raises(ValueError, match="X has the columns bias, tone; expected tone, bias"):
            model.smooth_proba(FRAME.select("bias", "tone"), Y)
    assert not hasattr(GLMHMM(2).fit(X, Y), "feature_names_in_")


def test_answers_come_as_what_was_asked_for() -> None:
    frame = FRAME.to_pandas().set_index(pd.Index(range(1000, 1200)))
    model = GLMHMM(2).fit(frame, Y)
    plain = model.smooth_proba(frame, Y)
    assert isinstance(plain, np.ndarray)
    model.set_output(transform="pandas")
    table = model.smooth_proba(frame, Y)
    assert table.columns.tolist() == ["state_0", "state_1"]
    assert table.index[0] == 1000
    np.testing.assert_array_equal(table.to_numpy(), plain)
    assert model.predict(frame, Y).name == "state"
    assert model.clone().fit(frame, Y).expected_response(frame, Y).name == "response"
    model.set_output(transform="polars")
    assert isinstance(model.filter_proba(frame, Y), pl.DataFrame)


@pytest.mark.parametrize("wrong", ["X", "y"])
def test_what_is_infinite_has_the_users_name(wrong: str) -> None:
    given = {"X": X, "y": Y}
    given[wrong] = np.where(np.arange(len(X)) == 5, np.inf, given[wrong].T).T
    with pytest.raises(ValueError, match=f"^{wrong} holds .*row 5"):
        GLMHMM(2).fit(**given)


def test_odd_responses_have_the_users_name() -> None:
    with pytest.warns(DataWarning, match="of y are constant"):
        GLMHMM(1, "Gaussian").fit(X, np.ones(len(X)))


def test_a_fit_tells_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []
    model = GLMHMM(2, verbose=2).fit(X, Y, callback=lambda progress: seen.append(progress.iteration))
    assert len(seen) >= model.n_iter_
    assert len(capsys.readouterr().out.splitlines()) == len(seen)
    with pytest.raises(ValueError, match="verbose is 3; expected 0, 1 or 2"):
        GLMHMM(2, verbose=3)


@pytest.mark.parametrize("kind", ["Bernoulli", "Categorical", "Poisson"])
def test_expected_responses_see_only_what_is_before(kind: str) -> None:
    y = np.column_stack([Y, 1 - Y])[:, 0]
    model = GLMHMM(2, observation_model=kind).fit(X, y)
    expected = model.expected_response(X, y)
    later = y.copy()
    later[120:] = 1 - later[120:]
    np.testing.assert_array_equal(model.expected_response(X, later)[:121], expected[:121])
    assert not np.array_equal(model.expected_response(X, later)[121:], expected[121:])
    first = model._fitted_model().emission.means(model._trials(X, y, None).sequences.covariates)[0].numpy()
    np.testing.assert_allclose(model.expected_response(X)[0], np.tensordot(model.initial_prob_, first, 1)[0])
    assert expected.shape == ((200, 2) if kind == "Categorical" else (200,))
    if kind == "Categorical":
        np.testing.assert_allclose(expected.sum(1), 1.0)
