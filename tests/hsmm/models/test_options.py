"""Options are read, or refused with the name that was meant; seeds come from numbers, generators, or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hsmm
from hsmm.errors import UnknownOptionError
from tests.hsmm.models.cases import QUICK

X = np.random.default_rng(3).normal(size=(60, 1)) + 4.0 * (np.arange(60)[:, None] // 12 % 2)


FITTED = hsmm.HMM(1, n_init=1).fit(X)


@pytest.mark.parametrize(
    ("make", "wrong", "meant"),
    [
        (hsmm.HSMM, "n_stats", "n_states"),
        (hsmm.HMM, "emision", "emission"),
        (hsmm.GLMHMM, "observation_modle", "observation_model"),
        (hsmm.emissions.Gaussian, "covarance", "covariance"),
        (hsmm.emissions.GLM, "familly", "family"),
        (hsmm.durations.Poisson, "max_durations", "max_duration"),
        (hsmm.transitions.Dense, "concentrations", "concentration"),
        (hsmm.initials.FreeInitial, "concentraton", "concentration"),
        (hsmm.trainers.Gradient, "learning_rates", "learning_rate"),
        (hsmm.regularizers.GroupLasso, "masks", "mask"),
        (hsmm.HMM, "n_components", "n_states"),
        (hsmm.HMM, "covariance_type", "emission"),
        (hsmm.HSMM, "n_iter", "max_iter"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_nearest(make: Callable, wrong: str, meant: str) -> None:
    with pytest.raises(UnknownOptionError, match=rf"no option '{wrong}'; did you mean '{meant}'\?.*{meant}"):
        make(**{wrong: 1})
    with pytest.raises(UnknownOptionError, match=r"no option 'zzzz'. It takes "):
        make(zzzz=1)


@pytest.mark.parametrize("option", ["duration", "max_duration"])
def test_an_option_of_another_estimator_is_answered_with_that(option: str) -> None:
    with pytest.raises(UnknownOptionError, match=rf"HMM has no option '{option}', which hsmm.HSMM has\. It takes "):
        hsmm.HMM(2, **{option: 5})
    hsmm.HSMM(2, **{option: "geometric" if option == "duration" else 5})


@pytest.mark.parametrize(
    ("ask", "meant"),
    [
        (lambda: hsmm.HMM(2, emission="gausian").fit(X), "gaussian"),
        (lambda: hsmm.HSMM(2, duration="poison").fit(X), "poisson"),
        (lambda: hsmm.HMM(2, transition="dens").fit(X), "dense"),
        (lambda: hsmm.HMM(2, initial="fre").fit(X), "free"),
        (lambda: hsmm.HMM(2, trainer="gradiant").fit(X), "gradient"),
        (lambda: hsmm.HMM(2, frozen=("emision",)).fit(X), "emission"),
        (lambda: hsmm.emissions.Gaussian(covariance="diagg"), "diag"),
        (lambda: hsmm.emissions.GLM(family="poison"), "poisson"),
        (lambda: hsmm.emissions.GLM(inverse_link="logistik"), "logistic"),
        (lambda: hsmm.trainers.Gradient(optimiser="adan"), "adam"),
        (lambda: hsmm.GLMHMM(2, observation_model="Bernouli"), "Bernoulli"),
        (lambda: hsmm.GLMHMM(2, regularizer="Rige"), "Ridge"),
        (lambda: hsmm.GLMHMM(2, solver_name="Newtn"), "Newton"),
        (lambda: hsmm.GLMHMM(2).setup(initial_proba_init="uniforn"), "uniform"),
        (lambda: hsmm.select_model(X, [hsmm.HMM(1)], criterion="bicc"), "bic"),
        (lambda: hsmm.select_model(X, [hsmm.HMM(1)], criterion="BIC"), "bic"),
        (lambda: hsmm.HMM(2, emission="negbin").fit(X), "negative_binomial"),
        (lambda: hsmm.HSMM(2, duration="LogNormal").fit(X), "log_normal"),
        (lambda: hsmm.HMM(2, emission="normal").fit(X), "gaussian"),
        (lambda: hsmm.HMM(2, emission="t").fit(X), "student_t"),
        (lambda: hsmm.GLMHMM(2, "NegBin"), "NegativeBinomial"),
        (lambda: hsmm.HMM(2, device="Cuda").fit(X), "cuda"),
        (lambda: FITTED.set_output(transform="panda"), "pandas"),
        (lambda: hsmm.select_model(X, [hsmm.HMM(1)], criterion="held_out", rule="bst"), "best"),
        (lambda: FITTED.confidence_intervals(X, method="profil"), "profile"),
        (lambda: FITTED.pseudo_residuals(X, ties="randon"), "random"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(ask: Callable, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"expected one of .*{meant}.*; did you mean '{meant}'\?$"):
        ask()


def test_options_that_are_set_are_answered_likewise_and_then_none_is_changed() -> None:
    model = hsmm.HMM()
    with pytest.raises(UnknownOptionError, match=r"no parameter 'n_int'; did you mean 'n_init'\?"):
        model.set_params(n_states=7, n_int=3)
    assert model.n_states == 2


@pytest.mark.parametrize("made", [np.random.default_rng, np.random.RandomState])
def test_a_generator_gives_each_fit_a_seed_of_its_own_and_the_same_ones_again(made: Callable) -> None:
    def seeds() -> list[int]:
        model = hsmm.HMM(2, **QUICK, random_state=made(5))
        return [model.fit(X).seed_ for _ in range(2)]

    first, second = seeds()
    assert first != second
    assert seeds() == [first, second]


def test_without_a_random_state_no_two_fits_have_the_same_seed() -> None:
    model = hsmm.HMM(2, **QUICK, random_state=None)
    assert model.fit(X).seed_ != model.fit(X).seed_
    assert not np.array_equal(model.sample(20)[0], model.sample(20)[0])


def test_a_drawn_seed_repeats_its_fit_and_is_saved(tmp_path: Path) -> None:
    drawn = hsmm.HMM(2, **QUICK, random_state=None).fit(X)
    assert set(drawn.restarts_["seed"]) == {drawn.seed_}
    again = hsmm.HMM(2, **QUICK, random_state=drawn.seed_).fit(X)
    assert np.array_equal(again.history_, drawn.history_)
    assert hsmm.load(drawn.save(tmp_path)).random_state == drawn.seed_


def test_a_glm_hmm_begins_where_its_generator_says() -> None:
    trials, choices = np.random.default_rng(0).normal(size=(80, 2)), np.arange(80.0) % 2
    fits = [hsmm.GLMHMM(2, maxiter=3, tol=0.0, random_state=np.random.default_rng(s)) for s in (1, 1, 2)]
    for model in fits:
        model.fit(trials, choices)
    assert np.array_equal(fits[0].coef_, fits[1].coef_)
    assert not np.array_equal(fits[0].coef_, fits[2].coef_)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "0", np.random])
def test_other_random_states_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"random_state is .*numpy.random.Generator or RandomState, or None"):
        hsmm.HMM(2, random_state=wrong).fit(X)


@pytest.mark.parametrize(
    "fit",
    [
        lambda: hsmm.HMM(2, n_init=1, max_iter=2).fit(X),
        lambda: hsmm.GLMHMM(2, "Gaussian", maxiter=2).fit(X, X[:, 0]),
    ],
    ids=["hmm", "glm"],
)
def test_a_warning_names_the_line_that_called_the_library(fit: Callable) -> None:
    with pytest.warns(hsmm.errors.ConvergenceWarning) as caught:
        fit()
    assert {warning.filename for warning in caught} == {__file__}
