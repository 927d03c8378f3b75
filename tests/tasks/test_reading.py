"""Feeds as they come: whatever the files, each row that is there is read, as what it says, or its fault is named."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable

from tasks.config.errors import ConfigurationError, SourceError
from tasks.config.settings import Settings, Source
from tasks.source.ingest import ingest
from tasks.source.moments import Stamps, with_utc
from tasks.source.text import epoch_moment
from tasks.source.validate import Validated, told_marked, validate

Build = Callable[..., Settings]
Prices = Callable[..., pl.DataFrame]


def read(settings: Settings, as_of: str | None = "2026-11-01") -> pl.DataFrame:
    return ingest(settings, as_of).rows


def checked(settings: Settings, as_of: str | None = None) -> Validated:
    return validate(ingest(settings, as_of), settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "feed"
    place.mkdir()
    return place


@pytest.fixture
def at(folder: Path, settings_for: Build) -> Build:
    """Settings that read the folder, or what lies in it."""

    def build(name: str = "", features: dict[str, object] | None = None, **source: object) -> Settings:
        read_as = features or {"r": {"op": "identity", "column": "close"}}
        return settings_for(source={"path": f"{folder}/{name}".rstrip("/"), **source}, features=read_as)

    return build


def daily(n: int = 3, first: date = date(2024, 1, 1)) -> pl.DataFrame:
    days = pl.date_range(first, first + timedelta(days=n - 1), "1d", eager=True)
    return pl.DataFrame({"symbol": "A", "date": days, "close": np.arange(1.0, n + 1)})


class TestIdentity:
    def test_names_of_folders_are_text(self, folder: Path, at: Build) -> None:
        for name in ("symbol=01001", "symbol=a%20b", "symbol=__HIVE_DEFAULT_PARTITION__"):
            (folder / name).mkdir()
            daily().drop("symbol").write_parquet(folder / name / "part.parquet")
        assert set(read(at())["series_id"]) == {"01001", "a b", ""}
        assert set(read(at("*/*.parquet"))["series_id"]) == {"01001", "a b", ""}

    def test_ids_of_a_csv_keep_their_zeros_and_may_look_like_nothing(self, folder: Path, at: Build) -> None:
        (folder / "p.csv").write_text("symbol,date,close\n01001,2024-01-01,1\nNA,2024-01-01,2\n1e5,2024-01-01,3\n")
        assert read(at("p.csv"))["series_id"].to_list() == ["01001", "NA", "1e5"]

    def test_dictionaries_and_integers_are_read_as_their_text(self, folder: Path, at: Build) -> None:
        daily().with_columns(pl.col("symbol").cast(pl.Categorical)).write_parquet(folder / "a.parquet")
        daily().with_columns(symbol=pl.lit(7)).write_parquet(folder / "b.parquet")
        assert read(at())["series_id"].to_list() == ["A"] * 3 + ["7"] * 3


class TestStorage:
    def test_a_delta_table_is_what_its_log_says(self, folder: Path, at: Build) -> None:
        daily(5).write_delta(str(folder))
        DeltaTable(str(folder)).delete("close = 2.0")
        assert read(at())["raw:close"].to_list() == [1.0, 3.0, 4.0, 5.0]
        with pytest.raises(SourceError, match=r"belong to the Delta table .*name that folder"):
            read(at("*.parquet"))

    def test_a_delta_table_is_read_as_it_was_at_a_version(self, folder: Path, at: Build) -> None:
        daily(5).write_delta(str(folder))
        DeltaTable(str(folder)).delete("close = 2.0")
        assert read(at(version=0))["raw:close"].to_list() == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert read(at(version=0), "2024-01-03")["raw:close"].to_list() == [1.0, 2.0, 3.0]
        assert read(at(version=1)).equals(read(at()))
        with pytest.raises(SourceError, match=r"source.version: found 2; expected .* the newest is 1\."):
            read(at(version=2))

    def test_files_may_differ_in_what_is_not_used_and_in_width(self, folder: Path, at: Build) -> None:
        zoned = daily().with_columns(pl.col("date").cast(pl.Datetime("us", "UTC")))
        variants = [
            zoned.with_columns(unused=pl.lit("text")),
            zoned.with_columns(pl.col("close").cast(pl.Int32), unused=pl.lit(1)),
            zoned.with_columns(pl.col("date").dt.cast_time_unit("ms"), extra=pl.lit(None)),
            zoned.with_columns(pl.col("close").cast(pl.Decimal(12, 2))),
            zoned.with_columns(pl.col("close").cast(pl.Decimal(12, 4))),
            zoned.with_columns(close=pl.lit(None)),
        ]
        for i, frame in enumerate(variants):
            frame.with_columns(pl.col("symbol") + str(i)).write_parquet(folder / f"{i}.parquet")
        rows = read(at())
        assert rows["raw:close"].to_list() == [1.0, 2.0, 3.0] * 5 + [None] * 3
        assert rows["time"].to_list() == [datetime(2024, 1, d, tzinfo=UTC) for d in (1, 2, 3)] * 6

    def test_files_that_cannot_be_read_together_are_both_named(self, folder: Path, at: Build) -> None:
        daily().write_parquet(folder / "a.parquet")
        daily().drop("close").write_parquet(folder / "b.parquet")
        with pytest.raises(SourceError, match=r"'close' is in '.*a\.parquet' and not in '.*b\.parquet'"):
            read(at())
        daily().with_columns(pl.col("date").cast(pl.Datetime("us", "UTC"))).write_parquet(folder / "b.parquet")
        with pytest.raises(SourceError, match=r"dates in '.*a\.parquet' and timestamps with a zone in '.*b\.parquet'"):
            read(at())

    def test_what_others_leave_beside_the_data_is_passed_over(self, folder: Path, at: Build) -> None:
        for name in ("_temporary", ".hidden"):
            (folder / name).mkdir()
            daily(9).write_parquet(folder / name / "part.parquet")
        for name in ("_SUCCESS.parquet", ".a.parquet"):
            (folder / name).write_bytes(b"")
        daily().write_parquet(folder / "part.parquet")
        for name in ("", "**/*.parquet", "*.parquet"):
            assert len(read(at(name))) == 3
        daily(9).write_parquet(folder / "_own.parquet")
        assert len(read(at("_own.parquet"))) == 9

    def test_an_object_store_is_read_as_a_folder(self, folder: Path, settings_for: Build) -> None:
        for name in ("symbol=01", "symbol=02"):
            (folder / name).mkdir()
            daily().drop("symbol").with_columns(other=pl.lit(name)).write_parquet(folder / name / "part.parquet")
        settings = settings_for(
            source={"path": f"file://{folder}/"}, features={"r": {"op": "identity", "column": "close"}}
        )
        assert read(settings)["series_id"].to_list() == ["01"] * 3 + ["02"] * 3


class TestText:
    def test_types_come_from_the_whole_file(self, folder: Path, at: Build) -> None:
        cells = ["", "NA", *map(str, range(200)), "5.5", "n/a".upper(), "1e3", "true"]
        days = [date(2024, 1, 1) + timedelta(days=i) for i in range(len(cells))]
        rows = "\n".join(f"A,{day},{cell}" for day, cell in zip(days, cells, strict=True))
        (folder / "p.csv").write_text(f"symbol,date,close\n{rows}\n")
        assert read(at("p.csv"))["raw:close"].to_list() == [None, None, *map(float, range(200)), 5.5, None, 1000.0, 1.0]

    @pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
    def test_separators_are_recognised(self, folder: Path, at: Build, mark: str) -> None:
        text = "﻿symbol,date,close\nA,2024-01-01,1.5\n".replace(",", mark)
        (folder / "p.csv").write_text(text, encoding="utf-8")
        (folder / "q.csv.gz").write_bytes(gzip.compress(text.encode()))
        for name in ("p.csv", "q.csv.gz"):
            assert read(at(name))["raw:close"].to_list() == [1.5]

    def test_decimal_commas_are_declared(self, folder: Path, at: Build) -> None:
        (folder / "p.csv").write_text("symbol;date;close\nA;2024-01-01;1,5\nA;2024-01-02;2\n")
        assert read(at("p.csv", decimal=","))["raw:close"].to_list() == [1.5, 2.0]
        (folder / "p.csv").write_text("symbol;date;close\nA;2024-01-01;1,5\nA;2024-01-02;2,5\n")
        with pytest.raises(SourceError, match=r"row 1 of p\.csv close holds '1,5'; for decimal commas"):
            read(at("p.csv"))

    def test_a_text_for_a_number_sets_its_series_aside(self, folder: Path, at: Build) -> None:
        good = [f"A,{date(2024, 1, 1) + timedelta(days=i)},{i % 3}" for i in range(40)]
        bad = [line.replace("A,", "B,") for line in good]
        bad[7] = "B,2024-01-08,err"
        rows = ["symbol,date,close", *good, *bad, "C,2024-02-30,1", "D,,m", "E,2024-01-01,inf"]
        (folder / "p.csv").write_text("\n".join(rows))
        said = checked(at("p.csv"))
        found = {row["series_id"]: (row["reason"], row["detail"]) for row in said.quarantine.iter_rows(named=True)}
        assert said.rows["series_id"].unique().to_list() == ["A"]
        assert found["B"][0] == "bad_value"
        assert "row 48 of p.csv (close holds 'err')" in found["B"][1]
        assert found["C"][0] == "bad_time"
        assert "date holds '2024-02-30'" in found["C"][1]
        assert found["D"][0] == "bad_time"
        assert (
            "the first row 82 of p.csv (date is empty); expected one in each row: delete rows of units" in found["D"][1]
        )
        assert found["E"][0] == "infinite_value"

    def test_what_holds_no_number_may_count_as_missing(self, folder: Path, at: Build) -> None:
        """Said with its place, and no other cell is touched; of times there is no such leave."""
        days = [date(2024, 1, 1) + timedelta(days=i) for i in range(40)]
        for bad in ("err", "-inf"):
            cells = [bad if i == 7 else str(i % 3) for i in range(40)]
            (folder / "p.csv").write_text(
                "\n".join(["symbol,date,close", *map("A,{},{}".format, days, cells), "B,x,1"])
            )
            settings = at("p.csv", bad_values="mark_missing")
            ingested = ingest(settings)
            said = validate(ingested, settings)
            assert said.quarantine["reason"].to_list() == ["bad_time"]
            assert said.rows.filter(pl.col("age") > 0)["time"].dt.date().to_list() == [days[7]]
            assert told_marked(ingested.rows, settings.source) == [
                f"A: what holds no number counts as missing: 1 row, the first row 8 of p.csv (close holds '{bad}')."
            ]
        pl.DataFrame({"symbol": "A", "date": days, "close": [*map(float, range(39)), float("inf")]}).write_parquet(
            folder / "p.parquet"
        )
        settings = at("p.parquet", bad_values="mark_missing")
        (told,) = told_marked(ingest(settings).rows, settings.source)
        assert "1 row, the first row 40 of p.parquet (close holds 'inf')" in told
        assert validate(ingest(settings), settings).rows["age"].to_list() == [0] * 39 + [1]

    def test_month_first_dates_are_not_guessed(self, folder: Path, at: Build) -> None:
        (folder / "p.csv").write_text("symbol,date,close\nA,03/04/2024,1\nA,03/05/2024,2\n")
        with pytest.raises(SourceError, match=r"date holds '03/04/2024'.*source\.time_format.*%m/%d/%Y"):
            read(at("p.csv"))
        assert read(at("p.csv", time_format="%m/%d/%Y"))["time"][1] == datetime(2024, 3, 5, tzinfo=UTC)
        assert read(at("p.csv", time_format="%d/%m/%Y"))["time"][1] == datetime(2024, 5, 3, tzinfo=UTC)
        with pytest.raises(SourceError, match=r"expected times as `source\.time_format` \(%d\.%m\.%Y\)"):
            read(at("p.csv", time_format="%d.%m.%Y"))

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2024-03-05", datetime(2024, 3, 5)),
            ("2024-03-05T17:30Z", datetime(2024, 3, 5, 17, 30)),
            ("2024-03-05 17:30:15.25+02:00", datetime(2024, 3, 5, 15, 30, 15, 250_000)),
            ("2024-03-05 17:30:15-0330", datetime(2024, 3, 5, 21, 0, 15)),
        ],
    )
    def test_iso_times_are_read(self, folder: Path, at: Build, text: str, moment: datetime) -> None:
        (folder / "p.csv").write_text(f"symbol,date,close\nA,{text},1\n")
        assert read(at("p.csv"))["time"].to_list() == [moment.replace(tzinfo=UTC)]

    @pytest.mark.parametrize(("unit", "ticks"), [("s", 1_704_067_200), ("ms", 1_704_067_200_000)])
    def test_ticks_are_read_where_they_are_declared(self, folder: Path, at: Build, unit: str, ticks: int) -> None:
        daily(1).with_columns(date=pl.lit(ticks)).write_parquet(folder / "p.parquet")
        assert read(at("p.parquet", time_format=unit))["time"].to_list() == [datetime(2024, 1, 1, tzinfo=UTC)]
        with pytest.raises(SourceError, match=r"holds Int\d+; expected dates or timestamps; .*source\.time_format"):
            read(at("p.parquet"))

    def test_patterns_are_checked(self, at: Build) -> None:
        with pytest.raises(ValueError, match="a pattern such as"):
            at("p.csv", time_format="MM/DD/YYYY")


class TestTime:
    def test_the_zone_does_not_depend_on_the_order_of_files(self, folder: Path, at: Build) -> None:
        naive = daily().with_columns(pl.col("date").cast(pl.Datetime("us")) + timedelta(hours=12))
        zoned = naive.with_columns(pl.col("date").dt.replace_time_zone("UTC") + timedelta(days=3))
        seen = []
        for first, second in ((naive, zoned), (zoned, naive)):
            first.write_parquet(folder / "a.parquet")
            second.write_parquet(folder / "b.parquet")
            found = ingest(at(timezone="America/New_York"))
            seen.append((found.zone, sorted(found.rows["time"])))
        assert seen[0] == seen[1]
        assert seen[0][0] == "America/New_York"
        assert seen[0][1][0] == datetime(2024, 1, 1, 17, tzinfo=UTC)
        assert seen[0][1][-1] == datetime(2024, 1, 6, 12, tzinfo=UTC)

    @pytest.mark.parametrize("hour", [0, 12])
    @pytest.mark.parametrize("zone", ["Africa/Cairo", "America/Havana", "America/Asuncion", "Europe/Berlin"])
    def test_every_day_is_there_though_its_midnight_is_not(self, folder: Path, at: Build, zone: str, hour: int) -> None:
        """Of each day one row, written as local clocks show it and as moments; none is missing, none is set aside."""
        clocks = daily(400, date(2023, 1, 1)).with_columns(
            pl.col("date").cast(pl.Datetime("us")) + timedelta(hours=hour)
        )
        clocks.write_parquet(folder / "p.parquet")
        said = checked(at("p.parquet", timezone=zone, frequency="1d"))
        assert (len(said.rows), said.rows["gap"].sum(), len(said.quarantine)) == (400, 0, 0)
        moments = said.rows.select("time").with_columns(symbol=pl.lit("A"), date="time", close=pl.int_range(1.0, 401.0))
        moments.write_parquet(folder / "p.parquet")
        again = checked(at("p.parquet", timezone=zone, frequency="1d"))
        assert again.rows.equals(said.rows)

    @pytest.mark.parametrize("zone", ["Africa/Cairo", "Pacific/Apia", "America/Sao_Paulo"])
    def test_a_gap_has_the_time_its_row_would_have(self, folder: Path, at: Build, zone: str) -> None:
        """Any day left out is stamped as that day's row would have been, across changes of the clock."""
        first = {"Pacific/Apia": date(2011, 12, 1), "America/Sao_Paulo": date(2018, 10, 15)}.get(zone, date(2023, 4, 1))
        for hour in (0, 2, 16):
            whole = daily(60, first).with_columns(pl.col("date").cast(pl.Datetime("us")) + timedelta(hours=hour))
            if zone == "Pacific/Apia":  # a day that never was
                whole = whole.filter(pl.col("date").dt.date() != date(2011, 12, 30))
            settings = at("p.parquet", timezone=zone, frequency="1d")
            whole.write_parquet(folder / "p.parquet")
            told = checked(settings).rows["time"].to_list()
            assert len(set(told)) == len(told) == len(whole)
            whole.filter(pl.int_range(pl.len()) % 2 == 0).write_parquet(folder / "p.parquet")
            thinned = checked(settings).rows
            assert thinned["time"].to_list() == told[: len(thinned)]
            assert thinned["gap"].sum() == len(thinned) // 2

    def test_a_gap_follows_hours_that_are_written_in_utc(self, folder: Path, at: Build) -> None:
        closes = pl.datetime_range(
            datetime(2024, 3, 1, 16), datetime(2024, 4, 30, 16), "1d", time_zone="America/New_York", eager=True
        ).dt.convert_time_zone("UTC")
        frame = pl.DataFrame({"symbol": "A", "date": closes, "close": np.arange(len(closes), dtype=float)})
        frame.filter(pl.int_range(pl.len()) != 30).write_parquet(folder / "p.parquet")
        assert checked(at("p.parquet", frequency="1d")).rows["time"].to_list() == closes.to_list()

    @pytest.mark.parametrize(
        ("frequency", "offset"), [("1mo", "1BME"), ("1q", "1BQE"), ("1mo", "1ME"), ("1mo", "1BMS")]
    )
    def test_a_month_left_out_is_stamped_by_the_rule_of_the_others(
        self, folder: Path, at: Build, frequency: str, offset: str
    ) -> None:
        """Month-ends of business days are not Saturdays: what is left out of March 2024 was 2024-03-29."""
        import pandas as pd

        days = pd.date_range("2015-01-01", "2024-12-31", freq=offset).date.tolist()
        whole = pl.DataFrame({"symbol": "A", "date": days, "close": np.arange(len(days), dtype=float)})
        for left_out in (7, 11, len(days) - 4):
            whole.filter(pl.int_range(pl.len()) != left_out).write_parquet(folder / "p.parquet")
            assert checked(at("p.parquet", frequency=frequency)).rows["time"].dt.date().to_list() == days

    def test_an_hour_that_comes_twice_is_read_as_declared(self, folder: Path, at: Build) -> None:
        moments = pl.datetime_range(
            datetime(2024, 10, 26), datetime(2024, 10, 29), "1h", time_zone="Europe/Berlin", eager=True
        )
        clocks = pl.DataFrame({"symbol": "A", "date": moments.dt.replace_time_zone(None)})
        clocks.with_columns(close=pl.int_range(pl.len()).cast(pl.Float64)).write_parquet(folder / "p.parquet")
        hourly = {"timezone": "Europe/Berlin", "frequency": "1h"}
        for steps in (hourly, hourly | {"frequency": "1d", "resample": "mean"}):
            said = checked(at("p.parquet", **steps))
            assert said.quarantine["reason"].to_list() == ["bad_time"]
            assert "`source.ambiguous`" in said.quarantine["detail"][0]
            assert "2024-10-27 02:00:00" in said.quarantine["detail"][0]
        assert read(at("p.parquet", **hourly, ambiguous="infer"))["time"].equals(moments.dt.convert_time_zone("UTC"))
        once = clocks.unique(maintain_order=True).with_columns(close=pl.int_range(pl.len()).cast(pl.Float64))
        once.write_parquet(folder / "p.parquet")
        for policy, hour in (("earliest", 0), ("latest", 1)):
            found = read(at("p.parquet", **hourly, ambiguous=policy))["time"].to_list()
            assert datetime(2024, 10, 27, hour, tzinfo=UTC) in found
            assert len(found) == len(once)


