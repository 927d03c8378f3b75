"""The contract of the rows: a series that breaks it is set aside with its reason and never stops the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.settings import Settings
from tasks.source.calendar import fill_gaps, off_calendar_series, sparse_series, with_step
from tasks.source.features import add_features
from tasks.source.ingest import RAW, Ingested

_LARGEST_HOLDOUT = 10  # one row in so many

Check = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Validated:
    """Rows that a model may see, and the series that it may not.

    Attributes
    ----------
    rows
        ``series_id``, ``time``, one column a feature (null is missing), ``gap`` (the calendar has this step, the
        source does not), ``trains`` (inside the training window, and not held out to judge models by); sorted by
        series and time.
    quarantine
        ``series_id``, ``reason``, ``detail``: one row a series that was set aside.
    as_of, train_start, train_end
        Nothing later than ``as_of`` was used; the parameters see the rows from ``train_start`` to ``train_end``,
        which are None when no series is left.
    """

    rows: pl.DataFrame
    quarantine: pl.DataFrame
    value_columns: list[str]
    as_of: datetime
    train_start: datetime | None
    train_end: datetime | None


def validate(ingested: Ingested, settings: Settings) -> Validated:
    """Check every series, compute its features, write out the gaps of its calendar."""
    source, columns = settings.source, settings.value_columns
    rows, flagged = _screen(ingested.rows, _raw_checks(settings))
    rows = rows.sort("series_id", "time", maintain_order=True)
    if source.duplicates == "keep_last":
        rows = rows.unique(["series_id", "time"], keep="last", maintain_order=True)
    raw_screened, more = _screen(rows, {"duplicate_time": _duplicate_times})
    rows = add_features(raw_screened, settings.made_features, ingested.zone)
    rows, undefined = _screen(rows, {"undefined_feature": lambda r: _undefined_features(r, columns)})
    rows, off_calendar = _on_calendar(rows, settings, ingested.zone)
    as_of = ingested.as_of or _newest(rows if len(rows) else ingested.rows) + ingested.delay
    rows = rows.with_columns(_trains(settings.fit.train_window, as_of, settings.promote.holdout))
    rows, unusable = _screen(rows, _training_checks(columns, source.min_rows))
    training = rows.filter("trains")["time"]
    return Validated(
        rows=rows,
        quarantine=pl.concat([flagged, more, undefined, off_calendar, unusable]).sort("series_id"),
        value_columns=columns,
        as_of=as_of,
        train_start=training.min(),  # type: ignore[arg-type]
        train_end=training.max(),  # type: ignore[arg-type]
    )


validate_task = task(name="validate", cache_policy=NO_CACHE)(validate)


def _screen(rows: pl.DataFrame, checks: dict[str, Check]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The series that pass every check, and for each of the others the first reason it fails."""
    failures = [pl.DataFrame(schema={"series_id": pl.String, "reason": pl.String, "detail": pl.String})]
    for reason, check in checks.items():
        failed = check(rows).select("series_id", pl.lit(reason).alias("reason"), "detail")
        rows = rows.join(failed, on="series_id", how="anti", maintain_order="left")
        failures.append(failed)
    return rows, pl.concat(failures)


def _raw_checks(settings: Settings) -> dict[str, Check]:
    checks: dict[str, Check] = {
        "missing_series": lambda rows: _count_where(
            rows, pl.col("series_id") == "", "found {} rows without a series; expected a name in each"
        ),
        "bad_time": lambda rows: _count_where(
            rows, pl.col("time").is_null(), "found {} rows whose time is missing, or ambiguous in its zone"
        ),
        "infinite_value": lambda rows: _count_where(
            rows, pl.any_horizontal(pl.col(f"^{RAW}.*$").is_infinite()), "found {} rows with an infinite value"
        ),
    }
    if settings.source.unsorted == "reject":
        backwards = (pl.col("time").diff() < pl.duration()).over("series_id")
        checks["unsorted_time"] = lambda rows: _count_where(
            rows, backwards, "found {} rows earlier than the row before; expected times in order"
        )
    return checks


