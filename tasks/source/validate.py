"""The contract of the rows: a series that breaks it is set aside with its reason and never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from hsmm.components.emission import Emission
from tasks.config.laws import laws_by_feature
from tasks.config.moments import in_steps
from tasks.config.reasons import REASONS
from tasks.config.sections.source import Source
from tasks.config.settings import Settings
from tasks.source.calendar import fill_gaps, off_calendar_series, sparse_series, with_step, with_trail
from tasks.source.context import with_context
from tasks.source.features import add_features
from tasks.source.ingest import Ingested
from tasks.source.parts import WHERE
from tasks.source.pieces import pieces
from tasks.source.policies import by_calendar, on_steps
from tasks.source.present import PLACE, left_out, rows_ahead
from tasks.source.seen import RAW
from tasks.source.spelling import alike_series
from tasks.source.stale import long_ended, stale_series, with_age
from tasks.source.wild import compared_among, wild_series

_LARGEST_HOLDOUT = 10  # one row in so many
_MOST_STATES = 1 << 15
_MOST_TOLD = 3
_AS_MISSING = (
    'expected a number or nothing: mend them, or let them count as missing: `source.bad_values = "mark_missing"`'
)
KNOWN = "known_state"

Check = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Validated:
    """Rows that a model may see, and the series that it may not.

    Attributes
    ----------
    rows
        ``series_id``, ``time``, one column a feature (null is missing), one for each of the context and of the levels,
        ``gap`` (the calendar has this step, the source does not), ``trains`` (inside the training window, and not held
        out to judge models by), ``age`` (rows since the last with a value), ``stale`` (they are too many), and
        ``known_state`` where the source labels states (null is unknown); sorted by series and time.
    quarantine
        ``series_id``, ``reason``, ``detail``: one row a series that was set aside.
    stale
        ``series_id``, ``last`` (the time of the last value), ``age`` (steps since): the series whose feed has ended.
    as_of, train_start, train_end
        Nothing later than ``as_of`` was used; the parameters see the rows from ``train_start`` to ``train_end``,
        which are None when no series is left.
    restated
        By series that has other values than were published of it: which, and how.
    """

    rows: pl.DataFrame
    quarantine: pl.DataFrame
    stale: pl.DataFrame
    value_columns: list[str]
    context_columns: list[str]
    as_of: datetime
    train_start: datetime | None
    train_end: datetime | None
    restated: Mapping[str, str] = field(default_factory=dict)


def validate(ingested: Ingested, settings: Settings) -> Validated:
    """Check every series, bring it to its calendar, compute its features, write out its gaps.

    Where a series is compared with itself alone, a few at a time.
    """
    source, among = settings.source, compared_among(settings)
    ahead = rows_ahead(ingested, source)
    dropped = left_out(ingested, ahead)
    names = ingested.rows.select(pl.col("series_id").unique(maintain_order=True))
    known = _Known(
        alike_series(names), ahead, dropped, ahead.join(dropped, on=PLACE, how="anti", maintain_order="left")
    )
    parts = pieces(ingested.rows) if among else [ingested.rows]
    placed = [_placed(replace(ingested, rows=part), known, settings) for part in parts]
    as_of = ingested.as_of or _newest(placed, ingested, ahead)
    done = [_completed(placed.pop(0), ingested, settings, as_of) for _ in range(len(placed))]
    rows = pl.concat([part.rows for part in done], rechunk=True)
    training = rows.filter("trains")["time"]
    return Validated(
        rows=rows,
        quarantine=_told(pl.concat([found for part in done for found in part.aside]), source),
        stale=pl.concat([part.stale for part in done]).sort("series_id"),
        value_columns=settings.value_columns,
        context_columns=settings.context_columns,
        as_of=as_of,
        train_start=training.min(),  # type: ignore[arg-type]
        train_end=training.max(),  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class _Known:
    """What only all series together tell: which look ``alike``, which rows lie ``ahead``, of these the ones that are
    ``dropped`` and those that cost their series (``lost``).
    """

    alike: pl.DataFrame
    ahead: pl.DataFrame
    dropped: pl.DataFrame
    lost: pl.DataFrame


@dataclass(frozen=True)
class _Placed:
    """Some series on their calendar, those that were set ``aside``, and when the newest row became known."""

    rows: pl.DataFrame
    aside: list[pl.DataFrame]
    newest: datetime | None


@dataclass(frozen=True)
class _Completed:
    """Some series as models may see them, those that were set ``aside``, and those whose feed has ended."""

    rows: pl.DataFrame
    aside: list[pl.DataFrame]
    stale: pl.DataFrame


def _placed(ingested: Ingested, known: _Known, settings: Settings) -> _Placed:
    """What can be made of some series before it is known which moment it is."""
    source, columns = settings.source, settings.value_columns
    rows = ingested.rows
    if len(known.dropped):
        rows = rows.join(known.dropped.select(PLACE), on=PLACE, how="anti", maintain_order="left")
    checks = _raw_checks(settings) | {"future_time": lambda r: _told_ahead(_of(known.lost, r))}
    rows, flagged = _screen(rows, {"alike_series": lambda r: _of(known.alike, r)} | checks)
    rows = rows.sort("series_id", "time", maintain_order=True)
    rows = _deduplicated(rows, source)
    rows, more = _screen(rows, {"duplicate_time": _duplicate_times})
    raw, off_calendar = _on_calendar(rows, ingested, settings)
    rows = add_features(raw, settings.made_features | settings.made_context | settings.levels, ingested.zone)
    made = [*columns, *settings.context_columns]
    rows, undefined = _screen(rows, {"undefined_feature": lambda r: _undefined_features(r, made)})
    rows, wild = _screen(rows, {"wild_value": partial(wild_series, settings=settings)})
    rows, outside = _screen(rows, _support_checks(settings))
    rows, mislabelled = _with_known_states(rows, raw, source)
    newest = None if ingested.as_of is not None else _newest_placed(raw, ingested, settings, known.ahead)
    return _Placed(rows, [flagged, more, off_calendar, undefined, wild, outside, mislabelled], newest)


def _completed(placed: _Placed, ingested: Ingested, settings: Settings, as_of: datetime) -> _Completed:
    """The rest of it, as of that moment."""
    source, columns, until = settings.source, settings.value_columns, as_of - ingested.delay
    rows = _with_gaps(placed.rows, ingested.zone, source)
    informed, lacking = with_context(rows, settings, ingested.zone)
    rows, uninformed = _screen(informed, {"missing_context": lambda _: lacking})
    rows = rows.with_columns(_trains(settings, as_of, ingested.delay))
    rows, unusable = _screen(rows, _training_checks(columns, source.min_rows))
    rows, ended = _screen(rows, {"stale": partial(long_ended, source=source, until=until)})
    rows = with_age(_with_trails(rows, ingested, settings, as_of), columns, source)
    return _Completed(rows, [*placed.aside, uninformed, unusable, ended], stale_series(rows, source, until))


def prepared(ingested: Ingested, settings: Settings) -> pl.DataFrame:
    """``series_id``, ``time``, features, context and ``gap`` of all rows, whether a model may be fitted to them or not.

    Raises ``ValueError`` for series whose rows cannot be read or have no place in their calendar.
    """
    rows, flagged = _screen(ingested.rows, {"alike_series": alike_series} | _raw_checks(settings))
    rows = _deduplicated(rows.sort("series_id", "time", maintain_order=True), settings.source)
    rows, more = _screen(rows, {"duplicate_time": _duplicate_times})
    raw, off_calendar = _on_calendar(rows, ingested, settings)
    made = add_features(raw, settings.made_features | settings.made_context, ingested.zone)
    informed, lacking = with_context(_with_gaps(made, ingested.zone, settings.source), settings, ingested.zone)
    told = [found.select("series_id", "detail") for found in (flagged, more, off_calendar, lacking)]
    for series, detail in _told(pl.concat(told), settings.source).head(1).iter_rows():
        raise ValueError(f"series {series!r}: {detail}.")
    return informed


validate_task = task(name="validate", cache_policy=NO_CACHE)(validate)


def _told(aside: pl.DataFrame, source: Source) -> pl.DataFrame:
    """Series that were set aside, by name; where steps are counted, their details speak of numbers."""
    if source.counts_steps:
        aside = aside.with_columns(pl.Series("detail", [in_steps(detail) for detail in aside["detail"]], pl.String))
    return aside.sort("series_id", maintain_order=True)


def _screen(rows: pl.DataFrame, checks: dict[str, Check]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The series that pass every check, and for each of the others the first reason it fails."""
    failures = [pl.DataFrame(schema={"series_id": pl.String, "reason": pl.String, "detail": pl.String})]
    for reason, check in checks.items():
        assert reason in REASONS
        failed = check(rows).select("series_id", pl.lit(reason).alias("reason"), "detail")
        if len(failed):
            rows = rows.join(failed, on="series_id", how="anti", maintain_order="left")
            failures.append(failed)
    return rows, pl.concat(failures)


