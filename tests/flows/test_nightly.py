"""The main job from files to tables, run as a user runs it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tasks.config.columns import STATE_COLUMNS
from tests.commands import environment

SUMMARY = {
    *(
        "run_key",
        "mlflow_run_id",
        "mlflow_experiment_id",
        "model_name",
        "model_version",
        "verdict",
        "states_table",
        "report",
        "as_of",
    ),
    *("lineage", "means", "wild", "drift", "ties", "device", "chosen"),
    *("n_series", "n_published", "n_held", "n_stale", "stale", "n_quarantined", "quarantined"),
    *("best", "gate", "identity", "states", "rule", "notes", "occasion", "alerts", "seconds"),
}
MISTAKES = {
    "a wrong key": (["--set", "fit.n_int=3"], "did you mean `fit.n_init`?"),
    "a wrong column": (["--set", "source.time=dat"], "found no column 'dat'"),
    "a text column": (["--set", "features.r.column=symbol", "--new-lineage"], "holds String; expected numbers"),
    "a time without a zone": (["--set", "source.path=zoneless.parquet"], "without a zone"),
    "an empty file": (["--set", "source.path=empty.parquet"], "holds no rows"),
    "a corrupt Parquet": (["--set", "source.path=corrupt.parquet"], "cannot be read"),
    "nothing there": (["--set", "source.path=nothing.parquet"], "found nothing"),
    "month-first dates": (["--set", "source.path=american.csv"], "source.time_format"),
    "a column in one file only": (["--set", "source.path=parts"], "and not in 'parts/b.parquet'"),
    "files of a Delta table": (["--set", "source.path=delta/*.parquet"], "name that folder"),
    "an unknown policy": (["--set", "source.off_calendar=ignore"], "source.off_calendar"),
    "an unwritable output": (["--set", "output.states=/proc/states"], "cannot be written"),
    "a folder of something else": (["--set", "output.states=photos"], "no Delta table"),
    "an impossible size": (["--set", "fit.n_init=99999999999"], "Lower max_duration or n_init"),
    "a date that is none": (["--as-of", "yesterday"], "'yesterday'"),
    "only bad series": (["--set", "source.path=bad.parquet", "--set", "output.states=bad/states"], "too_short"),
    "a date before the data": (["--as-of", "1999-01-01"], "no row"),
}
FAILURES = {
    "unreachable tracking": (
        ["--set", "tracking.uri=sqlite:///nowhere/mlflow.db", "--set", "output.states=untracked/states"],
        "tracking.uri",
    ),
}


@pytest.fixture(scope="module")
def outcomes(workplace, drive):
    """One night, the same night again, other settings, a later night, then every mistake."""
    prices = pl.read_parquet(workplace / "prices.parquet")
    prices.with_columns(pl.col("date").cast(pl.Datetime("us"))).write_parquet(workplace / "zoneless.parquet")
    prices.clear().write_parquet(workplace / "empty.parquet")
    prices.filter(pl.col("symbol") == "five_rows").write_parquet(workplace / "bad.parquet")
    (workplace / "corrupt.parquet").write_bytes((workplace / "prices.parquet").read_bytes()[:-50])
    prices.with_columns(pl.col("date").dt.strftime("%m/%d/%Y")).write_csv(workplace / "american.csv")
    (workplace / "parts").mkdir()
    prices.write_parquet(workplace / "parts" / "a.parquet")
    prices.drop("close").write_parquet(workplace / "parts" / "b.parquet")
    prices.write_delta(str(workplace / "delta"))
    (workplace / "photos").mkdir()
    (workplace / "photos" / "holiday.jpg").write_bytes(b"x")
    run = ["run", "toy.toml", "--json"]
    commands = {
        "first": [*run, "--as-of", "2024-05-01"],
        "again": [*run, "--as-of", "2024-05-01"],
        "otherwise": [*run, "--as-of", "2024-05-01", "--set", "fit.seed=5"],
        "later": run,
        "states": ["states", "toy.toml", "--series", "A", "--head", "3", "--json"],
        "states then": ["states", "toy.toml", "--as-of", "2024-05-01", "--json"],
        "states of nobody": ["states", "toy.toml", "--series", "nobody"],
        **{name: ["run", "toy.toml", *arguments] for name, (arguments, _) in {**MISTAKES, **FAILURES}.items()},
    }
    before = {path.name for path in workplace.iterdir()} | {"out", "mlflow.db", "mlartifacts", "prefect", "bad"}
    return {**dict(zip(commands, drive(list(commands.values())), strict=True)), "before": before}


@pytest.fixture(scope="module")
def table(workplace: Path, outcomes: dict) -> pl.DataFrame:  # noqa: ARG001
    return pl.read_delta(str(workplace / "out" / "states"))


def test_a_night_publishes_every_healthy_row(outcomes: dict, table: pl.DataFrame) -> None:
    first = outcomes["first"]
    assert first.status == 0, first.err
    summary = first.last_json
    assert set(summary) == SUMMARY
    assert (summary["verdict"], summary["n_series"], summary["n_quarantined"]) == ("PUBLISHED", 6, 4)
    n_days = (date(2024, 5, 1) - date(2024, 1, 1)).days
    assert summary["n_published"] == 2 * n_days == table.filter(run_key=summary["run_key"]).height
    assert set(summary["best"]) == {"n_states", "emission", "duration", "criterion", "score", "log_likelihood"}
    assert table.columns == list(STATE_COLUMNS)


def test_nothing_later_than_as_of_was_used(table: pl.DataFrame) -> None:
    available = pl.col("time") + timedelta(days=1)
    assert table.select((available <= pl.col("as_of")).all()).item()
    assert table.select((pl.col("train_end") <= pl.col("as_of")).all()).item()


def test_the_same_night_again_publishes_nothing(outcomes: dict) -> None:
    first, again = outcomes["first"].last_json, outcomes["again"]
    assert again.status == 0
    assert "ALREADY_PUBLISHED" in again.out
    assert "fitting" not in again.err
    same = {key for key in SUMMARY if key not in ("verdict", "n_published", "alerts", "seconds")}
    assert {key: again.last_json[key] for key in same} == {key: first[key] for key in same}


@pytest.mark.usefixtures("outcomes")
@pytest.mark.parametrize("arguments", [["run", "toy.toml"], ["states", "toy.toml"], ["name", "toy.toml", "0=calm"]])
def test_what_fits_nothing_loads_nothing_that_fits_tracks_or_draws(workplace: Path, arguments: list[str]) -> None:
    code = f"""
