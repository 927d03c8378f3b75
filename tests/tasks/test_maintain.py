"""Upkeep changes no row, breaks no reader, and removes what lost commits left."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tasks.config.columns import RESULT_COLUMNS, STATE_COLUMNS
from tasks.config.errors import ConfigurationError, OutputError
from tasks.tables.maintain import maintain
from tasks.tables.publishes import published_summary
from tasks.tables.results import append_results, read_results
from tasks.tables.show import export_rows
from tasks.tables.states import publish_states

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_BLANK = {"string": "x", "timestamp": FIRST, "int16": 0, "int32": 1, "double": 0.5, "doubles": [0.5, 0.5], "bool": True}


def _row(day: int) -> pl.DataFrame:
    moment = FIRST + timedelta(days=day)
    filled = {name: _BLANK[kind] for name, kind in STATE_COLUMNS.items()}
    return pl.DataFrame([{**filled, "series_id": "A", "time": moment, "as_of": moment, "model_name": "toy"}])


@pytest.fixture
def settings(settings_for):
    made = settings_for()
    for night in range(5):
        publish_states(made.output.states, _row(night), "toy", f"k{night}", {"run_key": f"k{night}"})
    return made


def _aged(path: Path, days: float) -> Path:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def _files(settings) -> set[Path]:
    return set(Path(settings.output.states).glob("*.parquet"))


def test_rows_keys_and_older_versions_stay(settings) -> None:
    states = settings.output.states
    before = pl.read_delta(states).sort("time")
    for path in _files(settings):
        _aged(path, 30)
    said = maintain(settings)
    assert said["tables"][states] == {"n_merged": 5, "n_removed": 0}
    assert pl.read_delta(states).sort("time").equals(before)
    assert pl.read_delta(states, version=2).height == 3
    assert published_summary(states, "k1") == {"run_key": "k1"} | {"n_published": 1}
    assert publish_states(states, _row(1), "toy", "k1", {}) == 0


def test_a_lost_commit_s_file_goes_when_no_run_can_still_be_writing_it(settings) -> None:
    folder = Path(settings.output.states)
    kept = _files(settings)
    lost, fresh = folder / "part-lost.parquet", folder / "part-fresh.parquet"
    for path in (lost, fresh):
        _row(9).write_parquet(path)
    _aged(lost, 8)
    assert maintain(settings)["tables"][str(folder)]["n_removed"] == 1
    assert not lost.exists()
    assert kept | {fresh} <= _files(settings)


def test_fits_of_runs_that_nobody_ran_again_go(settings) -> None:
    fits = Path(f"{settings.output.states}_fits")
    for name, days in (("old", 8), ("young", 6)):
        (fits / name).mkdir(parents=True)
        _aged(fits / name, days)
    assert maintain(settings)["n_forgotten_fits"] == 1
    assert [path.name for path in fits.iterdir()] == ["young"]


def test_less_than_a_week_is_refused(settings) -> None:
    before = _files(settings)
    with pytest.raises(ConfigurationError, match="at least 7"):
        maintain(settings, keep_days=6)
    assert _files(settings) == before


def test_nothing_to_keep_up_is_no_error(settings_for) -> None:
    assert maintain(settings_for())["tables"] == {}


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_an_export_is_one_file_whole_or_not_at_all(
    settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    rows, folder = pl.read_delta(settings.output.states), tmp_path / "export"
    path = folder / f"rows.{ending}"
    export_rows(rows, path)
    before = path.read_bytes()

    def fails_half_way(_: pl.DataFrame, target: Path, **__: object) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, f"write_{ending}", fails_half_way)
    with pytest.raises(OutputError, match="No space left"):
        export_rows(rows.head(1), path)
    assert [file.name for file in folder.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_what_was_fitted_long_ago_goes_once_and_stays_gone(settings_for) -> None:
    settings = settings_for(output={"keep_results": "3d"})
    states, blank = settings.output.states, {**_BLANK, "int16s": [0]}
    filled = {name: blank[kind] for name, kind in RESULT_COLUMNS.items()}

    def fitted(name: str, day: int) -> pl.DataFrame:
        return pl.DataFrame([{**filled, "model_name": name, "as_of": FIRST + timedelta(days=day)}])

    for day in (0, 4, 5, 8):
        append_results(states, fitted(settings.name, day), f"k{day}")
    append_results(states, fitted("other", 0), "of another")
    assert [maintain(settings)["n_forgotten_results"] for _ in range(2)] == [2, 0]
    append_results(states, fitted(settings.name, 0), "k0")
    left = [moment - FIRST for moment in read_results(states, settings.name)["as_of"].sort()]
    assert left == [timedelta(days=5), timedelta(days=8)]
    assert len(read_results(states, "other")) == 1
    assert maintain(settings_for(output={"keep_results": "all"}))["n_forgotten_results"] == 0