class TestPolicies:
    def test_rows_off_the_calendar_are_refused_dropped_or_moved_on(self, folder: Path, at: Build) -> None:
        days = daily(60).filter((pl.col("date").dt.weekday() <= 5) | (pl.col("date") == date(2024, 1, 20)))
        monday = date(2024, 1, 22)
        days.filter(pl.col("date") != monday).write_parquet(folder / "p.parquet")
        refused = checked(at("p.parquet", frequency="1bd")).quarantine
        assert refused["reason"].to_list() == ["off_calendar"]
        assert "2024-01-20T00:00:00Z (row 16 of p.parquet)" in refused["detail"][0]
        assert "source.off_calendar" in refused["detail"][0]
        dropped = checked(at("p.parquet", frequency="1bd", off_calendar="drop")).rows
        assert dropped.filter("gap")["time"].dt.date().to_list() == [monday]
        snapped = checked(at("p.parquet", frequency="1bd", off_calendar="snap")).rows
        assert snapped["time"].equals(dropped["time"])
        assert snapped.filter(pl.col("time").dt.date() == monday)["r"].to_list() == [20.0]
        days.write_parquet(folder / "p.parquet")
        own = checked(at("p.parquet", frequency="1bd", off_calendar="snap")).rows
        assert own.filter(pl.col("time").dt.date() == monday)["r"].to_list() == [22.0]

    def test_a_moved_row_counts_from_the_day_it_was_moved_to(self, folder: Path, at: Build) -> None:
        daily(20).filter(pl.col("date") != date(2024, 1, 15)).write_parquet(folder / "p.parquet")
        settings = at("p.parquet", frequency="1bd", off_calendar="snap", min_rows=5)
        assert checked(settings, "2024-01-14").rows["time"].max() == datetime(2024, 1, 12, tzinfo=UTC)
        assert checked(settings, "2024-01-15").rows["time"].max() == datetime(2024, 1, 15, tzinfo=UTC)

    def test_jitter_snaps_to_the_nearest_step(self, folder: Path, at: Build) -> None:
        steps = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 1, 4), "5m", time_zone="UTC", eager=True)
        jitter = np.random.default_rng(0).integers(-100, 100, len(steps))
        rows = pl.DataFrame({"symbol": "A", "date": steps + pl.Series(jitter * 1_000_000).cast(pl.Duration("us"))})
        rows.with_columns(close=pl.int_range(pl.len()).cast(pl.Float64)).write_parquet(folder / "p.parquet")
        said = checked(at("p.parquet", frequency="5m", off_calendar="snap"))
        assert said.rows["time"].to_list() == steps.to_list()
        assert not said.rows["gap"].any()

    def test_resampling_makes_one_row_of_each_finished_step(self, folder: Path, at: Build) -> None:
        hours = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 2, 9, 12), "1h", time_zone="UTC", eager=True)
        rows = pl.DataFrame({"symbol": "A", "date": hours, "close": np.arange(len(hours), dtype=float)})
        rows.with_columns(volume=pl.col("date").dt.day().cast(pl.Float64)).write_parquet(folder / "p.parquet")
        features = {name: {"op": "identity", "column": name} for name in ("close", "volume")}
        how = {"frequency": "1d", "resample": {"close": "last", "volume": "sum"}}
        said = checked(at("p.parquet", features, **how), None)
        assert said.rows["close"].to_list() == [24.0 * day + 23 for day in range(39)]
        assert said.rows["volume"].to_list() == [24.0 * d.day for d in said.rows["time"]]
        assert said.rows["time"][-1] == datetime(2024, 2, 8, tzinfo=UTC)
        assert said.as_of == datetime(2024, 2, 9, tzinfo=UTC)
        then = checked(at("p.parquet", features, **how), "2024-02-05T13:00:00Z")
        assert then.rows.drop("trains").equals(said.rows.head(35).drop("trains"))
        with pytest.raises(ValueError, match="together with a `frequency`"):
            at("p.parquet", resample="last")

    def test_series_may_have_calendars_of_their_own(self, folder: Path, at: Build) -> None:
        whole = pl.concat(
            [
                daily(60).with_columns(symbol=pl.lit("coin")),
                daily(60).filter(pl.col("date").dt.weekday() <= 5).with_columns(symbol=pl.lit("stock")),
                daily(60).filter(pl.int_range(pl.len()) % 2 == 0).with_columns(symbol=pl.lit("survey")),
            ]
        )
        whole.filter(pl.col("date") != date(2024, 1, 17)).write_parquet(folder / "p.parquet")
        said = checked(at("p.parquet", frequency={"*": "1bd", "coin": "1d", "survey": "2d"}))
        assert len(said.quarantine) == 0
        assert dict(said.rows.filter("gap").group_by("series_id").len().rows()) == {"coin": 1, "stock": 1, "survey": 1}
        with pytest.raises(ValueError, match="one step such as"):
            at("p.parquet", frequency={"*": "daily"})

    def test_a_duplicate_is_named_with_its_rows_and_remedies(self, folder: Path, at: Build) -> None:
        daily(30).write_parquet(folder / "a.parquet")
        daily(1, date(2024, 1, 7)).write_parquet(folder / "b.parquet")
        detail = checked(at()).quarantine["detail"][0]
        assert "2024-01-07T00:00:00Z in row 7 of a.parquet and row 1 of b.parquet" in detail
        assert "source.duplicates" in detail
        assert "source.written_at" in detail

    def test_folders_that_hold_columns_are_named_with_their_files(self, folder: Path, at: Build) -> None:
        for line in ("line=1", "line=2"):
            (folder / "plant=N" / line).mkdir(parents=True)
            daily(30).write_parquet(folder / "plant=N" / line / "a.parquet")
        detail = checked(at()).quarantine["detail"][0]
        assert "in row 1 of plant=N/line=1/a.parquet and row 1 of plant=N/line=2/a.parquet" in detail

    def test_a_row_counts_from_when_it_was_written(self, folder: Path, at: Build) -> None:
        """Day 10 was wrong and is corrected on day 20; day 12 was written five days late."""
        days = daily(30).with_columns(written=pl.col("date"))
        late = (
            pl.when(pl.col("date") == date(2024, 1, 12)).then(date(2024, 1, 17)).otherwise("written").alias("written")
        )
        mended = daily(1, date(2024, 1, 10)).with_columns(close=pl.lit(-1.0), written=date(2024, 1, 20))
        pl.concat([mended, days.with_columns(late)]).write_parquet(folder / "p.parquet")
        settings = at("p.parquet", written_at="written", frequency="1d", min_rows=5)

        def known(as_of: str) -> dict[int, float | None]:
            rows = checked(settings, as_of).rows
            return dict(zip(rows["time"].dt.day().to_list(), rows["r"].to_list(), strict=True))

        assert (known("2024-01-16")[10], known("2024-01-16")[12]) == (10.0, None)
        assert (known("2024-01-19")[10], known("2024-01-19")[12]) == (10.0, 12.0)
        assert (known("2024-01-20")[10], known("2024-01-20")[12]) == (-1.0, 12.0)
        assert checked(settings, None).as_of == datetime(2024, 1, 30, tzinfo=UTC)

    def test_when_a_row_was_written_can_be_read_or_is_said_not_to_be(self, folder: Path, at: Build) -> None:
        days = [date(2024, 1, 1) + timedelta(days=i) for i in range(30)]
        frame = pl.DataFrame({"date": days, "close": [1.0 + i % 3 for i in range(30)]})
        for series, cell in (("A", "soon"), ("B", "NA")):
            last = pl.int_range(pl.len()) == 29
            written = pl.when(last).then(pl.lit(cell)).otherwise(pl.lit("2024-02-01")).alias("written")
            frame.with_columns(written, symbol=pl.lit(series)).write_parquet(folder / f"{series}.parquet")
        found = checked(at("*.parquet", written_at="written"))
        assert found.quarantine.select("series_id", "reason").rows() == [("A", "bad_time")]
        assert "row 30 of A.parquet (written holds 'soon')" in found.quarantine["detail"][0]