def _count_where(rows: pl.DataFrame, condition: pl.Expr, message: str) -> pl.DataFrame:
    return (
        rows.filter(condition)
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"))
        .select("series_id", pl.format(message, "n").alias("detail"))
    )


def _duplicate_times(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.filter(pl.struct("series_id", "time").is_duplicated())
        .group_by("series_id", maintain_order=True)
        .agg(pl.col("time").n_unique().alias("n"), pl.col("time").first().dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .select("series_id", pl.format("found {} times with several rows, the first {}", "n", "time").alias("detail"))
    )


def _undefined_features(rows: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    undefined = pl.any_horizontal(pl.col(column).is_finite().not_() for column in columns)
    message = "found {} rows where a transform is undefined, such as the logarithm of a number that is not positive"
    return _count_where(rows, undefined.fill_null(value=False), message)


def _on_calendar(rows: pl.DataFrame, settings: Settings, zone: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    frequency = settings.source.frequency
    if frequency is None:
        return rows.with_columns(gap=pl.lit(value=False)), _screen(rows, {})[1]
    kept, failed = _screen(
        with_step(rows, frequency, zone),
        {
            "sparse": lambda r: sparse_series(r, frequency),
            "off_calendar": lambda r: off_calendar_series(r, frequency),
        },
    )
    return fill_gaps(kept, frequency), failed


def _newest(rows: pl.DataFrame) -> datetime:
    newest = rows["time"].max()
    assert isinstance(newest, datetime)
    return newest


def _trains(window: str, as_of: datetime, holdout: int) -> pl.Expr:
    """As far back as the window reaches, but for the newest ``holdout`` rows of each series, at most a tenth of it."""
    since = pl.lit(as_of).dt.offset_by(f"-{window}") if window != "all" else pl.col("time").min() - pl.duration(days=1)
    recent = pl.col("time") > since
    n_held_out = pl.min_horizontal(recent.sum() // _LARGEST_HOLDOUT, pl.lit(holdout))
    return (recent & (pl.int_range(pl.len()) < pl.len() - n_held_out)).over("series_id").alias("trains")


def _training_checks(columns: list[str], min_rows: int) -> dict[str, Check]:
    observed = pl.any_horizontal(pl.col(columns).is_not_null())
    return {
        "all_missing": lambda rows: _all_missing(rows, columns),
        "too_short": lambda rows: (
            rows.group_by("series_id", maintain_order=True)
            .agg((observed & pl.col("trains")).sum().alias("n"))
            .filter(pl.col("n") < min_rows)
            .select(
                "series_id",
                pl.format(
                    f"found {{}} rows with values in the training window; expected at least {min_rows}", "n"
                ).alias("detail"),
            )
        ),
        "constant": lambda rows: _constant(rows, columns),
    }


def _all_missing(rows: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    empty = [pl.col(column).is_null().all().alias(column) for column in columns]
    return _name_columns(rows, empty, columns, "found no value in {}")


def _constant(rows: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    training = rows.filter("trains")
    constant = [(pl.col(column).n_unique() - pl.col(column).has_nulls().cast(pl.UInt32) < 2) for column in columns]
    return _name_columns(training, constant, columns, "found the same value in every training row of {}")


def _name_columns(rows: pl.DataFrame, flags: list[pl.Expr], columns: list[str], message: str) -> pl.DataFrame:
    named = [pl.when(pl.col(column)).then(pl.lit(column)) for column in columns]
    return (
        rows.group_by("series_id", maintain_order=True)
        .agg(flag.alias(column) for flag, column in zip(flags, columns, strict=True))
        .filter(pl.any_horizontal(columns))
        .select(
            "series_id", pl.format(message, pl.concat_str(named, separator=", ", ignore_nulls=True)).alias("detail")
        )
    )
