"""Regressions do not depend on the units and origins of their covariates."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hsmm
from benchmarks.hard import case
from hsmm.components.emission.glm import GLM, solvers
from hsmm.sequences import Sequences
from tests.costly import costly_beyond

UNITS = {"nano": (1e-9, 0.0), "kilo": (5e3, 0.0), "far": (1.0, 1e6), "unix": (86_400.0, 1.7e9)}
FAMILIES = {"bernoulli": None, "poisson": None, "negative_binomial": None, "gamma": "exp", "gaussian": None}


def _data(family: str, n_rows: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Responses of two lasting states to a covariate, and it."""
    rng = np.random.default_rng(seed)
    states = np.cumsum(rng.random(n_rows) < 0.05) % 2
    c = rng.normal(size=n_rows)
    eta = np.where(states == 0, 0.3 + 0.8 * c, 1.5 - 0.9 * c)
    y = {
        "bernoulli": lambda: rng.random(n_rows) < 1.0 / (1.0 + np.exp(1.0 - 2.0 * eta)),
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "negative_binomial": lambda: rng.poisson(np.exp(eta) * rng.gamma(3.0, 1.0 / 3.0, n_rows)),
        "gamma": lambda: rng.gamma(4.0, np.exp(eta) / 4.0),
        "gaussian": lambda: eta + 0.3 * rng.normal(size=n_rows),
    }[family]()
    return y.astype(float), c[:, None]


@functools.cache
def _fitted(family: str) -> hsmm.HMM:
    """The model of the data as they are."""
    y, c = _data(family)
    return hsmm.HMM(2, emission=GLM(family=family, inverse_link=FAMILIES[family]), n_init=2).fit(y, context=c)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_units_and_origins_change_no_fit(family: str, unit: str) -> None:
    y, c = _data(family)
    factor, origin = UNITS[unit]
    plain = _fitted(family)
    moved = hsmm.HMM(2, emission=plain.emission, n_init=2).fit(y, context=factor * c + origin)
    assert moved.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-6)
    assert moved.emission_.coef_[:, 0, 0] * factor == pytest.approx(plain.emission_.coef_[:, 0, 0], abs=1e-4)


def test_states_are_numbered_by_what_they_predict_at_the_mean_of_the_covariates() -> None:
    rows = Sequences.from_arrays(torch.zeros(4), covariates=torch.tensor([[9.0], [11.0], [8.0], [12.0]]))
    law = GLM.from_parameters(coef=[[1.0], [-1.0]], intercept=[0.0, 1.0], family="poisson")
    assert law.order().tolist() == [0, 1]
    assert law.in_units_of(rows).order().tolist() == [1, 0]


@pytest.mark.parametrize("seed", costly_beyond(3, range(6)))
def test_random_units_change_no_fit(seed: int) -> None:
    rows = case("regressions", seed)
    plain = rows.make(n_init=4).fit(rows.X, context=rows.context)
    moved = rows.make(n_init=4).fit(rows.X, context=rows.moved_context)
    assert moved.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-6)


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "proximal_gradient"])
@pytest.mark.parametrize("unit", UNITS)
def test_every_solver_reaches_the_same_top_in_any_unit(solver: str, unit: str) -> None:
    y, c = _data("poisson")
    factor, origin = UNITS[unit]
    weights = torch.ones(1, len(y), 1, dtype=torch.float64)
    tops = []
    for covariates in (c, factor * c + origin):
        data = Sequences.from_arrays(y, covariates=covariates)
        law = GLM(family="poisson", solver=solver)
        law = law.initialise(data, torch.zeros(1, len(y), dtype=torch.int64), 1).maximise(data, weights)
        tops.append(float(law.log_potentials(data).sum()))
    assert tops[1] == pytest.approx(tops[0], abs=1e-5)


@pytest.mark.parametrize("regularizer", ["UnRegularized", "Ridge", "ElasticNet"])
@pytest.mark.parametrize("unit", UNITS)
def test_one_start_of_a_glm_hmm_is_as_good_in_any_unit(regularizer: str, unit: str) -> None:
    y, c = _data("poisson")
    factor, origin = UNITS[unit]
    model = hsmm.GLMHMM(2, "Poisson", regularizer=regularizer, standardise=True)
    plain, moved = model.clone().fit(c, y), model.clone().fit(factor * c + origin, y)
    assert moved.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-5)
    assert moved.history_[-1] == pytest.approx(plain.history_[-1], abs=1e-5)


