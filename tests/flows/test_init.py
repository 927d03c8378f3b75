"""A look at a file writes a configuration by which a night reads all of it, or says what has to be decided."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from flows.cli import main
from tasks.config.settings import read_settings
from tasks.source.ingest import ingest
from tasks.source.look.choices import Choices
from tasks.source.look.gaps import choose_stale
from tasks.source.look.skew import asks_for_logarithm, skews
from tasks.source.validate import Validated, validate

N = 150
DAYS = [date(2023, 1, 2) + timedelta(days=i) for i in range(N)]
NOISE = np.random.default_rng(0).normal(size=4 * N)
PRICE = 100 * np.exp(0.02 * NOISE.cumsum())


@dataclass(frozen=True)
class Look:
    """What the command said and wrote, and what a night reads by that."""

    said: dict[str, Any]
    text: str
    config: Path

    @property
    def source(self) -> dict[str, Any]:
        return tomllib.loads(self.text)["source"]

    @property
    def features(self) -> dict[str, Any]:
        return tomllib.loads(self.text)["features"]

    def read(self) -> Validated:
        settings = read_settings(self.config)
        return validate(ingest(settings), settings)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def hsmm(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def look(path: str, *arguments: str) -> Look:
    status, out, err = hsmm("init", path, *arguments, "--json")
    assert status == 0, err
    said = json.loads(out.splitlines()[-1])
    config = Path(said["config"])
    return Look(said, config.read_text(encoding="utf-8"), config)


def write(text: str, name: str = "own.csv") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def table(header: str, *columns: Any, mark: str = ",") -> str:
    rows = [header, *(mark.join(map(str, row)) for row in zip(*columns, strict=True))]
    return write("\n".join(rows) + "\n")


def test_semicolons_decimal_commas_and_days_first() -> None:
    numbers = [f"{x:.2f}".replace(".", ",") for x in PRICE[:N]]
    found = look(table("Tag;shop_id;Umsatz", [f"{d:%d.%m.%Y}" for d in DAYS], ["Süd"] * N, numbers, mark=";"))
    assert found.said["decide"] == {}
    rows = found.read().rows
    assert rows["series_id"].unique().to_list() == ["Süd"]
    assert rows["time"].to_list() == [datetime(d.year, d.month, d.day, tzinfo=UTC) for d in DAYS]
    assert found.features == {"Umsatz_return": {"op": "log_return", "column": "Umsatz"}}
    assert np.allclose(rows["Umsatz_return"][1:], np.diff(np.log(np.round(PRICE[:N], 2))), atol=1e-9)


@pytest.mark.parametrize(
    ("zone", "month"),
    [
        ("Europe/Berlin", 3),
        ("Europe/Athens", 3),
        ("Europe/Berlin", 10),
        ("Asia/Beirut", 10),
        ("America/Asuncion", 9),
    ],
)
def test_local_hours_find_their_zone_and_ids_keep_their_zeros(zone: str, month: int) -> None:
    moments = [datetime(2023, month, 1, tzinfo=UTC) + timedelta(hours=i) for i in range(24 * 35)]
    clocks = [f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" for moment in moments]
    values = 20 + NOISE[np.arange(len(clocks)) % len(NOISE)]
    frame = [(meter, clock, value) for meter in ("0017", "0102") for clock, value in zip(clocks, values, strict=True)]
    found = look(table("kennung,clock,load", *zip(*frame, strict=True)))
    assert (found.said["decide"], found.source["series"], found.source["timezone"]) == ({}, "kennung", zone)
    if zone == "Europe/Berlin":
        assert '# timezone = "Europe/Amsterdam"   # or another of ' in found.text
        assert '# timezone = "Europe/Chisinau"   # changes at that hour, too, at another moment' in found.text
    rows = found.read().rows
    for meter in ("0017", "0102"):
        own = rows.filter(series_id=meter)
        assert own["time"].to_list() == moments
        assert not own["gap"].any()


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    zone = ZoneInfo("Europe/Berlin")
    moments = [datetime(2023, 10, 20, tzinfo=UTC) + timedelta(hours=i) for i in range(24 * 170)]
    clocks = [f"{moment.astimezone(zone):%Y-%m-%d %H:%M}" for moment in moments]
    found = look(table("t,x", clocks, NOISE[np.arange(len(clocks)) % len(NOISE)]))
    assert (found.source["timezone"], found.source["ambiguous"]) == ("Europe/Berlin", "infer")
    assert found.read().rows["time"].to_list() == moments


def test_clocks_that_several_zones_share_have_to_be_decided_and_then_are() -> None:
    moments = [datetime(2023, 3, 1, tzinfo=UTC) + timedelta(hours=i) for i in range(24 * 20)]
    clocks = [f"{moment.astimezone(ZoneInfo('America/Chicago')):%Y-%m-%dT%H:%M}" for moment in moments]
    path = table("t,x", clocks, NOISE[: len(clocks)])
    found = look(path)
    assert list(found.said["decide"]) == ["source.timezone"]
    assert '# timezone = "America/Chicago"' in found.text
    assert hsmm("try", str(found.config))[0] == 2
    decided = look(path, "--set", "source.timezone=America/Chicago", "--output", "two.toml")
    assert decided.said["decide"] == {}
    assert decided.read().rows["time"].to_list() == moments


def test_days_and_months_that_cannot_be_told_apart_have_to_be_decided() -> None:
    days = [date(2023, month, day) for month in range(1, 13) for day in range(1, 13)]
    path = table("day,x", [f"{d:%m/%d/%Y}" for d in days], NOISE[:144])
    found = look(path)
    assert list(found.said["decide"]) == ["source.time_format"]
    assert '# time_format = "%m/%d/%Y"   # 01/02/2023 is 2 January 2023' in found.text
    assert '# time_format = "%d/%m/%Y"   # 01/02/2023 is 1 February 2023' in found.text
    decided = look(path, "--set", "source.time_format=%m/%d/%Y", "--output", "two.toml")
    read = decided.read().rows.filter(~pl.col("gap"))["time"].dt.date().to_list()
    assert read == days
    more = [*days, date(2024, 1, 13)]
    sure = look(table("day,x", [f"{d:%m/%d/%Y}" for d in more], NOISE[:145]), "--output", "three.toml")
    assert (sure.said["decide"], sure.source["time_format"]) == ({}, "%m/%d/%Y")


@pytest.mark.parametrize("clocks", [("6:00 am", "6:00 PM"), ("06:00:00", "18:00"), ("6", "18")])
def test_times_of_day_beside_days_are_half_a_moment_and_no_series(clocks: tuple[str, str]) -> None:
    days, halves = [day.isoformat() for day in DAYS[:30] for _ in range(2)], [*clocks] * 30
    found = look(table("Date,Hour,Sales", days, halves, range(60)))
    assert list(found.said["decide"]) == ["source.time"]
    assert not {"time", "series"} & found.source.keys()
    status, _, err = hsmm("run", str(found.config))
    assert (status != 0, "source.time: missing" in err) == (True, True)
    (line,) = (line[2:] for line in found.text.splitlines() if line.startswith("# pl.read_csv"))
    exec(line, {"pl": pl})
    joined = look("joined.csv")
    assert (joined.said["decide"].keys(), joined.source["frequency"]) == ({"source.timezone"}, "12h")
    assert "series" not in joined.source


def test_a_time_of_day_tells_no_more_where_days_come_once_by_series() -> None:
    found = look(
        table("Date,Shop,Time,Sales", [*DAYS, *DAYS], ["a"] * N + ["b"] * N, ["06:00", "18:00"] * N, NOISE[: 2 * N])
    )
    assert (found.source["series"], found.source["time"], found.said["decide"]) == ("Shop", "Date", {})


def test_a_comma_of_thousands_is_not_taken_for_a_decimal_one() -> None:
    path = table("day;x", DAYS, [f"{1 + i % 9},{100 + i % 900}" for i in range(N)], mark=";")
    found = look(path)
    assert list(found.said["decide"]) == ["source.decimal"]
    assert "decimal" not in found.source


def test_thousands_that_keep_a_column_out_are_named_by_a_cell_that_has_them() -> None:
    sales = ["EUR", *(f'"{11 + i % 9},584.22"' for i in range(N - 1))]
    found = look(table("day,Sales,x", DAYS, sales, NOISE[:N]))
    assert f"{N - 1} of its {N} cells have commas between thousands, the first '11,584.22'" in " ".join(
        found.text.replace("#", " ").split()
    )
    counts = look(
        table("day;n", DAYS, ["878", *(f"1,{100 + i}" for i in range(N - 1))], mark=";"), "--output", "n.toml"
    )
    assert "numbers such as 1,100 in n" in counts.said["decide"]["source.decimal"]


def test_a_row_of_totals_is_told_by_the_format_that_it_lacks() -> None:
    days = [f"{day:%d/%m/%Y}" for day in DAYS]
    found = look(table("day,x", [*days, "Total"], NOISE[: N + 1]))
    (detail,) = found.read().quarantine["detail"]
    assert "(day holds 'Total'); expected one as `source.time_format` (%d/%m/%Y) says" in detail
    assert "delete rows of units or totals" in detail
    assert not {"timezone", "ambiguous"} & set(re.findall(r"source\.(\w+)", detail))


def test_business_days_beside_days_have_calendars_of_their_own() -> None:
    weekdays = [d for d in DAYS if d.weekday() < 5]
    rows = [("spx", d) for d in weekdays] + [("ndx", d) for d in weekdays] + [("btc", d) for d in DAYS]
    found = look(table("asset,date,close", *zip(*rows, strict=True), PRICE[: len(rows)]))
    assert found.source["frequency"] == {"*": "1bd", "btc": "1d"}
    read = found.read()
    assert read.quarantine.is_empty()
    assert not read.rows["gap"].any()


@pytest.mark.parametrize(("step", "frequency"), [(timedelta(minutes=15), "15m"), (timedelta(weeks=1), "1w")])
def test_the_step_is_the_longest_with_room_for_every_row(step: timedelta, frequency: str) -> None:
    moments = [datetime(2023, 1, 3, tzinfo=UTC) + step * i for i in range(N) if i % 10 != 7]
    found = look(table("time,x", [m.isoformat() for m in moments], NOISE[: len(moments)]))
    assert found.source["frequency"] == frequency
    rows = found.read().rows
    assert rows.filter(~pl.col("gap"))["time"].to_list() == moments
    assert rows["gap"].sum() == N - len(moments)


def test_a_few_days_without_a_weekend_are_days() -> None:
    assert look(table("day,x", DAYS[:5], NOISE[:5])).source["frequency"] == "1d"


def test_rows_a_little_beside_their_steps_count_for_the_nearest() -> None:
    moments = [
        datetime(2023, 1, 3, tzinfo=UTC) + timedelta(minutes=10 * i, seconds=round(20 * NOISE[i])) for i in range(N)
    ]
    found = look(table("time,x", [m.isoformat() for m in moments], NOISE[:N]))
    assert (found.source["frequency"], found.source["off_calendar"]) == ("10m", "snap")
    assert found.read().rows.filter(~pl.col("gap")).height == N


def test_rows_that_come_when_they_like_are_steps() -> None:
    after = np.random.default_rng(1).exponential(3600, size=N).cumsum()
    moments = [datetime(2023, 1, 3, tzinfo=UTC) + timedelta(seconds=float(s)) for s in after]
    found = look(table("time,x", [m.isoformat() for m in moments], NOISE[:N]))
    assert "frequency" not in found.source
    assert found.read().rows.height == N


def test_counted_time_is_counted() -> None:
    found = look(table("engine,cycle,temperature", [1] * 80 + [2] * 70, [*range(80), *range(70)], 600 + NOISE[:N]))
    assert (found.source["series"], found.source["time"], found.source["frequency"]) == ("engine", "cycle", 1)
    rows = found.read().rows.filter(~pl.col("gap"))
    assert rows.group_by("series_id").len().sort("series_id")["len"].to_list() == [80, 70]


@pytest.mark.parametrize(("unit", "per"), [("s", 1), ("ms", 1000)])
def test_seconds_since_1970(unit: str, per: int) -> None:
    first = int(datetime(2023, 1, 3, tzinfo=UTC).timestamp())
    found = look(table("timestamp,x", [(first + 3600 * i) * per for i in range(N)], NOISE[:N]))
    assert (found.source["time_format"], found.source["frequency"]) == (unit, "1h")
    assert found.read().rows["time"][0] == datetime(2023, 1, 3, tzinfo=UTC)


def test_as_many_ids_are_told_as_there_are_series() -> None:
    rows = [(f"shop {i}", day) for i in range(100) for day in DAYS[:20]]
    found = look(table("shop,day,x", *zip(*rows, strict=True), np.resize(NOISE, len(rows))))
    assert found.said["n_series"] == 100
    assert "# Its 100 values, such as shop 0, are ids" in found.text


def test_rows_that_say_the_same_twice_lose_nothing_and_others_have_to_be_decided() -> None:
    days, values = [*DAYS, DAYS[9]], [*NOISE[:N], NOISE[9]]
    found = look(table("day,shop,x", days, ["a"] * (N + 1), values))
    assert (found.said["decide"], found.source["duplicates"]) == ({}, "drop_same")
    assert found.read().rows.height == N
    values[-1] += 1.0
    differing = look(table("day,shop,x", days, ["a"] * (N + 1), values), "--output", "two.toml")
    assert list(differing.said["decide"]) == ["source.duplicates"]
    assert differing.said["n_quarantined"] == 1
    assert differing.read().quarantine["reason"].to_list() == ["duplicate_time"]
    written = [f"{d}T12:00Z" for d in DAYS] + ["2024-01-01T00:00Z"]
    noted = look(table("day,x,updated_at", days, values, written), "--output", "three.toml")
    assert (noted.said["decide"], noted.source["written_at"]) == ({}, "updated_at")
    assert noted.read().rows["x"][9] == pytest.approx(values[-1])


def test_a_wild_value_has_to_be_decided_and_bends_no_guess() -> None:
    values = list(np.round(PRICE[:N], 4))
    values[70] = -999999.0
    found = look(table("day,close", DAYS, values))
    assert "features.close_return" in found.said["decide"]
    assert "-999999 of 'own' at 2023-03-13T00:00:00Z" in " ".join(found.text.replace("#", "").split())


LEVELS = np.repeat(NOISE[:15] * 10, 10)


@pytest.mark.parametrize(
    ("values", "op"),
    [
        (PRICE[:N], "log_return"),
        (1.2e6 + np.abs(NOISE[:N]).cumsum(), "diff"),
        (NOISE[:N].cumsum(), "diff"),
        (20 + NOISE[:N], "identity"),
        (20 + LEVELS + 0.01 * NOISE[:N], "identity"),
        (np.exp(2 * NOISE[:N]), "log"),
        (np.exp(13 + 0.5 * NOISE[:N]), "log"),
        (20 + 5 * NOISE[:N], "identity"),
    ],
)
def test_a_transform_suits_its_column(values: np.ndarray, op: str) -> None:
    found = look(table("day,x", DAYS, values))
    (feature,) = found.features.values()
    assert feature == {"op": op, "column": "x"}


def test_counts_have_laws_of_counts() -> None:
    found = look(table("day,x", DAYS, np.random.default_rng(0).poisson(4, N)))
    assert tomllib.loads(found.text)["model"]["emission"] == ["poisson", "negative_binomial"]


def test_columns_that_say_the_same_or_nothing_are_left_out_and_said() -> None:
    close, high, low = PRICE[:N], PRICE[:N] * 1.0001, PRICE[:N] * 0.9999
    found = look(table("day,high,low,close,kind,note", DAYS, high, low, close, [1.5] * N, ["x y"] * N))
    assert list(found.features) == ["close_return"]
    for words in ("Left out, 'high'", "'kind': it never changes", "'note': 150 of its 150 cells", "log_ratio"):
        assert words in " ".join(found.text.replace("#", "").split())


@pytest.mark.parametrize("column", ["state", "time x", "Umsatz (€)", "a.b", "raw:x", 'quo"te'])
def test_names_of_columns_are_names_of_keys(column: str) -> None:
    pl.DataFrame({"day": DAYS, column: 20 + NOISE[:N]}).write_parquet("own.parquet")
    found = look("own.parquet")
    (feature,) = found.features.values()
    assert feature["column"] == column
    assert found.read().rows.height == N


def test_folders_and_delta_tables_are_looked_at() -> None:
    for shop in ("0017", "0018"):
        folder = Path("sales") / f"shop={shop}"
        folder.mkdir(parents=True)
        pl.DataFrame({"day": DAYS, "x": 20 + NOISE[:N]}).write_parquet(folder / "a.parquet")
    found = look("sales")
    assert (found.said["n_series"], found.source["series"]) == (2, "shop")
    assert sorted(found.read().rows["series_id"].unique()) == ["0017", "0018"]
    pl.DataFrame({"day": DAYS, "x": NOISE[:N]}).write_delta("lake")
    assert look("lake").said["n_rows"] == N


def test_every_line_has_its_reason() -> None:
    found = look(table("day,x", DAYS, 20 + NOISE[:N]))
    lines = found.text.splitlines()
    keys = [place for place, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) > 8
    assert all(lines[place - 1].startswith("#") for place in keys)


def test_nothing_is_replaced() -> None:
    path = table("day,x", DAYS, NOISE[:N])
    Path("own.toml").write_text("mine")
    status, out, err = hsmm("init", path)
    assert (status, out) == (2, "")
    assert "'own.toml' is there already" in err
    assert Path("own.toml").read_text() == "mine"


GOOD = "day,x\n" + "".join(f"{d},{x}\n" for d, x in zip(DAYS, NOISE[:N], strict=True))


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("", "own.csv", "empty CSV"),
        ("day,x\n", "own.csv", "holds no rows"),
        ("2024-01-01,5.3\n2024-01-02,5.4\n", "own.csv", "add a header"),
        ("a,b\n1.5,2\n2.5,3\n", "own.csv", "says when a row happened (found 'a', 'b')"),
        ("day,name\n2024-01-01,x\n2024-01-02,y\n", "own.csv", "name: 2 of its 2 cells hold no number, the first 'x'"),
        ("day,x\n2024-01-01,3\n2024-01-02,3\n", "own.csv", "x: it never changes"),
        ("day,x\n2024-01-01,1,2\n", "own.csv", "a row has more cells than its header has names"),
        (GOOD, "own.xlsx", "a spreadsheet: save it as CSV"),
        (GOOD, "own.json", "JSON: save it as CSV"),
        (GOOD, "own.parquet", "cannot be read"),
        ('name = "own"', "own.toml", "is a configuration; expected a source"),
    ],
)
def test_what_cannot_be_looked_at_is_one_sentence_and_leaves_nothing(text: str, name: str, words: str) -> None:
    status, out, err = hsmm("init", write(text, name), "--output", "new.toml")
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert [file.name for file in Path().iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("init", "own.csv", "--output", "own.yaml"), "no name of a TOML file"),
        (("init", "own.csv", "--set", "fit.n_innit=3"), "n_innit"),
        (("init", "own.csv", "--set", "source.time_format"), "expected section.key=value"),
        (("init", "own.csv", "--out", "x.toml"), "Did you mean --output?"),
        (("run", "own.csv"), "If these are data, `hsmm init own.csv` writes a configuration"),
        (("try", "own.csv"), "If these are data, `hsmm init own.csv` writes a configuration"),
        (("try", "nowhere.toml"), "found no such file"),
    ],
)
def test_wrong_use_says_what_helps(arguments: tuple[str, ...], words: str) -> None:
    write(GOOD)
    status, out, err = hsmm(*arguments)
    assert (status, out) == (2, "")
    assert words in err


def test_bytes_that_are_no_utf_8_are_said_to_be_none() -> None:
    Path("own.csv").write_bytes("day,größe\n2024-01-01,1\n".encode("latin-1"))
    status, _, err = hsmm("init", "own.csv")
    assert status == 2
    assert "no UTF-8 (byte 0xf6, 'ö' in Latin-1)" in err


def test_empty_lines_of_a_text_are_no_rows() -> None:
    """One at the end, as editors and exports leave it, and one within: neither is a row without a time or an id."""
    shops = [shop for shop in "ab" for _ in DAYS]
    source = table("day,shop,x", DAYS * 2, shops, NOISE[: 2 * N])
    lines = Path(source).read_text().splitlines()
    for place, text in ((2, [*lines[:7], "", ",,", *lines[7:], "", ""]), (1, [*lines, ",,,"[:2]])):
        Path(source).write_text("\n".join(text) + "\n")
        found = look(source, "--output", f"{place}.toml")
        assert (found.said["decide"], found.said["n_quarantined"]) == ({}, 0)
        assert found.source["series"] == "shop"
        assert found.read().rows.height == 2 * N


def test_many_zeros_ask_for_a_law_that_has_them() -> None:
    """Amounts and counts: with the share that speaks for it, and fitted by what is written."""
    dry = np.arange(4 * N) % 4 > 0
    amounts = np.where(dry, 0.0, np.round(np.exp(NOISE), 3))
    days = [DAYS[0] + timedelta(days=i) for i in range(4 * N)]
    found = look(table("day,rain", days, amounts))
    assert "# 75% of its values are 0 and the others positive" in found.text
    assert tomllib.loads(found.text)["model"]["emission"] == ["zero_inflated_gamma"]
    assert "# These laws take values in their own units, whatever stands here" in found.text
    assert not len(found.read().quarantine)
    calls = np.where(dry, 0, np.random.default_rng(1).poisson(6.0, 4 * N))
    more = look(table("day,calls", days, calls), "--output", "calls.toml")
    assert re.search(r"\d+% of them 0 where a Poisson law of their\s+(#\s+)?mean has \d+%", more.text), more.text
    assert tomllib.loads(more.text)["model"]["emission"][-1] == "zero_inflated_poisson"


def test_cells_that_are_empty_are_told_as_a_share() -> None:
    found = look(table("day,level", DAYS, ["" if i % 4 == 0 else f"{x:.3f}" for i, x in enumerate(NOISE[:N])]))
    assert "25% of its cells are empty" in " ".join(found.text.replace("#", " ").split())


def test_how_long_a_silence_is_none_is_told_by_the_gaps_that_ended() -> None:
    """A shop that closes for three weeks is no feed that has ended; one that went is, and is said to be."""
    closed = [day for i, day in enumerate(DAYS) if not 40 <= i < 60]
    gone = DAYS[:70]
    rows = [("a", day) for day in closed] + [("b", day) for day in DAYS] + [("c", day) for day in gone]
    found = look(table("shop,day,level", *zip(*rows, strict=True), NOISE[: len(rows)]))
    assert found.source["stale_after"] == 30
    told = " ".join(found.text.replace("#", " ").split())
    assert "the longest gap that ended lacks 20 steps, of 'a' before 2023-03-03" in told.replace("The", "the")
    assert "1 of 3 series ended before the others: 'c' on 2023-03-12" in told
    assert found.read().stale["series_id"].to_list() == ["c"]


def test_amounts_are_seen_by_their_logarithms_and_temperatures_as_they_are() -> None:
    """Within regimes: that a high one lasts for less time than a low one makes no column skewed."""
    rng = np.random.default_rng(0)
    noise, high = rng.normal(size=1200), np.arange(1200) % 100 >= 80
    series = pl.Series("series_id", np.repeat(["a", "b", "c"], 400))

    def asks(values: np.ndarray) -> bool:
        return asks_for_logarithm(*skews(pl.DataFrame({"series_id": series, "x": values})))

    for spread in (0.25, 0.55, 1.0):
        assert asks(np.exp(13.0 + spread * noise + high))
        assert asks(np.exp(spread * noise + 5.0 * np.repeat([0, 1, 2], 400)))
    for temperature in (20.0 + 3.0 * noise, 20.0 + 2.0 * noise + 20.0 * high, 290.0 + 10.0 * noise + 30.0 * high):
        assert not asks(temperature)
    for lower in (0.05, 50.0):  # of a few that are far out, neither side decides
        assert not asks(np.where(rng.random(1200) < 0.01, lower, 20.0 + noise))
    for share in (rng.beta(5.0, 1.5, size=1200), rng.uniform(1.0, 100.0, size=1200), np.ones(1200)):
        assert not asks(share)


@pytest.mark.parametrize(("frequency", "zone", "n"), [("1bd", "Asia/Tokyo", 1), ("1d", "UTC", 3)])
def test_a_gap_is_as_long_as_the_steps_that_it_lacks(frequency: str, zone: str, n: int) -> None:
    """A Monday off makes a gap of one step, of business days, whatever the clock of the zone."""
    off = datetime(2023, 3, 6, tzinfo=ZoneInfo(zone))
    days = [off + timedelta(days=i) for i in range(-25, 25) if (off + timedelta(days=i)).weekday() < 5 and i]
    rows = pl.DataFrame({"series_id": ["a"] * len(days) + ["b"], "time": [*days, days[0]]})
    choices = Choices({})
    choose_stale(choices, rows.with_columns(pl.col("time").dt.convert_time_zone("UTC")), frequency, zone)
    assert f"lacks {n} step{'s' * (n > 1)}, of 'a' before 2023-03-07" in choices.made["source.stale_after"].why


def test_zones_whose_clocks_skip_the_same_hour_are_left_to_who_knows() -> None:
    moments = [datetime(2023, 9, 20, tzinfo=UTC) + timedelta(hours=i) for i in range(24 * 20)]
    clocks = [f"{moment.astimezone(ZoneInfo('Australia/Adelaide')):%Y-%m-%d %H:%M}" for moment in moments]
    found = look(table("clock,load", clocks, 20 + NOISE[: len(clocks)]))
    assert "source.timezone" in found.said["decide"]
    assert '# timezone = "Australia/Sydney"\n# timezone = "Australia/Adelaide"' in found.text
