"""What a model should see of each column of numbers: itself, its logarithm, its changes or its returns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import polars as pl

from tasks.config.columns import STATE_COLUMNS
from tasks.config.sections.feature import Feature
from tasks.source.features import add_features
from tasks.source.look.choices import Choices
from tasks.source.look.skew import asks_for_logarithm, skews
from tasks.source.seen import RAW

Kind = Literal["continuous", "count", "amount", "flag"]

_UNIT_ROOT = -2.86  # the 5 % quantile of Dickey and Fuller's statistic with a constant (1979)
_JUMPS = 0.5
_OF_JUMPS = 0.98
_WILD = 100.0
_LARGEST_COUNT = 30.0
_MANY_ZEROS = 0.3
_TOLD_MISSING = 0.05
_SAME = 0.95
_MOST_MISSING = 0.8
_MOST = 3
_FEWEST_MOVES = 30
_IF_WILD = (
    "# wrong: mend or empty them in the source",
    "# true: leave the line; rows so far out and so few are decoded, teach the model nothing, and are said at each run",
    "# source.wild_spreads, in these spreads, says from where on a night sets the series aside (10000)",
)
_PRICES = re.compile(r"(^|_)(close|price|px|last|settle|adj|nav|value|index)(_|$)")
_EMISSIONS: dict[Kind, tuple[list[str], str]] = {
    "continuous": (["gaussian", "student_t"], "the second bears outliers"),
    "count": (["poisson", "negative_binomial"], "they count; the second varies more than its mean"),
    "amount": (["zero_inflated_gamma"], "zeros have a probability of their own, what is above them a gamma law"),
    "flag": (["bernoulli"], "it is yes or no"),
}


@dataclass(frozen=True)
class Seen:
    """What was found of a column of numbers: its kind, the transform that suits it, why, and what is strange in it."""

    column: str
    kind: Kind
    op: str
    why: str
    wild: str = ""
    has_more_zeros: bool = False

    @property
    def name(self) -> str:
        """What the feature is called: never as a column of the state table is."""
        endings = {"log_return": "_return", "diff": "_change", "log": "_log", "identity": ""}
        name = f"{self.column}{endings[self.op]}"
        return f"value_{name}" if name in STATE_COLUMNS or name.startswith(RAW) or not name.strip() else name

    @property
    def value(self) -> dict[str, Any]:
        return {"op": self.op, "column": self.column}


def choose_features(choices: Choices, rows: pl.DataFrame, columns: Sequence[str], zone: str) -> None:
    """Features of the columns (of ``rows`` by series and time, none twice), and the emissions that suit them."""
    seen, useless = [], list[tuple[str, str]]()
    for column in columns:
        found = _seen(rows, column)
        if isinstance(found, Seen):
            seen.append(found)
        else:
            useless.append((column, found))
    kind: Kind = next((k for k in _EMISSIONS if any(one.kind == k for one in seen)), "continuous")
    chosen, spare = _distinct(rows, [one for one in seen if one.kind == kind], zone)
    for one in chosen:
        why = one.why if not one.wild else f"{one.why}. {one.wild}"
        choices.add(f"features.{one.name}", one.value, why, *(_IF_WILD if one.wild else ()), is_open=bool(one.wild))
    for one, why in [
        *spare,
        *((one, f"its kind is {one.kind}, which needs a law of its own") for one in seen if one.kind != kind),
    ]:
        choices.add(f"features.{one.name}", None, f"left out, {one.column!r}: {why}", _line(one))
    for column, why in useless:
        choices.add(f"features.{column}", None, f"left out, {column!r}: {why}")
    _suggest_range(choices, {column.lower(): column for column in columns})
    emission, why = _EMISSIONS[kind]
    if kind == "count" and any(one.has_more_zeros for one in chosen):
        emission, why = [*emission, "zero_inflated_poisson"], f"{why}, the third has zeros of their own"
    choices.add("model.emission", emission, f"laws of {'the features' if kind == 'continuous' else kind + 's'}: {why}")


def _seen(rows: pl.DataFrame, column: str) -> Seen | str:
    """What a column is, or why it is of no use."""
    name = f"{RAW}{column}"
    filled = rows.select("series_id", "time", x=pl.when(pl.col(name).is_finite()).then(pl.col(name))).drop_nulls()
    known = filled.filter(~_is_wild())
    found = _as_a_rule(rows, known, column)
    if isinstance(found, str):
        return found
    missing = 1.0 - len(filled) / max(1, len(rows))
    why = f"{found.why}; {missing:.0%} of its cells are empty" if missing >= _TOLD_MISSING else found.why
    return replace(found, why=why, wild=_told(filled.filter(_is_wild())))


def _is_wild() -> pl.Expr:
    """Whether a value lies so far from the others of its series that it may be none."""
    x = pl.col("x")
    near = x.quantile(0.95) - x.quantile(0.05)
    spread = pl.when(near > 0).then(near).otherwise(x.std())
    return ((x - x.median()).abs() > _WILD * spread).over("series_id").fill_null(value=False)


def _told(wild: pl.DataFrame) -> str:
    if wild.is_empty():
        return ""
    first = wild.row(0, named=True)
    where = f"the first {first['x']:g} of {first['series_id']!r} at {first['time']:%Y-%m-%dT%H:%M:%SZ}"
    n = "1 value lies" if len(wild) == 1 else f"{len(wild)} values lie"
    return f"But {n} more than {_WILD:.0f} spreads from the others, {where}: true, or to be mended in the source?"


def _as_a_rule(rows: pl.DataFrame, known: pl.DataFrame, column: str) -> Seen | str:
    x = pl.col("x")
    if len(known) < (1 - _MOST_MISSING) * len(rows):
        return f"{1 - len(known) / max(1, len(rows)):.0%} of its cells are empty"
    if known.group_by("series_id").agg(x.n_unique()).filter(x > 1).is_empty():
        return "it never changes within a series"
    if known["x"].n_unique() == 2 and set(known["x"].unique()) <= {0.0, 1.0}:
        return Seen(column, "flag", "identity", "it is 0 or 1")
    moves = known.with_columns(d=(x - x.shift()).over("series_id"), before=x.shift().over("series_id")).drop_nulls()
    r, n = pl.corr("d", "before"), pl.len()
    by_series = moves.group_by("series_id").agg(
        (r * ((n - 2) / (1 - r**2)).sqrt()).alias("statistic"),
        (pl.col("d") ** 2).filter(pl.col("d").abs() >= pl.col("d").abs().quantile(_OF_JUMPS)).sum().alias("of_jumps")
        / (pl.col("d") ** 2).sum(),
    )
    steady = by_series.filter(pl.col("statistic").is_finite())
    wanders = steady.filter(pl.col("statistic") > _UNIT_ROOT)
    jumps = float(by_series["of_jumps"].median() or 0.0)  # type: ignore[arg-type]
    whole, low = bool((known["x"] == known["x"].floor()).all()), float(known["x"].min())  # type: ignore[arg-type]
    told = f"Dickey-Fuller at 5 %: a unit root in {len(wanders)} of {len(steady)} series"
    if _only_grows(moves):
        return Seen(column, "continuous", "diff", "it never falls, as meters run: what it gained tells")
    mean = float(known["x"].mean())  # type: ignore[arg-type]
    zeros = float((known["x"] == 0).mean())  # type: ignore[arg-type]
    if whole and low >= 0 and mean <= _LARGEST_COUNT:
        more = zeros >= max(_MANY_ZEROS, 2 * math.exp(-mean))
        told = f", {zeros:.0%} of them 0 where a Poisson law of their mean has {math.exp(-mean):.0%}" if more else ""
        why = f"whole numbers from {low:.0f}, {mean:.1f} on average{told}: it counts"
        return Seen(column, "count", "identity", why, has_more_zeros=more)
    if low == 0 and zeros >= _MANY_ZEROS:
        why = f"{zeros:.0%} of its values are 0 and the others positive: a state of the zeros alone would be none"
        return Seen(column, "amount", "identity", why)
    if 2 * len(wanders) > len(steady) and jumps < _JUMPS:
        op = "log_return" if low > 0 else "diff"
        positive = "and it is positive: relative changes" if low > 0 else "and it is not always positive: changes"
        return Seen(column, "continuous", op, f"its level wanders ({told}), {positive}")
    told_skew = ""
    if low > 0:
        skew, of_log = skews(known)
        told_skew = f", skewed by {skew:.2f} within its regimes, its logarithm by {of_log:.2f}"
        if asks_for_logarithm(skew, of_log):
            return Seen(column, "continuous", "log", f"positive{told_skew}: nearer to a normal law")
    kept = "its level jumps rather than wanders" if 2 * len(wanders) > len(steady) else f"its level comes back ({told})"
    return Seen(column, "continuous", "identity", f"{kept}{told_skew}: it may enter as it is")


def _only_grows(moves: pl.DataFrame) -> bool:
    """Whether no series ever falls, over more changes than chance would let all be rises."""
    return len(moves) >= _FEWEST_MOVES and bool((moves["d"] >= 0).all()) and bool((moves["d"] > 0).any())


def _distinct(rows: pl.DataFrame, seen: Sequence[Seen], zone: str) -> tuple[list[Seen], list[tuple[Seen, str]]]:
    """Those that a first model should see, prices first; and the others, each with the reason."""
    chosen, spare = list[Seen](), list[tuple[Seen, str]]()
    features = {one.name: Feature(**one.value) for one in seen}
    made = add_features(rows, features, zone).with_columns(pl.col(name).fill_nan(None) for name in features)
    for one in sorted(seen, key=lambda one: not _PRICES.search(one.column.lower())):
        alike = {other.name: _correlation(made, one.name, other.name) for other in chosen}
        same = next((name for name, r in alike.items() if abs(r) > _SAME), None)
        if same is not None:
            spare.append((one, f"it says what {same} says (correlation {alike[same]:.2f})"))
        elif len(chosen) == _MOST:
            spare.append((one, f"{_MOST} features are enough to begin with"))
        else:
            chosen.append(one)
    return chosen, spare


def _correlation(made: pl.DataFrame, one: str, other: str) -> float:
    both = made.select(one, other).filter(pl.all_horizontal(pl.all().is_finite()))
    found = both.select(pl.corr(one, other)).item() if len(both) > 2 else None
    return 0.0 if found is None or math.isnan(found) else float(found)


def _suggest_range(choices: Choices, by_name: dict[str, str]) -> None:
    if {"high", "low"} <= by_name.keys():
        pair = json.dumps([by_name["high"], by_name["low"]], ensure_ascii=False)
        line = f'range = {{ op = "log_ratio", columns = {pair} }}'
        choices.add("features.range", None, "how far a step went often tells regimes apart", line)


def _line(one: Seen) -> str:
    return f"{key(one.name)} = {{ op = {json.dumps(one.op)}, column = {json.dumps(one.column, ensure_ascii=False)} }}"


def key(name: str) -> str:
    """A name as TOML takes it before the equals sign."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
