"""A fitted model says what it has found, in a table, at a prompt and in a notebook."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import hsmm
from hsmm import emissions
from hsmm.errors import NotFittedError
from tests.hsmm.models.cases import ESTIMATORS, LENGTHS, fitted, regimes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*single row:hsmm.errors.DataWarning", "ignore::hsmm.errors.DurationWallWarning"
)
X = regimes()
CHAIN = {"initial_prob": [0.5, 0.5], "transition_prob": [[0.9, 0.1], [0.2, 0.8]]}


def known(emission: emissions.Emission) -> hsmm.HMM:
    return hsmm.HMM.from_parameters(**CHAIN, emission=emission)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_row_a_state_with_its_share_its_stay_and_its_moments(name: str) -> None:
    model = fitted(name)
    table = model.summary()
    assert table["state"].to_list() == list(range(model.n_states))
    assert table["share"].to_numpy() == pytest.approx(model.predict_proba(X, LENGTHS).mean(0), abs=1e-12)
    assert np.array_equal(table["mean_duration"].to_numpy(), model.mean_duration_)
    assert np.array_equal(table.select("mean_x0", "mean_x1").to_numpy(), model.emission_.moments()[0][0].numpy())
    part = model.summary(X[:70])
    assert part["share"].to_numpy() == pytest.approx(model.predict_proba(X[:70]).mean(0), abs=1e-12)
    assert part.drop("share").equals(table.drop("share"))


SAMPLED = {
    "gaussian": emissions.Gaussian.from_parameters(mean=[[0.0], [3.0]], covariance=[[[1.0]], [[4.0]]]),
    "student_t": emissions.StudentT.from_parameters(mean=[[0.0], [3.0]], covariance=[[[1.0]], [[4.0]]], dof=[6.0, 9.0]),
    "poisson": emissions.Poisson.from_parameters([[1.0], [6.0]]),
    "negative_binomial": emissions.NegativeBinomial.from_parameters(mean=[[1.0], [9.0]], size=[[1.0], [3.0]]),
    "gamma": emissions.Gamma.from_parameters(mean=[[1.0], [8.0]], shape=[[2.0], [5.0]]),
    "bernoulli": emissions.Bernoulli.from_parameters([[0.1], [0.7]]),
    "mixture": emissions.Mixture.from_parameters(
        [[0.3, 0.7], [0.5, 0.5]],
        emissions.Gaussian.from_parameters(
            mean=[[0.0], [4.0], [8.0], [12.0]], covariance=[[[1.0]], [[0.5]], [[1.0]], [[0.5]]]
        ),
    ),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_moments_are_those_of_what_the_law_emits(name: str) -> None:
    X, states = known(SAMPLED[name]).sample(8_000, random_state=0)
    table = known(SAMPLED[name]).summary()
    for k in range(2):
        rows = X[states == k, 0]
        assert table["mean_x0"][k] == pytest.approx(rows.mean(), abs=6.0 * rows.std() / np.sqrt(len(rows)))
        assert table["sd_x0"][k] == pytest.approx(rows.std(), rel=0.06)


def test_heavy_tails_have_no_moments() -> None:
    law = emissions.StudentT.from_parameters(mean=[[0.0], [3.0]], covariance=[[[1.0]], [[4.0]]], dof=[0.9, 1.5])
    table = known(law).summary()
    assert np.isnan(table["mean_x0"][0])
    assert table["mean_x0"][1] == 3.0
    assert table["sd_x0"][1] == np.inf


def test_what_has_no_moments_shows_its_parameters() -> None:
    law = emissions.Product.from_parameters(
        [
            emissions.Categorical.from_parameters([[0.2, 0.8], [0.6, 0.4]]),
            emissions.Poisson.from_parameters([[1.0], [2.0]]),
        ],
        columns=[[1], [0]],
    )
    table = known(law).summary()
    assert table.columns[3:] == ["x1.probability[0]", "x1.probability[1]", "mean_x0", "sd_x0"]
    assert table["x1.probability[1]"].to_list() == [0.8, 0.4]


class TestStandardErrors:
    def test_one_state_has_those_of_the_textbook(self) -> None:
        x = np.random.default_rng(0).normal(size=400) * 3.0 + 1.0
        table = hsmm.HMM(1, n_init=1).fit(x).summary(x, std_errors=True)
        assert table["mean_x0_se"][0] == pytest.approx(x.std() / 20.0, rel=1e-4)
        assert table["sd_x0_se"][0] == pytest.approx(x.std() / np.sqrt(800.0), rel=1e-4)

    def test_known_states_have_those_of_a_binomial_stay(self) -> None:
        states = np.repeat([0, 1, 0, 1, 0], [30, 20, 40, 25, 35])
        x = 50.0 * states + np.random.default_rng(1).normal(size=150)
        model = hsmm.HMM(2, n_init=1, initial="uniform", tol=1e-10).fit(x)
        table = model.summary(x, std_errors=True)
        left, total = np.array([2.0, 2.0]), np.array([104.0, 45.0])
        of_leaving = np.sqrt(left * (total - left) / total**3)
        assert table["mean_duration"].to_numpy() == pytest.approx(total / left, rel=1e-4)
        assert table["mean_duration_se"].to_numpy() == pytest.approx(of_leaving * (total / left) ** 2, rel=1e-3)

    def test_what_the_data_do_not_determine_is_nan(self) -> None:
        x = np.r_[np.zeros(30), np.random.default_rng(2).normal(size=30) + 9.0]
        with pytest.warns(hsmm.errors.ConvergenceWarning):
            model = hsmm.HMM(2, n_init=2, initial="uniform").fit(x)
        assert np.isnan(model.summary(x, std_errors=True)["sd_x0_se"][0])

    def test_a_stay_without_end_has_none(self) -> None:
        x = np.r_[np.zeros(30), np.full(30, 9.0)] + np.random.default_rng(2).normal(size=60)
        table = hsmm.HMM(2, n_init=2, initial="uniform").fit(x).summary(x, std_errors=True)
        assert table["mean_duration"][1] == np.inf
        assert np.isnan(table["mean_duration_se"][1])
        assert np.isfinite(table["mean_duration_se"][0])

    def test_they_need_the_data_of_the_fit(self) -> None:
        with pytest.raises(NotFittedError, match=r"standard errors come from the data.*summary\(X"):
            fitted("hmm").summary(std_errors=True)


def test_shares_go_with_the_model(tmp_path: Path) -> None:
    model = fitted("hmm")
    assert hsmm.load(model.save(tmp_path)).summary().equals(model.summary())
    turned = model.permuted([2, 0, 1]).summary()
    assert turned["share"].to_list() == [model.summary()["share"][k] for k in (2, 0, 1)]
    assert known(SAMPLED["poisson"]).summary()["share"].to_list() == [None, None]


def test_shares_of_a_batch_are_not_those_of_the_stream() -> None:
    rows = regimes(n_features=1, missing=0.0)
    model = hsmm.HMM(2, n_init=1, max_iter=3, tol=0.0).fit(rows)
    assert model.partial_fit(rows[:40]).summary()["share"].to_list() == [None, None]


class TestDurationParameters:
    def test_they_have_the_names_of_books(self) -> None:
        assert set(fitted("hsmm").duration_parameters_) == {"mean", "rate", "r"}
        assert np.array_equal(fitted("hsmm").duration_parameters_["mean"], fitted("hsmm").mean_duration_)
        assert fitted("hsmm").duration_.name == "negative_binomial"
        assert not hasattr(hsmm.HSMM(), "duration_parameters_")

    @pytest.mark.parametrize(
        ("duration", "mean"),
        [
            ("geometric", lambda law: 1.0 / law["p"]),
            ("poisson", lambda law: 1.0 + law["rate"]),
            ("negative_binomial", lambda law: 1.0 + law["rate"]),
            ("gamma", lambda law: law["location"]),
            ("weibull", lambda law: law["location"]),
            ("log_normal", lambda law: np.exp(law["mu"] + 0.5 * law["sigma"] ** 2)),
            ("categorical", lambda law: law["probability"] @ np.arange(1, 41)),
        ],
    )
    def test_their_mean_is_that_of_the_law(self, duration: str, mean: object) -> None:
        rows = regimes(n_features=1, missing=0.0)
        law = hsmm.HSMM(2, duration=duration, max_duration=40, n_init=2, max_iter=9, tol=0.0).fit(rows)
        found = law.duration_parameters_
        assert mean(found) == pytest.approx(found["mean"], rel=0.05)  # type: ignore[operator]


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:  # noqa: ARG002
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


class TestShown:
    def test_a_prompt_shows_options_and_once_fitted_every_state(self) -> None:
        assert repr(hsmm.HMM()) == "HMM()"
        assert repr(hsmm.HSMM(3, duration="poisson")) == "HSMM(n_states=3, duration='poisson')"
        law = emissions.Product(parts=("categorical", emissions.Poisson(prior_rate=2.0)))
        shown = "HMM(emission=Product(parts=(Categorical(), Poisson(prior_rate=2.0)), columns=((0,), (1,))))"
        assert repr(hsmm.HMM(emission=law)) == shown
        head, facts, names, *rows = repr(fitted("hsmm")).splitlines()
        assert head == repr(ESTIMATORS["hsmm"])
        assert f"log-likelihood {fitted('hsmm').log_likelihood_:.2f}" in facts
        assert "not converged" in facts
        assert re.split(r"\s{2,}", names.strip()) == [
            *("state", "share", "mean duration", "mean x0", "sd x0", "mean x1", "sd x1")
        ]
        assert [row.split()[0] for row in rows] == ["0", "1", "2"]
        assert {len(row) for row in rows} == {len(names)}

    def test_it_is_cheap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: object, **__: object) -> None:
            raise AssertionError

        model = fitted("hsmm")
        monkeypatch.setattr("hsmm.inference.posterior", refused)
        monkeypatch.setattr("hsmm.models.base.with_std_errors", refused)
        assert repr(model)
        assert model._repr_html_()

    def test_a_notebook_shows_the_same_without_script_or_colours_of_its_own(self) -> None:
        made = fitted("hsmm")._repr_html_()
        page = Page(made)
        assert not page.open
        assert set(page.tags) <= {"div", "code", "table", "thead", "tbody", "tr", "th", "td", "span"}
        assert page.tags.count("tr") == 4
        for words in repr(fitted("hsmm")).splitlines()[3].split():
            assert words in page.words
        assert len(made) < 8_000
        assert "http" not in made
        assert set(re.findall(r"[;\"]color:(\w+)", made)) == {"inherit"}
        assert "background-color" not in made

    def test_names_are_text_and_never_markup(self) -> None:
        frame = pl.DataFrame(X, schema=["<script>alert(1)</script>", "a & b"])
        made = hsmm.HMM(2, n_init=1, max_iter=2, tol=0.0).fit(frame, LENGTHS)._repr_html_()
        assert "<script" not in made
        assert "a &amp; b" in made

    def test_many_states_and_features_are_cut_and_said_to_be(self) -> None:
        law = emissions.Poisson.from_parameters(np.ones((15, 9)) + np.arange(15)[:, None])
        chain = {"initial_prob": np.full(15, 1 / 15), "transition_prob": np.full((15, 15), 1 / 15)}
        text = repr(hsmm.HMM.from_parameters(**chain, emission=law))
        assert text.endswith("3 more states and 12 more columns: summary() has all.")
        assert len(text.splitlines()) == 1 + 1 + 1 + 12 + 1
