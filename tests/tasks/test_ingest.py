"""Only the columns that are used, only the rows known at ``as_of``, only times that mean one moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import tasks.source.files
import tasks.source.ingest
from tasks.config.errors import ConfigurationError, SourceError
from tasks.config.moments import parse_as_of
from tasks.config.settings import Settings
from tasks.source.files import source_files
from tasks.source.ingest import ingest
from tasks.source.validate import validate

Build = Callable[..., Settings]
Prices = Callable[..., pl.DataFrame]


def test_dates_are_midnight_utc_and_only_used_columns_are_read(settings_for: Build, prices: Prices) -> None:
    ingested = ingest(settings_for(prices().with_columns(unused=pl.lit("text"))))
    assert ingested.rows.columns == ["series_id", "time", "known", "raw:close", "file", "row", "flaw"]
    assert ingested.rows["time"][0] == datetime(2024, 1, 1, tzinfo=UTC)


def test_a_row_that_is_not_yet_available_is_not_used(settings_for: Build, prices: Prices) -> None:
    settings = settings_for(prices(), source={"available_after": "1d"})
    assert ingest(settings, "2024-01-10").rows["time"].max() == datetime(2024, 1, 9, tzinfo=UTC)
    found = ingest(settings)
    assert validate(found, settings).as_of == found.rows["time"].max() + timedelta(days=1)
    with pytest.raises(SourceError, match="no row"):
        ingest(settings, "2024-01-01")


def test_naive_times_need_a_zone_and_are_then_read_in_it(settings_for: Build, prices: Prices) -> None:
    naive = prices().with_columns(pl.col("date").cast(pl.Datetime("us")))
    with pytest.raises(SourceError, match=r"without a zone.*source\.timezone"):
        ingest(settings_for(naive))
    read = ingest(settings_for(naive, source={"timezone": "America/New_York"}))
    assert read.rows["time"][0] == datetime(2024, 1, 1, 5, tzinfo=UTC)


def test_a_time_that_the_clock_change_skips_or_repeats_is_null(settings_for: Build) -> None:
    hours = [datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30), datetime(2024, 6, 1)]
    frame = pl.DataFrame({"symbol": "A", "date": hours, "close": [1.0, 2.0, 3.0]})
    read = ingest(settings_for(frame, source={"timezone": "Europe/Berlin"}))
    assert read.rows["time"].is_null().to_list() == [True, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": {"time": "dat"}}, r"source\.time: found no column 'dat'.*'date'"),
        ({"source": {"series": "ticker"}}, r"source\.series: found no column 'ticker'"),
        ({"source": {"time": "close"}}, r"holds Float64; expected dates or timestamps"),
        ({"features": {"r": {"op": "diff", "column": "clos"}}}, r"features\.r: found no column 'clos'.*'close'"),
        ({"features": {"r": {"op": "diff", "column": "symbol"}}}, r"column 'symbol'.*holds String; expected numbers"),
    ],
)
def test_a_column_that_is_not_there_or_not_a_number(
    settings_for: Build, prices: Prices, change: dict[str, dict[str, object]], message: str
) -> None:
    with pytest.raises(SourceError, match=message) as refusal:
        ingest(settings_for(prices(), **change))
    assert refusal.value.exit_status == 2


def test_an_empty_source(settings_for: Build, prices: Prices) -> None:
    with pytest.raises(SourceError, match="holds no rows"):
        ingest(settings_for(prices().clear()))


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really PAR1", b"PARE" * 10])
def test_a_file_that_is_not_readable_parquet_is_one_sentence(
    tmp_path: Path, settings_for: Build, content: bytes
) -> None:
    (tmp_path / "source.parquet").write_bytes(content)
    with pytest.raises(SourceError, match=r"source\.path.*cannot be read") as refusal:
        ingest(settings_for())
    assert len(str(refusal.value).splitlines()) == 1


def test_a_file_cut_off_in_the_middle(tmp_path: Path, settings_for: Build, prices: Prices) -> None:
    settings = settings_for(prices(n_rows=5000))
    path = tmp_path / "source.parquet"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match="cannot be read"):
        ingest(settings)


def test_nothing_at_the_path(settings_for: Build) -> None:
    with pytest.raises(SourceError, match="found nothing"):
        ingest(settings_for(source={"path": "nowhere/*.parquet"}))


def test_a_glob_a_folder_and_a_csv_read_the_same_rows(tmp_path: Path, settings_for: Build, prices: Prices) -> None:
    frame = pl.concat([prices("A"), prices("B", seed=1)])
    for (symbol,), part in frame.group_by("symbol"):
        folder = tmp_path / "hive" / f"symbol={symbol}"
        folder.mkdir(parents=True)
        part.drop("symbol").write_parquet(folder / "part.parquet")
    frame.write_csv(tmp_path / "prices.csv")
    frame.write_parquet(tmp_path / "prices.parquet")
    reads = [
        ingest(settings_for(source={"path": str(tmp_path / where)})).rows.drop("file", "row").sort("series_id", "time")
        for where in ("prices.parquet", "price*.parquet", "hive", "prices.csv")
    ]
    assert all(read.equals(reads[0]) for read in reads)


def test_a_folder_of_other_things_is_not_walked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what is hidden in it, whatever it holds."""
    monkeypatch.setattr(tasks.source.files, "_MOST_OTHERS", 3)
    hidden = tmp_path / ".venv"
    for folder in (tmp_path / "a", hidden, hidden / "b"):
        folder.mkdir()
        (folder / "x.csv").touch()
    for name in "pqrst":
        (hidden / name).touch()
    assert [Path(file.path).relative_to(tmp_path) for file in source_files(str(tmp_path))] == [Path("a/x.csv")]
    for name in "pqrst":
        (tmp_path / "a" / name).touch()
    with pytest.raises(ValueError, match="more than 3 folders and other files: name the source's own"):
        source_files(str(tmp_path))


def test_a_file_that_changes_while_it_is_read_is_not_half_believed(
    settings_for: Build, prices: Prices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that is still being copied; one that comes beside it is another night's."""
    settings = settings_for(prices("A"))
    read, source = tasks.source.ingest.collected, Path(settings.source.path)

    def meanwhile(changed: Path) -> pl.DataFrame:
        def collected(query: pl.LazyFrame, path: str) -> pl.DataFrame:
            rows = read(query, path)
            changed.write_bytes(source.read_bytes() + b"more")
            return rows

        monkeypatch.setattr(tasks.source.ingest, "collected", collected)
        return ingest(settings).rows

    assert meanwhile(source.with_name("beside.parquet")).height == len(prices("A"))
    with pytest.raises(SourceError, match=r"changed while it was read; expected files that are whole: run again"):
        meanwhile(source)


def test_without_a_series_column_there_is_one_series(settings_for: Build, prices: Prices) -> None:
    ingested = ingest(settings_for(prices(), source={"series": None}))
    assert ingested.rows["series_id"].unique().to_list() == ["toy"]


def test_as_of_is_a_date_or_a_moment_with_a_zone() -> None:
    assert parse_as_of("2024-01-31") == datetime(2024, 1, 31, tzinfo=UTC)
    assert parse_as_of("2024-01-31T17:00:00+02:00") == datetime(2024, 1, 31, 15, tzinfo=UTC)
    assert parse_as_of("2024-01-31T12:00:00", "America/New_York") == datetime(2024, 1, 31, 17, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match="without a zone"):
        parse_as_of("2024-01-31T12:00:00")
    with pytest.raises(ConfigurationError, match="yesterday"):
        parse_as_of("yesterday")
