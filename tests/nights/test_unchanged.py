"""A run that was asked before is answered from its note, for as long as nothing has changed and not a moment longer."""

from __future__ import annotations

import json
import os
import shutil

import pytest

import flows.decoding
import flows.nightly
import flows.server
from tasks.judgement.unchanged import Question

FEW = ("model.n_states=2", "fit.n_init=2")
SET = [word for assignment in FEW for word in ("--set", assignment)]


@pytest.fixture
def place(place_at, toy):
    """A hundred rows of two levels."""
    here = place_at("here")
    toy.frame(toy.levels(toy.sojourns(100, n_states=2), distance=4.0)).write_parquet(here.source)
    (here.folder / "mlflow.db").touch()
    return here


def answered(place, as_of=None, *assignments):
    return Question.asked(place.settings(*FEW, *assignments), as_of).answer()


@pytest.mark.parametrize("command", ["run", "decode"])
def test_the_note_says_what_the_command_itself_says(place, monkeypatch, command: str) -> None:
    """A decoding of rows that a run has published says so, and its note does too."""
    assert place.command("run", *SET).status == 0
    again = [command, *SET, "--json"]
    before = place.command(*again).last_json
    with monkeypatch.context() as idle:
        for module, work in ((flows.nightly, "night"), (flows.decoding, "decode_rows")):
            idle.setattr(module, work, lambda *_, **__: pytest.fail("it did it all again"))
        idle.setattr(flows.server, "server_starting", lambda: pytest.fail("a server was started"))
        noted = place.command(*again).last_json
    shutil.rmtree(f"{place.states}_answered")
    itself = place.command(*again).last_json
    assert before["verdict"] == noted["verdict"] == itself["verdict"] == "ALREADY_PUBLISHED"
    assert {**noted, "seconds": 0} == {**itself, "seconds": 0}


def test_what_changes_an_answer_is_asked_anew(place, toy, monkeypatch) -> None:
    assert place.command("run", *SET).status == 0
    assert answered(place) is not None
    assert answered(place, "2020-03-01") is None
    assert answered(place, None, "promote.min_share=0.02") is None
    with monkeypatch.context() as newer:
        newer.setattr("tasks.judgement.unchanged.code_version", lambda: "newer")
        assert answered(place) is None
    with monkeypatch.context() as quiet:
        quiet.setattr("tasks.judgement.unchanged.silence", lambda _: "all feeds are silent")
        assert answered(place) is None
    rows = place.source.read_bytes()
    place.source.write_bytes(rows + b"\0")
    assert answered(place) is None
    place.source.write_bytes(rows)
    assert answered(place) is not None
    database = place.folder / "mlflow.db"
    os.utime(database, ns=(0, database.stat().st_mtime_ns + 1))
    assert answered(place) is None
    assert place.command("run", *SET).status == 0
    place.decode(toy.day(100), *FEW)
    assert answered(place) is not None
    toy.frame(toy.levels(toy.sojourns(101, n_states=2), distance=4.0)).write_parquet(place.source)
    place.decode(toy.day(101), *FEW)
    place.source.write_bytes(rows)
    assert answered(place) is None


def test_a_table_that_is_gone_answers_nothing(place) -> None:
    assert place.command("run", *SET).status == 0
    shutil.rmtree(place.states)
    assert answered(place) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"question": 1, "found": [], "run_key": "x"}'])
def test_a_note_that_does_not_hold_is_no_note(place, text: str) -> None:
    assert place.command("run", *SET).status == 0
    (note,) = place.folder.glob("states_answered/*")
    note.write_text(text)
    assert answered(place) is None


def test_a_source_that_changes_while_a_run_reads_it_leaves_no_note(place) -> None:
    question = Question.asked(place.settings(*FEW), None)
    rows = place.source.read_bytes()
    summary = {**place.night(None, *FEW), "notes": []}
    place.source.write_bytes(rows + b"\0")
    question.note(summary)
    place.source.write_bytes(rows)
    assert question.answer() is None
    question.note(summary)
    assert question.answer() is not None


@pytest.mark.parametrize(
    "undone",
    [{"notes": ["no copy was kept"]}, {"alerts": {"failed": "the hook is silent"}}, {"alerts": {"n_pending": 1}}],
)
def test_a_run_that_left_something_undone_is_made_again(place, undone: dict) -> None:
    question = Question.asked(place.settings(*FEW), None)
    question.note({**place.night(None, *FEW), "notes": [], **undone})
    assert question.answer() is None


def test_the_bytes_of_every_file_count(place, toy) -> None:
    place.source.unlink()
    place.source.mkdir()
    for name in ("a", "b"):
        toy.frame(toy.levels(toy.sojourns(30)), name).write_parquet(place.source / f"{name}.parquet")
    asked = Question.asked(place.settings(), None).key
    shutil.copy(place.source / "a.parquet", place.source / "b.parquet")
    assert Question.asked(place.settings(), None).key not in (None, asked)


def test_a_delta_table_is_what_its_log_says(place, toy) -> None:
    frame = toy.frame(toy.levels(toy.sojourns(30)))
    frame.write_delta(str(place.folder / "delta"))
    settings = place.settings(f"source.path={json.dumps(str(place.folder / 'delta'))}")
    asked = Question.asked(settings, None).key
    frame.write_delta(str(place.folder / "delta"), mode="append")
    assert Question.asked(settings, None).key not in (None, asked)


def test_what_is_not_on_this_machine_is_always_read_anew(place) -> None:
    for path in ("s3://bucket/prices.parquet", str(place.folder / "nowhere.parquet")):
        assert Question.asked(place.settings(f"source.path={json.dumps(path)}"), None).key is None