def _of(found: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """What was ``found`` of the series of these rows."""
    return found if found.is_empty() else found.join(rows, on="series_id", how="semi", maintain_order="left")


def _raw_checks(settings: Settings) -> dict[str, Check]:
    source = settings.source
    raw = pl.any_horizontal(pl.col(f"^{RAW}.*$").is_infinite())
    checks: dict[str, Check] = {
        "missing_series": lambda rows: _count_where(
            rows, pl.col("series_id") == "", "found {} rows without a series, the first {}; expected a name in each"
        ),
        "bad_time": lambda rows: _count_where(
            rows,
            pl.col("time").is_null(),
            f"found {{}} rows without a usable time, the first {{}}; {_clock_remedy(source)}",
        ),
        "bad_value": lambda rows: _count_where(
            rows,
            pl.col("flaw").is_not_null(),
            f"found {{}} rows with a text for a number, the first {{}}; {_AS_MISSING}",
        ),
        "infinite_value": lambda rows: _count_where(
            rows, raw, f"found {{}} rows with an infinite value, the first {{}}; {_AS_MISSING}"
        ),
    }
    if source.bad_values == "mark_missing":
        del checks["bad_value"], checks["infinite_value"]
    if source.unsorted == "reject":
        backwards = (pl.col("time").diff() < pl.duration()).over("series_id")
        checks["unsorted_time"] = lambda rows: _count_where(
            rows,
            backwards,
            'found {} rows earlier than the row before, the first {}; sort them, or set `source.unsorted = "sort"`',
        )
    return checks


def told_marked(rows: pl.DataFrame, source: Source) -> list[str]:
    """Of which series cells count as missing that hold no number, in how many rows, and the first of them."""
    if source.bad_values == "reject":
        return []
    found = _count_where(rows, pl.col("time").is_not_null() & pl.col("flaw").is_not_null(), "{} rows, the first {}")
    told = [f"{series}: what holds no number counts as missing: {detail}." for series, detail in found.iter_rows()]
    more = len(told) - _MOST_TOLD
    return told[:_MOST_TOLD] + ([f"So it does in {more} more series."] if more > 0 else [])


def _told_ahead(ahead: pl.DataFrame) -> pl.DataFrame:
    message = "found {} rows known later than now, the first {}; mend them, or say which moment: --as-of"
    return _count_where(ahead, pl.lit(value=True), message)


def _clock_remedy(source: Source) -> str:
    if source.time_format is not None and not source.counts_steps:
        written = f"expected one as `source.time_format` ({source.time_format}) says; delete rows of units or totals"
        if source.timezone in (None, "UTC"):
            return written
        return f"{written}; of an hour that comes twice in {source.timezone} `source.ambiguous` says which"
    if source.timezone is None:
        return "expected one in each row: delete rows of units; a zone for times without one is `source.timezone`"
    return (
        f"expected one that clocks in {source.timezone} show, and once; of an hour that comes twice "
        "`source.ambiguous` says which"
    )


def _count_where(rows: pl.DataFrame, condition: pl.Expr, message: str) -> pl.DataFrame:
    first = WHERE.first()
    flaw = pl.col("flaw").first()
    return (
        rows.filter(condition)
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), pl.concat_str(first, pl.format(" ({})", flaw).fill_null("")).alias("first"))
        .select(
            "series_id", pl.format(message, "n", "first").str.replace("^(found )?1 rows", "${1}1 row").alias("detail")
        )
    )


