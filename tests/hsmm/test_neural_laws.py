"""Sixteen laws of neural semi-Markov models, each as it was found broken in nhsmm 0.0.3 or 0.0.4.

What was wrong there is the docstring of each; the law is its name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hsmm
from hsmm import Potentials, inference
from tests import oracle

ENCODER = hsmm.context.CNNLSTM(hidden=6, channels=3, source="x")
TRAINER = hsmm.trainers.AdamW(n_steps=10, learning_rate=0.05)


def regimes(n_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of five features and their three states, which are well apart and last about 7 steps."""
    rng, states = np.random.default_rng(seed), np.empty(0, dtype=np.int64)
    while len(states) < n_rows:
        following = rng.choice([k for k in range(3) if not len(states) or k != states[-1]])
        states = np.append(states, np.full(1 + rng.poisson(6), following))
    return 4.0 * np.eye(3, 5)[states[:n_rows]] + rng.normal(size=(n_rows, 5)), states[:n_rows]


def neural(**options: object) -> hsmm.HSMM:
    given = {
        "tol": 0.0,
        "n_init": 3,
        "trainer": TRAINER,
        "duration": "contextual",
        "transition": "contextual",
        "context": ENCODER,
    }
    return hsmm.HSMM(3, max_duration=30, **given | options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    return regimes(220)


@pytest.fixture(scope="module")
def fitted(rows: tuple[np.ndarray, np.ndarray]) -> hsmm.HSMM:
    return neural().fit(rows[0])


def tables(n_rows: int, *, seed: int = 0, n_states: int = 2, longest: int = 3) -> Potentials:
    """Normalised tables that change with every row, as an encoder makes them."""
    g = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    barred = torch.eye(n_states, dtype=torch.bool)
    moves = drawn(1, n_rows, n_states, n_states).masked_fill(barred, -torch.inf)
    return Potentials(
        log_initial=drawn(1, n_states).log_softmax(-1),
        log_transition=moves.log_softmax(-1),
        log_duration=drawn(1, n_rows, n_states, longest).log_softmax(-1),
        log_emission=drawn(1, n_rows, n_states),
        offsets=torch.tensor([0, n_rows]),
    )


def enumerated(p: Potentials) -> oracle.Answers:
    assert p.log_duration is not None
    model = oracle.Model(
        *(x[0].exp().numpy() for x in (p.log_initial, p.log_transition, p.log_duration, p.log_emission))
    )
    return oracle.answers(model)


def test_01_rows_that_say_nothing_have_probability_one() -> None:
    """Their mass was -2.09 in logarithms, elsewhere +0.11: first segments had a transition, or longer ones none."""
    p = tables(6)
    silent = replace(p, log_emission=torch.zeros_like(p.log_emission))
    assert float(inference.log_partition(silent)) == pytest.approx(0.0, abs=1e-12)
    assert float(inference.log_partition(p)) == pytest.approx(enumerated(p).log_likelihood, rel=1e-12)


def test_02_what_is_believed_of_a_row_is_the_same_from_both_sides() -> None:
    """Forward times backward changed from row to row; "occupancy" was that of segments' ends, counted twice."""
    p = tables(6)
    state = inference.posterior(p).state[0]
    np.testing.assert_allclose(state.sum(-1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(state, enumerated(p).state, atol=1e-12)


def test_03_the_context_of_a_segment_is_that_of_its_first_row() -> None:
    """It was read at the segment's end, for moves and durations alike."""
    p = tables(7)
    assert p.log_duration is not None
    certain = torch.full_like(p.log_duration, -torch.inf)
    for row in range(7):
        certain[0, row, :, {0: 2, 3: 1, 5: 0}.get(row, 0)] = 0.0
    runs = inference.viterbi(replace(p, log_duration=certain)).states[0]
    assert (runs.diff().nonzero().flatten() + 1).tolist() == [3, 5, 6]  # 3 steps as row 0 says, 2 as row 3 does


def test_04_segments_of_one_step_are_decoded() -> None:
    """Any of them lost the pointer back: 0010010110 became 0011110000."""
    truth = np.array([int(state) for state in "0010010110"])
    law = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [10.0]], covariance=[[1.0], [1.0]])
    model = hsmm.HSMM.from_parameters(
        initial_prob=[0.5, 0.5], transition_prob=np.eye(2)[::-1], duration_prob=np.full((2, 4), 0.25), emission=law
    )
    np.testing.assert_array_equal(model.predict(10.0 * truth[:, None]), truth)


def test_05_the_likelihood_of_the_fit_is_that_of_the_model(
    rows: tuple[np.ndarray, np.ndarray], fitted: hsmm.HSMM
) -> None:
    """It was a sum over all states of every row: -12,515 where the score was -3,645."""
    assert fitted.log_likelihood_ == pytest.approx(fitted.score(rows[0]), rel=1e-9)


def test_06_a_context_without_effect_leaves_the_model_without_context() -> None:
    """A fit without an encoder raised; with one the context was added to itself."""
    X, _ = regimes(60)
    plain = hsmm.HSMM(3, duration="geometric", max_duration=30, n_init=1, max_iter=5, tol=0).fit(X)
    context = np.random.default_rng(0).normal(size=(60, 2))
    model = plain._fitted_model()
    law = hsmm.durations.Contextual(family="geometric", max_duration=30)
    structure = hsmm.HSMM(3, duration=law, max_duration=30)._structure()
    assert structure.duration is not None
    shape = model.duration.parameters["shape"]  # type: ignore[union-attr]
    bare = structure.duration.initialise(plain.duration_.mean()).beside(
        hsmm.Sequences.from_arrays(X, covariates=context)
    )
    assert bare.parameters["bias"].shape == shape.shape
    same = replace(model, duration=bare.with_parameters(bias=shape))
    found = inference.log_partition(same.potentials(hsmm.Sequences.from_arrays(X, covariates=context)))
    assert float(found) == pytest.approx(plain.log_likelihood_, rel=1e-10)


@pytest.mark.parametrize("context", [None, ENCODER])
def test_07_a_fit_moves_the_laws_of_the_rows(context: object) -> None:
    """Without an encoder means moved by nothing over a whole fit."""
    X, _ = regimes(80)
    options = {} if context else {"duration": "categorical", "transition": "dense", "trainer": "em"}
    first, last = (neural(context=context, n_init=1, max_iter=1 + 9 * more, **options) for more in range(2))
    if context:
        first.trainer, last.trainer = hsmm.trainers.AdamW(n_steps=1), hsmm.trainers.AdamW(n_steps=10)
    means = [model.fit(X).emission_.mean_ for model in (first, last)]
    assert (np.abs(means[1] - means[0]).max(1) > 1e-3).all()


@pytest.mark.parametrize("family", ["dense", "contextual"])
def test_08_em_never_falls(family: str) -> None:
    """Counts were of segments' ends and of squared weights, so that steps led anywhere; nothing looked."""
    X, _ = regimes(120)
    given = None if family == "dense" else np.sin(np.arange(120))[:, None]
    model = hsmm.HSMM(3, transition=family, max_duration=30, n_init=1, max_iter=60, tol=0).fit(X, context=given)
    assert (np.diff(model.history_) >= -1e-8 * np.abs(model.history_[:-1])).all()
    if given is None:
        counts = inference.posterior(model._fitted_model().potentials(hsmm.Sequences.from_arrays(X))).transition[0]
        np.testing.assert_allclose(model.transition_prob_, counts / counts.sum(-1, keepdim=True), atol=1e-6)


def test_09_two_scores_of_one_series_are_equal() -> None:
    """Models were left in training, where units were dropped at random in every score."""
    X, _ = regimes(80)
    model = neural(context=replace(ENCODER, dropout=0.5), n_init=1).fit(X)
    assert model.score(X) == model.score(X)


def test_10_a_series_is_alone_what_it_is_beside_a_longer_one(fitted: hsmm.HSMM) -> None:
    """Shorter ones were filled up with zeros, which counted as rows: -31.2 alone and -86.5 in company."""
    X, _ = regimes(90, seed=1)
    together = fitted.score(X, [25, 65])
    assert together == pytest.approx(fitted.score(X[:25]) + fitted.score(X[25:]), rel=1e-13)
    np.testing.assert_array_equal(fitted.filter_proba(X, [25, 65])[:25], fitted.filter_proba(X[:25]))


def test_11_the_work_of_a_fit_is_in_kernels_whatever_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops over rows, durations and restarts in Python: 148 seconds for 512 rows, 3 restarts and 10 iterations."""
    asked = []
    choose = inference.engine.choose

    def counted(query: str, *rest: object) -> object:
        asked.append(query)
        return choose(query, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(inference.engine, "choose", counted)
    sizes = []
    for n_rows, n_init in ((80, 1), (120, 2)):
        asked.clear()
        neural(n_init=n_init, trainer=hsmm.trainers.AdamW(n_steps=4)).fit(regimes(n_rows)[0])
        sizes.append(len(asked))
    assert 0 < sizes[1] == sizes[0]


def test_12_all_states_are_alive_and_durations_do_not_press_against_the_wall(
    rows: tuple[np.ndarray, np.ndarray], fitted: hsmm.HSMM
) -> None:
    """One state of three was used, whose stays were as long as could be."""
    X, states = rows
    found = fitted.predict(X)
    assert len(np.unique(found)) == 3
    assert hsmm.metrics.aligned_accuracy(states, found) > 0.95
    assert (fitted.mean_duration_ < 12).all()


def test_13_zero_is_a_seed_and_no_other_draws_change() -> None:
    """It counted as none, and the generator of the whole process was set; ``import *`` raised."""
    X, _ = regimes(80)
    before, short = torch.get_rng_state(), hsmm.trainers.AdamW(n_steps=3)
    first, second = (neural(n_init=1, random_state=0, trainer=short).fit(X).score(X) for _ in range(2))
    assert first == second
    assert first != neural(n_init=1, random_state=1, trainer=short).fit(X).score(X)
    assert torch.equal(before, torch.get_rng_state())
    names: dict[str, object] = {}
    exec("from hsmm import *", names)
    assert {"HSMM", "Potentials", "inference"} <= names.keys()


def test_14_every_weight_that_is_learnt_has_an_effect(rows: tuple[np.ndarray, np.ndarray], fitted: hsmm.HSMM) -> None:
    """Gates changed nothing along the axis that they were normalised over, and the encoder was in no optimiser."""
    model, sequences = fitted._fitted_model(), hsmm.Sequences.from_arrays(rows[0][:200])
    point = {name: value.clone().requires_grad_() for name, value in model.free().items()}
    with torch.enable_grad():
        total = inference.log_partition(model.with_free(point).potentials(sequences)).sum()
        slopes = dict(zip(point, torch.autograd.grad(total, list(point.values())), strict=True))
    assert [name for name, slope in slopes.items() if not bool((slope.abs() > 0).any())] == []
    assert any(name.startswith("context.") for name in slopes)
    short = hsmm.trainers.AdamW(n_steps=2, weight_decay=0.0)
    weights = [
        neural(trainer=replace(short, n_steps=n), n_init=1).fit(rows[0][:120])._fitted_model().context for n in (1, 4)
    ]
    assert weights[0] is not None
    assert weights[1] is not None
    for name, value in weights[0].free().items():
        assert not torch.equal(value, weights[1].free()[name]), name


def test_15_options_are_checked_by_name() -> None:
    """The first lines of its own guide raised from within; configurations named what was not there."""
    assert hsmm.HSMM(n_states=3).get_params()["n_states"] == 3
    with pytest.raises(TypeError, match=r"n_feature"):
        hsmm.HSMM(n_states=3, n_features=5)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"cnn_lstn.*an object of hsmm\.context; did you mean 'cnn_lstm'"):
        hsmm.HSMM(3, context="cnn_lstn").fit(regimes(30)[0])
    given = neural(context=hsmm.context.CNNLSTM(hidden=2))
    with pytest.raises(ValueError, match="context"):
        given.fit(regimes(30)[0])


def test_16_all_that_a_model_is_for_can_be_asked(
    rows: tuple[np.ndarray, np.ndarray], fitted: hsmm.HSMM, tmp_path: Path
) -> None:
    """No filter, forecast, sample, prior, missing value or saved model."""
    X = rows[0][:120].copy()
    X[40:50] = np.nan
    X[60, 2] = np.nan
    causal = fitted.filter_proba(X)
    np.testing.assert_allclose(causal.sum(1), 1.0, rtol=1e-9)
    np.testing.assert_array_equal(fitted.filter_proba(X[:70]), causal[:70])
    np.testing.assert_allclose(fitted.forecast(X, 1).sum(-1), 1.0, rtol=1e-9)
    again = hsmm.load(fitted.save(tmp_path))
    assert again.score(X) == fitted.score(X)  # type: ignore[union-attr]
    assert not [*tmp_path.rglob("*.pkl"), *tmp_path.rglob("*.pt")]
    context = np.sin(np.arange(90))[:, None]
    given = neural(context=hsmm.context.CNNLSTM(hidden=3, channels=2), n_init=1).fit(regimes(90)[0], context=context)
    made, states = given.sample(90, context=context)
    assert (np.shape(made), np.shape(states)) == ((90, 5), (90,))
    encoder = given._fitted_model().context
    assert encoder is not None
    assert float(encoder.log_prior()) < 0.0
