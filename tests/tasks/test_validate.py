"""A bad series is set aside with its own reason; the others are as if it had never been there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tasks.config.settings import Settings
from tasks.report.page.data import page_data
from tasks.source.ingest import ingest
from tasks.source.leading import told_leading
from tasks.source.present import told_ahead, told_left_out
from tasks.source.validate import Validated, validate
from tasks.tables.publish import all_set_aside
from tests.sources import Poison, poisons

Build = Callable[..., Settings]
Prices = Callable[..., pl.DataFrame]
DAY = timedelta(days=1)
POISONS: dict[str, Poison] = {
    **poisons("close"),
    "sparse": lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(pl.col("date").dt.offset_by("-10y")).otherwise("date").alias("date")
    ),
}


def _read(settings: Settings) -> Validated:
    return validate(ingest(settings), settings)


@pytest.fixture
def hourless(prices: Prices) -> Prices:
    """Prices stamped in UTC, so that a row can fall outside the calendar."""
    return lambda *args, **kw: prices(*args, **kw).with_columns(pl.col("date").cast(pl.Datetime("us", "UTC")))


def test_each_poison_has_its_own_reason_and_harms_nobody(settings_for: Build, hourless: Prices) -> None:
    source = {"unsorted": "reject", "frequency": "1d"}
    healthy = [hourless("ok1", seed=1), hourless("ok2", seed=2)]
    poisoned = [poison(hourless(reason)) for reason, poison in POISONS.items()]
    clean = _read(settings_for(pl.concat(healthy), source=source))
    mixed = _read(settings_for(pl.concat([healthy[0], *poisoned, healthy[1]]), source=source))
    found = dict(mixed.quarantine.select("series_id", "reason").iter_rows())
    assert found == {("" if reason == "missing_series" else reason): reason for reason in POISONS}
    assert mixed.quarantine["detail"].str.len_chars().min() > 10
    assert mixed.rows.equals(clean.rows)
    assert (mixed.train_start, mixed.train_end) == (clean.train_start, clean.train_end)


@pytest.mark.parametrize("at_once", [1, 150])
def test_series_validated_a_few_at_a_time_are_those_of_all_at_once(
    settings_for: Build, hourless: Prices, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Rows stand mixed in the source; two series look alike, one lies ahead, some have gaps or have ended."""
    healthy = [hourless(f"ok{seed}", seed=seed) for seed in range(4)]
    gaps = hourless("gaps", seed=5).filter(pl.int_range(pl.len()) % 7 != 3)
    ended = hourless("ended", seed=6).head(40)
    alike, ahead = hourless("ok1 ", seed=7), hourless("ahead", seed=8).with_columns(pl.col("date").dt.offset_by("90y"))
    poisoned = [poison(hourless(reason)) for reason, poison in POISONS.items()]
    mixed = pl.concat([*healthy, gaps, ended, alike, ahead, *poisoned]).with_row_index("row")
    rows = mixed.sort(pl.col("row").rank("ordinal").over("symbol"), "row").drop("row")
    settings = settings_for(rows, source={"unsorted": "reject", "frequency": "1d", "stale_after": 3})
    whole = _read(settings)
    monkeypatch.setattr("tasks.source.pieces.AT_ONCE", at_once)
    few = _read(settings)
    assert few.rows.equals(whole.rows)
    assert few.quarantine.equals(whole.quarantine)
    assert few.stale.equals(whole.stale)
    assert (few.as_of, few.train_start, few.train_end) == (whole.as_of, whole.train_start, whole.train_end)
    assert {"alike_series", "future_time", "off_calendar"} <= {*whole.quarantine["reason"]}
    assert whole.stale["series_id"].to_list() == ["ended"]


def test_declared_policies_mend_what_they_name(settings_for: Build, prices: Prices) -> None:
    tidy = prices()
    revised = pl.concat([tidy.head(-1), tidy.tail(1).with_columns(close=9.0), tidy.tail(1)])
    mended = _read(settings_for(revised, source={"duplicates": "keep_last"})).rows
    assert mended.equals(_read(settings_for(tidy)).rows)
    shuffled = _read(settings_for(tidy.sample(fraction=1, shuffle=True, seed=0))).rows
    assert shuffled.equals(mended)


def test_gaps_become_rows_without_values(settings_for: Build, prices: Prices) -> None:
    frame = prices().filter(~pl.col("date").is_in([datetime(2024, 1, 10).date(), datetime(2024, 1, 11).date()]))
    rows = _read(settings_for(frame, source={"frequency": "1d"})).rows
    assert rows["time"].diff().drop_nulls().unique().to_list() == [timedelta(days=1)]
    gaps = rows.filter("gap")
    assert gaps["time"].to_list() == [datetime(2024, 1, 10, tzinfo=UTC), datetime(2024, 1, 11, tzinfo=UTC)]
    assert gaps["r"].null_count() == 2
    without = _read(settings_for(frame)).rows
    assert rows.filter(~pl.col("gap")).drop("trains").equals(without.drop("trains"))


