"""Generalised linear emissions: densities against SciPy, penalties against their conditions, odd data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import hsmm
from hsmm.components.emission.glm import GLM
from hsmm.components.emission.glm.links import LINKS
from hsmm.sequences import Sequences
from tests.hsmm.components.glm_cases import N_COVARIATES, N_RESPONSES, OPTIONS, responses

FAMILIES = ("bernoulli", "poisson", "gamma", "negative_binomial", "gaussian", "categorical")
N_STATES = 2


def law(seed: int = 0, n_states: int = N_STATES, **options: object) -> GLM:
    """A model with moderate parameters, its predictors near 1."""
    generator = np.random.default_rng(seed)
    last = (3,) if options["family"] == "categorical" else ()
    return GLM.from_parameters(
        coef=0.05 * generator.normal(size=(n_states, N_COVARIATES, N_RESPONSES, *last)),
        intercept=0.6 + 0.1 * generator.normal(size=(n_states, N_RESPONSES, *last)),
        scale=generator.uniform(0.5, 1.5, size=(n_states, N_RESPONSES)),
        **options,
    )


def inverse(name: str, x: np.ndarray) -> np.ndarray:
    functions = {
        "exp": np.exp,
        "logistic": lambda v: 1.0 / (1.0 + np.exp(-v)),
        "softplus": lambda v: np.log1p(np.exp(v)),
        "identity": lambda v: v,
        "norm_cdf": stats.norm.cdf,
        "one_over_x": lambda v: 1.0 / v,
    }
    return functions[name](x)


def textbook(family: str, link: str, y: np.ndarray, predictor: np.ndarray, scale: np.ndarray) -> np.ndarray:
    if family == "categorical":
        log_p = predictor - np.log(np.exp(predictor).sum(-1, keepdims=True))
        return np.take_along_axis(log_p, y[..., None].astype(int), -1)[..., 0]
    mean = inverse(link, predictor)
    if family == "bernoulli":
        return stats.bernoulli.logpmf(y, mean)
    if family == "poisson":
        return stats.poisson.logpmf(y, mean)
    if family == "gamma":
        return stats.gamma.logpdf(y, 1.0 / scale, scale=mean * scale)
    if family == "gaussian":
        return stats.norm.logpdf(y, mean, np.sqrt(scale))
    return stats.nbinom.logpmf(y, 1.0 / scale, 1.0 / (1.0 + scale * mean))


COMBINATIONS = [
    (family, link)
    for family in FAMILIES
    for link in (LINKS if family != "categorical" else ["log_softmax"])
    if (link == "log_softmax") == (family == "categorical")
    and (family != "bernoulli" or link in ("logistic", "norm_cdf", "identity"))
]


@pytest.mark.parametrize(("family", "link"), COMBINATIONS)
def test_densities_are_the_textbook_ones(family: str, link: str) -> None:
    data, made = responses(family, missing=0.2), law(family=family, inverse_link=link)
    found = made.log_potentials(data)[0].numpy()
    x, y = data.covariates.numpy(), data.values.numpy()
    for state in range(N_STATES):
        coef, intercept = made.coef_[state], made.intercept_[state]
        predictor = np.tensordot(x, coef, 1) + intercept
        expected = textbook(family, link, np.where(data.observed.numpy(), y, 1.0), predictor, made.scale_[state])
        expected = np.where(data.observed.numpy(), expected, 0.0).sum(1)
        np.testing.assert_allclose(found[:, state], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_a_row_has_the_same_bits_whatever_is_beside_it(options: dict) -> None:
    data = responses(options["family"], missing=0.2)
    made = law(**{name: value for name, value in options.items() if name != "tied"})
    whole = made.log_potentials(data)
    for start, stop in ((0, 1), (3, 4), (7, 20), (60, 127)):
        part = Sequences(
            data.values[start:stop],
            data.observed[start:stop],
            torch.tensor([0, stop - start]),
            data.covariates[start:stop],
        )
        assert torch.equal(made.log_potentials(part), whole[:, start:stop])
    room = torch.full_like(whole, torch.nan)
    assert torch.equal(made.log_potentials(data, room), whole)


def test_a_negligible_dispersion_is_the_poisson_law() -> None:
    data, poisson = responses("poisson"), law(family="poisson")
    scale = np.full((N_STATES, N_RESPONSES), 1e-9)
    nearly = GLM.from_parameters(poisson.coef_, poisson.intercept_, scale, family="negative_binomial")
    torch.testing.assert_close(nearly.log_potentials(data), poisson.log_potentials(data), rtol=1e-6, atol=1e-6)


def weights(data: Sequences, n_states: int = N_STATES, seed: int = 0) -> Tensor:
    made = torch.rand((1, data.n_rows, n_states), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made / made.sum(-1, keepdim=True)


def fitted(data: Sequences, n_steps: int = 30, weight: Tensor | None = None, **options: object) -> GLM:
    weight = weights(data) if weight is None else weight
    made = GLM(**options).initialise(data, torch.zeros((1, data.n_rows), dtype=torch.int64), weight.shape[-1])
    for _ in range(n_steps):
        made = made.maximise(data, weight)
    return made


@pytest.mark.parametrize("family", ["bernoulli", "poisson", "gaussian", "categorical"])
def test_solvers_find_the_same_optimum(family: str) -> None:
    data = responses(family)
    newton, lbfgs, proximal = (
        fitted(data, 10, family=family, regularizer="ridge", solver=solver)
        for solver in ("newton", "lbfgs", "proximal_gradient")
    )
    for other in (lbfgs, proximal):
        size = max(1.0, np.abs(newton.intercept_).max())
        np.testing.assert_allclose(other.coef_, newton.coef_, atol=2e-5 * size)
        if family != "categorical":  # whose intercepts may all move together
            np.testing.assert_allclose(other.intercept_, newton.intercept_, atol=2e-5 * size)
        torch.testing.assert_close(other.log_potentials(data), newton.log_potentials(data), rtol=1e-5, atol=1e-5)


ROUGH = [
    {"regularizer": "lasso", "strength": 4.0},
    {"regularizer": "elastic_net", "strength": 6.0, "mix": 0.7},
    {"regularizer": "group_lasso", "strength": 3.0, "groups": (0, 0, 1)},
]


@pytest.mark.parametrize("solver", ["newton", "proximal_gradient"])
@pytest.mark.parametrize("rough", ROUGH, ids=lambda o: o["regularizer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rough_penalty_keeps_its_optimality_conditions(family: str, rough: dict, solver: str) -> None:
    if solver == "proximal_gradient" and family == "gamma":
        return
    data = responses(family, missing=0.1)
    link = {"inverse_link": "exp"} if family == "gamma" else {}
    made = fitted(data, 40, family=family, solver=solver, **rough, **link)
    coef = made.parameters["coef"].clone().requires_grad_()
    value = (weights(data) * made.with_parameters(coef=coef).log_potentials(data)).sum()
    (slope,) = torch.autograd.grad(value, coef)
    unit = made.parameters["spread"].reshape(*coef.shape[:3], *[1] * (coef.ndim - 3))
    coef, slope = coef.detach() * unit, slope / unit
    s, mix = rough["strength"], rough.get("mix", 1.0)
    scale = 1.0 + float(slope.abs().max())
    if rough["regularizer"] == "group_lasso":
        for group in ([0, 1], [2]):
            w, g = coef[:, :, group], slope[:, :, group]
            norm, bound = w.norm(dim=2, keepdim=True), s * len(group) ** 0.5
            inside = torch.where(norm > 0, (g - bound * w / norm.clamp(min=1e-300)).norm(dim=2, keepdim=True), 0.0)
            outside = torch.where(norm > 0, 0.0, (g.norm(dim=2, keepdim=True) - bound).clamp(min=0.0))
            assert max(inside.max(), outside.max()) < 2e-4 * scale
    else:
        rest = slope - s * (1.0 - mix) * coef if "mix" in rough else slope
        inside = torch.where(coef != 0, (rest - s * mix * coef.sign()).abs(), 0.0)
        outside = torch.where(coef == 0, (rest.abs() - s * mix).clamp(min=0.0), 0.0)
        assert max(inside.max(), outside.max()) < 2e-4 * scale
    if family == "categorical":
        assert (coef == 0).any()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rough", ROUGH, ids=lambda o: o["regularizer"])
def test_an_m_step_with_a_rough_penalty_never_lowers_its_objective(family: str, rough: dict) -> None:
    data, weight = responses(family), weights(responses(family))
    made = GLM(family=family, **rough).initialise(data, torch.zeros((1, data.n_rows), dtype=torch.int64), N_STATES)

    def objective(law: GLM) -> float:
        return float((weight * law.log_potentials(data)).sum() + law.log_prior().sum())

    reached = objective(made)
    for _ in range(5):
        made = made.maximise(data, weight)
        assert objective(made) >= reached - 1e-11 * abs(reached)
        reached = objective(made)


def test_penalties_are_the_stated_ones() -> None:
    w = np.array([[0.5, -2.0, 0.0]])
    expected = {
        "ridge": 0.5 * 3.0 * (w**2).sum(),
        "lasso": 3.0 * np.abs(w).sum(),
        "elastic_net": 3.0 * (0.5 * 0.75 * (w**2).sum() + 0.25 * np.abs(w).sum()),
        "group_lasso": 3.0 * (np.sqrt(2.0) * np.hypot(0.5, 2.0) + 0.0),
        "unregularized": 0.0,
    }
    for name, value in expected.items():
        made = GLM.from_parameters(w, [7.0], regularizer=name, strength=3.0, mix=0.25, groups=(0, 0, 1))
        assert float(-made.log_prior()) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_sampled_is_found_again(family: str) -> None:
    generator = torch.Generator().manual_seed(3)
    n = 6000
    covariates = torch.randn(n, N_COVARIATES, generator=generator, dtype=torch.float64)
    states = torch.arange(n) % 2
    truth = law(seed=5, family=family)
    y = truth.sample(states, generator, covariates)
    data = Sequences.from_arrays(y, covariates=covariates)
    own = torch.nn.functional.one_hot(states, 2).double()[None]
    found = fitted(data, 15, weight=own, family=family)
    kinds = truth.means(covariates), found.means(covariates)
    assert (kinds[0] - kinds[1]).abs().mean() < 0.06 * kinds[0].abs().mean().clamp(min=0.5)
    if truth._response.has_scale:
        np.testing.assert_allclose(found.scale_, truth.scale_, rtol=0.15)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_held_parameters_stay(missing: float) -> None:
    data = responses("gaussian", missing=missing)
    start = law(family="gaussian", regularizer="ridge")
    for held in (("coef",), ("intercept",), ("scale",), ("coef", "intercept"), ("coef", "scale")):
        before = float((weights(data) * start.log_potentials(data)).sum() + start.log_prior())
        after = start.maximise(data, weights(data), held)
        assert float((weights(data) * after.log_potentials(data)).sum() + after.log_prior()) >= before
        for name in ("coef", "intercept", "scale"):
            same = torch.equal(after.parameters[name], start.parameters[name])
            assert same == (name in held), name


SEPARABLE = torch.linspace(-1.0, 1.0, 60, dtype=torch.float64)


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("bernoulli", (SEPARABLE > 0).double()),
        ("bernoulli", torch.zeros(60)),
        ("categorical", (SEPARABLE > 0).double() + (SEPARABLE > 0.5).double()),
        ("poisson", torch.zeros(60)),
        ("poisson", torch.where(SEPARABLE > 0, 3.0, 0.0)),
        ("negative_binomial", torch.zeros(60)),
        ("negative_binomial", torch.full((60,), 4.0)),
        ("gamma", torch.full((60,), 2.0)),
        ("gaussian", torch.full((60,), 2.0)),
        ("gaussian", SEPARABLE),
    ],
)
def test_degenerate_responses_end_in_bounded_estimates(family: str, values: Tensor) -> None:
    covariates = torch.stack([SEPARABLE, torch.ones_like(SEPARABLE), torch.zeros_like(SEPARABLE)], 1)
    data = Sequences.from_arrays(values.double(), covariates=covariates)
    made = fitted(data, 20, family=family)
    assert all(value.isfinite().all() for value in made.parameters.values())
    assert made.log_potentials(data).isfinite().all()
    assert made.log_prior().isfinite().all()
    if family in ("bernoulli", "categorical", "poisson", "negative_binomial"):
        predictor = made._predictor(covariates).abs()
        assert predictor.max() < 2000.0
        assert family == "categorical" or predictor.amin(-1).max() < 40.0


def test_one_observation_in_a_state_is_bounded() -> None:
    for family in FAMILIES:
        data = responses(family)
        alone = torch.zeros(1, data.n_rows, 2, dtype=torch.float64)
        alone[:, 1:, 0] = alone[:, 0, 1] = 1.0
        made = fitted(data, 10, weight=alone, family=family, inverse_link="exp" if family == "gamma" else None)
        assert all(value.isfinite().all() for value in made.parameters.values()), family
        empty = made.maximise(data, torch.zeros_like(alone))
        torch.testing.assert_close(empty.parameters, made.parameters)


def test_a_separable_state_is_warned_about() -> None:
    data = Sequences.from_arrays((SEPARABLE > 0).double(), covariates=SEPARABLE[:, None])
    assert fitted(data, 20, family="bernoulli").separated(data) == [0, 1]
    with pytest.warns(hsmm.errors.DataWarning, match="separable"):
        hsmm.HMM(1, emission="glm", n_init=1, tol=1e-5).fit(data.values, context=SEPARABLE)
    assert law(family="bernoulli").separated(responses("bernoulli")) == []


def test_a_fit_with_saved_and_loaded_emission_scores_the_same(tmp_path: object) -> None:
    data = responses("poisson", missing=0.1)
    X = data.values.masked_fill(~data.observed, torch.nan).numpy()
    emission = hsmm.emissions.GLM(family="poisson", regularizer="group_lasso", groups=(0, 0, 1), tied=("coef",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = hsmm.HMM(2, emission=emission, n_init=2, max_iter=30).fit(X, context=data.covariates)
    model.save(tmp_path)
    again = hsmm.load(tmp_path)
    assert again.score(X, context=data.covariates) == model.score(X, context=data.covariates)
    assert model.log_likelihood_ == pytest.approx(model.score(X, context=data.covariates), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"family": "weibull"}, "bernoulli, poisson"),
        ({"regularizer": "l3"}, "ridge, lasso"),
        ({"solver": "adam"}, "newton, lbfgs"),
        ({"solver": "lbfgs", "regularizer": "lasso"}, "newton or proximal_gradient"),
        ({"tied": ("mean",)}, "coef, intercept, scale"),
        ({"inverse_link": "cube"}, "logistic"),
        ({"family": "categorical", "inverse_link": "exp"}, "does not fit"),
        ({"strength": -1.0}, ">= 0"),
        ({"mix": 2.0}, "between 0 and 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GLM(**options)


@pytest.mark.parametrize(
    ("family", "value"), [("bernoulli", 2.0), ("poisson", 0.5), ("gamma", 0.0), ("categorical", -1.0)]
)
def test_impossible_responses_are_named(family: str, value: float) -> None:
    data = Sequences.from_arrays(np.array([1.0, value, 1.0]), covariates=np.zeros(3))
    with pytest.raises(ValueError, match="row 1"):
        GLM(family=family).initialise(data, torch.zeros((1, 3), dtype=torch.int64), 1)
    last = (2,) if family == "categorical" else ()
    made = GLM.from_parameters(np.zeros((1, 1, *last)), np.ones((1, *last)), family=family)
    assert made.log_potentials(data)[0, 1, 0] == -np.inf


def test_covariates_are_needed() -> None:
    data = Sequences.from_arrays(np.array([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="context="):
        law(family="bernoulli").take(torch.tensor([0])).design(data)