def test_a_penalty_is_nemos_where_covariates_are_of_the_size_of_one_and_in_no_unit_ten_times_another() -> None:
    y, c = _data("poisson")
    c = 2.0 * c / c.std()
    own = hsmm.GLMHMM(2, "Poisson", regularizer_strength=50.0)
    raw, standard = (own.clone().set_params(standardise=rule).fit(c, y) for rule in (False, True))
    found = own.fit(c, y)
    assert found.log_likelihood_ == pytest.approx(raw.log_likelihood_, abs=1e-9)
    assert found.log_likelihood_ != pytest.approx(standard.log_likelihood_, abs=1e-3)
    for factor, origin in ((1e-4, 0.0), (1e6, 0.0), (1.0, 1e5), (1e5, 1.7e9)):
        moved = own.clone().fit(factor * c + origin, y)
        assert moved.history_[-1] == pytest.approx(found.history_[-1], abs=1e-5)
        np.testing.assert_allclose(moved.coef_ * factor, found.coef_, atol=1e-4)
    with pytest.raises(TypeError, match="expected True, False or 'decade'"):
        hsmm.GLMHMM(2, standardise="decades").fit(c[:, None], y)
    with pytest.raises(ValueError, match="expected True, False or 'decade'"):
        GLM(standardise=None)


def test_a_penalty_of_raw_coefficients_has_their_unit_but_no_origin() -> None:
    y, c = _data("poisson")
    plain, far, kilo = (
        hsmm.GLMHMM(2, "Poisson", standardise=False, regularizer_strength=50.0).fit(covariates, y)
        for covariates in (c, c + 1e3, 1e3 * c)
    )
    assert far.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-5)
    assert kilo.log_likelihood_ > plain.log_likelihood_ + 0.1


PENALTIES: list[dict[str, Any]] = [
    {"regularizer": "ridge", "strength": 3.0},
    {"regularizer": "lasso", "strength": 4.0},
    {"regularizer": "elastic_net", "strength": 4.0, "mix": 0.3},
    {"regularizer": "group_lasso", "strength": 4.0, "groups": [0, 1, 1]},
]