def test_weekends_are_no_gaps_of_a_business_calendar(settings_for: Build, prices: Prices) -> None:
    weekdays = prices(n_rows=90).filter(pl.col("date").dt.weekday() <= 5)
    holiday = datetime(2024, 1, 15).date()
    rows = _read(settings_for(weekdays.filter(pl.col("date") != holiday), source={"frequency": "1bd"})).rows
    assert rows.filter("gap")["time"].dt.date().to_list() == [holiday]
    assert len(rows) == len(weekdays)


def test_days_are_counted_in_their_zone(settings_for: Build) -> None:
    closes = pl.datetime_range(
        datetime(2024, 3, 1, 16), datetime(2024, 4, 30, 16), "1d", time_zone="America/New_York", eager=True
    )
    frame = pl.DataFrame({"symbol": "A", "date": closes, "close": range(1, len(closes) + 1)})
    rows = _read(settings_for(frame, source={"frequency": "1d"})).rows
    assert not rows["gap"].any()
    assert rows["time"].dt.hour().unique(maintain_order=True).to_list() == [21, 20]


@pytest.mark.parametrize(("frequency", "stamp"), [("1mo", "month_end"), ("1q", "month_end"), ("1mo", "month_start")])
def test_a_missing_month_is_stamped_like_the_others(settings_for: Build, frequency: str, stamp: str) -> None:
    starts = pl.date_range(datetime(2015, 1, 1), datetime(2023, 12, 1), frequency, eager=True)
    days = starts.dt.offset_by(frequency).dt.offset_by("-1d") if stamp == "month_end" else starts
    frame = pl.DataFrame({"symbol": "A", "date": days, "close": range(1, len(days) + 1)})
    rows = _read(settings_for(frame.filter(pl.int_range(pl.len()) != 13), source={"frequency": frequency})).rows
    assert rows["time"].dt.date().to_list() == days.to_list()
    assert rows.with_row_index().filter("gap")["index"].to_list() == [13]


@pytest.mark.parametrize(("n_rows", "n_trained"), [(400, 380), (100, 90), (9, 9)])
def test_of_a_short_series_no_more_than_a_tenth_is_held_out(
    settings_for: Build, prices: Prices, n_rows: int, n_trained: int
) -> None:
    settings = settings_for(pl.concat([prices("A", n_rows), prices("B", 400)]), source={"min_rows": 5})
    rows = validate(ingest(settings), settings).rows.filter(series_id="A")
    assert rows["trains"].to_list() == [True] * n_trained + [False] * (n_rows - n_trained)


@pytest.mark.parametrize(("holdout", "last"), [(1, 30), (5, 26), (20, 22)])
def test_the_training_window_ends_at_as_of_but_for_the_rows_held_out(
    settings_for: Build, prices: Prices, midnight: Callable[[int], datetime], holdout: int, last: int
) -> None:
    """Of the 92 days of the window no more than a tenth are held out."""
    settings = settings_for(prices(n_rows=400), fit={"train_window": "3mo"}, promote={"holdout": holdout})
    validated = validate(ingest(settings, "2024-12-31"), settings)
    assert validated.train_start == datetime(2024, 10, 1, tzinfo=UTC)
    assert validated.train_end == datetime(2024, 12, last, tzinfo=UTC)
    assert validated.rows["time"].min() == midnight(0)


@pytest.mark.parametrize(("typo", "reasons"), [(datetime(2222, 1, 1), []), (datetime(2024, 1, 1), ["sparse"])])
def test_a_date_that_cannot_be_right_does_not_date_the_others(
    settings_for: Build, prices: Prices, typo: datetime, reasons: list[str]
) -> None:
    """One such row is left out, or sets its series aside; it must not move the moment of the rest."""
    good, other = (prices(name, 60).with_columns(pl.col("date").dt.offset_by("-520w")) for name in ("A", "Z"))
    last = pl.int_range(pl.len()) == 59
    other = other.with_columns(pl.when(last).then(pl.lit(typo).cast(pl.Date)).otherwise("date").alias("date"))
    settings = settings_for(pl.concat([good, other]), source={"frequency": "1d"}, fit={"train_window": "1mo"})
    validated = validate(ingest(settings), settings)
    alone = settings_for(good, source={"frequency": "1d"}, fit={"train_window": "1mo"})
    assert validated.quarantine["reason"].to_list() == reasons
    assert validated.as_of == validate(ingest(alone), alone).as_of
    assert validated.rows.filter(series_id="A").equals(validate(ingest(alone), alone).rows)


