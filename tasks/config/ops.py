"""The transforms that a feature may be: what each reads, needs, yields, and does at a missing value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

import polars as pl

if TYPE_CHECKING:
    from tasks.config.sections.feature import Feature

Option = Literal["window", "lag", "half_life", "low", "high", "period", "dates"]
Gap = Literal["missing", "skipped", "none"]
Change = Literal["difference", "return"]
Period = Literal["day", "week", "year"]
Reach: TypeAlias = "Callable[[Feature], Sequence[int]]"

GAPS: Mapping[Gap, str] = MappingProxyType(
    {
        "missing": "missing wherever it would read a missing value",
        "skipped": "missing in that row; all other rows are as if the row were not there",
        "none": "reads the row's time alone, so it is never missing",
    }
)


@dataclass(frozen=True)
class Op:
    """One declared transform, causal and series by series.

    Attributes
    ----------
    expression
        From the source's columns (or, without any, the row's time in the zone in which days are counted) and the
        feature, a polars expression over one series' rows in order of time.
    says
        What it is, for the reference.
    unit
        Its unit; ``{0}`` and ``{1}`` stand for the columns.
    n_columns
        How many columns of the source it reads.
    needs, one_of
        Options that it must have, and options of which it must have one at least; it takes no others.
    gap
        What a missing value does.
    reach
        How many rows back it reads, 0 being the row itself, where ``gap`` is "missing".
    levels
        What its values are called, where they are names and no amounts.
    change
        What it is of a level that lies behind it, which the page shows then: its "difference", or its "return", of
        which a year has a mean and a volatility.
    """

    expression: Callable[[Sequence[pl.Expr], Feature], pl.Expr]
    says: str
    unit: str
    n_columns: int = 1
    needs: frozenset[Option] = frozenset()
    one_of: frozenset[Option] = frozenset()
    gap: Gap = "missing"
    reach: Reach = lambda _: (0,)
    levels: Mapping[int, str] = field(default_factory=dict)
    change: Change | None = None


def _last_known(values: pl.Expr) -> pl.Expr:
    return values.forward_fill().shift(1)


def _in_window(feature: Feature) -> Sequence[int]:
    return range(feature.window or 1)


def _standardised(values: pl.Expr, window: int) -> pl.Expr:
    spread = values.rolling_std(window)
    return pl.when(spread > 0).then((values - values.rolling_mean(window)) / spread)


def _elapsed(time: pl.Expr, period: Period | None) -> pl.Expr:
    """The share of the period that has passed by the clock on the wall."""
    day = (time.dt.hour() + (time.dt.minute() + time.dt.second() / 60.0) / 60.0) / 24.0
    if period == "week":
        return (time.dt.weekday() - 1.0 + day) / 7.0
    if period == "year":
        return (time.dt.ordinal_day() - 1.0 + day) / (365.0 + time.dt.is_leap_year().cast(pl.Float64))
    return day


def _named(names: Iterable[str], first: int) -> Mapping[int, str]:
    return MappingProxyType(dict(enumerate(names, first)))


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WINDOW: frozenset[Option] = frozenset({"window"})
_HALF_LIFE: frozenset[Option] = frozenset({"half_life"})
_PERIOD: frozenset[Option] = frozenset({"period"})
_BOUNDS: frozenset[Option] = frozenset({"low", "high"})

OPS: Mapping[str, Op] = MappingProxyType(
    {
        "identity": Op(lambda x, _: x[0], "the column itself", "units of {0}"),
        "log": Op(lambda x, _: x[0].log(), "its natural logarithm", "log of {0}"),
        "diff": Op(
            lambda x, _: x[0] - _last_known(x[0]),
            "the change since the last known value",
            "units of {0}",
            gap="skipped",
            change="difference",
        ),
        "log_return": Op(
            lambda x, _: x[0].log() - _last_known(x[0].log()),
            "the change of its logarithm since the last known value",
            "log units",
            gap="skipped",
            change="return",
        ),
        "pct_change": Op(
            lambda x, _: x[0] / _last_known(x[0]) - 1.0,
            "the relative change since the last known value: 0.01 is one per cent",
            "share of {0}",
            gap="skipped",
            change="return",
        ),
        "ratio": Op(lambda x, _: x[0] / x[1], "the first column over the second", "{0} per {1}", n_columns=2),
        "log_ratio": Op(lambda x, _: x[0].log() - x[1].log(), "the logarithm of that ratio", "log units", n_columns=2),
        "clip": Op(
            lambda x, f: x[0].clip(f.low, f.high),
            "the column kept between `low` and `high`, either of which may be left out",
            "units of {0}",
            one_of=_BOUNDS,
        ),
        "lag": Op(
            lambda x, f: x[0].shift(f.lag or 0),
            "its value `lag` rows before",
            "units of {0}",
            needs=frozenset({"lag"}),
            reach=lambda f: (f.lag or 0,),
        ),
        "rolling_mean": Op(
            lambda x, f: x[0].rolling_mean(f.window or 2),
            "the mean of the last `window` rows, this one among them",
            "units of {0}",
            needs=_WINDOW,
            reach=_in_window,
        ),
        "rolling_std": Op(
            lambda x, f: x[0].rolling_std(f.window or 2),
            "the standard deviation of the last `window` rows",
            "units of {0}",
            needs=_WINDOW,
            reach=_in_window,
        ),
        "zscore_rolling": Op(
            lambda x, f: _standardised(x[0], f.window or 2),
            "the distance from that mean in units of that standard deviation; missing where nothing varies",
            "standard deviations",
            needs=_WINDOW,
            reach=_in_window,
        ),
        "ewm_mean": Op(
            lambda x, f: x[0].ewm_mean(half_life=f.half_life, ignore_nulls=True),
            "the mean of all rows so far, whose weight halves every `half_life` rows",
            "units of {0}",
            needs=_HALF_LIFE,
            gap="skipped",
        ),
        "ewm_std": Op(
            lambda x, f: x[0].ewm_std(half_life=f.half_life, ignore_nulls=True),
            "the standard deviation with these weights",
            "units of {0}",
            needs=_HALF_LIFE,
            gap="skipped",
        ),
        "day_of_week": Op(
            lambda x, _: x[0].dt.weekday().cast(pl.Float64) - 1.0,
            "the day of the row's time, in the source's zone: Monday is 0, Sunday 6",
            "day of the week",
            n_columns=0,
            gap="none",
            levels=_named(_DAYS, 0),
        ),
        "hour": Op(
            lambda x, _: x[0].dt.hour().cast(pl.Float64),
            "the hour of the row's time, in the source's zone: 0 to 23",
            "hour of the day",
            n_columns=0,
            gap="none",
            levels=_named(map(str, range(24)), 0),
        ),
        "month": Op(
            lambda x, _: x[0].dt.month().cast(pl.Float64),
            "the month of the row's time, in the source's zone: 1 to 12",
            "month of the year",
            n_columns=0,
            gap="none",
            levels=_named(_MONTHS, 1),
        ),
        "cosine": Op(
            lambda x, f: (2.0 * math.pi * _elapsed(x[0], f.period)).cos(),
            "1 as the `period` (`day`, `week` or `year`, in the source's zone) begins, -1 in its middle: with `sine`, "
            "what comes round with it, without a jump at its end",
            "of 1",
            n_columns=0,
            needs=_PERIOD,
            gap="none",
        ),
        "sine": Op(
            lambda x, f: (2.0 * math.pi * _elapsed(x[0], f.period)).sin(),
            "1 after a quarter of the `period`, -1 after three",
            "of 1",
            n_columns=0,
            needs=_PERIOD,
            gap="none",
        ),
        "holiday": Op(
            lambda x, f: x[0].dt.date().is_in(list(f.dates or ())).cast(pl.Float64),
            "1 on the days in `dates`, in the source's zone, otherwise 0",
            "yes or no",
            n_columns=0,
            needs=frozenset({"dates"}),
            gap="none",
            levels=_named(("no", "yes"), 0),
        ),
    }
)
