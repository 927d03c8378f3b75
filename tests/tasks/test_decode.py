"""The state table's rows follow from the model's queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from hsmm.models.predictive import ENOUGH
from tasks.config.columns import STATE_COLUMNS
from tasks.config.settings import Settings
from tasks.fitting import decode as decoding
from tasks.fitting.bundle import ALL, Bundle, Member
from tasks.fitting.decode import decode, dwell, mean_steps, remaining_columns, resolved_steps
from tasks.fitting.fit import fit
from tasks.fitting.scaling import series_lengths
from tasks.source.ingest import ingest
from tasks.source.validate import Validated, validate

Build = Callable[..., Settings]
Prices = Callable[..., pl.DataFrame]
SMALL = {
    "model": {"n_states": 2, "emission": "gaussian", "duration": "geometric", "max_duration": 8},
    "fit": {"n_init": 2, "max_iter": 30, "device": "cpu", "train_window": "2mo"},
}


@pytest.fixture
def validated(settings_for: Build, prices: Prices) -> tuple[Settings, Validated]:
    frame = pl.concat([prices("A", 120), prices("B", 120, seed=1)])
    frame = frame.filter(pl.col("date") != datetime(2024, 2, 1).date())
    settings = settings_for(frame, source={"frequency": "1d"}, **SMALL)
    return settings, validate(ingest(settings), settings)


@pytest.fixture
def bundle(validated: tuple[Settings, Validated]) -> Bundle:
    fitted = fit(validated[1], validated[0])
    model = fitted.units[ALL].best.model
    return Bundle({ALL: Member(model, (0, 1), 2, None, fitted.train_start, fitted.train_end)}, fitted.scaling)


def _decode(bundle: Bundle, validated: Validated) -> pl.DataFrame:
    return decode(bundle, validated, name="toy", version=3, key="k", state_names={1: "storm"})


def test_rows_have_exactly_the_contract_columns(bundle: Bundle, validated: tuple[Settings, Validated]) -> None:
    rows = _decode(bundle, validated[1])
    assert rows.columns == list(STATE_COLUMNS)
    assert rows.select("series_id", "time").equals(validated[1].rows.select("series_id", "time"))
    assert set(rows["state_name"].unique()) <= {"state 0", "storm"}
    assert (rows["state"] == rows["p_filtered"].list.arg_max().cast(pl.Int16)).all()
    assert rows["p_smoothed"].list.sum().to_numpy() == pytest.approx(1)
    assert (rows["time"] <= rows["train_end"]).equals(rows["in_sample"])


def test_a_gap_is_missing_and_nothing_else_is(bundle: Bundle, validated: tuple[Settings, Validated]) -> None:
    rows = _decode(bundle, validated[1])
    missing = rows.filter(pl.col("status") == "MISSING")
    assert missing["reason"].sort().to_list() == ["gap", "gap", "no_value", "no_value"]
    assert missing["log_density"].null_count() == 4
    assert rows.filter(pl.col("status") == "OK")["log_density"].is_finite().all()


def test_log_densities_add_up_to_the_score_in_own_units(bundle: Bundle, validated: tuple[Settings, Validated]) -> None:
    rows, scaling = validated[1].rows, bundle.scaling
    score = bundle.members[ALL].model.score(scaling.apply(rows), series_lengths(rows)) - scaling.log_volume(rows).sum()
    assert _decode(bundle, validated[1])["log_density"].sum() == pytest.approx(score, rel=1e-9)


def test_batches_of_series_change_no_bit(
    bundle: Bundle, validated: tuple[Settings, Validated], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = _decode(bundle, validated[1])
    monkeypatch.setattr(decoding, "_MOST_CELLS", 1)
    assert _decode(bundle, validated[1]).equals(together)


def test_quantiles_and_changes_of_known_laws() -> None:
    law = np.zeros((2, 30))
    law[0, 0], law[0, 9], law[1, 6] = 0.25, 0.75, 1.0
    mean, p10, p50, p90, within_1, within_5, within_20 = (c.to_list() for c in remaining_columns(law))
    assert mean == [0.25 + 7.5, 7.0]
    assert (p10, p50, p90) == ([1, 7], [10, 7], [10, 7])
    assert (within_1, within_5, within_20) == ([0.25, 0], [0.25, 0], [1, 1])


def test_a_wall_is_certain() -> None:
    columns = {c.name: c[0] for c in remaining_columns(np.full((1, 5), 0.2))}
    assert columns["p_change_5"] == columns["p_change_20"] == pytest.approx(1)
    assert mean_steps(np.full((1, 5), 0.2))[0] == pytest.approx(3)


def test_the_table_looks_beyond_max_duration(bundle: Bundle, validated: tuple[Settings, Validated]) -> None:
    """However few durations have a column of their own, a geometric stay always has its full mean left."""
    rows, model = _decode(bundle, validated[1]), bundle.members[ALL].model
    means = np.array([1.0 / (1.0 - p) for p in model.tail_prob_])
    expected = np.array(rows["p_filtered"].to_list()) @ means
    assert rows["remaining_mean"].to_numpy() == pytest.approx(expected, rel=1e-4)


def test_steps_are_told_apart_until_what_is_left_is_negligible() -> None:
    assert resolved_steps(10, None) == 10
    assert 0.9 ** (resolved_steps(10, np.array([0.5, 0.9])) - 10) <= 1e-6
    assert resolved_steps(10, np.array([0.0, 0.0])) == 21
    assert resolved_steps(10, np.array([1.0])) == 4096


def test_lists_are_indexed_by_persistent_id(bundle: Bundle, validated: tuple[Settings, Validated]) -> None:
    member = replace(bundle.members[ALL], ids=(1, 4), next_id=5)
    plain, renamed = _decode(bundle, validated[1]), _decode(replace(bundle, members={ALL: member}), validated[1])
    named = {0: 1, 1: 4}
    assert renamed["state"].to_list() == [named[state] for state in plain["state"]]
    assert renamed["viterbi"].to_list() == [named[state] for state in plain["viterbi"]]
    for column in ("p_filtered", "p_smoothed"):
        spread, dense = np.array(renamed[column].to_list()), np.array(plain[column].to_list())
        assert np.array_equal(spread[:, [1, 4]], dense)
        assert not spread[:, [0, 2, 3]].any()


def test_rows_of_a_model_that_is_still_in_force_are_held(bundle: Bundle, validated: tuple[Settings, Validated]) -> None:
    old = replace(bundle, members={ALL: replace(bundle.members[ALL], version=2)})
    rows = decode(old, validated[1], name="toy", version=3, key="k", state_names={}, held={ALL: "no_improvement"})
    valued = rows.filter(pl.col("status") != "MISSING")
    assert valued.select("status", "reason", "model_version").unique().rows() == [("HELD", "no_improvement", 2)]


@pytest.mark.parametrize("few", [True, False])
def test_after_few_stays_time_left_allows_for_all_durations_that_these_leave_possible(
    few: bool, bundle: Bundle, validated: tuple[Settings, Validated]
) -> None:
    model = bundle.members[ALL].model
    model.exits_ = np.array([3.0, ENOUGH] if few else [ENOUGH, ENOUGH])
    rows = _decode(bundle, validated[1])
    given = bundle.scaling.given(validated[1].rows, model)
    known = model.decode(**given, max_duration=resolved_steps(*dwell(model)))
    own = remaining_columns(known.remaining_duration)
    wide = model.with_predictive_durations()
    widened = remaining_columns(wide.remaining_duration(**given))
    for column, expected in zip(own, widened, strict=True):
        wanted = expected if few else column
        assert rows[column.name].to_numpy() == pytest.approx(wanted.to_numpy(), rel=1e-6, abs=1e-6)
    assert widened[0].mean() > own[0].mean()
