"""The run key changes with what matters and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from tasks.config.settings import Settings
from tasks.source.ingest import ingest
from tasks.source.run_key import data_digest, run_key
from tasks.source.validate import Validated, validate

Build = Callable[..., Settings]
Prices = Callable[..., pl.DataFrame]


@pytest.fixture
def frame(prices: Prices) -> pl.DataFrame:
    return pl.concat([prices("A"), prices("B", seed=1)])


def _key(settings: Settings) -> str:
    return run_key(settings, validate(ingest(settings), settings))


def _validated(settings: Settings) -> Validated:
    return validate(ingest(settings), settings)


def test_the_same_rows_in_any_file_and_order_have_the_same_key(settings_for: Build, frame: pl.DataFrame) -> None:
    key = _key(settings_for(frame))
    assert _key(settings_for(frame.sample(fraction=1, shuffle=True, seed=3))) == key
    moved = settings_for(frame)
    assert _key(moved.model_copy(update={"output": moved.output.model_copy(update={"states": "elsewhere"})})) == key
    assert _key(settings_for(frame, fit={"device": "cpu"})) == key


@pytest.mark.parametrize(
    "section", [{"fit": {"seed": 1}}, {"model": {"n_states": 2}}, {"select": {"criterion": "aic"}}]
)
def test_configuration_that_matters_changes_the_key(settings_for: Build, frame: pl.DataFrame, section: dict) -> None:
    assert _key(settings_for(frame, **section)) != _key(settings_for(frame))


def test_one_bit_of_one_row_changes_the_key(settings_for: Build, frame: pl.DataFrame) -> None:
    nudged = frame.with_columns(
        close=pl.when(pl.int_range(pl.len()) == 9).then(pl.col("close") * (1 + 4e-16)).otherwise("close")
    )
    assert _key(settings_for(nudged)) != _key(settings_for(frame))


def test_as_of_and_the_place_of_a_series_end_change_the_key(settings_for: Build, frame: pl.DataFrame) -> None:
    settings = settings_for(frame)
    validated = _validated(settings)
    later = replace(validated, as_of=validated.as_of + timedelta(days=1))
    assert run_key(settings, later) != run_key(settings, validated)
    assert data_digest(later) == data_digest(validated)
    renamed = validated.rows.with_columns(series_id=pl.lit("A"))
    assert data_digest(replace(validated, rows=renamed)) != data_digest(validated)