import sys
from flows.cli import main
status = main({arguments})
print([name for name in ("torch", "prefect", "mlflow", "matplotlib", "pandas") if name in sys.modules], status)
"""
    command, found = [sys.executable, "-c", code], environment(workplace)
    done = subprocess.run(command, cwd=workplace, env=found, stdout=subprocess.PIPE, check=True, text=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_other_settings_for_rows_that_are_there_publish_nothing(outcomes: dict) -> None:
    otherwise = outcomes["otherwise"]
    assert otherwise.status == 0, otherwise.err
    assert (otherwise.last_json["verdict"], otherwise.last_json["n_published"]) == ("ALREADY_PUBLISHED", 0)
    assert otherwise.last_json["run_key"] != outcomes["first"].last_json["run_key"]


def test_a_later_night_publishes_only_what_is_new(outcomes: dict, table: pl.DataFrame) -> None:
    later = outcomes["later"].last_json
    assert later["as_of"].startswith("2024-05-30")
    assert later["n_published"] == 2 * 29
    new = table.filter(run_key=later["run_key"])
    assert new["time"].min().date() == date(2024, 5, 1)
    assert not table.select(pl.struct("series_id", "time").is_duplicated().any()).item()


def test_the_bad_series_are_in_the_quarantine_table(workplace: Path, outcomes: dict) -> None:
    quarantine = pl.read_delta(str(workplace / "out" / "states_quarantine"))
    reasons = {"constant": "constant", "five_rows": "too_short", "infinite": "infinite_value"}
    expected = {**reasons, "duplicate": "duplicate_time"}
    later = outcomes["later"].last_json["run_key"]
    assert dict(quarantine.filter(run_key=later).select("series_id", "reason").iter_rows()) == expected


def test_states_prints_the_table_as_it_was_known(outcomes: dict) -> None:
    shown = outcomes["states"]
    assert shown.status == 0
    assert [row["series_id"] for row in shown.last_json["rows"]] == ["A"] * 3
    assert outcomes["states then"].last_json["n_rows"] == outcomes["first"].last_json["n_published"]


def test_progress_goes_to_standard_error_and_results_to_standard_output(outcomes: dict) -> None:
    assert "fitting 1/2" in outcomes["first"].err
    assert "fitting" not in outcomes["first"].out
    assert 'pl.read_delta("out/states")' in outcomes["first"].out


def test_pictures_are_drawn_where_the_summary_says(workplace: Path, outcomes: dict) -> None:
    assert (workplace / outcomes["first"].last_json["report"] / "states.png").stat().st_size > 1000


def test_the_tracking_database_tells_the_whole_story(workplace: Path, outcomes: dict) -> None:
    summary = outcomes["first"].last_json
    run_id = summary["mlflow_run_id"]
    with sqlite3.connect(workplace / "mlflow.db") as db:
        children = db.execute(
            "select run_uuid from tags where key='mlflow.parentRunId' and value=?", (run_id,)
        ).fetchall()
        curve = db.execute("select count(*) from metrics where key='objective' and run_uuid=?", children[0]).fetchone()
        params = dict(db.execute("select key, value from params where run_uuid=?", (run_id,)).fetchall())
        tags = dict(db.execute("select key, value from tags where run_uuid=?", (run_id,)).fetchall())
        status = db.execute("select status from runs where run_uuid=?", (run_id,)).fetchone()
        version = db.execute("select version from model_versions where run_id=?", (run_id,)).fetchone()
        datasets = db.execute("select count(*) from inputs where destination_id=?", (run_id,)).fetchone()
    assert len(children) == 2
    assert curve[0] > 1
    assert params["fit.n_init"] == "2"
    assert (tags["run_key"], tags["verdict"], status[0]) == (summary["run_key"], "PUBLISHED", "FINISHED")
    assert tags["device"] == "cpu"
    assert version[0] == summary["model_version"]
    assert datasets[0] == 1


def test_mlflow_opens_on_runs_and_draws_lines_over_nights(workplace: Path, outcomes: dict) -> None:
    nights = [outcomes[name].last_json for name in ("first", "later")]
    with sqlite3.connect(workplace / "mlflow.db") as db:
        (kind,) = db.execute("select value from experiment_tags where key='mlflow.experimentKind'").fetchone()
        (line,) = db.execute("select run_uuid from tags where key='nights_of'").fetchone()
        points = db.execute("select key, step, timestamp, value from metrics where run_uuid=?", (line,)).fetchall()
        described = dict(db.execute("select version, description from model_versions").fetchall())
        notes = dict(db.execute("select run_uuid, value from tags where key='mlflow.note.content'").fetchall())
    assert kind == "custom_model_development"
    moments = [round(datetime.fromisoformat(night["as_of"]).timestamp() * 1000) for night in nights]
    for name in ("n_series", "n_published", "share", "held_out"):
        assert [(step, at) for key, step, at, _ in sorted(points) if key == name] == [*enumerate(moments)]
    evidence = [night["gate"]["evidence"] for night in nights]
    by_name = {(key, step): value for key, step, _, value in points}
    assert by_name["held_out", 0] == pytest.approx(evidence[0]["held_out"])
    assert {(key, step): by_name[key, step] for key in ("improvement", "margin") for step in (1,)} == {
        ("improvement", 1): pytest.approx(evidence[1]["improvement"]),
        ("margin", 1): pytest.approx(evidence[1]["margin"]),
    }
    assert ("improvement", 0) not in by_name
    for night in nights:
        assert night["best"]["emission"] in described[night["model_version"]]
        assert night["gate"]["verdict"] in described[night["model_version"]]
        assert f"{night['n_published']} rows of 2 series" in notes[night["mlflow_run_id"]]


def test_prefect_says_what_a_night_did(workplace: Path, outcomes: dict) -> None:
    first = outcomes["first"].last_json
    with sqlite3.connect(workplace / "prefect" / "prefect.db") as db:
        messages = [message for (message,) in db.execute("select message from flow_run_state where type='COMPLETED'")]
        artifacts = db.execute("select type, description, data from artifact where key='toy-night'").fetchall()
    told = f"PUBLISHED: {first['n_published']} rows of 2 series as of {first['as_of'][:16]}; gate PROMOTE; 4 of 6"
    assert any(message and message.startswith(told) for message in messages)
    kind, _, data = next(found for found in artifacts if found[1].startswith(told))
    assert kind == "markdown"
    for words in (
        first["mlflow_run_id"],
        "infinite\\\\_value",
        f"version {first['model_version']}",
        first["best"]["criterion"],
    ):
        assert words in data, words


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_status_2(outcomes: dict, mistake: str) -> None:
    _one_sentence(outcomes[mistake], 2, MISTAKES[mistake][1])


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_one_sentence_and_status_1(outcomes: dict, failure: str) -> None:
    _one_sentence(outcomes[failure], 1, FAILURES[failure][1])


def test_rows_that_are_not_there_are_missed(outcomes: dict) -> None:
    _one_sentence(outcomes["states of nobody"], 2, "found 'nobody'; expected one of 'A', 'B'")


def _one_sentence(outcome, status: int, words: str) -> None:
    complaints = [line for line in outcome.err.splitlines() if line.startswith("hsmm: ")]
    assert outcome.status == status
    assert len(complaints) == 1
    assert words in complaints[0]
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


def test_mistakes_leave_nothing_behind(workplace: Path, outcomes: dict) -> None:
    assert {path.name for path in workplace.iterdir()} <= outcomes["before"]
    assert [path.name for path in (workplace / "photos").iterdir()] == ["holiday.jpg"]


def test_when_nothing_is_left_the_reasons_are_in_the_table(workplace: Path, outcomes: dict) -> None:  # noqa: ARG001
    quarantine = pl.read_delta(str(workplace / "bad" / "states_quarantine"))
    assert quarantine.select("series_id", "reason").rows() == [("five_rows", "too_short")]
    assert not (workplace / "bad" / "states").exists()
