"""A context is worth what it explains: effects that are there are found, at their size, and foretell new series."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import hsmm
from hsmm.components.initial import FreeInitial
from hsmm.components.model import Model

DURATION, MOVES = np.array([[[0.5]], [[-0.4]], [[0.0]]]), {(0, 2): 1.2, (1, 2): -0.8, (2, 1): 0.0}
OPTIONS = {"max_duration": 16, "n_init": 1, "tol": 1e-6, "random_state": 0}


def world(effect: float) -> hsmm.HSMM:
    """Three states far apart, whose durations and moves follow a context by this much."""
    durations = hsmm.durations.Contextual.from_parameters(
        [[1.6], [2.0], [1.2]], effect * DURATION, family="poisson", max_duration=16
    )
    coef = np.zeros((3, 3, 1))
    for (state, after), size in MOVES.items():
        coef[state, after] = effect * size
    moves = hsmm.transitions.Contextual.from_parameters(np.zeros((3, 3)), coef)
    emission = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [3.0], [6.0]], covariance=[[1.0]] * 3)
    first = FreeInitial.from_parameters([0.3, 0.3, 0.4])
    return hsmm.HSMM(3)._adopt_loaded(Model(first, moves, durations, emission), None)


def drawn(effect: float, seed: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed).normal(size=n_rows)
    context = np.convolve(noise, np.ones(8) / np.sqrt(8.0), "same")[:, None]
    return world(effect).sample(n_rows, seed, context=context)[0], context


def static() -> hsmm.HSMM:
    return hsmm.HSMM(3, duration="poisson", **OPTIONS)


def moving() -> hsmm.HSMM:
    moves, stays = hsmm.transitions.Contextual(penalty=1.0), hsmm.durations.Contextual(family="poisson")
    return hsmm.HSMM(3, transition=moves, duration=stays, **OPTIONS)


@pytest.mark.filterwarnings("ignore::hsmm.errors.IntervalWarning")
def test_an_effect_foretells_new_series_and_is_found_with_sign_and_size() -> None:
    X, context = drawn(1.0, 1, 900)
    plain, found = static().fit(X), moving().fit(X, context=context)
    fresh = [drawn(1.0, 100 + seed, 150) for seed in range(10)]
    gains = np.array([found.score(x, context=c) - plain.score(x) for x, c in fresh])
    assert gains.mean() > 3.0 * gains.std(ddof=1) / np.sqrt(len(gains))
    table = found.confidence_intervals(X, context=context)
    spread = float(found.duration_.parameters["spread"][0, 0])
    own = table.filter(pl.col("parameter") == "duration.coef").sort("state")
    for size, low, high in zip(spread * DURATION.ravel(), own["low"], own["high"], strict=True):
        assert low < size < high
    assert own["low"][0] > 0.0 > own["high"][1]
    steps = table.filter(pl.col("parameter") == "transition.coef")
    for (state, after), size in MOVES.items():
        row = steps.filter(
            (pl.col("state") == state) & (pl.col("index") == pl.lit([after, 0], dtype=pl.List(pl.Int64)))
        )
        assert row["low"][0] < spread * size < row["high"][0]


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_selection_keeps_the_static_law_unless_there_is_an_effect(effect: float) -> None:
    X, context = drawn(effect, 51, 500)
    chosen = hsmm.select_model(X, [static(), moving()], criterion="bic", context=context)
    assert chosen.best.uses_context == (effect > 0.0)


def test_an_encoder_learns_what_no_line_through_the_context_could_say() -> None:
    rng = np.random.default_rng(0)
    symbol = np.repeat(rng.integers(0, 3, 60), 6)
    X = np.array([0.0, 5.0, 0.0])[symbol][:, None] + rng.normal(size=(360, 1))
    options = {"emission": "contextual", "n_init": 1, "max_iter": 40, "tol": 0.0}
    line = hsmm.HMM(1, **options).fit(X[:240], context=symbol[:240, None])
    table = hsmm.HMM(1, context=hsmm.context.Embedding(hidden=2), **options).fit(X[:240], context=symbol[:240, None])
    rest = {"X": X[240:], "context": symbol[240:, None]}
    assert table.score(**rest) > line.score(**rest) + 50.0


def test_separated_states_stay_alive_under_a_recurrent_encoder() -> None:
    rng = np.random.default_rng(0)
    states = np.repeat(np.arange(24) % 3, 1 + rng.poisson(12, 24))[:180]
    X = rng.normal(0.0, 2.0, (3, 5))[states] + rng.normal(size=(len(states), 5))
    encoder = hsmm.context.CNNLSTM(hidden=16, channels=8, source="x")
    model = hsmm.HSMM(3, context=encoder, duration="categorical", max_duration=30, n_init=3, max_iter=10, tol=0.0).fit(
        X
    )
    assert hsmm.metrics.aligned_accuracy(states, model.predict(X)) > 0.95
    assert len(set(model.predict(X))) == 3
