"""Rows that a query gives are the rows of a file; a database is told the newest rows, whole and never older ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import polars as pl
import pytest

import flows.nightly
import flows.server
import tasks.tables.latest
from tasks.config.errors import OutputError, PipelineError
from tasks.config.settings import read_settings
from tasks.source.ingest import example, ingest
from tests import postgres
from tests.nights.store import free_port

pytest.importorskip("adbc_driver_postgresql", reason="the extra `postgres` is not installed")
if postgres.programs() is None:
    pytest.skip("no PostgreSQL server is installed", allow_module_level=True)

QUERY = "select symbol, date, x from days order by symbol, date"


@pytest.fixture(scope="module")
def running() -> Iterator[postgres.Server]:
    with pytest.MonkeyPatch.context() as patched, postgres.server(free_port()) as found:
        patched.setenv("PGPASSWORD", postgres.PASSWORD)
        found.do("postgres", "create database lake")
        yield found


@pytest.fixture
def server(running: postgres.Server, monkeypatch: pytest.MonkeyPatch) -> postgres.Server:
    """A server whose database `lake` is empty."""
    monkeypatch.setenv("PGPASSWORD", postgres.PASSWORD)
    running.do("lake", "drop schema public cascade", "create schema public")
    return running


@pytest.fixture
def asked(place: Any, server: postgres.Server) -> Any:
    """A place whose source is in the database, too; ``from_query`` are the assignments that read it there."""
    server.do("lake", "create table days (symbol text, date date, x double precision)")
    fill(server, pl.read_parquet(place.source), "days")
    place.from_query = (f"source.path={server.at('lake')}", f"source.query={QUERY}")
    return place


def fill(server: postgres.Server, rows: pl.DataFrame, table: str) -> None:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(server.at("lake")) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(table, rows.to_arrow(), mode="append")
        connection.commit()


def test_the_rows_of_a_query_are_those_of_a_file_at_every_moment(asked, toy) -> None:
    from_file, from_query = (asked.settings(*given) for given in ((), asked.from_query))
    assert example(from_query).equals(example(from_file))
    for moment in (None, toy.day(100).isoformat()):
        found, expected = ingest(from_query, moment), ingest(from_file, moment)
        assert found.rows.drop("file").equals(expected.rows.drop("file"))
        assert (found.as_of, found.zone) == (expected.as_of, expected.zone)


TYPED = """
create type mood as enum ('up', 'down');
create table typed (id int, at timestamptz, naive timestamp, written timestamptz, price numeric, mood mood);
"""


def typed(server: postgres.Server, tmp_path: Path, values: str, time: str = "at", extra: str = "") -> pl.DataFrame:
    """How rows of that table are read."""
    server.do("lake", *TYPED.strip().split("\n"), f"insert into typed values {values}")
    config = tmp_path / "typed.toml"
    config.write_text(
        f'name = "typed"\n[source]\npath = "{server.at("lake")}"\nquery = "table typed -- as it is"\nseries = "id"\n'
        f'time = "{time}"\ndecimal = ","\n{extra}[features]\nprice = {{ op = "identity", column = "price" }}\n'
    )
    return ingest(read_settings(config)).rows


def test_types_of_the_server_are_read_as_what_they_are(server, tmp_path) -> None:
    rows = typed(
        server,
        tmp_path,
        "(7, '2024-01-01 02:00+02', null, null, 1.25, 'up'), (7, 'infinity', null, null, 'NaN', null),"
        "(8, '2024-01-02', null, null, 0.1, null)",
        extra='timezone = "UTC"\n',
    )
    assert rows["series_id"].to_list() == ["7", "7", "8"]
    assert rows["time"].dt.strftime("%Y-%m-%dT%H:%MZ").to_list() == ["2024-01-01T00:00Z", None, "2024-01-02T00:00Z"]
    assert rows["raw:price"].to_list() == [1.25, None, 0.1]


def test_of_several_versions_that_known_at_the_moment_counts(server, tmp_path) -> None:
    values = "(7, '2024-01-01', null, '2024-01-01', 1, null), (7, '2024-01-01', null, '2024-01-05', 2, null)"
    rows = typed(server, tmp_path, values, extra='written_at = "written"\n')
    assert rows["raw:price"].to_list() == [2.0]
    before = ingest(read_settings(tmp_path / "typed.toml"), "2024-01-03").rows
    assert before["raw:price"].to_list() == [1.0]


def test_a_clock_without_a_zone_is_refused_as_in_a_file(server, tmp_path) -> None:
    with pytest.raises(PipelineError, match=r"source.time: column 'naive'.* timestamps without a zone"):
        typed(server, tmp_path, "(7, null, '2024-01-01', null, 1, null)", time="naive")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("insert into days values ('Z', '2024-01-01', 1)", "source.query: found a statement that writes; expected one"),
        ("delete from days returning symbol, date, x", "source.query: found a statement that writes; expected one"),
        ("select 1; drop table days", "source.query: found several statements; expected one: a SELECT."),
        ("commit", "source.query: found a statement that gives no rows; expected one that reads: a SELECT."),
        ("selec 1", 'source.query: the server answers: syntax error at or near "selec"; expected one SELECT'),
        ("select * from nowhere", 'source.query: the server answers: relation "nowhere" does not exist; expected'),
        ("select y from days", 'source.query: the server answers: column "y" does not exist; expected one SELECT'),
        ("select symbol, x from days", "source.time: found no column 'date' in the source; expected one of 'symbol', "),
        ("select symbol, date, x from days where false", "holds no rows; expected at least one series."),
    ],
)
def test_a_query_that_does_not_only_read_is_refused_and_does_nothing(asked, server, query: str, words: str) -> None:
    with pytest.raises(PipelineError) as caught:
        ingest(asked.settings(asked.from_query[0], f"source.query={query}"))
    assert words in str(caught.value)
    assert caught.value.exit_status == 2
    assert str(caught.value).count("\n") == 0
    assert server.do("lake", "select count(*) from days") == [(160,)]


@pytest.mark.parametrize("key", ["source.path", "output.latest"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("port", "cannot be reached: no server answers there."),
        ("database", 'cannot be reached: database "nowhere" does not exist.'),
        ("password", "cannot be reached: the server refuses the password of the environment (PGPASSWORD)."),
        ("no password", "cannot be reached: the server asks for a password; set PGPASSWORD in the environment."),
        ("extra", "needs packages that are not installed: pip install 'hsmm-flows[postgres]'."),
    ],
)
def test_what_is_wrong_with_a_server_is_one_sentence(
    asked, server, monkeypatch, key: str, fault: str, words: str
) -> None:
    address = server.at("nowhere" if fault == "database" else "lake")
    monkeypatch.setattr(flows.server, "server_starting", lambda: pytest.fail("something was started"))
    if fault == "port":
        address = postgres.Server(free_port()).at("lake")
    if fault == "password":
        monkeypatch.setenv("PGPASSWORD", "wrong")
    if fault == "no password":
        monkeypatch.delenv("PGPASSWORD")
    if fault == "extra":
        monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    given = (
        (f"source.query={QUERY}", f"source.path={address}") if key == "source.path" else (f"output.latest={address}",)
    )
    found = asked.command("run", *(part for one in given for part in ("--set", one)))
    assert found.status == 2
    assert found.err.splitlines()[-1] == f"hsmm: {key}: {address!r} {words}"
    assert "Traceback" not in found.err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("source.path=postgresql://owner@h/lake",), "`query`, the SELECT whose rows are the source"),
        (("source.query=select 1",), "`query` together with a `path` such as postgresql://"),
        (("output.states=postgresql://owner@h/lake",), "`states` in a folder or an object store"),
        (("output.latest=lake",), "`latest` to be a database such as postgresql://"),
        (("output.latest_table=newest",), "`latest_table` together with `latest`"),
        (("output.latest=postgresql://owner@h/lake", "output.latest_table=a; drop"), "output.latest_table"),
        (("source.version=0",), "source.version: found 0 for"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(place, given: tuple[str, ...], words: str) -> None:
    found = place.command("run", *(part for one in given for part in ("--set", one)))
    assert found.status == 2
    assert words in found.err


def test_a_password_in_a_configuration_is_refused_by_the_name_of_where_it_belongs(place) -> None:
    text = place.config.read_text().replace(str(place.source), "postgresql://owner:hunter2@h/lake")
    place.config.write_text(text)
    found = place.command("run")
    assert found.status == 2
    assert "source.path" in found.err
    assert "PGPASSWORD" in found.err
    assert "hunter2" not in found.err


SHOWN = ["series_id", "time", "as_of", "state_name", "p_filtered", "model_version", "status", "run_key"]


def told(server: postgres.Server) -> list[tuple[Any, ...]]:
    return server.do("lake", f"select {', '.join(SHOWN)} from hsmm_latest order by series_id")


def newest(place: Any) -> list[tuple[Any, ...]]:
    rows = place.command("states", "--latest", "--json").last_json["rows"]
    return (
        pl.DataFrame(rows).with_columns(pl.col("time", "as_of").str.to_datetime(time_zone="UTC")).select(SHOWN).rows()
    )


@pytest.fixture
def telling(place: Any, server: postgres.Server, toy: Any) -> Any:
    """A place of two series, one of which begins later, whose newest rows the database is told."""
    rows = pl.read_parquet(place.source)
    pl.concat([rows, rows[110:].with_columns(symbol=pl.lit("B"))]).write_parquet(place.source)
    text = place.config.read_text().replace("[output]", f'[output]\nlatest = "{server.at("lake")}"')
    place.config.write_text(text)
    place.run = lambda n, *more: place.command("run", "--as-of", toy.day(n).isoformat(), "--json", *more)
    return place


def test_a_database_is_told_the_newest_rows_whole_and_no_older_ones(telling, server, toy, monkeypatch) -> None:
    from adbc_driver_manager.dbapi import Connection

    assert telling.run(150).last_json["notes"] == []
    first = told(server)
    assert len(first) == 2
    assert first == newest(telling)
    seen, commit = [], Connection.commit
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "commit", lambda self: (seen.append(told(server)), commit(self)))
        telling.run(155)
    assert seen == [first]
    second = told(server)
    assert second == newest(telling) != first
    telling.run(155)
    assert told(server) == second
    telling.backfill(toy.day(125), toy.day(125), "5d", f"output.states={telling.states}_elsewhere")
    assert told(server) == second
    telling.command("name", *(f"{state}=level {state}" for state in range(3)))
    assert told(server) == newest(telling) != second


def test_a_database_that_is_away_costs_no_publish_and_is_told_by_the_next_run(telling, server, monkeypatch) -> None:
    telling.run(150)
    before = told(server)
    with monkeypatch.context() as patched:
        patched.setenv("PGPASSWORD", "wrong")
        found = telling.run(155)
        assert found.status == 0
        assert found.last_json["verdict"] == "PUBLISHED"
        assert "the next run tells it: output.latest: " in found.last_json["notes"][0]
    assert told(server) == before
    assert telling.run(155).last_json["verdict"] == "ALREADY_PUBLISHED"
    assert told(server) == newest(telling) != before


def test_who_tells_last_has_read_last(telling, monkeypatch) -> None:
    from adbc_driver_manager.dbapi import Connection

    telling.run(150)
    done, commit, rows = list[str](), Connection.commit, tasks.tables.latest.known_rows
    both, another = Barrier(2), Event()

    def read(*given: Any, **named: Any) -> pl.DataFrame:
        if "read" in done:
            another.set()
        done.append("read")
        another.wait(0.3)
        return rows(*given, **named)

    def tell(_: int) -> None:
        both.wait()
        tasks.tables.latest.tell_latest(telling.settings(), [])

    monkeypatch.setattr(tasks.tables.latest, "known_rows", read)
    monkeypatch.setattr(Connection, "commit", lambda self: (done.append("wrote"), commit(self)))
    with ThreadPoolExecutor() as pool:
        list(pool.map(tell, range(2)))
    assert done == ["read", "wrote"] * 2


def test_another_table_of_that_name_is_left_alone(telling, server) -> None:
    server.do("lake", "create table hsmm_latest (series_id text)")
    found = telling.run(150)
    assert found.status == 2
    assert "output.latest_table: found a table 'hsmm_latest' without time timestamp with time zone" in found.err
    with pytest.raises(OutputError, match=r"output\.latest_table"):
        flows.nightly.nightly(str(telling.config))
    assert not Path(telling.states).exists()
