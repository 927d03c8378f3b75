"""What a bundle's JSON files may say: looked at before it is believed, and refused where it is out of reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tasks.fitting.scaling import Scaling

_LARGEST = 1 << 25
_MOST_PARTS = 1 << 19
_LARGEST_ID = 1 << 15  # the state table holds ids in 16 bits


def read_json(path: Path) -> Any:
    """The content of a plain file of reasonable size and shape. Raises ``ValueError`` or ``OSError``."""
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name} is missing, or no plain file")
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes; at most {_LARGEST} are read")
    text = path.read_bytes()
    if text.count(b"[") + text.count(b"{") > _MOST_PARTS:
        raise ValueError(f"{path.name} has more than {_MOST_PARTS} lists and objects")
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deep") from None


def write_json(path: Path, content: Any) -> None:
    """Write what :func:`read_json` reads."""
    path.write_text(json.dumps(content, allow_nan=False, separators=(",", ":")) + "\n")


def read_scaling(columns: Any, statistics: Any, context: Any, absent: Any) -> Scaling:
    """Means and scales of every series, once each, all of them finite numbers and the scales positive; where what was
    learnt ends, if that is known.
    """
    if not isinstance(columns, list) or not columns or not all(isinstance(column, str) for column in columns):
        raise ValueError(f"its columns are {columns!r:.60}; expected names")
    if not isinstance(context, list) or not all(isinstance(column, str) for column in context):
        raise ValueError(f"its context is {context!r:.60}; expected names")
    if not isinstance(absent, list) or not all(isinstance(series, str) for series in absent):
        raise ValueError(f"its absent series are {absent!r:.60}; expected names")
    if not isinstance(statistics, list):
        raise ValueError("its statistics are no list")
    scales = [f"scale:{column}" for column in columns]
    numbers = [*(f"mean:{column}" for column in columns), *scales]
    bounds = Scaling(columns, pl.DataFrame(), context).bounds
    schema = {"series_id": pl.String, **dict.fromkeys([*numbers, *bounds], pl.Float64)}
    named = ({*schema}, {*schema} - {*bounds})
    if not all(isinstance(entry, dict) and {*entry} in named for entry in statistics):
        raise ValueError(f"its statistics are not those of {', '.join(columns[:6])}")
    if not all(type(entry[name]) in (int, float) for entry in statistics for name in numbers):
        raise ValueError("its statistics are not numbers")
    if not all(entry.get(name) is None or type(entry[name]) in (int, float) for entry in statistics for name in bounds):
        raise ValueError("its bounds are not numbers")
    table = pl.DataFrame(statistics, schema=schema)
    sound = pl.all_horizontal(pl.col(numbers).is_finite(), pl.col(scales) > 0, pl.col("series_id").is_not_null())
    if not table.select(sound.fill_null(value=False).all()).item() or table["series_id"].is_duplicated().any():
        raise ValueError("its scales are not positive numbers, one for each series")
    if not table.select(pl.all_horizontal(pl.col(bounds).is_finite().fill_null(value=True)).all()).item():
        raise ValueError("its bounds are not finite")
    return Scaling(columns, table, context, frozenset(absent))


def check_ids(ids: Any, next_id: Any) -> tuple[int, ...]:
    """Persistent ids: one at least, different, not negative, all below the next."""
    numbers = [*ids, next_id] if isinstance(ids, list) and ids else []
    if (
        not numbers
        or not all(type(number) is int for number in numbers)
        or len(set(ids)) < len(ids)
        or not 0 <= min(ids) <= max(ids) < next_id <= _LARGEST_ID
    ):
        raise ValueError(f"its states have the ids {ids!r:.60} below {next_id!r:.20}")
    return tuple(ids)


def check_units(units: Sequence[Any], scaling: Scaling, everything: str) -> None:
    """Models for all series together, for series that have a scale, or both."""
    known = {*scaling.statistics["series_id"].to_list(), everything}
    if len(set(map(str, units))) < len(units) or not known.issuperset(units):
        raise ValueError("its models are not those of different series that have a scale")


def as_list(content: Any, key: str) -> list[Mapping[str, Any]]:
    """A list of objects under a key."""
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ValueError(f"its {key} are no list of objects")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"found {constant}; expected finite numbers")
