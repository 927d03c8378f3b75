"""What is said of a context's effect is what its tables do, with the error that its parameters have."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import hsmm


@pytest.fixture(scope="module")
def seen() -> tuple[np.ndarray, pl.DataFrame]:
    """Stays of about 4 steps where it is hot and 10 where it is cold, one column that does nothing."""
    rng = np.random.default_rng(0)
    heat = np.repeat(rng.normal(size=40), 8)
    states, row = np.zeros(320, dtype=int), 0
    for turn in range(320):
        stop = row + 1 + rng.poisson(4 if heat[min(row, 319)] > 0 else 10)
        states[row:stop], row = turn % 2, stop
    X = 4.0 * states[:, None] + rng.normal(size=(320, 1))
    return X, pl.DataFrame({"heat": heat, "noise": rng.normal(size=320)})


@pytest.fixture(scope="module")
def model(seen) -> hsmm.HSMM:
    X, context = seen
    law = hsmm.durations.Contextual(family="poisson", columns=(0, 1))
    made = hsmm.HSMM(
        2, initial="uniform", duration=law, emission=hsmm.emissions.Contextual(columns=(1,)), max_duration=20, n_init=2
    )
    return made.fit(X, context=context)


def test_curves_are_the_tables_and_their_intervals_hold_the_estimate(model, seen) -> None:
    X, context = seen
    table = model.context_effects(X, context=context, n_points=5)
    lasts = table.filter(pl.col("table") == "duration", pl.col("column") == "heat")
    points = np.c_[lasts["value"].to_numpy()[:5], np.full(5, context["noise"].mean())]
    np.testing.assert_allclose(
        lasts["estimate"].to_numpy().reshape(2, 5).T, model.duration_.mean_at(points), rtol=1e-10
    )
    assert (lasts["low"] < lasts["estimate"]).all()
    assert (lasts["estimate"] < lasts["high"]).all()
    hot, cold = (lasts.filter(pl.col("value") == place) for place in (points[-1, 0], points[0, 0]))
    assert (hot["high"] < cold["low"]).all()
    assert set(table.filter(pl.col("table") == "emission")["column"]) == {"noise"}
    assert set(table["table"]) == {"duration", "emission"}


def test_errors_are_those_of_the_parameters(model, seen) -> None:
    X, context = seen
    told = model.confidence_intervals(X, context=context).filter(pl.col("parameter") == "duration.coef")
    slope = next(row for row in told.to_dicts() if row["state"] == 0 and row["index"] == [0, 0])
    found = model.context_effects(X, context=context, n_points=2).filter(
        pl.col("table") == "duration", pl.col("state") == 0, pl.col("column") == "heat"
    )
    reached = np.log(found["estimate"].to_numpy()) - np.log(found["estimate"].to_numpy()).mean()
    assert np.sign(reached[1]) == np.sign(slope["estimate"])
    width = np.log(found["high"].to_numpy() / found["low"].to_numpy())
    np.testing.assert_allclose(width * found["estimate"].to_numpy() / (2 * 1.959964), found["std_error"], rtol=1e-6)
    far = abs(found["value"].to_numpy() - context["heat"].mean()) / context["heat"].std(ddof=0)
    assert (width / (2 * 1.959964) >= 0.5 * far * slope["std_error"]).all()


def test_probabilities_stay_probabilities() -> None:
    rng = np.random.default_rng(1)
    context = rng.normal(size=(300, 1))
    X = np.cumsum(rng.random(300) < 0.2) % 2 * 3.0 + rng.normal(size=300)
    model = hsmm.HMM(2, transition="contextual", initial="contextual", n_init=2, max_iter=50, tol=1e-4)
    model.fit(X, lengths=[100, 100, 100], context=context)
    table = model.context_effects(X, [100, 100, 100], context=context, n_points=3)
    moves = table.filter(pl.col("table") == "transition")
    totals = moves.group_by("value", "state").agg(pl.col("estimate").sum())
    np.testing.assert_allclose(totals["estimate"], 1.0)
    assert table.select((pl.col("low") >= 0).all() & (pl.col("high") <= 1).all()).item()
    assert table["column"].unique().to_list() == ["context_0"]
    assert len(table.filter(pl.col("table") == "initial")) == 6


@pytest.mark.parametrize("family", ["poisson", "gaussian"])
def test_means_of_a_regression_are_its_curve(family: str) -> None:
    rng = np.random.default_rng(2)
    context = np.tile(np.array([[0.0], [1.0]]), (100, 1))
    y = rng.poisson(np.exp(0.5 + context[:, 0])).astype(float)
    model = hsmm.HMM(1, emission=hsmm.emissions.GLM(family=family), n_init=1).fit(y, context=context)
    table = model.context_effects(y, context=context)
    assert table["value"].to_list() == [0.0, 1.0]
    for value, estimate in zip(table["value"], table["estimate"], strict=True):
        own = y[context[:, 0] == value]
        assert estimate == pytest.approx(own.mean(), rel=0.02)
    if family == "gaussian":
        np.testing.assert_allclose(table["std_error"], np.sqrt(model.emission_.fitted("scale").item() / 100), rtol=0.05)


def test_a_column_is_worth_what_its_loss_costs(model, seen) -> None:
    X, context = seen
    table = model.context_importance(X, context=context, n_repeats=5)
    heat, noise = table["loss"].to_list()
    assert heat > 0.02 > abs(noise)
    assert model.context_importance(X, context=context, n_repeats=5).equals(table)
    still = context.with_columns(heat=pl.lit(0.3))
    assert model.context_importance(X, context=still, n_repeats=2)["loss"][0] == 0.0


def test_what_reads_no_context_has_no_effect_of_it(model, seen) -> None:
    X, context = seen
    plain = hsmm.HMM(1, n_init=1).fit(X)
    for ask in (plain.context_effects, plain.context_importance):
        with pytest.raises(ValueError, match="no table of this model reads the context"):
            ask(X)
    slow = hsmm.HMM(2, context=hsmm.context.CNN(hidden=2), n_init=1, max_iter=2, tol=0.0)
    slow.fit(X, context=context)
    with pytest.raises(ValueError, match="no curve shows it; context_importance"):
        slow.context_effects(X, context=context)
    assert slow.context_importance(X, context=context, n_repeats=1)["column"].to_list() == ["heat", "noise"]
    with pytest.raises(ValueError, match="level is 2"):
        model.context_effects(X, context=context, level=2)
