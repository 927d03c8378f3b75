"""Laws whose numbers follow a context: what they are without an effect, row by row, and in files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import hsmm
from hsmm import inference
from hsmm.components.base import Component
from hsmm.components.model import Model
from hsmm.sequences import Sequences
from hsmm.training.em import expectation_maximisation
from hsmm.training.starts import draw_starts, initial_model
from tests import oracle
from tests.hsmm.components.cases import generator
from tests.hsmm.models.cases import LENGTHS, regimes

pytestmark = pytest.mark.filterwarnings("ignore:.*single row:hsmm.errors.DataWarning")

CONTEXT = np.random.default_rng(4).normal(size=(sum(LENGTHS), 2)) * [1.0, 50.0] + [0.0, 200.0]
ROWS = {
    "numbers": regimes(),
    "counts": np.random.default_rng(5).poisson(3.0, (sum(LENGTHS), 2)).astype(float),
    "binary": np.random.default_rng(6).integers(0, 2, (sum(LENGTHS), 2)).astype(float),
}
EMISSIONS = {
    "gaussian": (hsmm.emissions.Gaussian(covariance="diag"), "numbers"),
    "student_t": (hsmm.emissions.StudentT(covariance="diag"), "numbers"),
    "poisson": (hsmm.emissions.Poisson(), "counts"),
    "negative_binomial": (hsmm.emissions.NegativeBinomial(), "counts"),
    "categorical": (hsmm.emissions.Categorical(), "counts"),
    "bernoulli": (hsmm.emissions.Bernoulli(), "binary"),
}
DURATIONS = ["negative_binomial", "poisson", "log_normal", "weibull", "geometric", "categorical"]


def started(initial: object, transition: object, duration: object, emission: object, rows: Sequences) -> Model:
    structure = Model(initial, transition, duration, emission)  # type: ignore[arg-type]
    return initial_model(structure, rows, draw_starts(rows, 3, 2, 6, 0), 0)


def scores(model: Model, rows: Sequences) -> Tensor:
    return inference.log_partition(model.potentials(rows))


@pytest.mark.parametrize("family", EMISSIONS)
def test_an_emission_without_an_effect_is_the_family_itself(family: str) -> None:
    law, kind = EMISSIONS[family]
    rows = Sequences.from_arrays(ROWS[kind], LENGTHS, CONTEXT)
    labels = torch.randint(3, (2, rows.n_rows), generator=generator(1))
    made = hsmm.emissions.Contextual(family=law).initialise(rows, labels, 3)
    torch.testing.assert_close(made.log_potentials(rows), made.typical().log_potentials(rows), rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("family", DURATIONS)
def test_a_duration_without_an_effect_is_the_family_itself(family: str) -> None:
    rows = Sequences.from_arrays(ROWS["numbers"], LENGTHS, CONTEXT)
    options = {"max_duration": 7, "min_duration": 2}
    static = hsmm.durations.DURATIONS[family](**options)
    chain = (hsmm.initials.FreeInitial(), hsmm.transitions.Dense())
    one = started(*chain, hsmm.durations.Contextual(family=family, **options), hsmm.emissions.Gaussian(), rows)
    other = started(*chain, static, hsmm.emissions.Gaussian(), rows)
    torch.testing.assert_close(scores(one, rows), scores(other, rows), rtol=0.0, atol=1e-10)


def test_first_states_without_an_effect_are_free_ones() -> None:
    rows = Sequences.from_arrays(ROWS["numbers"], LENGTHS, CONTEXT)
    rest = (hsmm.transitions.Dense(self_transitions=True), None, hsmm.emissions.Gaussian(), rows)
    one, other = started(hsmm.initials.ContextualInitial(), *rest), started(hsmm.initials.FreeInitial(), *rest)
    torch.testing.assert_close(scores(one, rows), scores(other, rows), rtol=0.0, atol=1e-10)


def all_contextual(seed: int = 0, rows: Sequences | None = None) -> tuple[Model, Sequences]:
    """A model each of whose tables moves with the context, and rows beside one."""
    rows = rows or Sequences.from_arrays(ROWS["numbers"], LENGTHS, CONTEXT)
    parts = {
        "initial": hsmm.initials.ContextualInitial(),
        "transition": hsmm.transitions.Contextual(),
        "duration": hsmm.durations.Contextual(max_duration=4),
        "emission": hsmm.emissions.Contextual(),
    }
    model, drawn = started(*parts.values(), rows), generator(seed)
    free = model.free()
    noise = {name: 0.4 * torch.randn(x.shape, generator=drawn, dtype=x.dtype) for name, x in free.items()}
    return model.with_free({name: x + noise[name] for name, x in free.items()}), rows


def test_the_likelihood_is_the_sum_over_all_segmentations_of_laws_read_at_their_own_rows() -> None:
    X, context = regimes(lengths=[5, 4], n_features=1, missing=0.0), CONTEXT[:9]
    model, rows = all_contextual(rows=Sequences.from_arrays(X, [5, 4], context))
    found = scores(model, rows)
    first = model.take(torch.tensor([0]))
    for series, (start, stop) in enumerate([(0, 5), (5, 9)]):
        own = first.components()
        at = [Sequences.from_arrays(X[n : n + 1], [1], context[n : n + 1]) for n in range(start, stop)]
        moves = first.transition.probability(context[start + 1 : stop])  # type: ignore[attr-defined]
        tables = [own["duration"].log_potentials(row) for row in at]
        expected = oracle.answers(
            oracle.Model(
                initial=own["initial"].log_potentials(at[0])[0, 0].exp().numpy(),
                transition=np.concatenate([moves, moves[-1:]]),
                duration=torch.cat([table.log_duration[0].exp() for table in tables]).numpy(),
                emission=torch.cat([own["emission"].log_potentials(row)[0].exp() for row in at]).numpy(),
                tail=tables[0].log_tail[0].exp().numpy(),
                residual=None,
                left_censored=False,
                right_censored=True,
            )
        )
        assert float(found[0, series]) == pytest.approx(expected.log_likelihood, abs=1e-10)


@pytest.mark.parametrize("left_censored", [False, True])
def test_a_climb_never_falls_where_every_table_moves(left_censored: bool) -> None:
    model, rows = all_contextual()
    fit = expectation_maximisation(
        replace(model, left_censored=left_censored), rows, max_iter=7, tol=0.0, accelerate=True
    )
    assert (fit.fall <= 1e-8).all()
    assert (fit.objective > fit.history[0]).all()


def test_a_series_has_the_same_bits_alone_and_in_a_batch() -> None:
    model, rows = all_contextual()
    together = scores(model, rows)
    for series in range(rows.n_series):
        assert torch.equal(scores(model, rows.series([series]))[:, 0], together[:, series])


def test_the_slope_of_the_likelihood_equals_finite_differences() -> None:
    model, rows = all_contextual(rows=Sequences.from_arrays(regimes()[:12], [12], CONTEXT[:12]))
    model = model.take(torch.tensor([0]))
    free = {name: value.clone().requires_grad_() for name, value in model.free().items()}
    scores(model.with_free(free), rows).sum().backward()
    for name, value in free.items():
        unit = torch.zeros_like(value)
        unit.view(-1)[value.numel() // 2] = 1e-6
        sides = [scores(model.with_free({**model.free(), name: value.detach() + s * unit}), rows) for s in (1, -1)]
        slope = float((sides[0] - sides[1]).sum()) / 2e-6
        assert float(value.grad.view(-1)[value.numel() // 2]) == pytest.approx(slope, rel=1e-4, abs=1e-5), name


def test_rows_that_go_on_are_read_as_in_one_pass() -> None:
    X, context = regimes(lengths=[40]), CONTEXT[:40]
    law = {"duration": "contextual", "emission": "contextual", "initial": "contextual", "max_duration": 5}
    model = hsmm.HSMM(2, n_init=1, max_iter=3, tol=0.0, **law).fit(X, context=context)
    state = model.filter_state(X[:25], context=context[:25])
    for question in (model.filter_proba, model.log_density, model.remaining_duration):
        rest = question(X[25:], context=context[25:], after=state)
        np.testing.assert_array_equal(rest, question(X, context=context)[25:])


def test_first_states_are_drawn_from_the_law_of_their_context() -> None:
    model, rows = all_contextual()
    one = hsmm.HSMM(3)._adopt_loaded(model.take(torch.tensor([0])), None)
    context = np.add(rows.covariates[:1].numpy(), [2.0, 0.0])  # type: ignore[index]
    drawn = [int(one.sample(1, seed, context=context)[1][0]) for seed in range(300)]
    law = model.initial.log_potentials(rows.head(torch.ones(4, dtype=torch.int64)).series([0]).with_covariates(context))
    share = np.bincount(drawn, minlength=3) / 300
    assert np.abs(share - law[0, 0].exp().numpy()).max() < 0.1


def test_a_model_comes_back_from_a_file_as_it_was(tmp_path: Path) -> None:
    model, rows = all_contextual()
    saved = hsmm.HSMM(3)._adopt_loaded(model.take(torch.tensor([1])), None)
    saved.save(tmp_path)
    loaded = hsmm.load(tmp_path)
    assert loaded.score_sequences(rows) == saved.score_sequences(rows)
    assert isinstance(loaded.duration_, hsmm.durations.Contextual)


def test_values_and_contexts_of_any_size_leave_no_nan() -> None:
    rng = np.random.default_rng(1)
    X, context = 1e6 * rng.normal(size=(80, 2)), 1e6 * rng.normal(size=(80, 2))
    law = dict.fromkeys(("initial", "transition", "duration", "emission"), "contextual")
    with pytest.warns(hsmm.errors.ConvergenceWarning):
        model = hsmm.HSMM(2, n_init=2, max_iter=8, max_duration=6, **law).fit(X, context=context)
    assert np.isfinite(model.score(1e3 * X, context=-1e3 * context))
    for part in model._model.components().values():
        assert all(bool(value.isfinite().all()) for value in part.parameters.values())


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: hsmm.durations.Contextual(family="contextual"), "depends on context itself"),
        (lambda: hsmm.durations.Contextual(family="gaussian"), "stands in a contextual"),
        (lambda: hsmm.durations.Contextual(penalty=-1.0), "expected a number >= 0"),
        (lambda: hsmm.emissions.Contextual(family="mixture"), "expected one of gaussian"),
        (lambda: hsmm.emissions.Contextual(family=hsmm.emissions.Gaussian()), "expected diag"),
        (lambda: hsmm.transitions.Contextual(temperature=0.0), "expected a number > 0"),
        (lambda: hsmm.HSMM(2, duration="contextual", initial="stationary").fit([0.0, 1.0, 2.0]), "no stationary law"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(make: object, told: str) -> None:
    with pytest.raises((ValueError, TypeError), match=told):
        make()  # type: ignore[operator]


def test_an_effect_in_other_units_is_the_same_law() -> None:
    law: Component = hsmm.durations.Contextual.from_parameters(
        [[1.0, 0.5], [2.0, 0.5]], [[[0.7], [0.0]], [[-0.2], [0.0]]], max_duration=9
    )
    np.testing.assert_allclose(law.coef_[..., 0], [[0.7, 0.0], [-0.2, 0.0]])
    static = hsmm.durations.NegativeBinomial(max_duration=9)
    shape = torch.tensor([[[1.0 + 0.7 * 2.0, 0.5], [2.0 - 0.2 * 2.0, 0.5]]], dtype=torch.float64)
    rows = Sequences.from_arrays([0.0], [1], [[2.0]])
    expected = replace(static, parameters={"shape": shape}).log_potentials().log_duration
    torch.testing.assert_close(law.log_potentials(rows).log_duration[:, 0], expected, rtol=0.0, atol=1e-12)
