"""A night without consequences: it says what a night would do, and leaves nothing but what it drew and fitted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import tasks.fitting.fit
import tasks.report.rehearsal


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.report.rehearsal, "pictures", lambda *_: [])


@pytest.fixture
def place(place_at, toy):
    here = place_at("here")
    toy.frame(toy.levels(toy.sojourns(160))).write_parquet(here.source)
    return here


def tried(place, *arguments: str) -> dict:
    outcome = place.command("try", "--json", *arguments)
    assert outcome.status == 0, outcome.err
    return outcome.last_json


def files(place) -> set[str]:
    return {str(path.relative_to(place.folder)) for path in place.folder.iterdir()}


def test_nothing_is_published_or_registered(place) -> None:
    before = files(place)
    said = tried(place)
    assert said["verdict"] == "TRIED"
    assert said["mlflow_run_id"] is None
    assert files(place) - before == {"states_try", "states_fits"}
    assert [path.name for path in (place.folder / "states_try").iterdir()] == ["report.html"]
    assert "nothing of this is published" in (place.folder / "states_try" / "report.html").read_text()
    assert place.registry.versions("toy") == []


def test_a_night_does_what_was_said_and_makes_no_fit_twice(place, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tried(place)
    monkeypatch.setattr(tasks.fitting.fit.Store, "save", lambda *_: pytest.fail("a fit was made twice"))
    done = place.night()
    assert said["night"] == {"would": "PUBLISH", "n_rows": done["n_published"], "n_series": 1, "why": "PROMOTE"}
    assert said["run_key"] == done["run_key"]
    assert said["best"] == done["best"]


def test_what_is_published_would_not_be_again(place) -> None:
    place.night()
    rows = place.table()
    assert tried(place)["night"]["would"] == "NOTHING"
    assert place.table().equals(rows)
    assert len(place.registry.versions("toy")) == 1


def test_another_meaning_of_rows_is_tried_and_said_to_be_refused(place) -> None:
    place.night()
    said = tried(place, "--set", "fit.scale=none")
    assert said["night"]["would"] == "REFUSE"
    assert "`fit.scale` was 'series' and is 'none'" in said["night"]["why"]
    told = place.command("try", "--set", "fit.scale=none").out
    assert "would refuse: found another meaning" in told
    assert "Nothing was fitted" not in told
    assert "gate       of what is tried: PROMOTE" in told
    assert "Nothing was fitted" in place.command("run", "--set", "fit.scale=none").err


def test_a_model_that_the_gate_stops_is_drawn_and_said_to_be_stopped(place) -> None:
    said = tried(place, "--set", "fit.max_iter=1")
    assert said["night"]["would"] == "STOP"
    assert "not_converged: Its fit made all its iterations" in said["night"]["why"]
    assert Path(said["report"], "report.html").exists()


def test_what_the_gate_makes_of_a_change_is_said_though_no_row_is_new(place) -> None:
    """With the key that would help."""
    place.night()
    told = place.command("try", "--set", "promote.min_share=0.45").out
    assert "gate       of what is tried: REJECT: dead_state" in told
    assert "promote.min_share" in told
    assert "would write nothing" in told


def test_a_value_that_most_rows_share_is_told_with_the_law_that_has_it(place) -> None:
    rows = pl.read_parquet(place.source)
    rows.with_columns(x=pl.when(pl.int_range(pl.len()) % 4 > 0).then(0.0).otherwise(pl.col("x").exp())).write_parquet(
        place.source
    )
    told = place.command("try")
    line = 'ties       x is 0 in 75% of the rows: a state may live on these alone; where they mean "none", try '
    assert f'{line}model.emission = "zero_inflated_gamma"' in told.out + told.err
    assert "ties  " not in place.command("try", "--set", "model.emission=zero_inflated_gamma").out


def test_series_that_are_set_aside_are_named(place, toy) -> None:
    bad = toy.frame(toy.levels(toy.sojourns(160)) * 0 + 1.0, symbol="B")
    pl.concat([pl.read_parquet(place.source), bad]).write_parquet(place.source)
    outcome = place.command("try")
    assert "set aside  1 series" in outcome.out
    assert "B: constant" in outcome.out
    bad.write_parquet(place.source)
    outcome = place.command("try")
    assert outcome.status == 2
    assert "all 1 series are quarantined, none is left to fit: B: constant" in outcome.err
    assert not Path(place.states).exists()


def test_a_file_is_not_taken_for_a_folder(place, tmp_path: Path) -> None:
    taken = tmp_path / "mine.txt"
    taken.write_text("mine")
    outcome = place.command("try", "--output", str(taken))
    assert (outcome.status, outcome.out) == (2, "")
    assert "is a file; expected a folder" in outcome.err
    assert taken.read_text() == "mine"
    assert not (place.folder / "states_fits").exists()


@pytest.mark.costly
def test_it_needs_no_prefect_server_and_no_mlflow(place) -> None:
    code = f"""
import sys
import prefect.server.api.server as server
server.SubprocessASGIServer.start = lambda *_: sys.exit("a server was started")
from flows.cli import main
status = main(["try", {str(place.config)!r}, "--output", {str(place.folder / "drawn")!r}, "--set", "fit.n_init=1"])
print([status, "mlflow" in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=place.folder)
    assert json.loads(done.stdout.splitlines()[-1].lower().replace("'", '"')) == [0, False]
    assert {path.name for path in (place.folder / "drawn").iterdir()} >= {"states.png", "report.html"}
    assert not (place.folder / "mlflow.db").exists()
