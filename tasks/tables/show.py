"""The state table for people and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from tasks.config.columns import STATE_COLUMNS
from tasks.config.errors import ConfigurationError, OutputError
from tasks.config.moments import parse_as_of
from tasks.config.settings import Settings
from tasks.config.settings_errors import closest, ended, nearest
from tasks.tables.ages import AGE, with_ages
from tasks.tables.export import export_rows as write_rows
from tasks.tables.findings import read_quarantine
from tasks.tables.names import read_names, rewrite_names
from tasks.tables.states import read_states, state_table

_LONGEST_NAME = 60
_MOST_TOLD = 12
_FILES = (".csv", ".parquet")
_SHOWN = (
    "series_id",
    "time",
    "state_name",
    "p_filtered",
    "elapsed_mean",
    "remaining_p50",
    "p_change_5",
    "status",
    AGE,
    "model_version",
)


def known_rows(
    settings: Settings, *, series: str | None, as_of: str | None, head: int | None, latest: bool = False
) -> pl.DataFrame:
    """The configuration's rows as known at ``as_of``; with ``latest`` the newest of each series, and its age."""
    if head is not None and head < 1:
        raise ConfigurationError(f"--head: found {head}; expected a whole number >= 1.")
    moment = (
        parse_as_of(as_of, settings.source.timezone, counted=settings.source.counts_steps)
        if as_of is not None
        else None
    )
    rows = read_states(settings.output.states, settings.name, None if latest else series, moment, latest=latest)
    if latest:
        rows = with_ages(rows, settings, moment)
        rows = rows if series is None else rows.filter(series_id=series)
    if rows.is_empty() and series is not None:
        _refuse_quarantined(settings, series)
        _refuse_unknown(settings, series, moment)
    if rows.is_empty():
        raise no_rows(settings, *([f"series {series!r}"] if series else []), *([f"as of {as_of}"] if as_of else []))
    return with_names(rows if head is None else rows.head(head), named_states(settings))


def require_published(settings: Settings, series: str | None) -> None:
    """Raises ``OutputError`` where there is no state table, or the runs have neither published nor set aside this
    series.
    """
    states, name = settings.output.states, settings.name
    if series is None:
        state_table(states)
    elif read_states(states, name, series).is_empty() and series not in read_quarantine(states, name)["series_id"]:
        _refuse_unknown(settings, series, None)


def no_rows(settings: Settings, *asked: str) -> OutputError:
    """That the table has no rows of the configuration, or none of those ``asked`` for."""
    return OutputError(
        f"output.states: {settings.output.states!r} has no rows of {', '.join((f'name {settings.name!r}', *asked))}; "
        "ask for others, or publish them with `hsmm run`."
    )


def with_names(rows: pl.DataFrame, names: Mapping[int, str]) -> pl.DataFrame:
    """The rows, their states called as they are now."""
    name = pl.col("state").replace_strict(names, default=pl.col("state_name"), return_dtype=pl.String)
    return rows.with_columns(name.alias("state_name"))


def _refuse_quarantined(settings: Settings, series: str) -> None:
    """Raises ``OutputError`` that says why a series has no rows, if the runs set it aside."""
    told = read_quarantine(settings.output.states, settings.name).filter(series_id=series).sort("as_of")
    if len(told):
        last = told.row(-1, named=True)
        raise OutputError(
            f"series {series!r} has no rows: it was set aside as of {settings.source.told(last['as_of'])} "
            f"({last['reason']}: {last['detail']})."
        )


def _refuse_unknown(settings: Settings, series: str, as_of: datetime | None) -> None:
    """Raises ``OutputError`` that names the series there are, if there are any."""
    there = read_states(settings.output.states, settings.name, None, as_of)["series_id"].unique().sort().to_list()
    if there:
        close, more = closest(series, there), len(there) - _MOST_TOLD
        known = ", ".join(map(repr, there[:_MOST_TOLD])) + (f" and {more} more" if more > 0 else "")
        meant = "." if close is None else f"; did you mean {close!r}?"
        raise OutputError(f"--series: found {series!r}; expected one of {known}{meant}")


