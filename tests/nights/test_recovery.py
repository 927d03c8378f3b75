"""What goes wrong outside is one sentence, is repaired where it can be, and takes back nothing that was published."""

from __future__ import annotations

import errno
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import polars as pl
import pytest
from deltalake import write_deltalake

import flows.nightly
import tasks.registry.client
from tasks.config.errors import TrackingError
from tasks.registry.client import Registry, check_local_database

SET = ("--set", "model.n_states=2")


@pytest.fixture
def place(place_at, toy):
    """A hundred and sixty days of two levels."""
    here = place_at("here")
    toy.frame(toy.levels(toy.sojourns(160, n_states=2), distance=4.0)).write_parquet(here.source)
    return here


def run(place, toy, n: int, *more: str):
    return place.command("run", "--as-of", str(toy.day(n)), *SET, *more)


class TestTheTable:
    """Its files are damaged, or are not its own."""

    @pytest.mark.parametrize("damage", ["is gone", "has 700 bytes of"])
    @pytest.mark.parametrize("companion", ["", "_names"])
    def test_a_damaged_data_file_is_named(self, place, toy, damage: str, companion: str) -> None:
        assert run(place, toy, 120).status == 0
        file = next(Path(f"{place.states}{companion}").glob("*.parquet"))
        file.unlink() if damage == "is gone" else file.write_bytes(file.read_bytes()[:200] + b"x" * 500)
        for command in (("run", "--as-of", str(toy.day(125))), ("decode",), ("states",)):
            said = place.command(*command, *SET)
            assert said.status == 2
            assert f"{file.name} {damage}" in said.err
            assert "restore them from a copy, or publish into another `output.states`" in said.err

    def test_a_damaged_page_of_the_right_size_is_one_sentence(self, place, toy) -> None:
        assert run(place, toy, 120).status == 0
        file = next(Path(place.states).glob("*.parquet"))
        held = file.read_bytes()
        file.write_bytes(held[:4] + b"\xff" * (len(held) - 400) + held[-396:])
        said = place.command("states", *SET)
        assert said.status == 2
        assert "a data file of the table at" in said.err

    def test_a_table_of_other_types_is_refused(self, place, toy) -> None:
        """Whole numbers as ids, where text stood."""
        assert run(place, toy, 120).status == 0
        numbered = place.table().with_columns(pl.lit(7).alias("series_id"))
        write_deltalake(place.states, numbered, mode="overwrite", schema_mode="overwrite")
        said = run(place, toy, 125)
        assert said.status == 2
        assert "holds series_id as integer; expected a table that this program wrote" in said.err


class TestAfterThePublish:
    """What fails once the rows are there is said, and the run is done."""

    @pytest.mark.parametrize("where", ["pictures_task", "page_task", "keep_champion", "log_outcome"])
    def test_a_full_disk(self, place, toy, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(flows.nightly, where, full)
        said = run(place, toy, 120, "--json")
        assert said.status == 0, said.err
        assert (said.last_json["verdict"], said.last_json["n_published"]) == ("PUBLISHED", place.table().height)
        (note,) = said.last_json["notes"]
        assert "No space left on device; what was published stands." in note
        assert note in said.out
        assert "states.png" not in said.out
        assert place.registry.champion("toy") == 1


class TestTheRegistry:
    """It is locked, restored from an older copy, lost, or has lost its files."""

    def test_a_locked_database_is_waited_for(self, real_place) -> None:
        """Longer than the five seconds that SQLite's own readers wait."""
        uri = f"sqlite:///{real_place.folder}/mlflow.db"
        registry, held = Registry(uri, "toy"), Event()

        def hold() -> None:
            with closing(sqlite3.connect(f"{real_place.folder}/mlflow.db")) as other:
                other.execute("BEGIN EXCLUSIVE")
                held.set()
                time.sleep(6)
                other.rollback()

        with ThreadPoolExecutor(3) as pool:
            holder = pool.submit(hold)
            held.wait()
            for waiting in (pool.submit(check_local_database, uri), pool.submit(registry.start_run, "a run", {})):
                waiting.result()
            holder.result()

    def test_one_that_stays_locked_is_a_sentence(self, real_place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tasks.registry.client, "_PATIENCE", 0)
        uri = f"sqlite:///{real_place.folder}/mlflow.db"
        Registry(uri, "toy")
        with closing(sqlite3.connect(f"{real_place.folder}/mlflow.db")) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(TrackingError, match="database is locked"):
                check_local_database(uri)