@pytest.mark.parametrize("options", PENALTIES, ids=lambda options: options["regularizer"])
def test_no_unit_changes_a_penalised_fit(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    y, c = _data("poisson")
    C = np.c_[c, rng.normal(size=(len(y), 2))]
    emission = GLM(family="poisson", **options)
    plain = hsmm.HMM(2, emission=emission, n_init=3).fit(y, context=C)
    factor = np.array([1e-6, 1e3, 1.0])
    moved = hsmm.HMM(2, emission=emission, n_init=3).fit(y, context=factor * C + [0.0, 1e5, -3.0])
    assert moved.history_[-1] == pytest.approx(plain.history_[-1], abs=1e-5)
    assert moved.emission_.coef_ * factor[:, None] == pytest.approx(plain.emission_.coef_, abs=1e-3)


def test_a_start_from_other_data_is_penalised_in_the_units_of_these() -> None:
    y, c = _data("poisson")
    law = hsmm.emissions.Product([GLM(family="poisson", regularizer="ridge", strength=5.0)])
    start = hsmm.HMM(2, emission=law, n_init=2).fit(y, context=c)
    again = hsmm.HMM(2, emission=law, n_init=1, max_iter=1, tol=0.0).fit(y, context=3.0 * c, start=start)
    weighed = start.emission_.laws[0].coef_ * 3.0 * c.std()
    expected = start.score(y, context=3.0 * c) - 2.5 * (weighed**2).sum()
    assert again.history_[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", PENALTIES, ids=lambda options: options["regularizer"])
def test_penalties_weigh_coefficients_in_the_covariates_own_units(options: dict[str, Any]) -> None:
    """The prior is the documented one, and where learning ends no step in raw coefficients gains."""
    rng = np.random.default_rng(1)
    y, c = _data("poisson")
    C = np.c_[c, rng.normal(size=(len(y), 2))] * [1.0, 0.1, 20.0] + [5.0, 0.0, 100.0]
    data = Sequences.from_arrays(y, covariates=C)
    weights = torch.ones(1, len(y), 1, dtype=torch.float64)
    law = GLM(family="poisson", min_precision=0.0, standardise=False, **options)
    law = law.initialise(data, torch.zeros(1, len(y), dtype=torch.int64), 1)
    for _ in range(3):
        law = law.maximise(data, weights)
    coef = law.coef_[0, :, 0]
    assert float(law.log_prior()) == pytest.approx(-_documented(coef, options), rel=1e-9)
    top = float(law.log_potentials(data).sum()) + float(law.log_prior())
    for _ in range(200):
        step = rng.normal(size=3) * [1.0, 10.0, 0.05] * 10.0 ** rng.uniform(-5, -1)
        other = law.with_parameters(coef=law.parameters["coef"] + torch.from_numpy(step)[:, None])
        level = law.parameters["intercept"] - float(step @ C.mean(0))
        other = other.with_parameters(intercept=level)
        assert float(other.log_potentials(data).sum()) - _documented(coef + step, options) <= top + 1e-7


@pytest.mark.parametrize("options", PENALTIES, ids=lambda options: options["regularizer"])
def test_an_origin_changes_no_penalised_fit(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    y, c = _data("poisson")
    C = np.c_[c, rng.normal(size=(len(y), 2))]
    emission = GLM(family="poisson", **options)
    plain = hsmm.HMM(2, emission=emission, n_init=3).fit(y, context=C)
    moved = hsmm.HMM(2, emission=emission, n_init=3).fit(y, context=C + 1000.0)
    assert moved.history_[-1] == pytest.approx(plain.history_[-1], abs=1e-5)
    assert np.sort(moved.emission_.coef_, 0) == pytest.approx(np.sort(plain.emission_.coef_, 0), abs=1e-3)


@pytest.mark.parametrize("tied", [(), ("intercept",)])
def test_an_origin_far_away_makes_no_penalised_step_dear(
    tied: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that meet where a covariate is 0 leave level and slopes hard to tell apart, but not to find."""
    evaluations = 0
    accelerated = solvers._accelerated

    def counted(smooth: solvers.Smooth, *arguments: Any, **options: Any) -> torch.Tensor:
        def once(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal evaluations
            evaluations += 1
            return smooth(x)

        return accelerated(once, *arguments, **options)

    monkeypatch.setattr(solvers, "_accelerated", counted)
    y, c = _data("poisson")
    C = np.c_[c, np.random.default_rng(3).normal(size=(len(y), 2))] + 1000.0
    weights = torch.tensor(np.where(np.arange(len(y)) % 2, 0.9, 0.1))[None, :, None]
    data = Sequences.from_arrays(y, covariates=C)
    law = GLM(family="poisson", regularizer="lasso", strength=4.0, standardise=False, tied=tied)
    law = law.initialise(data, torch.zeros(1, len(y), dtype=torch.int64), 2)
    for _ in range(3):
        law = law.maximise(data, torch.cat([weights, 1.0 - weights], 2))
    assert evaluations < 1000


@pytest.mark.parametrize("tied", [("coef",), ("intercept",), ("coef", "intercept")])
def test_what_states_share_is_shared_in_any_unit(tied: tuple[str, ...]) -> None:
    """An origin may change a model whose intercepts alone are shared: its lines meet where the covariate is 0."""
    y, c = _data("poisson")
    emission = GLM(family="poisson", tied=tied)
    plain = hsmm.HMM(2, emission=emission, n_init=4).fit(y, context=c)
    moved = hsmm.HMM(2, emission=emission, n_init=4).fit(y, context=1e-6 * c + (0.0 if tied == ("intercept",) else 1.0))
    assert moved.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-5)
    for name in tied:
        value = getattr(moved.emission_, f"{name}_")
        assert np.array_equal(value[0], value[1]) or value[0] == pytest.approx(value[1], rel=1e-12)


@pytest.mark.parametrize("frozen", ["emission.coef", "emission.intercept"])
def test_what_is_frozen_stays_to_the_bit_in_any_unit(frozen: str) -> None:
    y, c = _data("poisson")
    start = hsmm.HMM(2, emission=GLM(family="poisson"), n_init=2, max_iter=5, tol=0.0).fit(y, context=1e3 * c + 50.0)
    model = hsmm.HMM(2, emission=GLM(family="poisson"), n_init=2, frozen=(frozen,))
    model.fit(y, context=1e3 * c + 50.0, start=start)
    name = f"{frozen.partition('.')[2]}_"
    assert np.array_equal(getattr(model.emission_, name), getattr(start.emission_, name))
    assert model.log_likelihood_ >= start.log_likelihood_


def test_a_penalty_in_odd_units_is_said_to_be_one() -> None:
    y, c = _data("poisson")
    with pytest.warns(hsmm.errors.DataWarning, match="standardise=True"):
        hsmm.GLMHMM(2, "Poisson", standardise=False).fit(1e-5 * c, y)


def test_models_saved_without_units_are_read(tmp_path: Path) -> None:
    y, c = _data("poisson")
    model = hsmm.HMM(2, emission=GLM(family="poisson"), n_init=2).fit(y, context=c)
    model.save(tmp_path / "new")
    (tmp_path / "old").mkdir()
    tables = load_file(tmp_path / "new" / "model.safetensors")
    older = {name: table for name, table in tables.items() if name not in ("emission.centre", "emission.spread")}
    assert len(older) == len(tables) - 2
    save_file(older, tmp_path / "old" / "model.safetensors")
    described = json.loads((tmp_path / "new" / "model.json").read_text())
    del described["sha256"]
    (tmp_path / "old" / "model.json").write_text(json.dumps(described))
    assert hsmm.load(tmp_path / "old").score(y, context=c) == model.score(y, context=c)


@pytest.mark.parametrize(
    ("link", "weight", "factor", "origin"), [("one_over_x", 1e-12, 1.0, 1e4), ("identity", 1e-18, 1e-6, 7.0)]
)
def test_a_row_that_hardly_weighs_leaves_no_law_without_a_mean(
    link: str, weight: float, factor: float, origin: float
) -> None:
    """Where a gamma law's line ends beside such a row, rounding in the covariates' own units carries nothing beyond."""
    c = np.linspace(-1.0, 1.0, 40)
    level = 1.05 - c
    mean = 1.0 / level if link == "one_over_x" else level
    y = np.r_[np.random.default_rng(0).gamma(20.0, mean / 20.0), 1.0]
    data = Sequences.from_arrays(y, covariates=(factor * np.r_[c, 1.3] + origin)[:, None])
    weights = torch.ones(1, 41, 1, dtype=torch.float64)
    weights[0, -1] = weight
    law = GLM(family="gamma", inverse_link=link).initialise(data, torch.zeros(1, 41, dtype=torch.int64), 1)
    for _ in range(4):
        law = law.maximise(data, weights)
    assert bool(law.parameters["scale"].isfinite().all())
    assert bool(law.log_potentials(data)[0, :-1].isfinite().all())


def test_a_mean_near_overflow_makes_a_row_impossible_and_no_error() -> None:
    emission = GLM.from_parameters(coef=[[1.0]], intercept=[0.0], family="poisson")
    model = hsmm.HMM.from_parameters(initial_prob=[1.0], transition_prob=[[1.0]], emission=emission)
    for predictor in (705.0, 720.0):
        with pytest.warns(hsmm.errors.DataWarning, match="probability zero"):
            assert model.score([1.0, 1.0], context=[[0.0], [predictor]]) == -np.inf


def _documented(coef: np.ndarray, options: dict[str, Any]) -> float:
    s, mix = options["strength"], options.get("mix", 0.5)
    ridge, lasso = 0.5 * s * (coef**2).sum(), s * np.abs(coef).sum()
    return {
        "ridge": ridge,
        "lasso": lasso,
        "elastic_net": (1.0 - mix) * ridge + mix * lasso,
        "group_lasso": s * (abs(coef[0]) + np.sqrt(2.0) * np.hypot(coef[1], coef[2])),
    }[options["regularizer"]]
