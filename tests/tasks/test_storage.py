"""Rows are published once, later runs add what is new, and what is not ours is left alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from tasks.config.columns import STATE_COLUMNS
from tasks.config.errors import OutputError
from tasks.tables.findings import append_quarantine
from tasks.tables.names import append_names, read_names
from tasks.tables.output import check_output
from tasks.tables.places import names_table, quarantine_table
from tasks.tables.publishes import newest_summary, published_summary, read_publishes
from tasks.tables.states import publish_states, read_states, unpublished

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_BLANK = {"string": "x", "timestamp": FIRST, "int16": 0, "int32": 1, "double": 0.5, "doubles": [0.5, 0.5], "bool": True}


@pytest.fixture
def states(tmp_path: Path) -> str:
    return str(tmp_path / "out" / "states")


def _rows(n_rows: int, as_of: int, missing: tuple[int, ...] = (), series: str = "A") -> pl.DataFrame:
    filled = [
        {
            **{name: _BLANK[kind] for name, kind in STATE_COLUMNS.items()},
            "series_id": series,
            "time": FIRST + timedelta(days=row),
            "as_of": FIRST + timedelta(days=as_of),
            "model_name": "toy",
            "status": "MISSING" if row in missing else "OK",
        }
        for row in range(n_rows)
    ]
    return pl.DataFrame(filled)


def test_the_key_of_a_publish_is_known_afterwards_with_its_summary(states: str) -> None:
    assert published_summary(states, "k1") is None
    publish_states(states, _rows(3, as_of=3), "toy", "k1", {"n_published": 3})
    assert published_summary(states, "k1") == {"n_published": 3}
    assert published_summary(states, "k2") is None


def test_a_key_is_written_once(states: str) -> None:
    for _ in range(2):
        publish_states(states, _rows(3, as_of=3), "toy", "k1", {})
    assert pl.read_delta(states).height == 3


def test_only_new_rows_are_unpublished(states: str) -> None:
    publish_states(states, _rows(3, as_of=3), "toy", "k1", {})
    assert unpublished(states, _rows(3, as_of=3), "toy").is_empty()
    assert unpublished(states, _rows(5, as_of=5), "toy")["time"].to_list() == [
        FIRST + timedelta(days=d) for d in (3, 4)
    ]
    assert unpublished(states, _rows(2, as_of=3, series="B"), "toy").height == 2
    assert unpublished(states, _rows(3, as_of=3), "another").height == 3


def test_a_value_that_arrives_late_adds_a_row_under_a_later_as_of_only(states: str) -> None:
    publish_states(states, _rows(3, as_of=3, missing=(1,)), "toy", "k1", {})
    assert unpublished(states, _rows(3, as_of=3), "toy").is_empty()
    late = unpublished(states, _rows(3, as_of=4), "toy")
    assert late["time"].to_list() == [FIRST + timedelta(days=1)]
    assert publish_states(states, _rows(3, as_of=4), "toy", "k2", {}) == 1
    assert unpublished(states, _rows(3, as_of=5), "toy").is_empty()
    then, now = read_states(states, "toy", as_of=FIRST + timedelta(days=3)), read_states(states, "toy")
    assert then["status"].to_list() == ["OK", "MISSING", "OK"]
    assert now["status"].to_list() == ["OK", "OK", "OK"]


def test_the_table_has_the_contract_types(states: str) -> None:
    publish_states(states, _rows(1, as_of=1), "toy", "k1", {})
    schema = pl.read_delta(states).schema
    assert list(schema) == list(STATE_COLUMNS)
    assert schema["p_filtered"] == pl.List(pl.Float64)
    assert schema["state"] == pl.Int16
    assert schema["time"] == pl.Datetime("us", "UTC")


def test_quarantine_and_names_lie_beside_the_states(states: str) -> None:
    bad = pl.DataFrame({"series_id": "Z", "reason": "constant", "detail": "d", "model_name": "toy", "run_key": "k1"})
    for _ in range(2):
        append_quarantine(states, bad.with_columns(as_of=pl.lit(FIRST)), "k1", "night")
        append_names(states, {0: "calm", 1: "state 1"}, "toy", FIRST, "k1")
    append_names(states, {0: "never mind", 2: "new"}, "toy", FIRST, "k2")
    assert pl.read_delta(quarantine_table(states)).height == 1
    assert read_names(states, "toy") == {0: "calm", 1: "state 1", 2: "new"}
    assert read_names(states, "another") == {}
    assert pl.read_delta(names_table(states))["died"].null_count() == 3


def _foreign_folder(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "holiday.jpg").write_bytes(b"x")


def _foreign_table(path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_delta(path)


def _broken_table(path: Path) -> None:
    (path / "_delta_log").mkdir(parents=True)
    (path / "_delta_log" / "00000000000000000000.json").write_text("not json\n")


def _plain_file(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("x")


@pytest.mark.parametrize(
    ("occupy", "message"),
    [
        (_foreign_folder, "no Delta table"),
        (_foreign_table, "lacks the columns"),
        (_broken_table, "cannot be read"),
        (_plain_file, "found a file"),
    ],
)
def test_what_is_not_ours_is_refused_and_untouched(states: str, occupy: Callable[[Path], None], message: str) -> None:
    occupy(Path(states))
    before = sorted(str(path) for path in Path(states).parent.rglob("*"))
    with pytest.raises(OutputError, match=message) as refusal:
        check_output(states)
    assert len(str(refusal.value).splitlines()) == 1
    assert sorted(str(path) for path in Path(states).parent.rglob("*")) == before


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for states in (str(tmp_path / "file" / "states"), "/proc/states"):
        with pytest.raises(OutputError, match="cannot be written"):
            check_output(states)


def test_checking_writes_nothing(states: str) -> None:
    check_output(states)
    assert not Path(states).parent.exists()


def test_reading_a_table_that_is_not_there(states: str) -> None:
    with pytest.raises(OutputError, match="hsmm run"):
        read_states(states, "toy")


@pytest.mark.parametrize("read", [newest_summary, read_publishes, read_states])
def test_a_log_that_cannot_be_read_is_one_sentence(states: str, read: Callable[[str, str], object]) -> None:
    """Rows are found by the log's last checkpoint; what publishes said of themselves, only by its first entries."""
    for day in (1, 2):
        publish_states(states, _rows(day, as_of=day), "toy", f"k{day}", {"model_name": "toy", "lineage": "a"})
    DeltaTable(states).create_checkpoint()
    Path(states, "_delta_log", f"{1:020d}.json").write_text("not json\n")
    with pytest.raises(OutputError, match=r"the log of the table .* cannot be read") as refusal:
        read(states, "toy")
    assert len(str(refusal.value).splitlines()) == 1


def _publish(states: str, key: str, n_rows: int, ready: Any, written: Any) -> None:
    rows = _rows(n_rows, as_of=3)
    ready.wait()
    written.put(publish_states(states, rows, "toy", key, {}))


@pytest.mark.parametrize("keys", [["k1"] * 4, ["k1", "k2", "k3", "k4"]], ids=["one key", "four keys"])
def test_of_runs_that_publish_at_once_each_row_is_written_by_one(states: str, keys: list[str]) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready, written = spawn.Barrier(len(keys)), spawn.Queue()
    runs = [spawn.Process(target=_publish, args=(states, key, 3 + i, ready, written)) for i, key in enumerate(keys)]
    for run in runs:
        run.start()
    counts = [written.get(timeout=120) for _ in runs]
    for run in runs:
        run.join()
    table = pl.read_delta(states)
    assert sum(counts) == table.height == table.unique(["series_id", "time", "as_of"]).height
    assert keys[0] != keys[1] or sorted(counts)[:3] == [0, 0, 0]
