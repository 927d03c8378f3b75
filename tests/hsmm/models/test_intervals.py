"""Intervals cover what they say, and say what they cannot cover."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit
from scipy.stats import t

import hsmm
from hsmm.errors import IntervalWarning
from hsmm.training.together import Fitting

RNG = np.random.default_rng(0)
TRUTH = hsmm.HMM.from_parameters(
    initial_prob=[0.5, 0.5],
    transition_prob=[[0.9, 0.1], [0.2, 0.8]],
    emission=hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [2.5]], covariance=[[1.0], [0.5]]),
)
LENGTHS = [100, 100, 100]


def simulated(seed: int) -> np.ndarray:
    return np.concatenate([TRUTH.sample(100, random_state=3 * seed + s)[0] for s in range(3)])


def quick(**options: object) -> hsmm.HMM:
    law = hsmm.emissions.Gaussian(covariance="diag")
    return hsmm.HMM(2, emission=law, **{"n_init": 1, "tol": 1e-10, "initial": "uniform", **options})


def of(table: pl.DataFrame, parameter: str, column: str) -> np.ndarray:
    return table.filter(pl.col("parameter") == parameter)[column].to_numpy()


class TestInformation:
    def test_one_state_has_the_textbook_s_standard_errors(self) -> None:
        x = RNG.normal(size=400) * 3.0 + 1.0
        model = hsmm.HMM(1, n_init=1).fit(x)
        table = model.confidence_intervals(x)
        assert of(table, "emission.mean", "std_error") == pytest.approx(x.std() / 20.0, rel=1e-5)
        assert of(table, "emission.covariance", "std_error") == pytest.approx(x.var() * np.sqrt(2 / 400), rel=1e-5)

    def test_known_states_make_transitions_binomial(self) -> None:
        states = np.repeat([0, 1, 0, 1, 0], [30, 20, 40, 25, 35])
        x = 50.0 * states + RNG.normal(size=150)
        table = quick().fit(x).confidence_intervals(x)
        left, stayed = np.array([2, 2]), np.array([102, 43])
        total = left + stayed
        expected = np.repeat(np.sqrt(left * stayed / total**3), 2)
        assert of(table, "transition.probability", "std_error") == pytest.approx(expected, rel=1e-4)

    @pytest.mark.costly
    def test_intervals_cover_the_truth_as_often_as_they_say(self) -> None:
        inside = {name: [] for name in ("transition.probability", "emission.mean", "emission.covariance")}
        truth = {"transition.probability": [0.9, 0.1, 0.2, 0.8], "emission.mean": [0.0, 2.5],
                 "emission.covariance": [1.0, 0.5]}  # fmt: skip
        for seed in range(60):
            X = simulated(seed)
            table = quick(tol=1e-8).fit(X, LENGTHS, start=START).confidence_intervals(X, LENGTHS, level=0.9)
            for name, values in truth.items():
                low, high = of(table, name, "low"), of(table, name, "high")
                inside[name].append((low <= values) & (values <= high))
        for name, found in inside.items():
            assert 0.82 <= np.mean(found) <= 0.97, name

    def test_bounds_stay_within_what_is_possible(self) -> None:
        X = simulated(1)
        table = quick().fit(X, LENGTHS).confidence_intervals(X, LENGTHS, level=0.9999)
        probability = table.filter(pl.col("parameter") == "transition.probability")
        assert (probability["low"] > 0).all()
        assert (probability["high"] < 1).all()
        assert (of(table, "emission.covariance", "low") > 0).all()
        assert (table["low"] < table["estimate"]).all()
        assert (table["estimate"] < table["high"]).all()

    def test_what_the_data_do_not_determine_is_nan_and_named(self) -> None:
        x = RNG.normal(size=(80, 1))
        law = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [0.0]], covariance=[[1.0], [1.0]])
        model = hsmm.HMM(2, emission=law, frozen=("emission",), n_init=1, max_iter=2, tol=0.0).fit(x)
        with pytest.warns(IntervalWarning, match=r"transition\.probability are not determined"):
            table = model.confidence_intervals(x)
        assert np.isnan(of(table, "transition.probability", "std_error")).all()

    def test_what_is_impossible_is_nan_and_named(self) -> None:
        x = np.r_[RNG.normal(size=40), 9.0 + RNG.normal(size=40)]
        model = hsmm.HMM(2, n_init=1).fit(x)
        with pytest.warns(IntervalWarning, match=r"initial\.probability, transition\.probability have estimates on"):
            table = model.confidence_intervals(x)
        assert np.isnan(of(table, "initial.probability", "std_error")).all()
        moves = of(table, "transition.probability", "std_error")
        assert np.isfinite(moves[:2]).all()
        assert np.isnan(moves[2:]).all()

    def test_what_lies_at_a_bound_is_nan_and_named(self) -> None:
        states = np.arange(600) // 20 % 3
        X = np.c_[3.0 * states + RNG.normal(size=600)]
        model = hsmm.HSMM(3, n_init=2, max_duration=40, initial="uniform").fit(X)
        with pytest.warns(IntervalWarning, match=r"duration\.shape"):
            table = model.confidence_intervals(X)
        shape = of(table, "duration.shape", "std_error").reshape(3, 2)
        assert np.isfinite(shape[:, 0]).all()
        assert np.isnan(shape[:, 1]).all(), "equal durations have no finite dispersion"

    def test_a_model_that_is_not_at_its_top_is_warned_of(self) -> None:
        X = simulated(2)
        model = quick(max_iter=2, tol=0.0).fit(X, LENGTHS)
        with pytest.warns(IntervalWarning, match="Newton step"):
            model.confidence_intervals(X, LENGTHS)

    def test_frozen_parameters_have_none(self) -> None:
        X = simulated(3)
        start = quick().fit(X, LENGTHS)
        model = quick(frozen=("emission.mean", "transition")).fit(X, LENGTHS, start=start)
        table = model.confidence_intervals(X, LENGTHS)
        assert set(table["parameter"]) == {"emission.covariance"}

    @pytest.mark.parametrize("covariance", ["tied", "spherical", "full"])
    def test_each_free_number_is_counted_once(self, covariance: str) -> None:
        X = RNG.normal(size=(300, 2)) + 3.0 * (np.arange(300) // 30 % 2)[:, None]
        model = hsmm.HMM(2, emission=hsmm.emissions.Gaussian(covariance=covariance), n_init=1, initial="uniform").fit(X)
        table = model.confidence_intervals(X)
        assert np.isfinite(table["std_error"].to_numpy()).all()
        same = of(table, "emission.covariance", "std_error")
        if covariance == "tied":
            assert same[:4] == pytest.approx(same[4:], rel=1e-6)
        if covariance == "spherical":
            assert same[0] == pytest.approx(same[1], rel=1e-6)


class TestBootstrap:
    @pytest.mark.costly
    def test_it_agrees_with_the_information(self) -> None:
        X = simulated(5)
        model = quick(tol=1e-7).fit(X, LENGTHS)
        one = model.confidence_intervals(X, LENGTHS)
        other = model.confidence_intervals(X, LENGTHS, method="bootstrap", n_samples=60, random_state=1)
        assert one["parameter"].to_list() == other["parameter"].to_list()
        assert one["estimate"].to_numpy() == pytest.approx(other["estimate"].to_numpy())
        assert other["std_error"].to_numpy() == pytest.approx(one["std_error"].to_numpy(), rel=0.4)
        assert (other["low"] < other["high"]).all()

    def test_it_repeats_and_keeps_the_data_s_gaps(self) -> None:
        X = simulated(6)
        X[RNG.random(X.shape) < 0.2] = np.nan
        model = quick(tol=1e-5).fit(X, LENGTHS)
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", ".*do not hold the estimate", IntervalWarning)  # of three refits
            one, other = (
                model.confidence_intervals(X, LENGTHS, method="bootstrap", n_samples=3, random_state=2) for _ in "ab"
            )
        assert one.equals(other)


def test_options_that_cannot_be_are_refused() -> None:
    X = simulated(0)
    model = quick(max_iter=1, tol=0.0).fit(X, LENGTHS)
    for options, message in [
        ({"method": "exact"}, "information, profile, bootstrap"),
        ({"level": 95}, "between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.confidence_intervals(X, LENGTHS, **options)


START = quick(max_iter=3, tol=0.0).fit(simulated(1000), LENGTHS)


class TestProfile:
    def test_one_state_has_the_textbook_s_intervals(self) -> None:
        """Of a normal sample: mean ± t s / √(n - 1), and the variances whose likelihood has fallen by z² / 2."""
        x = np.random.default_rng(1).normal(size=12) * 2.0 + 1.0
        model = hsmm.HMM(1, n_init=1, tol=1e-12).fit(x)
        z, n, variance = ndtri(0.95), len(x), x.var()
        reach = stdtrit(n - 1, 0.95) * np.sqrt(variance / (n - 1))
        for method, exact in (("profile", 0.02), ("information", 1e-4)):
            table = model.confidence_intervals(x, method=method, level=0.9)
            sides = [float(of(table, "emission.mean", side)[0]) for side in ("low", "high")]
            assert sides == pytest.approx([x.mean() - reach, x.mean() + reach], abs=exact * reach)

        def fallen(value: float) -> float:
            return 0.5 * n * (np.log(value / variance) + variance / value - 1.0) - 0.5 * z**2

        table = model.confidence_intervals(x, method="profile", level=0.9)
        ends = [brentq(fallen, 0.1 * variance, variance), brentq(fallen, variance, 9.0 * variance)]
        sides = [float(of(table, "emission.covariance", side)[0]) for side in ("low", "high")]
        assert sides == pytest.approx(ends, rel=0.02)

    def test_what_lies_at_a_bound_is_free_to_leave_it(self) -> None:
        """Tails as light as may be leave it open whether the scatter is less, and they heavier."""
        x = ndtri((np.arange(30) + 0.5) / 30)
        model = hsmm.HMM(1, emission="student_t", n_init=1, tol=1e-12).fit(x)
        assert model.emission_.dof_[0] > 900
        with pytest.warns(IntervalWarning, match=r"emission\.dof"):
            table = model.confidence_intervals(x, method="profile", level=0.9)
        low = float(of(table, "emission.covariance", "low")[0])
        heavier = [t.logpdf(x / np.sqrt(low), dof).sum() - 15.0 * np.log(low) for dof in np.geomspace(1, 1000, 300)]
        assert model.log_likelihood_ - max(heavier) == pytest.approx(0.5 * ndtri(0.95) ** 2, abs=0.05)
        assert np.argmax(heavier) < 200

    def test_an_end_is_where_the_best_of_all_others_has_fallen(self) -> None:
        """A mean is put to its end and frozen, all else refitted: the likelihood is z² / 2 lower."""
        X = simulated(0)
        model = quick().fit(X, LENGTHS)
        table = model.confidence_intervals(X, LENGTHS, method="profile", level=0.9)
        for side in ("low", "high"):
            best = -np.inf
            for other in np.linspace(-0.06, 0.06, 5):
                mean = model.emission_.mean_.copy()
                mean[0] += other
                mean[1] = of(table, "emission.mean", side)[1]
                law = model.emission_.with_parameters(mean=torch.from_numpy(mean)[None])
                again = quick(frozen=("emission.mean",), tol=1e-7).fit(X, LENGTHS, start=_with(model, law))
                best = max(best, again.log_likelihood_)
            assert model.log_likelihood_ - best == pytest.approx(0.5 * ndtri(0.95) ** 2, abs=0.08)

    def test_what_has_no_standard_error_has_no_profile(self) -> None:
        x = 50.0 * np.repeat([0, 1], 40) + RNG.normal(size=80)
        model = quick().fit(x)
        with pytest.warns(IntervalWarning, match="boundary"):
            table = model.confidence_intervals(x, method="profile")
        assert np.isnan(of(table, "transition.probability", "low")[2:]).all()
        assert np.isfinite(of(table, "emission.mean", "low")).all()


def test_a_bootstrap_that_leaves_the_estimate_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    X = simulated(0)
    model = quick().fit(X, LENGTHS)
    fit = hsmm.HMM.fitting

    def biased(self: hsmm.HMM, *arguments: Any, **options: Any) -> Fitting[hsmm.HMM]:
        made = yield from fit(self, *arguments, **options)
        mean = made._model.emission.parameters["mean"] + 0.7
        made._model = replace(made._model, emission=made._model.emission.with_parameters(mean=mean))
        return made

    monkeypatch.setattr(hsmm.HMM, "fitting", biased)
    with pytest.warns(IntervalWarning, match="some intervals of .*emission.mean.* do not hold the estimate"):
        model.confidence_intervals(X, LENGTHS, method="bootstrap", n_samples=4, level=0.5)


def _with(model: hsmm.HMM, law: hsmm.emissions.Gaussian) -> hsmm.HMM:
    return hsmm.HMM.from_parameters(
        initial_prob=model.initial_prob_, transition_prob=model.transition_prob_, emission=law
    )
