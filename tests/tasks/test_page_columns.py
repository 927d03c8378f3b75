"""What stands behind the features: levels under regimes, a year's return, what columns contribute, weights, words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import hsmm
from tasks.config.ops import OPS
from tasks.config.settings import Settings
from tasks.fitting.scaling import Scaling
from tasks.report.page.data import ChosenModel, PageData, page_data
from tasks.report.page.glossary import glossary
from tasks.report.page.profile import values_a_year
from tasks.report.page.render import page
from tasks.report.page.view_columns import columns
from tasks.report.page.view_effects import effects
from tasks.report.page.view_states import states
from tasks.report.page.view_weights import regression
from tasks.source.ingest import ingest
from tasks.source.validate import validate

START = datetime(2020, 1, 1, tzinfo=UTC)


def plain_scaling(names: list[str], context: list[str] | None = None, spread: float = 1.0) -> Scaling:
    moments = {f"mean:{name}": [0.0] for name in names} | {f"scale:{name}": [spread] for name in names}
    return Scaling(names, pl.DataFrame({"series_id": ["*"], **moments}), context or [])


def rows_of(values: dict[str, Any], path: np.ndarray, step: timedelta = timedelta(days=1)) -> pl.DataFrame:
    n = len(path)
    return pl.DataFrame(
        {
            "series_id": ["A"] * n,
            "time": [START + i * step for i in range(n)],
            "as_of": [START + n * step] * n,
            "train_start": [START] * n,
            "train_end": [START + n * step] * n,
            "state": path,
            "viterbi": path,
            "state_name": [f"state {k}" for k in path],
            "p_filtered": [[0.5, 0.5]] * n,
            **values,
        },
        schema_overrides={"state": pl.Int16, "viterbi": pl.Int16},
    )


def page_data_of(rows: pl.DataFrame, model: ChosenModel, **changes: Any) -> PageData:
    names = pl.DataFrame(schema={"state": pl.Int16, "name": pl.String, "born": pl.Date, "died": pl.Date})
    return PageData(
        "toy", {}, rows, dict.fromkeys(model.scaling.columns, "units"), names, names, None, [model], **changes
    )


def gaussian(means: list[list[float]], deviations: list[list[float]]) -> hsmm.HMM:
    n_states = len(means)
    variances = np.stack([np.diag(np.square(row)) for row in deviations])
    emission = hsmm.emissions.Gaussian.from_parameters(mean=np.array(means), covariance=variances)
    stay = np.full((n_states, n_states), 0.05 / (n_states - 1)) + np.eye(n_states) * (0.95 - 0.05 / (n_states - 1))
    return hsmm.HMM.from_parameters(
        initial_prob=np.full(n_states, 1 / n_states), transition_prob=stay, emission=emission
    )


@pytest.mark.parametrize(("op", "expected"), [("log_return", True), ("diff", True), ("identity", False)])
def test_the_level_behind_a_change_is_on_the_page_and_no_model_sees_it(
    settings_for: Callable[..., Settings], prices: Callable[..., pl.DataFrame], op: str, expected: bool
) -> None:
    settings = settings_for(prices("A"), features={"r": {"op": op, "column": "close"}})
    validated = validate(ingest(settings), settings)
    assert validated.value_columns == ["r"]
    assert ("level:close" in validated.rows.columns) == expected
    table = validated.rows.select("series_id", "time").with_columns(state=pl.lit(0, pl.Int16))
    made = page_data(settings, {}, table, validated.rows, None, ())
    assert list(made.levels) == (["level:close"] if expected else [])
    assert list(made.returns) == (["r"] if op == "log_return" else [])
    if expected:
        source = pl.read_parquet(settings.source.path)["close"].cast(float).to_list()
        assert made.rows["level:close"].drop_nulls().to_list() == pytest.approx(source)


@pytest.mark.parametrize("changes", [{}, {"counted": True}, {"step": ""}, {"returns": []}])
def test_a_year_of_returns_is_told_where_there_is_a_calendar(changes: dict[str, Any]) -> None:
    n = 3 * 365
    rows = rows_of({"r": np.random.default_rng(0).normal(size=n)}, np.arange(n) % 2)
    rows = rows.with_columns(r=pl.when(pl.int_range(pl.len()) % 7 < 5).then("r"))
    model = ChosenModel(gaussian([[0.001], [-0.002]], [[0.01], [0.03]]), plain_scaling(["r"], spread=2.0))
    data = page_data_of(rows, model, **{"step": "1d", "returns": ["r"], **changes})
    shown = states(data)
    if changes:
        assert shown["yearly"] == []
        return
    assert values_a_year(data) == pytest.approx(365.2425 * 5 / 7, rel=0.01)
    (calm,), (wild,) = (row["yearly"] for row in shown["profile"])
    a_year = 365.2425 * 5 / 7
    assert float(calm["mean"].split()[0]) == pytest.approx(100 * 2 * 0.001 * a_year, rel=0.02)
    assert float(wild["volatility"].split()[0]) == pytest.approx(100 * 2 * 0.03 * np.sqrt(a_year), rel=0.02)
    assert states(page_data_of(rows.head(300), model, step="1d", returns=["r"]))["yearly"] == []


def test_the_column_that_tells_states_apart_has_the_share() -> None:
    model = gaussian([[0.0, 0.0], [6.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]])
    X, path = model.sample(600, random_state=0)
    rows = rows_of({"loud": X[:, 0], "mute": X[:, 1]}, path)
    found = columns(page_data_of(rows, ChosenModel(model, plain_scaling(["loud", "mute"]))))
    assert found is not None
    assert [row["name"] for row in found["rows"]] == ["loud", "mute"]
    assert [row["share"] for row in found["rows"]] == ["100.0 %", "0.0 %"]
    assert int(found["n_moves"]) > 5
    single = gaussian([[0.0], [6.0]], [[1.0], [1.0]])
    assert columns(page_data_of(rows, ChosenModel(single, plain_scaling(["loud"])))) is None


@pytest.fixture(scope="module")
def regressed() -> PageData:
    generator = np.random.default_rng(0)
    path = np.repeat(np.arange(30) % 2, 30)
    speed, other = generator.normal(size=(2, len(path)))
    load = np.where(path == 0, 1.0 + 2.0 * speed, -3.0 - 1.0 * speed) + 0.3 * generator.normal(size=len(path))
    model = hsmm.HMM(2, emission=hsmm.emissions.GLM(family="gaussian"), n_init=4, random_state=0)
    model.fit(load[:, None], context=np.column_stack([speed, other]))
    order = np.argsort(-model.emission_.parameters["intercept"][0, :, 0].numpy())
    rows = rows_of({"load": load, "speed": speed, "other": other}, path)
    ids = tuple(int(np.flatnonzero(order == k)[0]) for k in range(2))
    return page_data_of(rows, ChosenModel(model, plain_scaling(["load"], ["speed", "other"]), ids))


def test_weights_of_a_regression_are_those_that_made_the_data_and_bold_where_they_are_not_zero(
    regressed: PageData,
) -> None:
    found = regression(regressed)
    assert found is not None
    told = {(row["column"], row["state"]): row for row in found["rows"]}
    truth = {"intercept": (1.0, -3.0), "speed": (2.0, -1.0), "other": (0.0, 0.0)}
    assert set(told) == {(column, state) for column in truth for state in range(2)}
    for (column, state), row in told.items():
        low, high = (float(end.replace("\N{MINUS SIGN}", "-")) for end in row["interval"].split(" … "))
        assert low - 0.03 <= truth[column][state] <= high + 0.03
        assert row["apart"] == (column != "other")
        assert row["left"] <= row["at"] <= row["left"] + row["width"]
        assert (row["at"] > 50) == (not row["estimate"].startswith("\N{MINUS SIGN}"))


def test_a_model_without_regressions_has_no_weights() -> None:
    model = ChosenModel(gaussian([[0.0], [6.0]], [[1.0], [1.0]]), plain_scaling(["load"]))
    assert regression(page_data_of(rows_of({"load": np.zeros(9)}, np.zeros(9, dtype=int)), model)) is None


@pytest.fixture(scope="module")
def followed() -> tuple[hsmm.HSMM, pl.DataFrame]:
    """Stays that are shorter where it is hot, whatever the noise."""
    rng = np.random.default_rng(0)
    heat, path, row = np.repeat(rng.normal(size=40), 8), np.zeros(320, dtype=int), 0
    for turn in range(320):
        stop = row + 1 + rng.poisson(4 if heat[min(row, 319)] > 0 else 10)
        path[row:stop], row = turn % 2, stop
    values = {"load": 4.0 * path + rng.normal(size=320), "noise": rng.normal(size=320), "heat": heat}
    law = hsmm.durations.Contextual(family="poisson", columns=(1,))
    model = hsmm.HSMM(2, duration=law, max_duration=20, n_init=2, tol=1e-6)
    model.fit(values["load"], context=np.column_stack([values["noise"], heat]))
    return model, rows_of(values, path)


def test_curves_of_the_context_bear_the_names_of_its_columns_and_of_the_states(followed) -> None:
    model, rows = followed
    found = effects(page_data_of(rows, ChosenModel(model, plain_scaling(["load"], ["noise", "heat"]), (1, 0))))
    assert found is not None
    assert [(row["name"], row["width"] > 50) for row in found["worth"]] == [("heat", True), ("noise", False)]
    assert [caption for _, caption in found["curves"]] == ["expected stay, by heat"]
    (plot,) = found["figures"].values()
    told = {drawn["tint"]: drawn["y"] for drawn in plot["lines"] if drawn["look"] == "line"}
    given = np.column_stack([np.zeros(len(plot["x"])), plot["x"]])
    for state, mean in zip((1, 0), model.duration_.mean_at(given[:, 1:]).T, strict=True):
        assert told[state] == pytest.approx(list(mean), rel=1e-2)
        assert told[state][0] > told[state][-1]
    upper, lower = plot["bands"][0]
    assert all(a > b for a, b in zip(plot["lines"][upper]["y"], plot["lines"][lower]["y"], strict=True))


def test_values_that_are_names_are_drawn_as_such_and_an_encoder_has_no_interval() -> None:
    rng = np.random.default_rng(1)
    path = np.arange(140) // 10 % 2
    values = {"load": 5.0 * path + rng.normal(size=140), "month": 1.0 + np.arange(140) // 6 % 12, "shop": path * 1.0}
    given = np.column_stack([values["month"], values["shop"]])
    scaling = plain_scaling(["load"], ["month", "shop"])
    months = {"month": OPS["month"].levels}
    linear = hsmm.HMM(2, emission="contextual", n_init=1, tol=1e-4).fit(values["load"], context=given)
    found = effects(page_data_of(rows_of(values, path), ChosenModel(linear, scaling), categories=months))
    assert found is not None
    captions = {caption: found["figures"][key] for key, caption in found["curves"]}
    assert set(captions) == {
        f"{of} of load, by {by}" for of in ("mean", "standard deviation") for by in scaling.context
    }
    plots = captions["mean of load, by month"], captions["mean of load, by shop"]
    assert plots[0]["levels"] == ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    assert plots[1]["levels"] == ["0", "1"]
    assert plots[0]["x"] == list(range(12))
    assert all(plot["bands"] for plot in plots)
    encoder = hsmm.context.Embedding(hidden=2)
    learnt = hsmm.HMM(2, emission="contextual", context=encoder, n_init=1, max_iter=2, tol=0.0)
    learnt.fit(values["load"], context=given)
    found = effects(page_data_of(rows_of(values, path), ChosenModel(learnt, scaling)))
    assert found is not None
    assert (found["has_intervals"], found["is_encoded"]) == (False, True)
    plot = dict(map(reversed, found["curves"]))["mean of load, by month"]
    assert found["figures"][plot]["levels"] == [f"{month}" for month in range(1, 13)]
    assert not found["figures"][plot]["bands"]


def test_of_more_rows_than_are_asked_in_passing_the_newest_are(followed, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = followed
    data = page_data_of(rows, ChosenModel(model, plain_scaling(["load"], ["noise", "heat"])))
    monkeypatch.setattr("tasks.report.page.view_effects._MOST_ROWS", 200)
    found = effects(data)
    assert found is not None
    assert (found["of_newest"], found["has_intervals"], len(found["curves"])) == (True, False, 1)


def test_a_model_that_follows_no_context_shows_no_effect(regressed: PageData) -> None:
    model = ChosenModel(gaussian([[0.0], [6.0]], [[1.0], [1.0]]), plain_scaling(["load"], ["heat"]))
    assert (
        effects(page_data_of(rows_of({"load": np.zeros(9), "heat": np.zeros(9)}, np.zeros(9, dtype=int)), model))
        is None
    )
    found = effects(regressed)
    assert found is not None
    assert [caption for _, caption in found["curves"]] == ["mean of load, by speed", "mean of load, by other"]


def test_the_glossary_of_the_page_is_that_of_the_documentation() -> None:
    source = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
    found = dict(glossary())
    assert len(found) == sum(line.startswith("| **") for line in source.splitlines())
    assert list(found) == sorted(found, key=str.lower)
    assert "parameters" in found["training rows"]
    assert not any(mark in word + says for word, says in found.items() for mark in ("**", "`", "]("))


def test_prices_are_the_first_value_that_is_drawn() -> None:
    rows = rows_of({"r": np.zeros(60), "level:close": np.arange(60.0) + 1, "status": ["OK"] * 60}, np.arange(60) % 2)
    rows = rows.with_columns(
        *(pl.lit(0.5).alias(name) for name in ("log_density", "elapsed_mean", "remaining_p50", "remaining_p90")),
        *(pl.lit(0.1).alias(name) for name in ("p_change_5", "remaining_p10")),
        in_sample=pl.lit(value=True),
        model_version=1,
        run_key=pl.lit("key"),
        reason=pl.lit(None, pl.String),
    )
    aside = pl.DataFrame(
        schema={
            "series_id": pl.String,
            "reason": pl.String,
            "detail": pl.String,
            "as_of": rows["as_of"].dtype,
            "run_key": pl.String,
        }
    )
    names = pl.DataFrame(schema={"state": pl.Int16, "name": pl.String, "born": pl.Date, "died": pl.Date})
    data = PageData("toy", {}, rows, {"r": "log units"}, aside, names, levels={"level:close": "units of close"})
    source = page(data)
    payload = json.loads(re.search(r'id="page-data">(.*?)</script>', source, re.S).group(1))  # type: ignore[union-attr]
    assert [(of["name"], of["level"]) for of in payload["features"]] == [
        ("close", True),
        ("r", False),
        ("log_density", False),
    ]
    assert payload["series"][0]["values"]["level:close"] == list(range(1, 61))
