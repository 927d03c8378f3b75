"""Moves that follow covariates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import hsmm
from hsmm import inference
from hsmm.components.initial import FreeInitial
from hsmm.components.model import Model
from hsmm.components.transition import Contextual, Dense, Gated
from hsmm.components.transition.contextual import LARGEST
from hsmm.sequences import Sequences
from hsmm.training.em import expectation_maximisation
from hsmm.training.starts import draw_starts, initial_model
from tests.hsmm.components.cases import generator
from tests.hsmm.models.cases import LENGTHS, regimes

pytestmark = pytest.mark.filterwarnings("ignore:.*single row:hsmm.errors.DataWarning")

N_ROWS = sum(LENGTHS)
CONTEXT = np.random.default_rng(4).normal(size=(N_ROWS, 2)) * [1.0, 50.0] + [0.0, 200.0]
SERIES = Sequences.from_arrays(regimes(), LENGTHS, CONTEXT)
QUICK = {"n_init": 2, "max_iter": 15, "tol": 0.0}


def random_law(n_states: int = 3, n_columns: int = 2, *, stays: bool = True, seed: int = 0) -> Contextual:
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=(n_states, n_states, n_columns))
    return Contextual.from_parameters(rng.normal(size=(n_states, n_states)), coef, self_transitions=stays)


def known(transition: Contextual | Gated, estimator: type = hsmm.HMM) -> hsmm.HMM | hsmm.HSMM:
    """A model with these moves and levels far apart."""
    k = transition.n_states
    emission = hsmm.emissions.Gaussian.from_parameters(mean=6.0 * np.arange(k)[:, None], covariance=np.ones((k, 1)))
    duration = None
    if estimator is hsmm.HSMM:
        duration = hsmm.durations.Categorical.from_parameters([[0.3, 0.3, 0.4]] * k)
    model = Model(FreeInitial.from_parameters([1.0 / k] * k), transition, duration, emission)
    return estimator(k)._adopt_loaded(model, None)


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM])
def test_under_a_constant_context_it_is_dense(estimator: type) -> None:
    X, flat = regimes(missing=0.0), np.full((N_ROWS, 1), 7.0)
    options = {"n_init": 3, "tol": 1e-10}
    one = estimator(3, transition="contextual", **options).fit(X, LENGTHS, context=flat)
    other = estimator(3, **options).fit(X, LENGTHS)
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, abs=1e-4)
    np.testing.assert_allclose(one.transition_prob_, other.transition_prob_, atol=1e-3)
    np.testing.assert_allclose(one.transition_.probability([[-3.0]])[0], one.transition_prob_, atol=1e-12)
    assert (one.transition_.coef_ == 0.0).all()
    assert one.n_parameters_ == other.n_parameters_


def test_a_step_reads_the_context_of_the_row_it_leads_to() -> None:
    law = random_law()
    before = law.log_potentials(SERIES)[0]
    for row in (1, 5, 69, 70, 71, N_ROWS - 1):
        changed = CONTEXT.copy()
        changed[row] += 1.0
        after = law.log_potentials(SERIES.with_covariates(changed))[0]
        rows = (after != before).flatten(1).any(1).nonzero().flatten().tolist()
        last, first = row + 1 in np.cumsum(LENGTHS), row in np.cumsum([0, *LENGTHS])
        assert rows == ([] if first else [row - 1]) + ([row] if last else [])
        moves = law.probability(changed[row])[0]
        if not first:
            np.testing.assert_allclose(after[row - 1].exp(), moves, rtol=1e-12)


def test_the_context_of_a_first_row_and_of_no_other_leaves_the_likelihood_alone() -> None:
    model = known(random_law(2, 1))
    X = regimes(n_features=1, missing=0.0)
    emission = hsmm.emissions.Gaussian.from_parameters(mean=[[3.0], [5.0]], covariance=[[9.0], [9.0]])
    model._model = replace(model._model, emission=emission)
    score = model.score(X, LENGTHS, context=CONTEXT[:, :1])
    for row in range(0, N_ROWS, 7):
        changed = CONTEXT[:, :1].copy()
        changed[row] += 5.0
        is_first = row in np.cumsum([0, *LENGTHS])
        assert (model.score(X, LENGTHS, context=changed) == score) == is_first, row


def test_a_row_has_the_same_bits_whatever_else_is_in_the_batch() -> None:
    law = random_law(4, 2, stays=False)
    whole = law.log_potentials(SERIES)[0]
    for series in range(4):
        start, stop = SERIES.offsets[series : series + 2].tolist()
        assert torch.equal(law.log_potentials(SERIES.series([series]))[0], whole[start:stop])
    for length in (2, 3, 17, 64):
        head = SERIES.series([0]).head(torch.tensor([length]))
        assert torch.equal(law.log_potentials(head)[0, :-1], whole[: length - 1])
    many = random_law(4, 2, stays=False, seed=1).joined(law)
    assert torch.equal(many.log_potentials(SERIES)[1], whole)


@pytest.mark.filterwarnings("ignore::hsmm.errors.DurationWallWarning")
@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM])
def test_sampling_then_fitting_recovers_the_coefficients(estimator: type) -> None:
    intercept = np.array([[0.0, -1.0, -2.0], [-1.5, 0.0, -0.5], [0.3, -1.0, 0.0]])
    coef = np.array([[[0, 0], [1.5, 0], [0, -1.0]], [[-1.0, 0.5], [0, 0], [0, 1.0]], [[0.8, 0.8], [-0.7, 0], [0, 0]]])
    truth = known(Contextual.from_parameters(intercept, coef, self_transitions=estimator is hsmm.HMM), estimator)
    n_rows = 12_000
    context = np.random.default_rng(0).normal(size=(n_rows, 2))
    X, _ = truth.sample(n_rows, random_state=1, context=context)
    changes = {} if estimator is hsmm.HMM else {"duration": "categorical", "max_duration": 3}
    model = estimator(3, transition="contextual", n_init=2, tol=1e-7, **changes).fit(X, context=context)
    np.testing.assert_allclose(model.transition_.coef_, truth.transition_.coef_, atol=0.2)
    np.testing.assert_allclose(model.transition_.intercept_, truth.transition_.intercept_, atol=0.2)
    assert model.log_likelihood_ > truth.score(X, context=context)


def test_the_unit_of_the_context_does_not_matter() -> None:
    contexts = (CONTEXT, CONTEXT * [1000.0, 0.01] + [3.0, -5.0])
    law = Contextual(penalty=1.0)
    one, other = (hsmm.HMM(3, transition=law, **QUICK).fit(regimes(), LENGTHS, context=c) for c in contexts)
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, rel=1e-9)
    np.testing.assert_allclose(one.transition_.coef_, other.transition_.coef_ * [1000.0, 0.01], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("penalty", [0.0, 3.0])
def test_every_climb_is_monotone(stays: bool, accelerate: bool, penalty: float) -> None:
    law = Contextual(self_transitions=stays, penalty=penalty)
    duration = None if stays else hsmm.durations.Poisson(max_duration=9)
    model = Model(FreeInitial(), law, duration, hsmm.emissions.Gaussian())
    start = initial_model(model, SERIES, draw_starts(SERIES, 3, 4, 10, 0), 0)
    fit = expectation_maximisation(start, SERIES, max_iter=25, tol=0.0, accelerate=accelerate)
    assert (fit.fall <= 1e-8).all()
    reached = inference.log_partition(fit.model.potentials(SERIES)).sum(1)
    torch.testing.assert_close(fit.objective, reached + fit.model.log_prior(), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("stays", [False, True])
def test_the_slope_of_the_likelihood_equals_finite_differences(stays: bool) -> None:
    law = Contextual(self_transitions=stays, penalty=1.0)
    duration = None if stays else hsmm.durations.Poisson(max_duration=5)
    series = SERIES.series([3])
    made = initial_model(
        Model(FreeInitial(), law, duration, hsmm.emissions.Gaussian()), series, draw_starts(series, 3, 1, 5, 0), 0
    )
    start = made.transition.free()
    noise = {name: torch.randn(x.shape, generator=generator(3), dtype=x.dtype) for name, x in start.items()}

    def objective(coordinates: dict[str, torch.Tensor]) -> torch.Tensor:
        model = replace(made, transition=made.transition.with_free(coordinates))
        return inference.log_partition(model.potentials(series)).sum() + model.log_prior().sum()

    point = {name: (x + noise[name]).requires_grad_() for name, x in start.items()}
    slopes = torch.autograd.grad(objective(point), list(point.values()))
    for (name, x), slope in zip(point.items(), slopes, strict=True):
        for cell in range(x.numel()):
            move = torch.zeros_like(x).view(-1).index_fill(0, torch.tensor([cell]), 1e-5).view(x.shape)
            high, low = (objective({**point, name: x + sign * move}).detach() for sign in (1.0, -1.0))
            assert float(slope.flatten()[cell]) == pytest.approx(float(high - low) / 2e-5, abs=1e-5)


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM])
def test_separable_moves_stay_bounded(estimator: type) -> None:
    levels = np.repeat([0.0, 8.0, 16.0, 8.0] * 12, 5)
    X = levels + np.random.default_rng(0).normal(size=len(levels))
    giveaway = np.stack([levels > 12, levels < 4], 1).astype(float)
    model = estimator(3, transition="contextual", n_init=4, max_iter=150, tol=1e-7).fit(X, context=giveaway)
    for name in ("bias", "coef"):
        assert np.abs(model.transition_.fitted(name)).max() <= LARGEST
    assert np.isfinite(model.log_likelihood_)
    assert model._best.fall <= 1e-8
    assert np.isfinite(model.predict_proba(X, context=giveaway)).all()


def test_a_ridge_draws_coefficients_towards_zero() -> None:
    sizes = [
        np.abs(fitted(penalty).transition_.fitted("coef")).sum() for penalty in (0.0, 1.0, 30.0, 1e6)
    ]  # fmt: skip
    assert sizes[0] > sizes[1] > sizes[2] > sizes[3]
    assert sizes[3] < 1e-3


def fitted(penalty: float = 0.0) -> hsmm.HMM:
    law = Contextual(penalty=penalty)
    return hsmm.HMM(3, transition=law, **QUICK).fit(regimes(), LENGTHS, context=CONTEXT)


def test_saving_keeps_bits_and_units(tmp_path: object) -> None:
    model = hsmm.HSMM(3, transition=Contextual(columns=(1,), penalty=0.5), **QUICK).fit(
        regimes(), LENGTHS, context=CONTEXT
    )
    again = hsmm.load(model.save(tmp_path))
    assert again.score(regimes(), LENGTHS, context=CONTEXT) == model.score(regimes(), LENGTHS, context=CONTEXT)
    assert np.array_equal(again.transition_.coef_, model.transition_.coef_)
    assert model.transition_.coef_.shape == (3, 3, 1)
    assert model.score(regimes(), LENGTHS, context=CONTEXT) == pytest.approx(model.log_likelihood_, rel=1e-9)


def test_a_file_whose_tables_do_not_fit_is_refused(tmp_path: object) -> None:
    model = fitted()
    wrong = model._model.transition.with_parameters(centre=torch.zeros(1, 3, dtype=torch.float64))
    model._model = replace(model._model, transition=wrong)
    with pytest.raises(ValueError, match="tables of shapes"):
        hsmm.load(model.save(tmp_path))


def test_a_forecast_follows_the_context_ahead() -> None:
    model = fitted()
    ahead = np.array([[0.3, 210.0], [-1.0, 150.0]])
    X, context = regimes()[:70], CONTEXT[:70]
    law = model.filter_proba(X, context=context)[-1]
    for step, found in enumerate(model.forecast(X, 2, context=context, future_context=ahead)[0]):
        law = law @ model.transition_.probability(ahead[step])[0]
        np.testing.assert_allclose(found, law, atol=1e-12)


def test_the_table_of_the_model_is_that_of_the_mean_context() -> None:
    model = fitted()
    np.testing.assert_allclose(model.transition_.probability(CONTEXT.mean(0))[0], model.transition_prob_, atol=1e-12)


def test_a_single_state_has_no_moves() -> None:
    model = hsmm.HMM(1, transition="contextual", **QUICK).fit(regimes(), LENGTHS, context=CONTEXT)
    assert model.transition_prob_.tolist() == [[1.0]]
    assert model.n_parameters_ == hsmm.HMM(1, **QUICK).fit(regimes(), LENGTHS).n_parameters_


def test_a_reference_is_only_a_manner_of_speaking() -> None:
    bias, coef = np.random.default_rng(0).normal(size=(3, 3)), np.random.default_rng(1).normal(size=(3, 3, 1))
    for stays in (False, True):
        one = Contextual.from_parameters(bias, coef, self_transitions=stays)
        other = Contextual.from_parameters(bias + np.arange(3.0)[:, None], coef - 2.0, self_transitions=stays)
        np.testing.assert_allclose(one.probability([[0.7]]), other.probability([[0.7]]), rtol=1e-12)
        assert Dense.from_parameters(one.probability([[0.7]])[0], self_transitions=stays).n_states == 3


def test_what_cannot_be_answered_is_refused() -> None:
    model, X = fitted(), regimes()
    with pytest.raises(ValueError, match="depends on context; give context="):
        model.score(X, LENGTHS)
    with pytest.raises(ValueError, match="1 columns for contextual, fitted on 2"):
        model.score(X, LENGTHS, context=CONTEXT[:, :1])
    with pytest.raises(ValueError, match="read the context of the next row"):
        model.filter_state(X, LENGTHS, context=CONTEXT)
    with pytest.raises(ValueError, match=r"expected \(n, 2\) finite numbers"):
        model.transition_.probability([1.0])
    with pytest.raises(ValueError, match="'contextual' transitions change with the context"):
        hsmm.HMM(2, transition="contextual", initial="stationary").fit(X, LENGTHS, context=CONTEXT)
    with pytest.raises(ValueError, match="whose square overflows"):
        hsmm.HMM(2, transition="contextual").fit(X, LENGTHS, context=1e200 * CONTEXT)
    with pytest.raises(ValueError, match="penalty is -1"):
        Contextual(penalty=-1)
    with pytest.raises(ValueError, match=r"columns are \[5\]"):
        hsmm.HMM(2, transition=Contextual(columns=[5])).fit(X, LENGTHS, context=CONTEXT)
    with pytest.raises(ValueError, match=r"expected \(n_states, n_states\) and"):
        Contextual.from_parameters(np.zeros((2, 2)), np.zeros((2, 3, 1)))


def test_a_column_that_was_constant_in_the_fit_keeps_coefficients_of_zero() -> None:
    context = torch.stack([torch.arange(40.0), torch.full((40,), 7.0)], 1).double()
    rows = Sequences.from_arrays(torch.zeros(40)).with_covariates(context)
    law = Contextual(self_transitions=True).initialise(rows, torch.full((1, 2), 4.0, dtype=torch.float64), generator(0))
    moved = law.with_free({name: value + 1.0 for name, value in law.free().items()}).parameters["coef"]
    assert (moved[..., 1] == 0.0).all()
    assert (moved[0, :, :, 0].diagonal() == 0.0).all()
    assert (moved[0, 0, 1, 0], moved[0, 1, 0, 0]) == (1.0, 1.0)


MOVES = [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.25, 0.75, 0.0]]


def test_a_gate_that_nothing_moves_is_a_table() -> None:
    """With weights of zero to 1e-10 the static model, whatever the context."""
    bias = np.array([-2.0, 0.5, 1.0])
    gated = Gated.from_parameters(bias, np.zeros((3, 2)), MOVES)
    leaves = 1.0 / (1.0 + np.exp(-bias))[:, None]
    table = np.diag(1.0 - leaves[:, 0]) + leaves * MOVES
    emission = hsmm.emissions.Gaussian.from_parameters(mean=6.0 * np.arange(3)[:, None], covariance=np.ones((3, 1)))
    static = hsmm.HMM.from_parameters(initial_prob=[1 / 3] * 3, transition_prob=table, emission=emission)
    X = regimes(n_features=1, missing=0.0)
    one = known(gated)
    assert one.score(X, LENGTHS, context=CONTEXT) == pytest.approx(static.score(X, LENGTHS), rel=1e-12)
    found = one.filter_proba(X, LENGTHS, context=CONTEXT)
    np.testing.assert_allclose(found, static.filter_proba(X, LENGTHS), atol=1e-10)
    np.testing.assert_allclose(one.transition_prob_, table, atol=1e-12)


def test_what_opens_a_gate_is_found_within_its_intervals_and_foretells_better() -> None:
    rng = np.random.default_rng(5)
    context = rng.normal(20.0, 5.0, size=(3000, 1))
    truth = known(Gated.from_parameters([-7.0, -2.0], [[0.2], [0.0]], [[0.0, 1.0], [1.0, 0.0]]))
    X, _ = truth.sample(3000, random_state=1, context=context)
    train, test = slice(0, 2000), slice(2000, 3000)
    model = hsmm.HMM(2, transition="gated", n_init=2, tol=1e-7).fit(X[train], context=context[train])
    static = hsmm.HMM(2, n_init=2, tol=1e-7).fit(X[train])
    assert model.n_parameters_ == static.n_parameters_ + 2
    gain = model.log_density(X[test], context=context[test]) - static.log_density(X[test])
    assert gain.mean() > 3.0 * gain.std() / len(gain) ** 0.5
    with pytest.warns(hsmm.errors.IntervalWarning):
        table = model.confidence_intervals(X[train], context=context[train], level=0.999)
    rows = table.filter(table["parameter"] == "transition.coef")
    steepness = np.array([0.2, 0.0]) * context[train].std()
    assert ((rows["low"].to_numpy() < steepness) & (steepness < rows["high"].to_numpy())).all()
    assert rows["low"].to_list()[0] > 0.0


def test_a_warm_gate_is_one_of_smaller_numbers() -> None:
    warm = Gated.from_parameters([-2.0, 0.0, 1.0], np.ones((3, 2)), MOVES, temperature=2.0)
    same = Gated.from_parameters([-1.0, 0.0, 0.5], 0.5 * np.ones((3, 2)), MOVES)
    torch.testing.assert_close(warm.log_potentials(SERIES), same.log_potentials(SERIES), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(warm.typical(), same.typical(), rtol=1e-12, atol=0.0)


def test_a_gate_reads_the_context_of_the_row_that_it_leads_to() -> None:
    law = Gated.from_parameters([-1.0, 0.0, 1.0], np.ones((3, 2)), MOVES)
    before = law.log_potentials(SERIES)[0]
    changed = CONTEXT.copy()
    changed[5] += 1.0
    after = law.log_potentials(SERIES.with_covariates(changed))[0]
    assert (after != before).flatten(1).any(1).nonzero().flatten().tolist() == [4]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Gated.from_parameters([0.0, 0.0], [[1.0]] * 2, np.eye(3)), "moves has shape"),
        (lambda: Gated.from_parameters([0.0, 0.0], [[1.0]], np.eye(2)), "do not fit each other"),
        (lambda: Gated.from_parameters([0.0, 0.0], [[1.0]] * 2, np.eye(2)), "positive numbers on its diagonal"),
        (lambda: Gated.from_parameters([0.0, 0.0], [[1.0]] * 2, [[0.0, 0.9], [1.0, 0.0]]), "moves"),
        (lambda: Gated(penalty=-1.0), "penalty is -1.0"),
        (lambda: Gated(temperature=0.0), "temperature is 0.0; expected a number > 0"),
        (lambda: hsmm.HSMM(2, transition="gated").fit(np.arange(9.0), context=np.arange(9.0)), "semi-Markov"),
    ],
)
def test_what_is_no_gate_is_refused(made: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made()
