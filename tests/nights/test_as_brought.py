"""Sources as users bring them, read by a night: the table holds every row at its own time, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable

QUICK = ("model.n_states=2", "fit.n_init=1", "fit.tol=1e-3")
CAIRO, BERLIN = ZoneInfo("Africa/Cairo"), ZoneInfo("Europe/Berlin")


@pytest.fixture
def place(place_at: Any) -> Any:
    return place_at("here")


def sets(*assignments: str) -> list[str]:
    return [f"--set={assignment}" for assignment in (*QUICK, *assignments)]


def rows(times: Sequence[Any], toy: Any) -> pl.DataFrame:
    return pl.DataFrame({"date": times, "x": toy.levels(toy.sojourns(len(times), 2), distance=4.0)})


def noons(first: date, n: int, at: int = 12) -> list[datetime]:
    return [datetime.combine(first + timedelta(days=i), time(at)) for i in range(n)]


def shown(place: Any, series: str, zone: ZoneInfo) -> list[datetime]:
    """What a clock of the zone showed at the rows of a series."""
    times = place.table().filter(series_id=series).sort("time")["time"]
    return [moment.astimezone(zone).replace(tzinfo=None) for moment in times]


def missing(place: Any, series: str) -> list[datetime]:
    return place.table().filter(series_id=series, status="MISSING").sort("time")["time"].to_list()


def test_a_folder_of_files_that_differ(place: Any, toy: Any) -> None:
    """In units, types and columns that nobody uses; in Cairo the midnight of 28 April 2023 never came."""
    days = noons(date(2023, 1, 2), 180)
    last_weekdays = pl.Series([date(2020, 1, 1)] * 42).dt.offset_by(pl.Series([f"{i}mo" for i in range(42)]))
    ends = [end - timedelta(days=max(0, end.weekday() - 4)) for end in last_weekdays.dt.month_end()]
    kept = [datetime.combine(end, time(0)) for end in ends if end != date(2023, 4, 28)]
    in_utc = [moment.replace(tzinfo=CAIRO).astimezone(UTC) for moment in days]
    milliseconds = pl.col("date").cast(pl.Datetime("ms"))
    files = {
        "0100": rows(days, toy).with_columns(milliseconds, x=pl.col("x").round().cast(pl.Int64), other=1),
        "100": rows(days, toy).with_columns(other=pl.lit("text")),
        "midnight": rows(noons(date(2023, 1, 2), 180, at=0), toy).with_columns(pl.col("x").cast(pl.Decimal(12, 3))),
        "utc": rows(in_utc, toy).with_columns(pl.col("x").cast(pl.String).cast(pl.Categorical)),
        "months": rows(kept, toy).with_columns(pl.col("x").cast(pl.Float32)),
    }
    for series, frame in files.items():
        for folder in (f"symbol={series}", f"_old/symbol={series}x", f".tmp/symbol={series}y"):
            (place.folder / "in" / folder).mkdir(parents=True)
            frame.write_parquet(place.folder / "in" / folder / "part.parquet")
    said = place.command(
        "run",
        *sets(
            f"source.path={place.folder}/in",
            "source.timezone=Africa/Cairo",
            'source.frequency={"*"="1d", months="1mo"}',
        ),
        "--json",
    )
    assert said.status == 0, said.err
    assert (said.last_json["n_quarantined"], set(place.table()["series_id"])) == (0, {*files})
    for series in ("0100", "100", "utc"):
        assert shown(place, series, CAIRO) == days
        assert missing(place, series) == []
    skipped = datetime(2023, 4, 28)
    assert shown(place, "midnight", CAIRO) == [
        day + timedelta(hours=day == skipped) for day in noons(date(2023, 1, 2), 180, at=0)
    ]
    assert [moment.date() for moment in shown(place, "months", CAIRO)] == ends
    assert [moment.astimezone(CAIRO).date() for moment in missing(place, "months")] == [skipped.date()]


def test_a_table_of_text_with_the_marks_of_other_lands(place: Any) -> None:
    """A signature, carriage returns, semicolons, decimal commas, days after months, blanks first, ids with zeros."""
    weekdays = [day for day in (date(2023, 1, 2) + timedelta(days=i) for i in range(168)) if day.weekday() < 5]
    values = [str(5 + 5 * (i // 20 % 2) + i % 3) for i in range(110)] + ["5,5"] * 3 + ["11,25"] * 7
    values[:3], values[50] = ["", "NA", "n/a"], "-"
    lines = [f"{day:%m/%d/%Y};007;{value};" for day, value in zip(weekdays, values, strict=True)]
    lines += [lines[70], f"{date(2023, 5, 6):%m/%d/%Y};007;3;"]  # a row that comes twice, and a Saturday's
    path = place.folder / "sales.csv"
    path.write_bytes(("\ufeff" + "\r\n".join(["date;symbol;x;", *lines]) + "\r\n").encode())
    read = [f"source.path={path}", "source.frequency=1bd", 'source.decimal=","']
    refused = place.command("run", *sets(*read))
    assert (refused.status, refused.err.count("time_format")) == (2, 1)
    read.append("source.time_format=%m/%d/%Y")
    refused = place.command("run", *sets(*read))
    assert refused.status == 2
    assert "2023-04-10T00:00:00Z in row 71 of sales.csv and row 121 of sales.csv; remove all but one" in refused.err
    read += ["source.duplicates=drop_same", "source.off_calendar=drop"]
    said = place.command("run", *sets(*read))
    assert said.status == 0, said.err
    assert [moment.date() for moment in shown(place, "007", ZoneInfo("UTC"))] == weekdays
    assert [moment.date() for moment in missing(place, "007")] == [weekdays[i] for i in (0, 1, 2, 50)]


def test_what_was_deleted_corrected_or_came_late_counts_as_it_was_known(place: Any, toy: Any) -> None:
    """The late row is of the day on which clocks changed: it takes the place of its gap, and not one beside it."""
    days = [moment.replace(tzinfo=BERLIN).astimezone(UTC) for moment in noons(date(2023, 1, 2), 120)]
    late, table = datetime(2023, 3, 26, 10, tzinfo=UTC), str(place.folder / "delta")
    both = rows(days, toy).with_columns(symbol=pl.lit("A"), written=pl.col("date"))
    gone = both.with_columns(symbol=pl.lit("gone"))
    pl.concat([both.filter(pl.col("date") != late), gone]).write_delta(table)
    DeltaTable(table).delete("symbol = 'gone'")
    written = datetime(2023, 4, 20, tzinfo=UTC)
    both.filter(date=late).with_columns(written=pl.lit(written)).write_delta(table, mode="append")
    read = sets(
        f"source.path={table}", "source.timezone=Europe/Berlin", "source.written_at=written", "source.available_after=0"
    )
    for as_of, status in (("2023-04-19", "MISSING"), ("2023-04-30", "OK")):
        said = place.command("run", "--as-of", as_of, *read)
        assert said.status == 0, said.err
        newest = place.table().sort("as_of").unique("time", keep="last")
        assert newest.filter(time=late)["status"].to_list() == [status]
        until = datetime.fromisoformat(as_of).replace(tzinfo=UTC)
        assert newest["time"].sort().to_list() == [day for day in days if day <= until]
    assert set(place.table()["series_id"]) == {"A"}


def test_hours_that_come_twice_are_two_and_make_whole_days(place: Any, toy: Any) -> None:
    """On the Azores the hour after midnight of 29 October 2023 came twice."""
    azores = ZoneInfo("Atlantic/Azores")
    hours = [datetime(2023, 9, 1, tzinfo=azores).astimezone(UTC) + timedelta(hours=i) for i in range(24 * 80 + 2)]
    clocks = [hour.astimezone(azores).replace(tzinfo=None) for hour in hours]
    by_day = np.repeat(toy.sojourns(81, 2), 24)[: len(hours)]
    x = toy.levels(by_day, distance=4.0)
    pl.DataFrame({"symbol": "A", "date": clocks, "x": x}).write_parquet(place.source)
    read = ["source.timezone=Atlantic/Azores", "source.ambiguous=infer", "source.available_after=0"]
    said = place.command("run", *sets(*read, "source.resample=mean"))
    assert said.status == 0, said.err
    assert shown(place, "A", azores) == noons(date(2023, 9, 1), 80, at=0)
    hourly = sets(*read, "source.frequency=1h", f"output.states={place.folder}/hours")
    assert place.command("run", *hourly, "--json").last_json["n_published"] == len(hours)
    assert pl.read_delta(f"{place.folder}/hours")["time"].sort().to_list() == hours
    refused = place.command("run", *hourly, "--set", "source.ambiguous=reject")
    assert "bad_time" in refused.err
    assert "`source.ambiguous` says which" in refused.err


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda text: text.encode("utf-16"), "it holds zero bytes, as UTF-16 does"),
        (lambda text: text.encode("utf-16-le"), "it holds zero bytes, as UTF-16 does"),
        (lambda text: text.replace("\n2020-01-02", ";\n2020-01-02").encode(), "more cells than its header has names"),
        (lambda text: f"Export\n{text}".encode(), "found no column"),
        (lambda text: text.replace(";", "; ").encode(), "did you mean ' x'?"),
        (lambda text: text.replace("0.5", "0,512").encode(), 'for decimal commas set `source.decimal = ","`'),
        (lambda text: text.replace("2020-01-", "20200").encode(), '"%Y%m%d" for 20241231'),
    ],
)
def test_what_is_no_table_of_numbers_is_one_sentence(place: Any, write: Any, words: str) -> None:
    path: Path = place.folder / "own.csv"
    path.write_bytes(write("date;symbol;x\n" + "".join(f"2020-01-{i:02};A;0.5\n" for i in range(1, 29))))
    said = place.command("run", f"--set=source.path={path}")
    assert (said.status, said.out) == (2, "")
    assert words in said.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            {"date": pl.col("date").cast(pl.Datetime("ms", "UTC"))},
            "holds dates in {a} and timestamps with a zone in {b}",
        ),
        ({"x": pl.concat_list("x")}, "column 'x' of {b} holds List(Float64); expected numbers"),
        ({"symbol": pl.lit(1.5)}, "column 'symbol' of {b} holds Float64; expected text or integers"),
        ({"x": None}, "column 'x' is in {a} and not in {b}; expected it in every file"),
    ],
)
def test_files_that_cannot_be_read_together_are_named(place: Any, toy: Any, other: dict[str, Any], words: str) -> None:
    folder = place.folder / "in"
    folder.mkdir()
    days = rows([date(2020, 1, 1) + timedelta(days=i) for i in range(30)], toy).with_columns(symbol=pl.lit("A"))
    days.write_parquet(folder / "a.parquet")
    lacking = [name for name, made in other.items() if made is None]
    days.with_columns(**{name: made for name, made in other.items() if made is not None}).drop(lacking).write_parquet(
        folder / "b.parquet"
    )
    said = place.command("run", f"--set=source.path={folder}")
    assert (said.status, said.out) == (2, "")
    named = {name: repr(str(folder / f"{name}.parquet")) for name in "ab"}
    assert words.format(**named) in said.err.splitlines()[-1]