def asked_columns(columns: str | None, *, latest: bool = False) -> list[str] | None:
    """The columns of the state table that a text such as "series_id,state_name" asks for, in its order; of the
    ``latest`` rows, their age, too.
    """
    if columns is None:
        return None
    there = (*STATE_COLUMNS, *((AGE,) if latest else ()))
    asked = [column.strip() for column in columns.split(",")]
    for place, column in enumerate(asked):
        if column not in there:
            raise ConfigurationError(ended(f"--columns: found {column!r}; expected {nearest(column, there)}"))
        if column in asked[:place]:
            raise ConfigurationError(f"--columns: found {column!r} twice; expected each column once.")
    return asked


def exported(settings: Settings, place: str) -> Path:
    """The file that an export goes to: a CSV or Parquet file, or one named after the configuration in a folder."""
    path = Path(place)
    if path.suffix.lower() in _FILES and not path.is_dir():
        if not path.parent.exists() and not path.parent.parent.is_dir():
            raise ConfigurationError(
                f"--export: found no folder {str(path.parent.parent)!r} for {place!r}; make it first."
            )
        return path
    if path.suffix and not path.is_dir():
        raise ConfigurationError(f"--export: found {place!r}; expected a file.csv, a file.parquet, or a folder.")
    return path / f"{settings.name}.parquet"


def export_rows(rows: pl.DataFrame, path: Path, *, counted: bool = False) -> None:
    """Write rows as one file, whole or not at all; in a CSV times are ISO 8601, and lists stand as JSON.

    Where steps are ``counted``, times are their numbers.
    """
    rows = _numbered(rows) if counted else rows
    if path.suffix.lower() == ".csv":
        listed = pl.format("[{}]", pl.col(pl.List(pl.Float64)).list.eval(pl.element().cast(pl.String)).list.join(", "))
        write_rows(rows.with_columns(_iso(), listed), path)
    else:
        write_rows(rows, path)


def rename(settings: Settings, assignments: Sequence[str]) -> None:
    """Give states names, from texts such as "0=calm"."""
    names: dict[int, str] = {}
    for assignment in assignments:
        state, equals, label = assignment.partition("=")
        if not equals or not state.strip().isdigit() or not label.strip() or len(label) > _LONGEST_NAME:
            raise ConfigurationError(f"found {assignment!r}; expected state=name, such as 0=calm.")
        names[int(state)] = label.strip()
    _refuse_twice(named_states(settings) | names, names)
    if not names:
        raise ConfigurationError("found no names; expected some, such as 0=calm 2=crisis.")
    rewrite_names(settings.output.states, settings.name, names)


def _refuse_twice(names: Mapping[int, str], given: Mapping[int, str]) -> None:
    """Raises ``ConfigurationError`` where two states would bear one name, of which at least one was ``given`` it."""
    for state, name in given.items():
        other = next((one for one, borne in names.items() if borne == name and one != state), None)
        if other is not None:
            first, second = sorted((state, other))
            raise ConfigurationError(
                f"found {name!r} for the states {first} and {second}; expected a name for each, by which alerts and "
                "readers tell them apart."
            )


def named_states(settings: Settings) -> dict[int, str]:
    """Every persistent state's name."""
    return read_names(settings.output.states, settings.name)


def rows_as_text(rows: pl.DataFrame, columns: Sequence[str] | None = None, *, counted: bool = False) -> str:
    """The asked columns, or those that are looked at first, as a table without ellipses.

    Where steps are ``counted``, times are their numbers.
    """
    rows = _numbered(rows) if counted else rows.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    looked_at = [column for column in _SHOWN if column in rows.columns]
    shown = rows.select(columns or looked_at).with_columns(
        pl.col(pl.List(pl.Float64)).list.eval(pl.element().round(3).cast(pl.String)).list.join(" "),
    )
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=200,
        float_precision=3,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_formatting="NOTHING",
    ):
        return str(shown)


def rows_as_json(rows: pl.DataFrame, *, counted: bool = False) -> list[dict[str, Any]]:
    """Every column; timestamps in ISO 8601, or where steps are ``counted`` as their numbers."""
    rows = _numbered(rows) if counted else rows
    return rows.with_columns(_iso()).to_dicts()


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col(pl.Datetime).dt.epoch("s"))


def _iso() -> pl.Expr:
    return pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
