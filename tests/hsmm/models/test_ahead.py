"""Models that read the series itself: what they say of several steps ahead, and what they draw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import hsmm

Y = np.random.default_rng(0).normal(size=50)
LENGTHS = [30, 20]
PAST = hsmm.context.Linear(source="x", hidden=1)


def turning(steep: float, **options: Any) -> Any:
    """Values above 0 are followed by state 1 as surely as it is ``steep``, others by state 0; state k emits N(0, 1)
    about minus twice the value before."""
    kind = hsmm.HSMM if "duration" in options else hsmm.HMM
    shared: dict[str, Any] = {"emission": hsmm.emissions.Contextual(family="gaussian"), "n_init": 1, "max_iter": 2}
    model = kind(2, context=PAST, transition="contextual", tol=0.0, **shared, **options).fit(Y, LENGTHS)
    parts = model._model.components()

    def as_given(kind: str, **values: Any) -> Any:
        own = {name: torch.zeros_like(value) for name, value in parts[kind].parameters.items()}
        own |= {name: torch.ones_like(own[name]) for name in ("spread", "unit") if name in own}
        return parts[kind].with_parameters(
            **own | {k: torch.as_tensor(v, dtype=torch.float64) for k, v in values.items()}
        )

    reading = torch.zeros(1, 2, 1, 2, 1)
    reading[..., 0, 0] = -2.0
    laws = {
        "context": as_given("context", weight=[[[1.0]]]),
        "emission": as_given("emission", coef=reading, floor=[[-9.0]]),
    }
    if kind is hsmm.HMM:
        laws["transition"] = as_given("transition", coef=[[[[0.0], [steep]], [[0.0], [steep]]]])
    model._model = replace(model._model, **laws)
    return model


@pytest.fixture(scope="module")
def model() -> Any:
    return turning(3.0)


def test_two_steps_ahead_are_the_mean_over_every_value_between(model: Any) -> None:
    rows = np.append(Y[:11], 1.0)
    grid = np.linspace(-12.0, 12.0, 601)
    beyond = np.concatenate([np.append(rows, value) for value in grid])
    lengths = [13] * len(grid)
    density = np.exp(model.log_density(beyond, lengths).reshape(len(grid), 13)[:, -1]) * (grid[1] - grid[0])
    assert density.sum() == pytest.approx(1.0, abs=1e-6)
    exact = density @ model.forecast(beyond, 1, lengths)[:, 0]
    found = model.forecast(rows, 2, n_paths=4000)[0, 1]
    assert np.abs(found - exact).max() < 4.0 * np.sqrt(0.25 / 4000)
    unread = model.forecast(np.append(rows, np.nan), 1)[0, 0]  # as if the value between were at its mean
    assert np.abs(unread - exact).max() > 0.1


def test_a_series_has_the_forecast_that_it_has_alone(model: Any) -> None:
    both = model.forecast(Y, 3, LENGTHS)
    assert np.array_equal(both[1], model.forecast(Y[30:], 3)[0])
    assert np.array_equal(both[:, :1], model.forecast(Y, 1, LENGTHS))
    np.testing.assert_allclose(both.sum(-1), 1.0, rtol=1e-12)
    assert not np.array_equal(both[:, 2], model.forecast(Y, 3, LENGTHS, random_state=1)[:, 2])


def test_where_nothing_is_read_it_is_the_power_of_the_moves() -> None:
    model = turning(0.0)
    found = model.forecast(Y, 4, LENGTHS, n_paths=3)
    last = model.filter_proba(Y, LENGTHS)[[29, 49]]
    for step in range(4):
        last = last @ model.transition_prob_
        np.testing.assert_allclose(found[:, step], last, rtol=1e-10)


def test_what_is_drawn_is_read_by_what_is_drawn_next() -> None:
    model = turning(300.0)
    X, states = model.sample(150, random_state=0)
    assert (states[1:] == (X[:-1, 0] > 0)).mean() > 0.98
    left = X[1:, 0] + 2.0 * np.clip(X[:-1, 0], -10.0, 10.0)  # inputs of an encoder are drawn in
    assert left.std() == pytest.approx(1.0, abs=0.2)
    again, _ = model.sample(150, random_state=0)
    assert np.array_equal(X, again)


def test_segments_that_are_drawn_last_as_their_law_says() -> None:
    model = turning(0.0, duration="poisson", min_duration=4, max_duration=12)
    _, states = model.sample(300, random_state=0)
    runs = np.diff(np.flatnonzero(np.diff(states, prepend=-1, append=-1)))
    assert runs[:-1].min() >= 4
    assert abs(runs[:-1].mean() - model.mean_duration_.mean()) < 3.0 * runs.std() / np.sqrt(len(runs)) + 1.0


def test_two_that_read_the_rows_before_are_refused_together() -> None:
    law = hsmm.emissions.AutoregressiveGaussian(lags=1)
    model = hsmm.HMM(2, emission=law, transition="contextual", context=PAST, n_init=1, max_iter=2, tol=0.0)
    model.fit(Y, LENGTHS)
    assert model.forecast(Y, 1, LENGTHS).shape == (2, 1, 2)
    for ask in (lambda: model.forecast(Y, 2, LENGTHS), lambda: model.sample(3)):
        with pytest.raises(ValueError, match="both read the rows before"):
            ask()