def _deduplicated(rows: pl.DataFrame, source: Source) -> pl.DataFrame:
    if source.duplicates == "reject":
        return rows
    same = [] if source.duplicates == "keep_last" else [pl.col(f"^{RAW}.*$")]
    return rows.unique([pl.col("series_id", "time"), *same], keep="last", maintain_order=True)


def _duplicate_times(rows: pl.DataFrame) -> pl.DataFrame:
    message = (
        "found {} times with several rows, the first {} in {}; remove all but one, or set `source.duplicates` to "
        '"drop_same" (where they hold the same) or "keep_last", or name a column that says when a row was written in '
        "`source.written_at`"
    )
    return (
        rows.with_columns(place=WHERE)
        .filter(pl.struct("series_id", "time").is_duplicated())
        .group_by("series_id", maintain_order=True)
        .agg(
            pl.col("time").n_unique().alias("n"),
            pl.col("time").first().dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            pl.col("place").filter(pl.col("time") == pl.col("time").first()).head(3).str.join(" and "),
        )
        .select(
            "series_id",
            pl.format(message, "n", "time", "place").str.replace("^found 1 times", "found 1 time").alias("detail"),
        )
    )


def _undefined_features(rows: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    undefined = pl.any_horizontal(pl.col(column).is_finite().not_() for column in columns).fill_null(value=False)
    message = (
        "found {} rows where a transform is undefined, the first at {}; "
        "it may be the logarithm of a number that is not positive"
    )
    return (
        rows.filter(undefined)
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("time").first().dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .select("series_id", pl.format(message, "n", "time").alias("detail"))
    )


def _support_checks(settings: Settings) -> dict[str, Check]:
    """Values that a candidate's emission cannot be asked about, such as halves where it counts."""
    return {
        "outside_support": lambda rows: pl.concat(
            [rows.select("series_id", detail=pl.lit("")).clear()]
            + [
                _unsupported(rows, name, law)
                for name, laws in laws_by_feature(settings).items()
                for law in {law.support.words: law for law in laws}.values()
            ]
        ).unique("series_id", keep="first", maintain_order=True)
    }


def _unsupported(rows: pl.DataFrame, column: str, law: Emission) -> pl.DataFrame:
    values = rows[column].cast(pl.Float64)
    contained = law.support.contains(torch.from_numpy(values.fill_null(law.support.inside).to_numpy().copy()))
    return (
        rows.filter(pl.Series(~contained.numpy()))
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col(column).first(), pl.col("time").first().dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .select(
            "series_id",
            pl.format(
                f"found {{}} rows whose {column} a {law.name} emission does not know, the first {{}} at {{}}; "
                f"expected {law.support.words}",
                "n",
                column,
                "time",
            ).alias("detail"),
        )
    )


def _with_known_states(rows: pl.DataFrame, raw: pl.DataFrame, source: Source) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``rows`` with the states that the source knows, and the series whose labels are none."""
    if source.states is None:
        return rows, _screen(rows, {})[1]
    said = pl.col(f"{RAW}{source.states}")
    labels = raw.select("series_id", "time", pl.when(said != -1).then(said).alias(KNOWN))
    rows = rows.join(labels, on=["series_id", "time"], how="left", maintain_order="left")
    known = pl.col(KNOWN)
    wrong = (
        rows.filter((known < 0) | (known != known.floor()) | (known > _MOST_STATES))
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), known.first())
        .select(
            "series_id",
            pl.format(
                f"found {{}} rows with a wrong {source.states}, the first {{}}; expected a state's "
                "number from 0 on, or nothing or -1 where it is unknown",
                "n",
                KNOWN,
            ).alias("detail"),
        )
    )
    rows, failed = _screen(rows, {"bad_state": lambda _: wrong})
    return rows.with_columns(pl.col(KNOWN).cast(pl.Int64)), failed


def _on_calendar(rows: pl.DataFrame, ingested: Ingested, settings: Settings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that their calendar has a place for, after the policies, and the series that it has none for."""
    kept, failed = [rows.clear()], [_screen(rows, {})[1]]
    for frequency, part in by_calendar(rows, settings.source):
        placed, aside = part, _screen(part, {})[1]
        if frequency is not None:
            placed, aside = _screen(part, {"sparse": partial(sparse_series, frequency=frequency)})
            placed = on_steps(placed, settings.source, frequency, ingested.zone, ingested.as_of)
            placed, more = _screen(placed, {"off_calendar": partial(off_calendar_series, frequency=frequency)})
            aside = pl.concat([aside, more])
        kept.append(placed.select(rows.columns))
        failed.append(aside)
    return pl.concat(kept).sort("series_id", "time", maintain_order=True), pl.concat(failed)


def _with_gaps(rows: pl.DataFrame, zone: str, source: Source) -> pl.DataFrame:
    filled = [rows.clear().with_columns(gap=pl.lit(value=False))]
    for frequency, part in by_calendar(rows, source):
        gaps = part.with_columns(gap=pl.lit(value=False)) if frequency is None else fill_gaps(part, frequency, zone)
        filled.append(gaps.select(filled[0].columns))
    return pl.concat(filled).sort("series_id", "time", maintain_order=True)


def _with_trails(rows: pl.DataFrame, ingested: Ingested, settings: Settings, as_of: datetime) -> pl.DataFrame:
    """Steps that have come since a series' last row are missing, too, as far as their context is known."""
    longer = [rows.clear()]
    for frequency, part in by_calendar(rows, settings.source):
        if frequency is not None and not settings.source.has_own_counts:
            over = settings.source.resample is not None
            part = with_trail(part, frequency, ingested.zone, as_of - ingested.delay, over=over)
        longer.append(part.select(rows.columns))
    both = pl.concat(longer).sort("series_id", "time", maintain_order=True)
    informed, lacking = with_context(both, settings, ingested.zone)
    unknown = pl.col("trains").is_null() & pl.col("series_id").is_in(lacking["series_id"].implode())
    return informed.filter(~unknown).with_columns(pl.col("trains").fill_null(value=False))


def _newest(placed: Sequence[_Placed], ingested: Ingested, ahead: pl.DataFrame) -> datetime:
    """When the newest row became known that has its place in the calendar, or any where none has one."""
    found = [part.newest for part in placed if part.newest is not None]
    newest = max(found) if found else ingested.rows.join(ahead, on=["file", "row"], how="anti")["known"].max()
    assert isinstance(newest, datetime)
    return newest


def _newest_placed(raw: pl.DataFrame, ingested: Ingested, settings: Settings, ahead: pl.DataFrame) -> datetime | None:
    """When the newest of these rows became known that has its place in the calendar, whatever else is wrong with its
    series.

    A series with a date that cannot be right says nothing: it would date all others.
    """
    others = ingested.rows.filter(
        pl.col("time").is_not_null()
        & ~pl.col("series_id").is_in(raw["series_id"].unique().implode())
        & ~pl.col("series_id").is_in(ahead["series_id"].unique().implode())
    ).sort("series_id", "time", maintain_order=True)
    placed, failed = _on_calendar(others, ingested, settings)
    dated = failed.filter(reason="off_calendar")["series_id"]
    crowded = _firsts_of_steps(others.filter(pl.col("series_id").is_in(dated.implode())), ingested, settings)
    newest: datetime | None = pl.concat([part["known"] for part in (raw, placed, crowded)]).max()  # type: ignore[assignment]
    return newest


def _firsts_of_steps(rows: pl.DataFrame, ingested: Ingested, settings: Settings) -> pl.DataFrame:
    """The first row of each step: a second one of a day makes it no later."""
    firsts = [rows.clear()]
    for frequency, part in by_calendar(rows, settings.source):
        if frequency is not None:
            placed = with_step(part, frequency, ingested.zone).sort("series_id", "time", maintain_order=True)
            part = placed.unique(["series_id", "step"], keep="first", maintain_order=True)
        firsts.append(part.select(rows.columns))
    return pl.concat(firsts)


def _trains(settings: Settings, as_of: datetime, delay: timedelta) -> pl.Expr:
    """As far back as the window reaches, but for the newest ``holdout`` rows of each series, at most a tenth of it."""
    window, now = settings.fit.train_window, pl.lit(as_of)
    if settings.source.has_own_counts:
        now = pl.col("time").max() + delay
    since = now.dt.offset_by(f"-{window}") if window != "all" else pl.col("time").min() - pl.duration(days=1)
    recent = pl.col("time") > since
    n_held_out = pl.min_horizontal(recent.sum() // _LARGEST_HOLDOUT, pl.lit(settings.promote.holdout))
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
