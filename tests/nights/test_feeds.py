"""Feeds as they are sent: what is wrong with one is said where a user meets it, and the others' rows are published."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

SET = ("--set", "model.n_states=2")


@pytest.fixture
def place(place_at):
    return place_at("here")


@pytest.fixture
def feed(toy) -> Callable[..., pl.DataFrame]:
    """So many days of a series of two levels."""

    def build(name: str = "A", n: int = 120, seed: int = 0) -> pl.DataFrame:
        return toy.frame(toy.levels(toy.sojourns(n, 2, seed=seed), distance=4.0, seed=seed), symbol=name)

    return build


def run(place, *more: str, path: Path | None = None):
    at = () if path is None else ("--set", f"source.path={path}")
    return place.command("run", *SET, *at, *more, "--json")


def aside(said) -> dict[str, str]:
    assert said.status == 0, said.err
    return {one["series_id"]: one["reason"] for one in said.last_json["quarantined"]}


def folder(place) -> Path:
    made = place.folder / "feed"
    made.mkdir()
    return made


class TestRefused:
    """One sentence with file and remedy, and exit status 2."""

    def refused(self, place, path: Path, *words: str, more: tuple[str, ...] = ()) -> None:
        said = run(place, *more, path=path)
        assert said.status == 2
        assert said.err.count("\n") < 10
        for word in words:
            assert word in said.err

    def test_a_column_that_a_header_names_twice(self, place, feed) -> None:
        path = place.folder / "twice.csv"
        path.write_text(
            feed().with_columns(y=-pl.col("x")).write_csv().replace("symbol,date,x,y", "symbol,date,x,x", 1)
        )
        self.refused(place, path, "its header names 'x' 2 times; expected it once")

    def test_one_that_no_feature_reads_may_be(self, place, feed) -> None:
        path = place.folder / "twice.csv"
        more = feed().with_columns(y=-pl.col("x"), z=pl.lit(1))
        path.write_text(more.write_csv().replace("symbol,date,x,y,z", "symbol,date,x,y,y", 1))
        assert aside(run(place, path=path)) == {}

    def test_lines_that_end_with_a_carriage_return(self, place, feed) -> None:
        path = place.folder / "old.csv"
        path.write_bytes(feed().write_csv().replace("\n", "\r").encode())
        self.refused(place, path, "its lines end with a carriage return alone; expected line feeds")

    def test_a_folder_of_parquet_and_csv(self, place, feed) -> None:
        both = folder(place)
        feed().head(60).write_parquet(both / "a.parquet")
        feed().tail(60).write_csv(both / "b.csv")
        self.refused(place, both, "a.parquet", "b.csv", "name a glob such as", "/*.parquet")
        assert run(place, path=both / "*").last_json["n_published"] == 120

    def test_a_folder_whose_name_says_another_series_than_the_file(self, place, feed) -> None:
        named = folder(place) / "symbol=01"
        named.mkdir()
        feed("B").write_parquet(named / "part.parquet")
        self.refused(
            place, named.parent, "'symbol' is '01' in the folder's name and 'B' in the file; expected the same"
        )
        feed("B").with_columns(symbol=pl.lit(1)).write_parquet(named / "part.parquet")
        assert run(place, path=named.parent).last_json["n_published"] == 120

    @pytest.mark.parametrize(
        ("cell", "decimal", "remedy"),
        [
            ("1,234", ".", "remove the marks between thousands"),
            ("-1,234,567.5", ".", "remove the marks between thousands"),
            ("1.234,5", ",", "remove the marks between thousands"),
            ("1.234", ",", "a point is no decimal mark"),
            ("1,5", ".", '`source.decimal = ","`'),
        ],
    )
    def test_numbers_that_may_mean_two_things(self, place, feed, cell: str, decimal: str, remedy: str) -> None:
        path = place.folder / "numbers.csv"
        feed().with_columns(x=pl.lit(cell)).write_csv(path, separator=";")
        self.refused(place, path, f"x holds '{cell}'; ", remedy, more=("--set", f'source.decimal="{decimal}"'))

    def test_a_text_without_its_ending(self, place, feed) -> None:
        path = place.folder / "rows.dat"
        path.write_text(feed().write_csv())
        self.refused(place, path, "CSV in UTF-8 (a name that ends in .csv")


class TestSetAside:
    """A series with its reason; the others are published."""

    @pytest.mark.parametrize("odd", ["A ", " A", "A\u200b", "\ufeffA"])
    def test_a_name_that_looks_like_another(self, place, feed, odd: str) -> None:
        pl.concat([feed("A"), feed(odd, 100)]).write_parquet(place.source)
        said = run(place)
        assert aside(said) == {odd: "alike_series"}
        assert "which looks the same; expected one spelling of a series" in said.out
        assert set(place.table()["series_id"]) == {"A"}

    @pytest.mark.parametrize("names", [("Zu\u0308rich", "Z\u00fcrich"), ("1001.0", "1001")])
    def test_one_that_is_plainly_written_is_left(self, place, feed, names: tuple[str, str]) -> None:
        pl.concat([feed(name) for name in names]).write_parquet(place.source)
        assert aside(run(place)) == {names[0]: "alike_series"}

    def test_names_that_differ_stay_apart(self, place, feed) -> None:
        pl.concat([feed("01"), feed("1"), feed("a"), feed("A"), feed("1.5"), feed("a b")]).write_parquet(place.source)
        assert aside(run(place)) == {}

    def test_rows_of_the_future_date_nobody_else(self, place, feed) -> None:
        today = datetime.now(UTC).date()
        known = pl.concat([feed("A"), feed("B"), feed("C")])
        known = known.with_columns(pl.col("date") + (today - timedelta(days=30) - known["date"].max()))
        late = feed("B").tail(1).with_columns(date=pl.lit(today + timedelta(days=400)))
        pl.concat([known, late]).write_parquet(place.source)
        said = run(place)
        assert aside(said) == {}
        (note,) = said.last_json["notes"]
        assert note.startswith("B: 1 row known later than now left out, the first row 361 of source.parquet; mend it")
        assert note in said.out
        assert said.last_json["as_of"].startswith(str(today - timedelta(days=29)))
        assert place.table().filter(series_id="B").height == 120
        assert aside(run(place, "--as-of", str(today))) == {}

    def test_a_series_whose_newest_rows_lie_ahead_is_set_aside(self, place, feed) -> None:
        """Nothing is known of its present; rows between others are left out though they are as many."""
        today = datetime.now(UTC).date()
        known = pl.concat([feed("A"), feed("B"), feed("C")])
        known = known.with_columns(pl.col("date") + (today - timedelta(days=30) - known["date"].max()))
        number = pl.int_range(pl.len()).over("symbol")
        amiss = (pl.col("symbol") == "B") & (number >= 114) | (pl.col("symbol") == "C") & (number % 18 == 3)
        known.with_columns(
            date=pl.when(amiss).then(pl.col("date").dt.offset_by("20y")).otherwise("date")
        ).write_parquet(place.source)
        said = run(place)
        assert aside(said) == {"B": "future_time"}
        assert "found 6 rows known later than now, the first row 235 of source.parquet" in said.out
        of_c = place.table().filter(series_id="C")
        assert (of_c.height, of_c.filter(status="MISSING").height) == (120, 7)

    def test_a_text_in_one_dates_nobody_else(self, place, feed) -> None:
        """The other ended long ago: what is decoded is decoded as of the day on which the first was last heard of."""
        both = pl.concat([feed("A", 160), feed("B", 130)]).with_columns(pl.col("x").cast(pl.String))
        both.filter(pl.col("date") < date(2020, 5, 30)).write_parquet(place.source)
        assert aside(run(place)) == {}
        last = (pl.col("symbol") == "A") & (pl.col("date") == pl.col("date").max())
        both.with_columns(x=pl.when(last).then(pl.lit("n.a.")).otherwise("x")).write_parquet(place.source)
        said = place.command("decode", *SET, "--json")
        assert aside(said) == {"A": "bad_value"}
        assert said.last_json["as_of"].startswith("2020-06-09")
        assert [one["series_id"] for one in said.last_json["stale"]] == ["B"]
        said = place.command("decode", *SET, "--set", "source.bad_values=mark_missing", "--json")
        assert (aside(said), said.last_json["n_published"]) == ({}, 10)
        assert any("A: what holds no number counts as missing: 1 row" in note for note in said.last_json["notes"])

    def test_a_simulated_future_is_no_fault(self, place, feed) -> None:
        ahead = pl.col("date") + pl.duration(days=30 * 365)
        pl.concat([feed("A"), feed("B")]).with_columns(ahead).write_parquet(place.source)
        said = run(place)
        assert aside(said) == {}
        assert said.last_json["as_of"].startswith("2050")
        assert "are dated ahead: as of 2050" in " ".join(said.last_json["notes"])

    def test_a_day_that_a_zone_never_had(self, place, feed) -> None:
        """Samoa went from the 29th to the 31st of December 2011; the row of the 30th is not put on the 31st."""
        moved = feed("A").with_columns(date=pl.col("date") - pl.duration(days=3000))
        noon = pl.col("date").cast(pl.Datetime("us")).dt.offset_by("12h")
        gone = pl.col("date") == date(2011, 12, 30)
        assert moved.select(gone.sum()).item() == 1
        healthy = moved.filter(~gone).with_columns(symbol=pl.lit("B"))
        pl.concat([moved, healthy]).with_columns(noon).write_parquet(place.source)
        said = run(place, "--set", "source.timezone=Pacific/Apia")
        assert aside(said) == {"A": "bad_time"}
        assert place.table().filter(series_id="B")["status"].to_list() == ["OK"] * 119

    def test_a_time_without_a_zone_among_others(self, place, feed) -> None:
        path = place.folder / "zones.csv"
        written = pl.col("date").cast(pl.String) + pl.when(pl.col("symbol") == "A").then(pl.lit("T12:00Z")).otherwise(
            pl.lit("T12:00")
        )
        pl.concat([feed("A"), feed("B")]).with_columns(written).write_csv(path)
        said = run(place, path=path)
        assert aside(said) == {"B": "bad_time"}
        assert "a zone for times without one is `source.timezone`" in said.out


class TestNames:
    """The source names its series otherwise than what is published."""

    @pytest.mark.parametrize(("before", "after"), [("01", 1), ("7.0", "7"), ("spx", "SPX ")])
    def test_all_of_them(self, place, feed, before: str, after: object) -> None:
        feed(before).head(100).write_parquet(place.source)
        assert run(place).status == 0
        feed().with_columns(symbol=pl.lit(after)).write_parquet(place.source)
        said = run(place)
        assert said.status == 2
        assert f"and no longer {before!r}, which is published" in said.err
        assert "--new-lineage" in said.err
        assert place.table().height == 100
        again = run(place, "--new-lineage")
        assert (again.status, again.last_json["n_published"]) == (0, 120), again.err
        assert run(place).status == 0

    def test_one_of_many(self, place, feed) -> None:
        pl.concat([feed("01").head(100), feed("02").head(100), feed("03").head(100)]).write_parquet(place.source)
        assert run(place).status == 0
        pl.concat([feed("01"), feed("02"), feed("3")]).write_parquet(place.source)
        said = run(place, "--set", "promote.min_coverage=0.5")
        assert aside(said) == {"3": "other_name"}
        assert set(place.table()["series_id"]) == {"01", "02", "03"}


class TestRead:
    """What needs no mending."""

    def test_numbers_as_dates(self, place, feed) -> None:
        feed().with_columns(date=pl.col("date").dt.strftime("%Y%m%d").cast(pl.Int64)).write_parquet(place.source)
        assert run(place, "--set", "source.time_format=%Y%m%d").last_json["n_published"] == 120
        assert run(place).status == 2

    @pytest.mark.parametrize("name", ["my data", "Z\u00fcrich #1"])
    def test_any_folder_may_hold_source_and_table(self, place, feed, name: str) -> None:
        feed().head(100).write_delta(f"{place.folder}/{name}/feed")
        at = (
            "--set",
            f"source.path={place.folder}/{name}/feed",
            "--set",
            f"output.states={place.folder}/{name}/states",
        )
        assert run(place, *at).last_json["n_published"] == 100
        feed().tail(20).write_delta(f"{place.folder}/{name}/feed", mode="append")
        assert run(place, *at).last_json["n_published"] == 20
        assert place.command("states", *at, "--json").last_json["n_rows"] == 120


class TestSaid:
    """A refusal names the key that is wrong, not another."""

    @pytest.mark.parametrize("kind", ["dates", "text"])
    def test_a_number_of_steps_for_dates(self, place, feed, kind: str) -> None:
        rows = feed() if kind == "dates" else feed().with_columns(pl.col("date").cast(pl.String))
        rows.write_parquet(place.source)
        said = run(place, "--set", "source.frequency=1", "--set", "source.available_after=0")
        assert said.status == 2
        assert "`source.frequency = 1` counts steps" in said.err
        assert "time_format" not in said.err

    def test_hours_for_days(self, place, feed) -> None:
        feed().write_parquet(place.source)
        said = run(place, "--set", "source.frequency=1h")
        assert said.status == 2
        assert "steps of 1h; expected fewer gaps than rows: a longer `source.frequency`" in said.err

    def test_which_feature_lacks_its_column(self, place, feed) -> None:
        feed().write_parquet(place.source)
        said = run(place, "--set", 'features.y={op="diff", column="clos"}')
        assert (said.status, said.err.split(":")[1].strip()) == (2, "features.y")

    @pytest.mark.parametrize(("written", "byte"), [("symböl", " (byte 0xf6, 'ö' in Latin-1)"), ("Zürich", "")])
    def test_a_letter_that_is_no_utf_8(self, place, feed, written: str, byte: str) -> None:
        """In the header, or in a cell."""
        path = place.folder / "latin.csv"
        text = feed("A").write_csv().replace("symbol" if byte else "A", written)
        path.write_bytes(text.encode("latin-1"))
        said = run(place, path=path)
        assert said.status == 2
        assert f"it is no UTF-8{byte}: save it as such; what is Latin-1, `iconv -f latin1 -t utf-8` makes" in said.err

    def test_one_state_alone(self, place, feed) -> None:
        feed().write_parquet(place.source)
        assert "1 state, gaussian emission" in run(place, "--set", "model.n_states=1").out
        assert "every row is of it, and nothing changes" in place.command("try", "--set", "model.n_states=1").out


def test_what_came_late_and_what_is_gone_is_said_where_nothing_is_published(place, toy) -> None:
    """Of the same moment, values follow with the next; a source that ends before the table is no silence."""
    rows = toy.frame(toy.levels(toy.sojourns(160, n_states=2), distance=4.0))
    both = pl.concat([rows, rows.with_columns(symbol=pl.lit("B"))])
    is_late = (pl.col("symbol") == "B") & (pl.col("date") >= toy.day(157))
    both.filter(~is_late).write_parquet(place.source)
    two = ("--set", "model.n_states=2", "--json")
    assert place.command("run", "--as-of", str(toy.day(150)), *two).status == 0
    assert place.command("decode", *two).last_json["n_published"] == 20

    def noted(verb: str) -> str:
        said = place.command(verb, *two).last_json
        assert (said["verdict"], said["n_published"]) == ("ALREADY_PUBLISHED", 0)
        return " ".join(said["notes"])

    both.write_parquet(place.source)
    for verb in ("decode", "run"):
        assert "values of 3 rows came after they were published as missing" in noted(verb)
        assert "the source ends" not in noted(verb)
    both.filter(pl.col("date") < toy.day(155)).write_parquet(place.source)
    for verb in ("decode", "run"):
        assert "the source ends as of 2020-06-04" in noted(verb)
