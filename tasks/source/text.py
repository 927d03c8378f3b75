"""Numbers and moments that stand as text, in a CSV or in a column of text: nothing is guessed."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import polars as pl

_NOTHING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "None", "-", ".")
UTF_16 = "it holds zero bytes, as UTF-16 does: `iconv -f utf-16 -t utf-8` makes UTF-8"
_SEPARATORS = ",;\t|"
_MOST_OF_HEADER = 1 << 20
_ISO = (
    r"^(?<y>\d{4})[-/](?<mo>\d{1,2})[-/](?<d>\d{1,2})"
    r"(?:[T ]+(?<h>\d{1,2}):(?<mi>\d{2})(?::(?<s>\d{2})(?:[.,](?<f>\d{1,9}))?)?\s*"
    r"(?:(?<utc>Z|z|UTC)|(?<oh>[+-]\d{2})(?::?(?<om>\d{2}))?)?)?$"
)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def separator(path: str, columns: Sequence[str]) -> str:
    """What stands between the cells of a file: that with which its header names most of the columns."""
    if "://" in path:
        return ","
    with gzip.open(path, "rb") if path.lower().endswith(".gz") else Path(path).open("rb") as lines:
        header = lines.readline(_MOST_OF_HEADER).decode("utf-8-sig").rstrip("\r\n")
    if "\0" in header:
        raise ValueError(f"{path}: {UTF_16}")
    if "\r" in header:
        raise ValueError(f"{path}: its lines end with a carriage return alone; expected line feeds")
    named = {mark: next(csv.reader([header], delimiter=mark), []) for mark in _SEPARATORS}
    found = max(_SEPARATORS, key=lambda mark: (sum(column in named[mark] for column in columns), len(named[mark])))
    if twice := next((column for column in columns if named[found].count(column) > 1), None):
        raise ValueError(f"{path}: its header names {twice!r} {named[found].count(twice)} times; expected it once")
    return found


def cells(column: pl.Expr) -> pl.Expr:
    """The text of a cell; null where it says that there is nothing."""
    text = column.cast(pl.String).str.strip_chars()
    return pl.when(~text.is_in(_NOTHING)).then(text)


def number(column: pl.Expr, decimal: str) -> pl.Expr:
    """A text as a double; null where it is none."""
    text = cells(column)
    if decimal == ",":
        text = pl.when(~text.str.contains(".", literal=True)).then(text)  # of thousands, or of another decimal mark
    plain = text.str.replace(",", ".", literal=True) if decimal == "," else text
    truth = text.str.to_lowercase().replace_strict({"true": 1.0, "false": 0.0}, default=None, return_dtype=pl.Float64)
    return plain.cast(pl.Float64, strict=False).fill_null(truth)


def iso_groups(column: pl.Expr) -> pl.Expr:
    """The parts of a moment as text: years, months, …; null where a cell holds none."""
    return cells(column).str.extract_groups(_ISO)


def iso_moment(groups: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Of the parts of :func:`iso_groups`, which should be a column by then, for each use of them counts.

    (moment as the clock says, minutes that its zone is ahead of UTC or null, whether it has a time of day).
    """
    part = groups.struct.field
    two = lambda name: part(name).fill_null("0").str.zfill(2)  # noqa: E731
    clock = pl.concat_str(
        part("y"), pl.lit("-"), two("mo"), pl.lit("-"), two("d"), pl.lit(" "), two("h"), pl.lit(":"), two("mi"),
        pl.lit(":"), two("s"), pl.lit("."), part("f").fill_null("0"),
    )  # fmt: skip
    hours, minutes = part("oh").cast(pl.Int32), part("om").fill_null("0").cast(pl.Int32)
    ahead = hours * 60 + pl.when(part("oh").str.starts_with("-")).then(-minutes).otherwise(minutes)
    ahead = pl.when(part("utc").is_not_null()).then(0).otherwise(ahead)
    return clock.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False), ahead, part("h").is_not_null()


def epoch_moment(column: pl.Expr, unit: str) -> pl.Expr:
    """Time since 1970, UTC, from whole or broken numbers or their text."""
    ticks = column.cast(pl.Float64, strict=False) * (1_000_000 / _PER_SECOND[unit])
    exact = column.cast(pl.Int64, strict=False)
    exact = pl.when(exact.cast(pl.Float64) == column.cast(pl.Float64, strict=False)).then(exact)
    whole = exact * (1_000_000 // _PER_SECOND[unit]) if unit != "ns" else exact // 1000
    return (
        whole.fill_null(ticks.round().cast(pl.Int64, strict=False)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )
