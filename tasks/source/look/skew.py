"""How skewed a column is within its regimes: whether its level or its logarithm is nearer to a symmetric law."""

from __future__ import annotations

import polars as pl

_ROWS = 11  # about whose median a value is looked at: what lasts for longer is a regime, and no part of a skew
_DEPTHS = (1 / 8, 1 / 50)
_CLEARLY = 0.1


def skews(known: pl.DataFrame) -> tuple[float, float]:
    """Of positive values ``x`` (by ``series_id`` and time) and of their logarithms, between 0 and 1.

    The mean over an eighth and a fiftieth of how far the quantiles on both sides lie unequally from the median, over
    their distance; few values that are wild do not move it.
    """
    x = pl.col("x")
    return _skew(known, x), _skew(known, x.log())


def asks_for_logarithm(level: float, of_log: float) -> bool:
    """Whether the logarithm is clearly nearer; where both are alike, as of temperatures, the level is left."""
    return level > of_log + _CLEARLY and of_log < level / 2


def _skew(known: pl.DataFrame, values: pl.Expr) -> float:
    apart = (values - values.rolling_median(_ROWS, center=True, min_samples=1)).over("series_id")
    own = known.select("series_id", off=apart).select(pl.col("off") / pl.col("off").abs().mean().over("series_id"))
    off, found = pl.col("off").filter(pl.col("off").is_finite()), []
    for depth in _DEPTHS:
        quantiles = [off.quantile(at, "linear").fill_null(0.0).alias(str(at)) for at in (depth, 0.5, 1 - depth)]
        low, middle, high = own.select(quantiles).row(0)
        found.append(abs(high + low - 2 * middle) / (high - low) if high > low else 0.0)
    return sum(found) / len(found)
