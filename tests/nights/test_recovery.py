"""What goes wrong outside is one sentence, is repaired where it can be, and takes back nothing that was published."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import polars as pl
import pytest
from deltalake import write_deltalake

import flows.backfill
import flows.nightly
import tasks.registry.client
from tasks.config.errors import PromotionError, TrackingError
from tasks.judgement.promote import rollback
from tasks.registry.client import Registry
from tasks.registry.local import check_local_database

SET = ("--set", "model.n_states=2")


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

    @pytest.mark.costly
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
        monkeypatch.setattr(tasks.registry.local, "PATIENCE", 0)
        uri = f"sqlite:///{real_place.folder}/mlflow.db"
        Registry(uri, "toy")
        with closing(sqlite3.connect(f"{real_place.folder}/mlflow.db")) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(TrackingError, match="database is locked"):
                check_local_database(uri)

    def test_what_it_lost_is_registered_again_under_its_number(self, place, toy) -> None:
        for n in (120, 125):
            run(place, toy, n)
        ids = place.registry.bundle(2).members[""].ids
        place.registry.lose(2)
        said = run(place, toy, 130, "--json")
        assert said.status == 0, said.err
        (note,) = said.last_json["notes"]
        assert note in said.out
        assert "knows toy up to version 1, the table up to 2; version 2 was registered again from the copy" in note
        assert sorted(v.number for v in place.registry.versions("toy")) == [1, 2, 3]
        assert place.registry.versions("toy")[-1].tags["followed_champion"] == "2"
        assert place.registry.champion("toy") == 3
        assert place.registry.bundle(3).members[""].ids == ids
        assert run(place, toy, 135, "--json").last_json["notes"] == []

    def test_one_restored_from_an_older_copy_during_a_backfill_is_brought_up_to_the_table(
        self, place, toy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The moment after it follows the version that was lost, and says so."""
        night = flows.backfill.night

        def restored_after(settings, as_of, **how):
            said = night(settings, as_of, **how)
            if as_of.date() == toy.day(125):
                place.registry.lose(2)
            return said

        monkeypatch.setattr(flows.backfill, "night", restored_after)
        days = ("--start", str(toy.day(120)), "--end", str(toy.day(130)), "--every", "5d")
        said = place.command("backfill", *days, *SET, "--set", "promote.min_improvement=-9", "--json")
        assert said.status == 0, said.err
        assert (said.last_json["n_published"], said.last_json["failed"]) == (130, {})
        assert "version 2 was registered again from the copy" in " ".join(said.last_json["notes"])
        assert [v.number for v in place.registry.versions("toy")] == [1, 2, 3]
        assert place.registry.versions("toy")[-1].tags["followed_champion"] == "2"
        assert place.table().select("series_id", "time").is_unique().all()
        assert {*place.table()["state"]} == {0, 1}

    def test_a_lost_one_is_made_again_from_the_copy(self, place, toy) -> None:
        """A held night after the promoted one: its number is not given to another version."""
        for n, improvement in ((120, "-9"), (125, "9")):
            run(place, toy, n, "--set", f"promote.min_improvement={improvement}")
        place.registry.lose(1, 2)
        said = run(place, toy, 130, "--json", "--set", "promote.min_improvement=-9")
        assert said.status == 0, said.err
        assert [v.number for v in place.registry.versions("toy")] == [1, 3]
        assert (said.last_json["model_version"], said.last_json["identity"]["ids"]) == (3, [0, 1])

    def test_without_a_copy_neither_numbers_nor_ids_come_again(self, place, toy) -> None:
        for n in (120, 125):
            run(place, toy, n)
        place.registry.lose(1, 2)
        shutil.rmtree(f"{place.states}_champion")
        said = run(place, toy, 130, "--json")
        assert said.status == 0, said.err
        assert "numbers and ids go on after it" in said.out
        assert said.last_json["model_version"] == 3
        assert said.last_json["identity"]["ids"] == said.last_json["identity"]["births"] == [2, 3]
        died = pl.read_delta(f"{place.states}_names").sort("state")["died"]
        assert died.is_null().to_list() == [False, False, True, True]

    def test_an_older_champion_is_followed_with_ids_of_its_own(self, place, toy) -> None:
        """Three states were known to the version that is lost, two to the one that is left."""
        x = toy.levels(toy.sojourns(240, n_states=3, mean=8), distance=6.0)
        toy.frame(x).write_parquet(place.source)
        free = ("--set", "promote.min_improvement=-9", "--set", "promote.min_margin=0")
        for n, n_states in ((150, 2), (160, 3)):
            assert (
                place.command("run", "--as-of", str(toy.day(n)), "--set", f"model.n_states={n_states}", *free).status
                == 0
            )
        place.registry.lose(2)
        shutil.rmtree(f"{place.states}_champion")
        said = run(place, toy, 170, *free, "--set", "model.n_states=3", "--json")
        assert said.last_json["identity"]["births"] == [3]

    def test_decoding_goes_on_from_the_copy(self, place, toy) -> None:
        for n in (120, 125):
            run(place, toy, n)
        place.registry.lose(1, 2)
        said = place.command("decode", "--as-of", str(toy.day(130)), *SET, "--json")
        assert (said.status, said.last_json["model_version"], said.last_json["n_published"]) == (0, 2, 5)
        assert "has lost version 2" in said.out
        assert "`hsmm run` registers it again" in said.out
        assert not place.registry.versions("toy")

    @pytest.mark.parametrize(("command", "damage"), [("run", "gone"), ("decode", "cut")])
    def test_files_that_are_gone_are_served_from_the_copy(self, place, toy, command: str, damage: str) -> None:
        """Without the copy, a night says which command begins anew, and then states have ids that none has borne."""
        run(place, toy, 120)
        files, copy = place.registry.folder / "1", Path(f"{place.states}_champion")
        if damage == "gone":
            shutil.rmtree(files)
        else:
            weights = next(files.rglob("*.safetensors"))
            weights.write_bytes(weights.read_bytes()[:-40])
        hold = ("--set", "promote.min_improvement=9")
        said = place.command(command, "--as-of", str(toy.day(130)), *SET, *hold, "--json")
        assert (said.status, said.last_json["n_published"]) == (0, 10), said.err
        assert set(place.table().filter(run_key=said.last_json["run_key"])["model_version"]) == {1}
        assert "The copy beside the table serves: restore the files" in said.out
        shutil.rmtree(copy)
        said = place.command(command, "--as-of", str(toy.day(135)), *SET, *hold)
        assert said.status == 2
        assert "the files of toy version 1, the model in force, are gone or damaged" in said.err
        assert "go back to the champion before with `hsmm rollback`" in said.err
        assert rollback(place.registry, "toy")["model_version"] is None
        assert place.registry.champion("toy") is None
        said = run(place, toy, 135, "--json")
        assert (said.status, said.last_json["n_published"]) == (0, 5), said.err
        assert said.last_json["identity"]["ids"] == [2, 3]
        assert place.registry.champion("toy") == said.last_json["model_version"]

    def test_a_rollback_passes_over_versions_whose_files_are_gone(self, place, toy) -> None:
        for n in (120, 125, 130):
            run(place, toy, n, "--set", "promote.min_improvement=-9")
        shutil.rmtree(place.registry.folder / "2")
        assert rollback(place.registry, "toy")["model_version"] == place.registry.champion("toy") == 1
        with pytest.raises(PromotionError, match="first champion of its lineage"):
            rollback(place.registry, "toy")

    @pytest.mark.costly
    def test_mlflow_gives_the_numbers_that_are_asked_for(self, real_place, toy) -> None:
        """MLflow's own: another database knows nothing of two nights."""
        toy.frame(toy.levels(toy.sojourns(160, n_states=2), distance=4.0)).write_parquet(real_place.source)
        for n in (120, 125):
            assert run(real_place, toy, n).status == 0
        other = ("--set", f"tracking.uri=sqlite:///{real_place.folder}/other.db")
        said = run(real_place, toy, 130, *other, "--json")
        assert said.status == 0, said.err
        registry = Registry(f"sqlite:///{real_place.folder}/other.db", "toy")
        assert [v.number for v in registry.versions("toy")] == [2, 3]
        assert (registry.champion("toy"), said.last_json["identity"]["ids"]) == (3, [0, 1])


def test_a_server_that_never_answered_is_said_before_anything_is_fitted(real_place, toy, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(flows.nightly, "fit_task", lambda *_: pytest.fail("it was fitted"))
    toy.frame(toy.levels(toy.sojourns(100))).write_parquet(real_place.source)
    for command in ("run", "decode"):
        said = real_place.command(command, "--set", "tracking.uri=http://127.0.0.1:9")
        assert said.status == 2
        (complaint,) = [line for line in said.err.splitlines() if line.startswith("hsmm: ")]
        assert "tracking.uri: 'http://127.0.0.1:9' cannot be used" in complaint
