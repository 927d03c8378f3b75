"""What is said of a context's effect is what its tables do, with the error that its parameters have."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.stats import mode

import hsmm
from hsmm.components.context import ENCODERS
from hsmm.components.duration import DURATIONS
from hsmm.components.emission.contextual.rows import ROW_LAWS


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
    with pytest.raises(ValueError, match="no curvature tells an interval; ask with level=None"):
        slow.context_effects(X, context=context)
    still = hsmm.HMM(2, context=hsmm.context.CNN(hidden=1), frozen=("context",), n_init=1, max_iter=40, tol=1e-4)
    found = still.fit(X, context=context).context_effects(X, context=context, n_points=2)
    assert ((found["low"] < found["estimate"]) & (found["estimate"] < found["high"])).all()
    own = hsmm.HMM(2, context=hsmm.context.CNN(hidden=2, source="x"), n_init=1, max_iter=1, tol=0.0).fit(X)
    with pytest.raises(ValueError, match="'cnn' reads the series itself alone"):
        own.context_importance(X)
    assert slow.context_importance(X, context=context, n_repeats=1)["column"].to_list() == ["heat", "noise"]
    with pytest.raises(ValueError, match="level is 2"):
        model.context_effects(X, context=context, level=2)


def moments_at(
    law: hsmm.components.emission.Emission, context: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, ...]:
    """(K,) mean, standard deviation, mode and density there of each state, from that of ``values`` (M,)."""
    beside = np.tile(context, (len(values), 1))
    density = law.log_potentials(hsmm.Sequences.from_arrays(values, covariates=beside))[0].exp().numpy()
    weight = density if np.array_equal(values, values.round()) else density * np.gradient(values)[:, None]
    mean = (values[:, None] * weight).sum(0) / weight.sum(0)
    spread = np.sqrt(((values[:, None] - mean) ** 2 * weight).sum(0) / weight.sum(0))
    return mean, spread, values[density.argmax(0)], density.max(0)


@pytest.mark.parametrize("family", ROW_LAWS)
def test_curves_of_values_are_those_of_the_density(family: str) -> None:
    rng = np.random.default_rng(3)
    context = rng.normal(size=(90, 2))
    state = np.arange(90) // 15 % 2
    drawn = {
        "bernoulli": rng.binomial(1, 0.2 + 0.6 * state),
        "categorical": rng.integers(0, 2 + state),
        "poisson": rng.poisson(1 + 6 * state + (context[:, 0] > 0)),
        "negative_binomial": rng.poisson(rng.gamma(2.0, 1 + 4 * state)),
    }
    y = drawn.get(family, np.exp(0.3 * rng.normal(size=90) + 2.0 * state))
    law = hsmm.emissions.Contextual(family=family, penalty=0.1)
    model = hsmm.HMM(2, emission=law, n_init=1, max_iter=3, tol=0.0).fit(y, context=context)
    table = model.context_effects(y, context=context, n_points=3, level=None)
    assert table["std_error"].is_nan().all()
    counted = {"bernoulli": 2, "categorical": int(y.max()) + 1, "poisson": 200, "negative_binomial": 2000}
    values = np.arange(counted[family]) if family in counted else np.linspace(-40.0, 120.0, 30_001)
    if family in ("gamma", "exponential"):
        values = np.geomspace(1e-6, 1e3, 20_001)
    dof = model.emission_.fitted("dof") if family == "student_t" else None
    assert set(table["column"]) == {"context_0", "context_1"}
    for (column, value), rows in table.group_by("column", "value"):
        point = context.mean(0)
        point[int(str(column)[-1])] = value
        mean, spread, peak, height = moments_at(model.emission_, point, values.astype(float))
        for row in rows.to_dicts():
            k, quantity = row["state"], row["quantity"]
            if quantity == "probability":
                one = np.array([float(row["symbol"])])
                assert row["estimate"] == pytest.approx(moments_at(model.emission_, point, one)[3][k], rel=1e-9)
            elif quantity == "mean" and dof is not None:
                assert row["estimate"] == pytest.approx(peak[k], abs=0.01)
            elif quantity == "mean":
                assert row["estimate"] == pytest.approx(mean[k], rel=1e-4, abs=1e-5)
            elif quantity == "scale":
                assert dof is not None
                assert row["estimate"] == pytest.approx(stats.t(dof[k]).pdf(0.0) / height[k], rel=1e-3)
            else:
                assert row["estimate"] == pytest.approx(spread[k], rel=1e-3)
    told = set(table["quantity"])
    moved = {"student_t": {"mean", "scale"}, "bernoulli": {"probability"}, "categorical": {"probability"}}
    spreads = {"standard deviation"} if len(ROW_LAWS[family].bounds) > 1 else set()
    assert told == moved.get(family, {"mean"} | spreads)
    assert len(table) == 12 * (len(told) if family != "categorical" else counted[family])


@pytest.mark.parametrize("family", sorted(DURATIONS.keys() - {"contextual"}))
def test_curves_of_durations_are_their_means(family: str) -> None:
    rng = np.random.default_rng(4)
    X, context = np.repeat([0.0, 5.0, 0.0, 5.0], 15) + rng.normal(size=60), rng.normal(size=(60, 1))
    law = hsmm.durations.Contextual(family=family)
    model = hsmm.HSMM(2, duration=law, max_duration=25, n_init=1, max_iter=2, tol=0.0).fit(X, context=context)
    found = model.context_effects(X, context=context, n_points=3, level=None)
    assert set(found["table"]) == {"duration"}
    points = found["value"].to_numpy()[:3, None]
    np.testing.assert_allclose(
        found["estimate"].to_numpy().reshape(2, 3).T, model.duration_.mean_at(points), rtol=1e-10
    )


@pytest.mark.parametrize("name", ENCODERS)
def test_behind_an_encoder_curves_are_of_a_context_that_has_lasted(name: str) -> None:
    rng = np.random.default_rng(5)
    X = np.repeat([0.0, 5.0] * 6, 10) + rng.normal(size=120)
    context = rng.integers(0, 12, (120, 2)).astype(float)
    encoder = ENCODERS[name](hidden=4)
    model = hsmm.HSMM(
        2, context=encoder, duration="contextual", initial="contextual", max_duration=20, n_init=1, max_iter=2, tol=0.0
    ).set_params(transition="contextual", emission="contextual", n_states=3)
    model.fit(X, context=context)
    found = model.context_effects(X, context=context, n_points=4, level=None)
    symbols = name == "embedding"
    places = found.filter(pl.col("column") == "context_0")["value"].unique().sort().to_numpy()
    assert len(places) == (12 if symbols else 4)
    others = [mode(context[:, c]).mode if symbols else context[:, c].mean() for c in (0, 1)]
    for place in places[[0, -1]]:
        long = hsmm.Sequences.from_arrays(
            np.full((129, 1), np.nan), covariates=np.tile([place, others[1]], (129, 1)), may_be_missing=True
        )
        fitted = model._fitted_model()
        p = fitted.potentials(long)
        moves = p.log_transition[0, 126].exp().numpy()
        at = found.filter(pl.col("column") == "context_0", pl.col("value") == place)
        for row in at.filter(pl.col("table") == "transition").to_dicts():
            assert row["estimate"] == pytest.approx(moves[row["state"], row["to"]], rel=1e-9)
        assert p.log_duration is not None
        assert p.log_tail is not None
        steps = np.tile(np.arange(1.0, 22.0), (3, 1))
        steps[:, 20] = 20 + 1 / (1 - p.log_tail[0].exp().numpy())
        lasts = (p.log_duration[0, 127].exp().numpy() * steps).sum(1)
        np.testing.assert_allclose(at.filter(pl.col("table") == "duration").sort("state")["estimate"], lasts, rtol=1e-9)
        law = fitted.emission.effects(fitted.beside(long))
        mean = at.filter(pl.col("table") == "emission", pl.col("quantity") == "mean")
        np.testing.assert_allclose(mean.sort("state")["estimate"], law[0].values[127], rtol=1e-9)
    assert set(found["table"]) == {"initial", "transition", "duration", "emission"}


LAWS = {
    "categories": (hsmm.emissions.GLM(family="categorical"), np.arange(3)),
    "successes": (hsmm.emissions.GLM(family="bernoulli"), np.arange(2)),
    "network": (hsmm.emissions.Neural(hidden=3, reads_context=True), np.linspace(-9.0, 12.0, 2001)),
    "mixture": (hsmm.emissions.Mixture(hsmm.emissions.GLM(family="gaussian"), 2), np.linspace(-20.0, 25.0, 9001)),
}


@pytest.mark.parametrize(
    ("moves", "values"), [*zip(["gated", "contextual", "neural", "gated"], LAWS, strict=True)], ids=list(LAWS)
)
def test_every_law_that_reads_the_context_has_its_curve(moves: str, values: str) -> None:
    rng = np.random.default_rng(6)
    law, places = LAWS[values]
    context = rng.normal(size=(80, 1))
    y = rng.integers(0, len(places), 80) if len(places) < 9 else 3.0 * (np.arange(80) // 10 % 2) + rng.normal(size=80)
    chain = hsmm.transitions.Neural(hidden=3, reads_context=True) if moves == "neural" else moves
    model = hsmm.HMM(2, transition=chain, emission=law, n_init=1, max_iter=2, tol=0.0).fit(y, context=context)
    found = model.context_effects(y, context=context, n_points=2, level=None)
    for (place,), at in found.group_by("value"):
        point = np.array([place])
        rows = hsmm.Sequences.from_arrays(np.zeros(2), covariates=np.tile(point, (2, 1)))
        step = model._fitted_model().potentials(rows).log_transition[0, 0].exp()
        for row in at.filter(pl.col("table") == "transition").to_dicts():
            assert row["estimate"] == pytest.approx(float(step[row["state"], row["to"]]), rel=1e-9)
        for row in at.filter(pl.col("table") == "emission").to_dicts():
            k, one = row["state"], np.array([float(row["symbol"] or 0)])
            mean, *_ = moments_at(model.emission_, point, places.astype(float))
            height = moments_at(model.emission_, point, one)[3]
            truth = height[k] if row["quantity"] == "probability" else mean[k]
            assert row["estimate"] == pytest.approx(truth, rel=1e-4, abs=1e-6)
    assert len(found.filter(pl.col("table") == "transition")) == 8
    assert len(found.filter(pl.col("table") == "emission")) == (12 if values == "categories" else 4)


def test_a_column_of_a_product_keeps_its_place() -> None:
    rng = np.random.default_rng(7)
    context = rng.normal(size=(80, 1))
    X = np.column_stack([rng.normal(size=80), rng.poisson(2, 80), 5.0 + context[:, 0] + rng.normal(size=80)])
    law = hsmm.emissions.Product(
        [hsmm.emissions.Poisson(), hsmm.emissions.Contextual(), hsmm.emissions.Gaussian()], [[1], [2], [0]]
    )
    model = hsmm.HMM(1, emission=law, n_init=1).fit(X, context=context)
    found = model.context_effects(X, context=context, n_points=2).filter(pl.col("quantity") == "mean")
    assert found["feature"].unique().to_list() == ["x2"]
    np.testing.assert_allclose(found["estimate"], 5.0 + found["value"], atol=0.5)