@pytest.mark.parametrize(
    "fault", ["infinite_value", "duplicate_time", "off_calendar", "bad_value", "undefined_feature"]
)
def test_a_fault_in_one_series_does_not_date_the_others(settings_for: Build, hourless: Prices, fault: str) -> None:
    """Of a feed that ended long ago the day is not today's because the others' values are wrong."""
    ended, today = hourless("A", 60), hourless("B", 90)
    spoilt = today.with_columns(pl.col("close").cast(pl.String)) if fault == "bad_value" else today
    poison = {**POISONS, "bad_value": lambda frame: frame.with_columns(close=pl.lit("n.a.?"))}[fault]
    mixed = pl.concat([ended.with_columns(pl.col("close").cast(spoilt.schema["close"])), poison(spoilt)])
    settings = settings_for(mixed, source={"frequency": "1d"})
    healthy = settings_for(pl.concat([ended, today]), source={"frequency": "1d"})
    expected = validate(ingest(healthy), healthy)
    settings = settings_for(mixed, source={"frequency": "1d"})
    found = validate(ingest(settings), settings)
    assert dict(found.quarantine.select("series_id", "reason").iter_rows()) == {"B": fault}
    assert found.as_of.date() == expected.as_of.date()
    assert found.rows.equals(expected.rows.filter(series_id="A"))


@pytest.mark.parametrize(
    ("step", "ahead", "n_out", "told"),
    [
        ("1d", [4000], 1, False),
        ("1d", range(1, 7), 3, False),
        ("1d", [1, 2], 0, False),
        ("1mo", [1], 0, False),
        ("1d", range(1, 41), 0, True),
    ],
)
def test_rows_ahead_of_this_day_are_a_mistake_unless_many_are(
    settings_for: Build, step: str, ahead: Sequence[int], n_out: int, *, told: bool
) -> None:
    """A date that was typed wrong is; the end of a month that has begun is not, nor is a clock that runs elsewhere."""
    today = pl.Series([datetime.now(UTC)])
    days = [today.dt.offset_by(f"{k}{step[1:]}").dt.date()[0] for k in [*range(-99, 1), *ahead]]
    closes = [1.0 + k % 7 for k in range(len(days))]
    settings = settings_for(pl.DataFrame({"symbol": "A", "date": days, "close": closes}))
    ingested = ingest(settings)
    found = validate(ingested, settings)
    assert (len(found.quarantine), len(found.rows)) == (0, len(days) - n_out)
    assert found.as_of.date() == max(days[: len(days) - n_out])
    assert [f"A: {n_out} row" in note for note in told_left_out(ingested, settings.source)] == [True] * (n_out > 0)
    assert bool(told_ahead(ingested, found.as_of, settings.source)) == told


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ([0, *[1] * 9], "'s0' runs 1 step ahead"),
        ([0, *[3] * 8, 30], "'s0' runs 3 steps ahead"),
        ([0, 0, *[1] * 8], ""),
        ([0] * 10, ""),
        ([*[0] * 9, 1], ""),
        ([*range(10)], ""),
        ([0, 1, 1, *range(2, 9)], ""),
        ([0, 1], ""),
    ],
    ids=["ahead", "one has ended", "two markets", "none", "one behind", "each its own", "two alike", "only two"],
)
def test_a_series_that_leads_nearly_all_others_is_told_on_the_page_too(
    settings_for: Build, lacking: list[int], told: str
) -> None:
    """One whose clock runs ahead moves the moment, and all others lack the newest steps."""
    hours = pl.datetime_range(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 5, tzinfo=UTC), "1h", eager=True)
    frames = [
        pl.DataFrame({"symbol": f"s{i}", "date": hours[: len(hours) - n]}).with_columns(
            close=pl.int_range(pl.len()) % 7
        )
        for i, n in enumerate(lacking)
    ]
    features = {"x": {"op": "identity", "column": "close"}}
    settings = settings_for(pl.concat(frames), source={"frequency": "1h"}, features=features)
    rows = _read(settings).rows
    found = told_leading(rows, settings.source)
    assert [told in note for note in found] == [True] * bool(told), found
    assert page_data(settings, {}, rows.clear(), rows, None, []).notes == found  # type: ignore[typeddict-item]


def test_the_refusal_counts_series_and_not_their_reasons() -> None:
    found = pl.DataFrame({"series_id": ["A", "A", "B", "B"], "reason": ["x", "y", "x", "y"], "detail": "d"})
    said = str(all_set_aside(found))
    assert said.startswith("all 2 series are quarantined")
    assert said.endswith("; and 1 more reason.")