def test_a_folder_of_nothing_that_can_be_read(folder: Path, at: Build) -> None:
    (folder / "README.md").write_text("nothing")
    with pytest.raises(SourceError, match=r"the folder .* holds none; expected Parquet"):
        read(at())


def test_an_unknown_policy_is_refused(at: Build) -> None:
    with pytest.raises((ConfigurationError, ValueError), match="one of first, last, mean"):
        at("p.parquet", resample="median", frequency="1d")


@pytest.mark.parametrize(
    ("number", "unit", "microseconds"),
    [
        (1.5, "s", 1_500_000),
        ("1.5", "s", 1_500_000),
        (1_700_000_000.25, "s", 1_700_000_000_250_000),
        (7, "s", 7_000_000),
        (2**53 + 1, "us", 2**53 + 1),
        (1_700_000_000_123_456_789, "ns", 1_700_000_000_123_456),
    ],
)
def test_a_number_since_1970_loses_nothing(number: float | str, unit: str, microseconds: int) -> None:
    read = pl.DataFrame({"t": [number]}).select(epoch_moment(pl.col("t"), unit)).to_series()
    assert read.dt.epoch("us").to_list() == [microseconds]


def test_a_moment_that_stands_as_text_is_read_once() -> None:
    """An expression that is used many times is computed as often: minutes where a night has seconds."""
    source = Source(path="x.csv", time="t", timezone="Europe/Berlin", frequency="1h", ambiguous="infer")
    rows = pl.LazyFrame({"t": ["2023-10-29 02:00"], "s": ["A"]})
    read = with_utc(rows, "moment", "t", Stamps("clock", is_text=True), source, pl.col("s"))
    assert read.explain(optimized=False).count("extract_groups") == 1
    assert read.collect_schema().names() == ["t", "s", "moment"]
