"""A table in an object store is the one that a folder would hold: published once, whole, and by several at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import flows.publishing
from tasks.config.errors import PipelineError
from tasks.source.stores import cause_at_store
from tasks.tables.commit import commit_rows
from tests.nights.store import cable, free_port, make_bucket, object_store

COLUMNS = {"writer": "string", "number": "int32"}
STORED = ("source.path=s3://lake/in/source.parquet", "output.states=s3://lake/states")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with object_store() as found:
        yield found


@pytest.fixture
def store(port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    monkeypatch.chdir(tmp_path)
    reached_by(monkeypatch, port)
    make_bucket(port, "lake")
    return port


def reached_by(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    found = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "whatever",
        "AWS_REGION": "us-east-1",
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def stored(place: Any, store: int) -> Any:  # noqa: ARG001
    """A place whose source lies in the store."""
    pl.read_parquet(place.source).write_parquet("s3://lake/in/source.parquet")
    return place


def rows(location: str) -> pl.DataFrame:
    return pl.read_delta(location).drop("run_key").sort("series_id", "time")


def test_a_night_in_a_store_is_the_night_in_a_folder(stored, place_at, toy) -> None:
    assert stored.night(toy.day(150), *STORED)["verdict"] == "PUBLISHED"
    assert stored.night(toy.day(150), *STORED)["verdict"] == "ALREADY_PUBLISHED"
    assert stored.night(toy.day(160), *STORED)["n_published"] == 10
    beside = place_at("beside")
    pl.read_parquet(stored.source).write_parquet(beside.source)
    for day in (150, 160):
        beside.night(toy.day(day))
    assert rows("s3://lake/states").equals(rows(beside.states))


def test_writers_at_once_lose_and_double_nothing(store) -> None:  # noqa: ARG001
    def write(writer: str) -> None:
        for number in range(6):
            made = pl.DataFrame({"writer": [writer], "number": [number]})
            for _ in range(2):
                commit_rows("s3://lake/beside", COLUMNS, f"{writer}{number}", lambda _, made=made: made)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, "ab"))
    found = pl.read_delta("s3://lake/beside")
    assert sorted(found.rows()) == [(writer, number) for writer in "ab" for number in range(6)]


@pytest.mark.costly
def test_a_store_that_is_gone_while_a_night_publishes_has_all_of_it_or_nothing(
    stored, store, toy, monkeypatch, tmp_path
) -> None:
    cut, publish = tmp_path / "cut", flows.publishing.publish_task

    def publish_into_nothing(*given: Any, **named: Any) -> Any:
        cut.touch()
        return publish(*given, **named)

    place = (STORED[0], "output.states=s3://lake/cut")
    with cable(store, cut) as port:
        reached_by(monkeypatch, port)
        with monkeypatch.context() as patched:
            patched.setattr(flows.publishing, "publish_task", publish_into_nothing)
            with pytest.raises(PipelineError, match=r"s3://lake/cut.*the store does not answer"):
                stored.night(toy.day(150), *place)
        cut.unlink()
        assert stored.night(toy.day(150), *place)["n_published"] == 150
        assert pl.read_delta("s3://lake/cut").select("series_id", "time").is_duplicated().sum() == 0


@pytest.mark.parametrize(
    ("key", "fault", "words"),
    [
        ("source.path", "bucket", "cannot be reached: there is no such bucket."),
        ("output.states", "bucket", "cannot be reached: there is no such bucket."),
        ("output.states", "endpoint", "cannot be reached: the store does not answer; expected a network"),
        ("output.states", "credentials", "no credentials were found; set them in the environment, for S3 AWS_ACCESS_"),
    ],
)
def test_what_is_wrong_with_a_store_is_one_sentence(
    place,
    store,  # noqa: ARG001
    monkeypatch,
    key: str,
    fault: str,
    words: str,
) -> None:
    closed = free_port()
    if fault == "endpoint":
        reached_by(monkeypatch, closed)
    if fault == "credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{closed}")
    bucket = "nowhere" if fault == "bucket" else "lake"
    found = place.command("run", "--set", f"{key}=s3://{bucket}/there{'.parquet' if key == 'source.path' else ''}")
    assert found.status == 2
    assert words in found.err
    assert found.err.count(key) == 1
    assert "Traceback" not in found.err


def test_a_request_that_cannot_be_sent_is_a_store_that_does_not_answer() -> None:
    """As polars says it when it asks a bucket for its region."""
    said = cause_at_store(OSError("error sending request for url (https://lake.s3.amazonaws.com/)"))
    assert said is not None
    assert said.startswith("the store does not answer; expected a network that reaches it")
