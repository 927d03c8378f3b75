"""A first configuration of a source, from its own cells, and what a night would make of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import polars as pl
from pydantic import ValidationError

from tasks.config.errors import ConfigurationError, PipelineError, SourceError
from tasks.config.laws import scaled_columns
from tasks.config.settings import Settings
from tasks.config.settings_errors import Origins, explain
from tasks.source.ingest import Ingested, ingest
from tasks.source.look.choices import Choice, Choices
from tasks.source.look.columns import Column, columns_of
from tasks.source.look.features import choose_features
from tasks.source.look.gaps import choose_stale
from tasks.source.look.series import choose_series
from tasks.source.look.steps import choose_steps, length_of
from tasks.source.look.times import choose_time, choose_zone, says_when, written_column
from tasks.source.moments import is_of_days, stamps_of
from tasks.source.parts import Part, read_parts, stored_columns, unreadable
from tasks.source.seen import RAW
from tasks.source.validate import Validated, validate

_MOST_COLUMNS = 200
_FEW_ROWS = 200
_MOST_TOLD = 5
_FEW_OTHERS = 3  # cells that are no numbers at all: a row of units, one of totals


@dataclass(frozen=True)
class Look:
    """What was seen.

    Attributes
    ----------
    choices
        By key; together they are a configuration.
    validated
        What a night would read by it; None where it would read nothing.
    refusal
        What it would say then.
    n_rows, n_series
        Of the source.
    """

    name: str
    path: str
    choices: Choices
    validated: Validated | None
    refusal: str | None
    n_rows: int
    n_series: int
    first: datetime | None
    last: datetime | None

    @property
    def open(self) -> list[Choice]:
        """What the data cannot tell."""
        return [choice for choice in self.choices.made.values() if choice.is_open]


def look_at(path: str, given: Mapping[str, Any] = MappingProxyType({})) -> Look:
    """Look at a source; keys that are ``given`` are not guessed.

    Raises ``SourceError`` where there is no source, or none of series in time.
    """
    parts, columns = _read(path)
    choices, name = Choices(given), str(given.get("name", name_of(path)))
    choices.add("name", name, "of the model, and of the rows in the state table")
    choices.add("source.path", path, _stored_as(parts))
    time = choose_time(choices, columns, parts)
    if time is None:
        raise SourceError(
            f"source.path: no column of {path!r} says when a row happened (found "
            f"{', '.join(repr(column.name) for column in columns[:12])}); expected dates, timestamps, seconds since "
            "1970, or a column of whole numbers named step, cycle or trial."
        )
    series = choose_series(choices, columns, time, parts)
    used = {column.name for column in (time, series) if column is not None}
    written = written_column(columns, time, parts)
    numbers = [c for c in columns if c.name not in used and not says_when(c, parts)]
    decimal = given.get("source.decimal") or _choose_decimal(choices, numbers)
    values = [column for column in numbers if column.holds_numbers(decimal)]
    useless = {column.name: _why_useless(column, decimal) for column in numbers if column not in values}
    if not values:
        raise _nothing_to_model(path, used, useless)
    choices.add("output.states", f"out/{name}", "the state table, a Delta table; its companions lie beside it")
    choices.add("tracking.uri", "sqlite:///mlflow.db", "where runs are logged: a SQLite file, or a server's address")
    names = [column.name for column in values]
    if any(choice.is_open and choice.key.startswith("source.time") for choice in choices.made.values()):
        choices.add(f"features.{names[0]}", {"op": "identity", "column": names[0]}, "until times can be read")
        choices.add_given()
        tried = (None, None) if choices.value("source.time") is None else _tried(choices)
        return Look(name, path, choices, *tried, time.n, 0, None, None)
    settings = _provisional(choices, names, decimal, naive=_is_naive(parts, time, choices))
    ingested, rows = _choose_times(choices, settings)
    _choose_duplicates(choices, ingested, written)
    choose_features(choices, rows, names, ingested.zone)
    if all(choice.value is None for choice in choices.of("features").values()):
        told = {column: choice.why.split(": ", 1)[-1] for column, choice in choices.of("features").items()}
        raise _nothing_to_model(path, used, useless | told)
    for column, why in useless.items():
        choices.add(f"features.{column}", None, f"left out, {column!r}: {why}")
    _choose_fit(choices, rows)
    choices.add_given()
    n_series, times = rows["series_id"].n_unique(), rows["time"]
    if settings.source.counts_steps:
        choices.speak_of_steps()
    return Look(name, path, choices, *_tried(choices), len(ingested.rows), n_series, times.min(), times.max())  # type: ignore[arg-type]


def _nothing_to_model(path: str, used: set[str], useless: Mapping[str, str]) -> SourceError:
    told = "".join(f"; {name}: {why}" for name, why in list(useless.items())[:_MOST_TOLD])
    return SourceError(
        f"source.path: no column of {path!r} besides {', '.join(map(repr, sorted(used)))} holds numbers that can be "
        f"modelled{told}. Expected at least one."
    )


def check_is_source(path: str) -> None:
    """Raises ``ConfigurationError`` for a configuration in the place of a source."""
    if path.endswith(".toml"):
        raise ConfigurationError(f"{path!r} is a configuration; expected a source. To try it: `hsmm try {path}`.")


def name_of(path: str) -> str:
    """A model's name made of a file's."""
    stem = PurePosixPath(path.rstrip("/*")).name.split(".")[0]
    plain = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:60]
    return plain if re.match(r"[a-z]", plain) else f"data_{plain}".rstrip("_")


def _read(path: str) -> tuple[list[Part], list[Column]]:
    stored = stored_columns(path)
    usable = [column for column, dtype in stored.items() if not dtype.is_nested()][:_MOST_COLUMNS]
    if usable and all(re.fullmatch(r"[-+.,:/ \dTZ]*", column) for column in usable):
        raise SourceError(
            f"source.path: the first row of {path!r} holds {', '.join(map(repr, usable[:3]))}; expected the names of "
            "the columns there: add a header."
        )
    if not usable:
        raise SourceError(f"source.path: {path!r} has no column of text or numbers; expected times and values.")
    parts = read_parts(path, dict.fromkeys(usable, "source.path"))
    try:
        columns = columns_of(parts)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise unreadable(path, error) from None
    if not columns[0].n:
        raise SourceError(f"source.path: {path!r} holds no rows; expected at least one series.")
    return parts, columns


def _stored_as(parts: Sequence[Part]) -> str:
    texts = [part for part in parts if part.origin.lower().endswith((".csv", ".tsv", ".txt", ".gz"))]
    if not texts:
        return "relative to where the command is given"
    return "relative to where the command is given; what separates its cells is recognised when it is read"


def _choose_decimal(choices: Choices, columns: Sequence[Column]) -> str:
    """The decimal mark that makes most of them numbers; where that may be wrong, it is not chosen."""
    commas = [column for column in columns if column.n_numbers[1] > column.n_numbers[0]]
    sure = [column for column in commas if column.n_decimal_commas]
    if sure:
        choices.add("source.decimal", ",", f"numbers such as {sure[0].wrong} in {sure[0].name}")
        return ","
    if commas:
        cell = commas[0].thousands or commas[0].wrong
        why = f"numbers such as {cell} in {commas[0].name} may hold a decimal comma or one of thousands"
        lines = (
            'decimal = ","   # if 1,234 is a little more than 1',
            "# if it is 1234: write the source without such commas",
        )
        choices.add("source.decimal", None, why, *lines, is_open=True)
        return ","
    return "."


def _why_useless(column: Column, decimal: str) -> str:
    if not column.n_filled:
        return "it is empty"
    n_wrong = column.n_filled - column.n_numbers[decimal == ","]
    if column.n_thousands and column.n_filled - column.n_numbers[0] - column.n_thousands <= _FEW_OTHERS:
        return (
            f"{column.n_thousands} of its {column.n_filled} cells have commas between thousands, the first "
            f"{column.thousands!r}: write the source without them"
        )
    return f"{n_wrong} of its {column.n_filled} cells hold no number, the first {column.wrong!r}"


def _is_naive(parts: Sequence[Part], time: Column, choices: Choices) -> bool:
    pattern = choices.made.get("source.time_format")
    said = pattern.value if pattern is not None else None
    found = [stamps_of(part.scanned, time.name, part.schema[time.name], said) for part in parts]
    return any(stamps is not None and stamps.kind == "clock" for stamps in found)


def _provisional(choices: Choices, values: Sequence[str], decimal: str, *, naive: bool) -> Settings:
    """Settings that read all values as they are."""
    sections = choices.sections()
    sections["source"]["decimal"] = decimal
    if naive:
        sections["source"]["timezone"] = "UTC"
    sections["features"] = {f"v{i}": {"op": "identity", "column": column} for i, column in enumerate(values)}
    return _settings(sections, choices.given)


def _settings(sections: dict[str, Any], given: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**sections)
    except ValidationError as error:
        raise ConfigurationError(
            explain(error, Settings, Origins("the look at the source", dict.fromkeys(given, "--set")))
        ) from None


def _choose_times(choices: Choices, settings: Settings) -> tuple[Ingested, pl.DataFrame]:
    """Zone, steps and delay; the rows as a night would read them, and by series and time, none twice."""
    ingested = ingest(settings)
    rows = _by_time(ingested)
    if settings.source.timezone is not None:
        choose_zone(choices, ingested.rows.drop_nulls("time"), of_days=_is_of_days(rows))
        ingested = _with_zone(choices, settings, ingested)
        rows = _by_time(ingested)
    counted, zone = settings.source.counts_steps, ingested.zone
    frequency = None if counted else choose_steps(choices, rows, zone)
    frequency = given if isinstance(given := choices.given.get("source.frequency"), str) else frequency
    if counted:
        _choose_counts(choices, rows)
    if frequency is not None:
        choose_stale(choices, rows, frequency, zone)
    _choose_delay(choices, rows, frequency, zone, counted=counted)
    return ingested, rows


def _choose_counts(choices: Choices, rows: pl.DataFrame) -> None:
    """Whether series that end at different counts have stopped, or have gone as far as they have."""
    ends = sorted(rows.group_by("series_id").agg(pl.col("time").max().dt.epoch("s"))["time"].to_list())
    if len(ends) < 2:
        return
    if ends[0] == ends[-1]:
        why = f"all series end at {ends[0]}: one count for all, and a series that ends before the others lacks steps"
        choices.add("source.counts", "shared", why, 'counts = "own"   # each its own, such as cycles of machines')
        return
    why = f"series end at {ends[0]} to {ends[-1]}: each counts its own steps, and none has stopped for that"
    line = 'counts = "shared"   # one count for all: who ends before others has stopped'
    choices.add("source.counts", "own", why, line)


def _by_time(ingested: Ingested) -> pl.DataFrame:
    readable = ingested.rows.filter(pl.col("time").is_not_null() & (pl.col("series_id") != ""))
    return readable.unique(["series_id", "time"], keep="last", maintain_order=True).sort("series_id", "time")


def _is_of_days(rows: pl.DataFrame) -> bool:
    return bool(rows.select((pl.col("time") == pl.col("time").dt.truncate("1d")).all()).item())


def _with_zone(choices: Choices, settings: Settings, provisional: Ingested) -> Ingested:
    """The rows read in their zone, by the first way to tell two equal hours apart that loses fewest."""
    zone = choices.value("source.timezone")
    if zone in (None, "UTC"):
        return provisional
    ways: tuple[Literal["reject", "infer", "earliest"], ...] = ("reject", "infer", "earliest")
    read = {}
    for way in ways:
        source = settings.source.model_copy(update={"timezone": zone, "ambiguous": way})
        read[way] = ingest(settings.model_copy(update={"source": source}))
    n_lost = {way: ingested.rows["time"].null_count() for way, ingested in read.items()}
    best = min(ways, key=lambda way: n_lost[way])
    n_twice = n_lost["reject"] - n_lost[best]
    if best == "infer":
        why = f"{n_twice} rows stand in hours that clocks show twice, two of each time: the first is the earlier"
        choices.add("source.ambiguous", best, why)
    elif best == "earliest":
        why = f"{n_twice} rows stand in hours that clocks show twice, and come once: which is meant is not said"
        choices.add("source.ambiguous", best, why, 'ambiguous = "latest"   # the second', is_open=True)
    return read[best]


def _choose_delay(choices: Choices, rows: pl.DataFrame, frequency: str | None, zone: str, *, counted: bool) -> None:
    if counted or frequency is None:
        later = "available_after = 1   # later" if counted else 'available_after = "1h"   # later'
        choices.add("source.available_after", None, "a row is known at its time", later)
        return
    delay = length_of(frequency)
    at_midnight = pl.col("time").dt.convert_time_zone(zone).dt.time() == pl.time(0)
    if is_of_days(frequency) and not rows.select(at_midnight.all()).item():
        choices.add("source.available_after", None, "times of day say when a row was known", 'available_after = "1d"')
        return
    if frequency in ("1w", "1mo", "1q", "1y") and not _is_at_beginning(rows, frequency, zone):
        delay = "1d"
    why = "a value stamped with the beginning of its step is known when the step is over; the safe side for backtests"
    choices.add("source.available_after", delay, why, 'available_after = "0"   # if it is known at its time')


def _is_at_beginning(rows: pl.DataFrame, frequency: str, zone: str) -> bool:
    clock = pl.col("time").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return bool(rows.select((clock.dt.truncate(frequency) == clock.dt.truncate("1d")).mean() > 0.5).item())


def _choose_duplicates(choices: Choices, ingested: Ingested, written: str | None) -> None:
    keys, values = ["series_id", "time"], [name for name in ingested.rows.columns if name.startswith(RAW)]
    twice = ingested.rows.filter(pl.col("time").is_not_null() & pl.struct(keys).is_duplicated())
    if twice.is_empty() or choices.made["source.series"].is_open:
        return
    n_extra = len(twice) - twice.select(pl.struct(keys).n_unique()).item()
    n_alike = len(twice) - twice.select(pl.struct(*keys, *values).n_unique()).item()
    if n_alike == n_extra:
        why = f"{_come(n_extra)} again with the same values: nothing is lost"
        choices.add("source.duplicates", "drop_same", why, 'duplicates = "reject"   # set their series aside')
        return
    if written is not None:
        why = f"{_come(n_extra)} again with other values, and {written} says when each was written: the newest counts"
        choices.add("source.written_at", written, why)
        return
    differing = twice.unique([*keys, *values]).filter(pl.struct(keys).is_duplicated()).sort(keys)
    row, aside = differing.row(0, named=True), differing["series_id"].unique(maintain_order=True)
    why = (
        f"{_come(n_extra - n_alike)} again with other values, the first of {row['series_id']!r} at "
        f"{row['time']:%Y-%m-%dT%H:%M:%SZ}; until it is said which counts, {_listed(aside)} {_is(len(aside))} set aside"
        + (f" ({_come(n_alike)} again with the same values, and do no harm)" if n_alike else "")
    )
    lines = ['duplicates = "keep_last"   # the later row corrects']
    if not isinstance(choices.value("source.frequency"), int):
        lines.append('resample = "mean"   # both count, together with `frequency`')
    choices.add("source.duplicates", "drop_same", why, *lines, is_open=True)


def _listed(series: pl.Series) -> str:
    named = ", ".join(map(repr, series.head(3)))
    return named if len(series) <= 3 else f"{named} and {len(series) - 3} more"


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _come(n: int) -> str:
    return "1 row comes" if n == 1 else f"{n} rows come"


def _choose_fit(choices: Choices, rows: pl.DataFrame) -> None:
    n_series, n_rows = rows["series_id"].n_unique(), len(rows)
    counts = [2] if n_rows < _FEW_ROWS else [2, 3]
    choices.add(
        "model.n_states", counts, f"{n_rows} rows; every combination of these lists is fitted, and the best is kept"
    )
    choices.add(
        "model.duration", ["geometric", "negative_binomial"], "an HMM's law of how long states last, and a freer one"
    )
    each = n_rows // max(1, n_series)
    if n_series == 1:
        choices.add("fit.pool", "pooled", "there is one series")
    else:
        why = f"{n_series} series of about {each} rows share one model, so that states mean the same in all"
        choices.add("fit.pool", "pooled", why, 'pool = "per_series"   # a model each, from some hundred rows on')
    if scaled_columns(_settings(choices.sections(), choices.given)):
        why = "each series in units of its own spread: a state is high or low for its series"
        choices.add("fit.scale", "series", why, 'scale = "none"   # levels that mean the same everywhere')
    else:
        why = "these laws take values in their own units, whatever stands here; a value is wild among its series' own"
        choices.add("fit.scale", "series", why, 'scale = "none"   # among those of all series')
    choices.add("fit.n_init", 16, "restarts of every candidate: more, and a better one may be found")


def _tried(choices: Choices) -> tuple[Validated | None, str | None]:
    """What the night itself reads by these choices."""
    settings = _settings(choices.sections(), choices.given)
    try:
        return validate(ingest(settings), settings), None
    except PipelineError as error:
        return None, str(error)
