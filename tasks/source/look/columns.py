"""What the cells of a column hold, counted over the whole source in one pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tasks.source.parts import Part
from tasks.source.text import cells, iso_groups, iso_moment, number

_SURELY_DECIMAL = r"^[+-]?\d*,(\d{1,2}|\d{4,})$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$"
_OF_DAY = r"^([01]?\d|2[0-4])(:[0-5]\d(:[0-5]\d(\.\d+)?)?\s*([AaPp]\.?[Mm]\.?)?|\s*[AaPp]\.?[Mm]\.?)$"
_HOUR = re.compile(r"(^|_)(hour|hr|stunde)s?(_|$)")


@dataclass(frozen=True)
class Column:
    """Counts of a column's cells.

    Attributes
    ----------
    name, dtype
        As it is stored.
    n, n_filled, n_distinct
        Rows; cells that hold something; how many different ones, about.
    n_numbers
        Cells that are numbers with a decimal point, and with a decimal comma.
    n_decimal_commas, n_thousands
        Cells such as 1,5, which can only be decimal, and such as 1,234, which may be thousands.
    n_iso
        Cells that are ISO 8601 dates or moments.
    n_zero_led
        Cells of digits that begin with a zero, such as 0017.
    n_whole
        Cells that are whole numbers.
    n_of_day
        Cells that are times of day, such as 06:00, 18:30:00 or 6:00 pm.
    low, high
        The smallest and the largest number.
    first, wrong, thousands
        The first filled cell as text, the first that is no number, and the first that may have commas of thousands.
    """

    name: str
    dtype: pl.DataType
    n: int
    n_filled: int
    n_distinct: int
    n_numbers: tuple[int, int]
    n_decimal_commas: int
    n_thousands: int
    n_iso: int
    n_zero_led: int
    n_whole: int
    n_of_day: int
    low: float | None
    high: float | None
    first: str
    wrong: str
    thousands: str

    @property
    def is_text(self) -> bool:
        return self.dtype in (pl.String, pl.Categorical, pl.Enum)

    @property
    def is_moment(self) -> bool:
        """Whether its type says when."""
        return self.dtype == pl.Date or isinstance(self.dtype, pl.Datetime)

    @property
    def holds_hours(self) -> bool:
        """Whether it counts the hours of a day."""
        if self.low is None or self.high is None or not _HOUR.search(self.name.lower()):
            return False
        return self.n_whole == self.n_filled and self.low >= 0 and self.high <= 24

    @property
    def is_clock(self) -> bool:
        """Whether it says the time of day, and not of which."""
        return self.n_filled > 0 and (self.n_of_day == self.n_filled or self.holds_hours)

    def holds_numbers(self, decimal: str) -> bool:
        """Whether nearly all of its cells are numbers."""
        n_numbers = self.n_numbers[decimal == ","]
        return self.n_filled > 0 and n_numbers >= _NEARLY * self.n_filled


_NEARLY = 0.98
_CELLS = ("first", "wrong", "thousands")


def columns_of(parts: Sequence[Part]) -> list[Column]:
    """The used columns of a source, in order."""
    names = list(parts[0].schema)
    counted = [part.scanned.select(_counts(name, part.schema[name]).alias(name) for name in names) for part in parts]
    found = [frame.row(0, named=True) for frame in pl.collect_all(counted)]
    return [_column(name, parts[0].schema[name], [counts[name] for counts in found]) for name in names]


def _column(name: str, dtype: pl.DataType, counts: Sequence[dict[str, Any]]) -> Column:
    total = {key: sum(count[key] for count in counts) for key in counts[0] if key.startswith("n_") or key == "n"}
    lows, highs = ([count[key] for count in counts if count[key] is not None] for key in ("low", "high"))
    return Column(
        name,
        dtype,
        total["n"],
        total["n_filled"],
        max(count["n_distinct"] for count in counts),
        (total["n_points"], total["n_commas"]),
        total["n_decimal_commas"],
        total["n_thousands"],
        total["n_iso"],
        total["n_zero_led"],
        total["n_whole"],
        total["n_of_day"],
        min(lows, default=None),
        max(highs, default=None),
        *(next((str(count[key]) for count in counts if count[key] is not None), "") for key in _CELLS),
    )


def _counts(name: str, dtype: pl.DataType) -> pl.Expr:
    column, nothing = pl.col(name), pl.lit(0, pl.UInt32)
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        text = cells(column)
        plain, commas = number(column, "."), number(column, ",")
        matches = {
            "n_iso": iso_moment(iso_groups(column))[0].is_not_null().sum(),
            "n_decimal_commas": text.str.contains(_SURELY_DECIMAL).sum(),
            "n_thousands": text.str.contains(_THOUSANDS).sum(),
            "n_zero_led": text.str.contains(r"^0\d+$").sum(),
            "n_of_day": text.str.contains(_OF_DAY).sum(),
        }
        thousands = text.filter(text.str.contains(_THOUSANDS)).first()
        values = pl.coalesce(plain, commas)
        n_commas = commas.is_not_null().sum()
    else:
        is_number = dtype.is_numeric() or dtype == pl.Boolean
        text = column.fill_nan(None) if dtype.is_float() else column
        values = column.cast(pl.Float64).fill_nan(None) if is_number else pl.lit(None, pl.Float64)
        plain, n_commas = values, values.is_not_null().sum()
        thousands = pl.lit(None, pl.String)
        matches = dict.fromkeys(("n_iso", "n_decimal_commas", "n_thousands", "n_zero_led"), nothing)
        matches["n_of_day"] = column.is_not_null().sum() if dtype == pl.Time else nothing
    counts: dict[str, pl.Expr] = dict(
        n=pl.len(),
        n_filled=text.is_not_null().sum(),
        n_distinct=text.approx_n_unique() if not dtype.is_nested() else nothing,
        n_points=plain.is_not_null().sum(),
        n_commas=n_commas,
        n_whole=(values == values.floor()).sum(),
        low=values.min(),
        high=values.max(),
        first=text.drop_nulls().first().cast(pl.String),
        wrong=text.filter(text.is_not_null() & plain.is_null()).first().cast(pl.String),
        thousands=thousands,
        **matches,
    )
    return pl.struct(expression.alias(key) for key, expression in counts.items())
