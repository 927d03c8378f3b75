"""What every estimator promises: manners, shapes, meanings, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

import hsmm
from hsmm.errors import ConvergenceWarning, DataWarning, DurationWallWarning, ImpossibleDataError, NotFittedError
from hsmm.models import Estimator
from tests.hsmm.models.cases import ESTIMATORS, LENGTHS, QUICK, fitted, regimes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*single row:hsmm.errors.DataWarning", "ignore::hsmm.errors.DurationWallWarning"
)

X = regimes()
N_ROWS, N_SERIES = sum(LENGTHS), len(LENGTHS)
QUERIES = ("predict_proba", "filter_proba", "elapsed_duration", "remaining_duration")


@pytest.fixture(params=ESTIMATORS)
def model(request: pytest.FixtureRequest) -> Estimator:
    return fitted(request.param)


class TestEveryEstimator:
    @pytest.mark.filterwarnings("ignore:state . was seen to end:hsmm.errors.IntervalWarning")
    def test_shapes_and_meanings(self, model: Estimator) -> None:
        k = model.n_states
        states = model.predict(X, LENGTHS)
        assert states.shape == (N_ROWS,)
        assert states.dtype == np.int64
        assert set(states) <= set(range(k))
        for name in QUERIES:
            table = getattr(model, name)(X, LENGTHS)
            assert isinstance(table, np.ndarray)
            assert table.shape[0] == N_ROWS
            assert (table >= 0).all()
            assert table.sum(1) == pytest.approx(np.ones(N_ROWS))
        assert model.predict_proba(X, LENGTHS).shape == (N_ROWS, k)
        assert model.forecast(X, 4, LENGTHS).shape == (N_SERIES, 4, k)
        sampled, path = model.sample(25, random_state=1)
        assert sampled.shape == (25, 2)
        assert path.shape == (25,)

    def test_fitted_attributes(self, model: Estimator) -> None:
        k = model.n_states
        assert model.initial_prob_.shape == (k,)
        assert model.transition_prob_.shape == (k, k)
        assert model.initial_prob_.sum() == pytest.approx(1.0)
        assert model.transition_prob_.sum(1) == pytest.approx(np.ones(k))
        assert model.emission_.mean_.shape == (k, 2)
        if isinstance(model, hsmm.HSMM):
            assert model.duration_prob_.shape == (k, model.max_duration)
            assert model.duration_prob_.sum(1) == pytest.approx(np.ones(k))
            assert k == 1 or not model.transition_prob_.diagonal().any()
        assert model.n_features_in_ == 2
        assert model.n_iter_ == QUICK["max_iter"]
        assert model.converged_ is False

    def test_score_is_the_log_likelihood_of_the_fit(self, model: Estimator) -> None:
        assert model.score(X, LENGTHS) == pytest.approx(model.log_likelihood_, rel=1e-9)
        assert model.log_density(X, LENGTHS).sum() == pytest.approx(model.score(X, LENGTHS)) or (
            isinstance(model, hsmm.HSMM) and not model.right_censored
        )

    def test_history_climbs_to_the_log_likelihood(self, model: Estimator) -> None:
        assert len(model.history_) == model.n_iter_ + 1
        assert model.history_[-1] == pytest.approx(model.log_likelihood_, rel=1e-12)
        assert (np.diff(model.history_) >= -1e-8 * np.abs(model.history_[1:])).all()

    def test_every_restart_is_accounted_for(self, model: Estimator) -> None:
        table = model.restarts_
        assert table["restart"].to_list() == list(range(model.n_init))
        assert set(table["stopped"]) <= {"converged", "max_iter", "halved", "impossible"}
        assert table.filter(~pl.col("collapsed"))["log_likelihood"].max() == model.log_likelihood_
        assert {"seed", "start", "iterations", "objective"} <= set(table.columns)

    def test_the_same_seed_gives_the_same_bits(self, model: Estimator) -> None:
        again = model.clone().fit(X, LENGTHS)
        assert np.array_equal(again.history_, model.history_)
        assert np.array_equal(again.predict_proba(X, LENGTHS), model.predict_proba(X, LENGTHS))
        for one, other in zip(again.sample(40), model.sample(40), strict=True):
            assert np.array_equal(one, other)

    def test_the_order_of_series_changes_no_fit(self, model: Estimator) -> None:
        order = [2, 0, 3, 1]
        pieces = np.split(X, np.cumsum(LENGTHS)[:-1])
        again = model.clone().fit(np.concatenate([pieces[i] for i in order]), [LENGTHS[i] for i in order])
        assert again.log_likelihood_ == pytest.approx(model.log_likelihood_, rel=1e-9)
        assert again.emission_.mean_ == pytest.approx(model.emission_.mean_, rel=1e-9)

    def test_clones_and_parameters(self, model: Estimator) -> None:
        for copied in (clone(model), model.clone()):
            assert repr(copied) == repr(model).splitlines()[0]
            assert copied.get_params().keys() == model.get_params().keys()
            with pytest.raises(NotFittedError, match="not fitted"):
                copied.predict(X)
        assert clone(model).set_params(n_init=5).n_init == 5
        with pytest.raises(ValueError, match=r"no parameter 'n_stats'.*n_states"):
            clone(model).set_params(n_stats=5)

    def test_containers_do_not_matter(self, model: Estimator) -> None:
        expected = model.filter_proba(X, LENGTHS)
        for same in (torch.from_numpy(X), pl.DataFrame(X), X.tolist(), np.asfortranarray(X)):
            assert np.array_equal(model.filter_proba(same, np.array(LENGTHS)), expected)

    def test_a_forecast_is_the_filter_on_missing_rows(self, model: Estimator) -> None:
        ahead = model.forecast(X, 3, LENGTHS)
        pieces = [np.vstack([piece, np.full((3, 2), np.nan)]) for piece in np.split(X, np.cumsum(LENGTHS)[:-1])]
        longer = [length + 3 for length in LENGTHS]
        filtered = np.split(model.filter_proba(np.concatenate(pieces), longer), np.cumsum(longer)[:-1])
        assert np.array_equal(ahead, np.stack([rows[-3:] for rows in filtered]))

    def test_a_missing_row_says_nothing(self, model: Estimator) -> None:
        density = model.log_density(np.vstack([X[:5], np.full((1, 2), np.nan)]))
        assert density[-1] == pytest.approx(0.0, abs=1e-12)

    def test_more_features_than_fitted_are_refused(self, model: Estimator) -> None:
        with pytest.raises(ValueError, match=r"3 features.*fitted on 2"):
            model.predict(np.zeros((4, 3)))


class TestTheSameBits:
    """With fixed parameters, a series' answers do not depend on what else is asked."""

    def answers(self, model: Estimator, rows: np.ndarray, lengths: list[int] | None = None) -> list[np.ndarray]:
        return [getattr(model, name)(rows, lengths) for name in (*QUERIES, "predict", "log_density")]

    def test_alone_and_in_any_batch(self, model: Estimator) -> None:
        cuts = np.cumsum(LENGTHS)[:-1]
        alone = [self.answers(model, piece) for piece in np.split(X, cuts)]
        for i, answer in enumerate(self.answers(model, X, LENGTHS)):
            for s, rows in enumerate(np.split(answer, cuts)):
                assert np.array_equal(rows, alone[s][i])

    def test_with_any_number_of_threads(self, model: Estimator) -> None:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            one = self.answers(model, X, LENGTHS)
            torch.set_num_threads(2)
            two = self.answers(model, X, LENGTHS)
        finally:
            torch.set_num_threads(before)
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))

    @pytest.mark.parametrize("n_rows", [1, 17, 69])
    def test_the_future_changes_nothing_causal(self, model: Estimator, n_rows: int) -> None:
        for name in ("filter_proba", "elapsed_duration", "remaining_duration", "log_density"):
            whole = getattr(model, name)(X, LENGTHS)[:n_rows]
            assert np.array_equal(getattr(model, name)(X[:n_rows]), whole)


def test_scikit_learn_searches_over_states() -> None:
    complete = np.random.default_rng(0).normal(size=(90, 1)) + 5.0 * (np.arange(90)[:, None] // 15 % 2)
    search = GridSearchCV(hsmm.HMM(n_init=2, max_iter=20, tol=0.0), {"n_states": [1, 2]}, cv=3).fit(complete)
    assert search.best_params_ == {"n_states": 2}
    assert np.isfinite(cross_val_score(hsmm.HMM(2, **QUICK), complete, cv=3)).all()


def test_states_are_named_from_low_to_high() -> None:
    assert (np.diff(fitted("hmm").emission_.mean_[:, 0]) > 0).all()


def test_one_dimension_is_one_feature() -> None:
    column = regimes(n_features=1)
    flat = hsmm.HMM(2, **QUICK).fit(column[:, 0], LENGTHS)
    assert flat.log_likelihood_ == hsmm.HMM(2, **QUICK).fit(column, LENGTHS).log_likelihood_


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_states": 0}, "n_states is 0.*whole number >= 1"),
        ({"n_states": 2.0}, "n_states is 2.0"),
        ({"n_states": True}, "n_states is True"),
        ({"n_init": 0}, "n_init is 0"),
        ({"max_iter": "many"}, "max_iter is 'many'"),
        ({"random_state": -1}, "random_state is -1"),
        ({"tol": -1.0}, "tol is -1.0"),
        ({"tol": float("nan")}, "tol is nan"),
        ({"device": "tpu"}, "device is 'tpu'; expected one of auto, cpu, cuda."),
        ({"emission": "gausian"}, "emission is 'gausian'.*gaussian.*hsmm.emissions"),
        ({"emission": hsmm.emissions.Gaussian}, "emission is <class"),
        ({"duration": "pareto"}, "duration is 'pareto'.*poisson"),
        ({"transition": "ring"}, "transition is 'ring'.*dense"),
        ({"initial": "fixed"}, "needs arguments"),
        ({"initial": hsmm.initials.FixedInitial(probability=[0.5, 0.3, 0.2])}, "3 entries.*2 states"),
        ({"max_duration": 0}, "max_duration is 0"),
        ({"max_duration": "long"}, "max_duration is 'long'"),
        ({"min_duration": 0}, "min_duration is 0"),
        ({"min_duration": 9, "max_duration": 8}, "min_duration is 9 and max_duration 8"),
        ({"left_censored": "yes"}, "left_censored is 'yes'.*True or False"),
        ({"max_duration": 10**12}, "GB of tables.*Lower max_duration"),
        ({"n_states": 300_000, "max_duration": 1}, "GB of tables.*number of states"),
    ],
)
def test_bad_options_are_named_at_fit(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hsmm.HSMM(**({"n_states": 2} | options)).fit(X)


@pytest.mark.parametrize(
    "make",
    [
        lambda: hsmm.emissions.Gaussian(covariance="round"),
        lambda: hsmm.emissions.Gaussian(min_covariance=0.0),
        lambda: hsmm.emissions.StudentT(dof_bounds=(3.0, 2.0)),
        lambda: hsmm.initials.FixedInitial(probability=[0.5, 0.6]),
        lambda: hsmm.initials.FreeInitial(concentration=(1.0, 0.0)),
        lambda: hsmm.transitions.Dense(concentration=float("nan")),
        lambda: hsmm.durations.Categorical(concentration=0.0),
    ],
)
def test_bad_components_are_refused_when_made(make) -> None:
    with pytest.raises(ValueError, match=r"expected|sum to 1"):
        make()


@pytest.mark.parametrize(
    ("data", "lengths", "message"),
    [
        ([["a"], ["b"]], None, "expected numbers"),
        ([1.0, np.inf], None, "infinite"),
        ([np.nan] * 4, None, "missing"),
        ([1.0, 2.0], [3], "sum to 3.*2 rows"),
        ([1.0], None, "1 rows for 2 states"),
    ],
)
def test_bad_data_are_refused(data: list, lengths: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hsmm.HMM(2).fit(data, lengths)


@pytest.mark.parametrize("horizon", [0, -1, 1.5, "3"])
def test_bad_horizons_and_sizes_are_refused(horizon: object) -> None:
    with pytest.raises(ValueError, match="whole number >= 1"):
        fitted("hmm").forecast(X, horizon, LENGTHS)
    with pytest.raises(ValueError, match="whole number >= 1"):
        fitted("hmm").sample(horizon)


@pytest.mark.parametrize("name", ["score", "predict", "predict_proba", "filter_proba", "remaining_duration"])
def test_nothing_is_answered_before_a_fit(name: str) -> None:
    with pytest.raises(NotFittedError, match="HSMM is not fitted yet; call fit"):
        getattr(hsmm.HSMM(), name)(X)


def test_attributes_are_absent_before_a_fit() -> None:
    for name in ("initial_prob_", "emission_", "history_", "restarts_", "n_parameters_"):
        assert not hasattr(hsmm.HSMM(), name)


def test_impossible_data_are_said_to_be_impossible() -> None:
    model = _known_hsmm(duration_prob=[[0.0, 1.0], [0.0, 1.0]], right_censored=False)
    with pytest.warns(DataWarning, match="probability zero under the model: series 0 at its row 2 "):
        assert model.score([0.0, 1.0, 0.0]) == -np.inf
    assert model.score([0.0, 1.0, 0.0, 1.0]) > -np.inf
    for question in (model.predict, model.predict_proba):
        with pytest.raises(ImpossibleDataError, match="series 1 at its row 2 "):
            question([0.0, 1.0, 0.0, 1.0, 0.0], [2, 3])


def test_causal_answers_name_the_impossible_row() -> None:
    narrow = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [1.0]], covariance=[[1e-200], [1e-200]])
    model = _known_hsmm(emission=narrow)
    far = [0.0, 1.0, 1e99, 0.0]
    for name in ("filter_proba", "remaining_duration", "elapsed_duration", "predict", "predict_proba"):
        with pytest.raises(ImpossibleDataError, match="series 1 at its row 0 "):
            getattr(model, name)([0.0, 1.0, *far[2:]], [2, 2])
    with pytest.raises(ImpossibleDataError, match="series 0 at its row 2 "):
        model.forecast(far, 3)
    density = model.log_density(far)
    assert np.isfinite(density[:2]).all()
    assert (density[2:] == -np.inf).all()


def test_a_wall_is_reported_with_its_share() -> None:
    with pytest.warns(DurationWallWarning, match="% of the expected segments last max_duration = 3"):
        hsmm.HSMM(2, duration="categorical", max_duration=3, **QUICK).fit(X, LENGTHS)


def test_an_early_end_is_reported() -> None:
    with pytest.warns(ConvergenceWarning, match="2 iterations without converging"):
        hsmm.HMM(2, n_init=1, max_iter=2, tol=1e-12).fit(X, LENGTHS)


def test_single_rows_are_reported() -> None:
    with pytest.warns(DataWarning, match="1 series have a single row"):
        hsmm.HMM(2, **QUICK).fit(X, LENGTHS)


GAUSSIAN = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [1.0]], covariance=[[1.0], [0.5]])
KNOWN = {
    "initial_prob": [0.6, 0.4],
    "transition_prob": [[0.0, 1.0], [1.0, 0.0]],
    "duration_prob": [[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]],
    "emission": GAUSSIAN,
}


def _known_hsmm(**changes: object) -> hsmm.HSMM:
    return hsmm.HSMM.from_parameters(**(KNOWN | changes))


def test_a_model_with_known_parameters_has_them() -> None:
    model = _known_hsmm()
    assert model.initial_prob_.tolist() == KNOWN["initial_prob"]
    assert model.transition_prob_.tolist() == KNOWN["transition_prob"]
    assert model.duration_prob_ == pytest.approx(np.array(KNOWN["duration_prob"]))
    assert model.emission_.mean_.tolist() == [[0.0], [1.0]]
    assert model.predict([0.0, 0.0, 0.0, 1.0]).shape == (4,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_prob": [0.5, 0.6]}, "initial_prob.*sum to 1"),
        ({"initial_prob": [1.5, -0.5]}, "initial_prob.*negative"),
        ({"initial_prob": [[0.5, 0.5]]}, "initial_prob has shape"),
        ({"initial_prob": [0.5, 0.3, 0.2]}, "disagree.*initial_prob 3"),
        ({"transition_prob": [[0.5, 0.5], [0.5, 0.5]]}, "strictly between 0 and 1"),
        ({"transition_prob": [[0.0, 1.0]]}, "n_states, n_states"),
        ({"transition_prob": [[0.0, np.nan], [1.0, 0.0]]}, "transition_prob holds NaN"),
        ({"duration_prob": [[0.5, 0.5]]}, "disagree.*duration_prob 1"),
        ({"duration_prob": [[0.5, 0.4], [0.5, 0.5]]}, "duration_prob.*sum to 1"),
        ({"emission": hsmm.emissions.Gaussian()}, "emission.*from_parameters"),
    ],
)
def test_known_parameters_are_checked(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _known_hsmm(**changes)


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        ([0.0, 1.0], [[1.0], [1.0]], "mean has shape"),
        ([[0.0], [1.0]], [[1.0, 1.0], [1.0, 1.0]], r"\(2, 2\) for means \(2, 1\)"),
        ([[0.0], [1.0]], [1.0, -1.0], "positive definite"),
        ([[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]], "positive definite"),
        ([[0.0], [np.nan]], [1.0, 1.0], "mean holds NaN"),
    ],
)
def test_known_emissions_are_checked(mean: list, covariance: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hsmm.emissions.Gaussian.from_parameters(mean=mean, covariance=covariance)
    with pytest.raises(ValueError, match=message):
        hsmm.emissions.StudentT.from_parameters(mean=mean, covariance=covariance, dof=[4.0] * len(mean))


@pytest.mark.parametrize("dof", [[4.0], [4.0, -1.0], [4.0, np.inf], 4.0])
def test_known_degrees_of_freedom_are_checked(dof: object) -> None:
    with pytest.raises(ValueError, match="dof"):
        hsmm.emissions.StudentT.from_parameters(mean=[[0.0], [1.0]], covariance=[1.0, 1.0], dof=dof)


def test_states_keep_their_numbers_where_the_initial_law_gives_them_meaning() -> None:
    first = hsmm.initials.FixedInitial(probability=[1.0, 0.0])
    values = np.r_[np.full(20, 10.0), np.zeros(20)] + np.random.default_rng(0).normal(size=40)
    model = hsmm.HMM(2, initial=first, **QUICK).fit(values)
    assert model.initial_prob_.tolist() == [1.0, 0.0]
    assert model.predict(values)[0] == 0
    assert model.emission_.mean_[0, 0] > model.emission_.mean_[1, 0]


def test_a_duration_does_not_contradict_its_model() -> None:
    with pytest.raises(ValueError, match="max_duration is 9 in the model but 5"):
        hsmm.HSMM(2, duration=hsmm.durations.Poisson(max_duration=5), max_duration=9).fit(X)


def test_what_was_changed_after_the_fit_is_not_saved(tmp_path: Path) -> None:
    model = hsmm.HMM(2, **QUICK).fit(X, LENGTHS)
    model.set_params(n_states=4).save(tmp_path)
    assert hsmm.load(tmp_path).n_states == 2


def test_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        hsmm.HMM(2, **QUICK).fit(X, LENGTHS, y=np.zeros(N_ROWS))
