"""A reader of source and table that shares no code with the program: the log as JSON, files with pyarrow, pandas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ZONE, WILD, ENOUGH, DELAY = "Africa/Cairo", 1e6, 10, pd.Timedelta(hours=12)

Row = tuple[str, pd.Timestamp]


@dataclass
class Table:
    """A Delta table, followed commit by commit."""

    folder: Path
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    n_commits: int = 0

    def news(self) -> pd.DataFrame:
        """The rows of the commits since the last look; a commit that takes rows away is an error."""
        found = []
        while (commit := self.folder / "_delta_log" / f"{self.n_commits:020d}.json").exists():
            actions = [json.loads(line) for line in commit.read_text().splitlines()]
            assert not any("remove" in action for action in actions), f"{commit} takes rows away"
            found += [pq.read_table(self.folder / unquote(a["add"]["path"])) for a in actions if "add" in a]
            self.n_commits += 1
        new = pa.concat_tables(found).to_pandas() if found else pd.DataFrame(columns=self.frame.columns)
        self.frame = pd.concat([self.frame, new], ignore_index=True) if len(self.frame) else new
        return new


def known_rows(folder: Path) -> pd.DataFrame:
    """The source's rows: symbol, time (UTC), x, of several versions the one that was written last."""
    parts = []
    for path in sorted(folder.glob("*.parquet")):
        part = pq.read_table(path).to_pandas()
        zoned = part["at"].dt.tz is not None
        part["time"] = (
            part["at"].dt.tz_convert("UTC") if zoned else part["at"].dt.tz_localize(ZONE).dt.tz_convert("UTC")
        )
        parts.append(part)
    rows = pd.concat(parts)
    newest = rows.groupby(["symbol", "time"])["written"].transform("max")
    return rows[rows["written"] == newest]


@dataclass
class Books:
    """What the table must hold after each night, from the source and from who was set aside."""

    valued: set[Row] = field(default_factory=set)
    empty: set[Row] = field(default_factory=set)
    served: set[str] = field(default_factory=set)

    def night(self, source: pd.DataFrame, aside: Mapping[str, str], as_of: datetime) -> tuple[set[Row], set[Row]]:
        """The rows that a night must add: with a value, and without one."""
        valued, empty = set[Row](), set[Row]()
        for symbol, rows in source.groupby("symbol"):
            said = None if symbol not in aside else aside[str(symbol)]
            self._check_why(str(symbol), rows, said, as_of)
            if said is not None:
                continue
            there = {(str(symbol), time) for time in rows.loc[rows["x"].notna(), "time"]}
            steps = {(str(symbol), time) for time in _noons(rows["time"].min(), pd.Timestamp(as_of) - DELAY)}
            assert there <= steps, f"{symbol} has rows that are no local noon"
            valued |= there - self.valued
            empty |= steps - there - self.valued - self.empty
            self.served.add(str(symbol))
        self.valued |= valued
        self.empty |= empty
        return valued, empty

    def _check_why(self, symbol: str, rows: pd.DataFrame, said: str | None, as_of: datetime) -> None:
        """A series is set aside for what it says, or because it is too young or too long silent, and not otherwise."""
        values = rows["x"].to_numpy()
        seen = rows.loc[rows["x"].notna(), "time"]
        silent = (pd.Timestamp(as_of) - seen.max()).days if len(seen) else 0
        if np.isinf(values).any():
            expected = {"infinite_value"}
        elif rows.duplicated("time").any():
            expected = {"duplicate_time"}
        elif (np.abs(values[~np.isnan(values)]) > WILD).any():
            expected = {"wild_value"}
        elif len(seen) < ENOUGH:
            expected = {"too_short"}
        else:
            expected = {None}
            expected |= {"too_short"} if len(seen) < 2 * ENOUGH else set()
            expected |= {"no_scale"} if symbol not in self.served else set()
            expected |= {"stale"} if silent > len(rows) else set()
        assert said in expected, f"{symbol} as of {as_of}: set aside for {said}, expected {expected}"


@dataclass
class Episodes:
    """What deserves one alert each: causes, night by night, of which an unbroken run is one episode."""

    begun: list[tuple[str, str, str]] = field(default_factory=list)
    going: set[tuple[str, str, str]] = field(default_factory=set)

    def night(self, new: pd.DataFrame, aside: Mapping[str, str], gate: str) -> None:
        """Series set aside by reason, series whose newest row is STALE, a gate that did not promote."""
        causes = {("quarantine", reason, symbol) for symbol, reason in aside.items()}
        causes |= {("held", "held", "")} if gate != "PROMOTE" else set()
        stale = _newest(new).loc[lambda rows: rows["status"] == "STALE", "series_id"]
        causes |= {("stale", "stale", symbol) for symbol in stale}
        self.begun += sorted(causes - self.going)
        self.going = causes


def _newest(new: pd.DataFrame) -> pd.DataFrame:
    return new.sort_values("time").groupby("series_id").tail(1)


def _noons(first: pd.Timestamp, last: pd.Timestamp) -> pd.DatetimeIndex:
    """Every local noon from one to the other, in UTC."""
    days = pd.date_range(first.tz_convert(ZONE).date(), last.tz_convert(ZONE).date(), freq="D")
    noons = (days + pd.Timedelta(hours=12)).tz_localize(ZONE).tz_convert("UTC")
    return noons[(noons >= first) & (noons <= last)]


def series_counts(new: pd.DataFrame, aside: Mapping[str, str]) -> dict[str, int]:
    """Of one night's rows and those set aside: how many series are what."""
    newest = _newest(new)
    stale = set(newest.loc[newest["status"] == "STALE", "series_id"])
    held = set(new.loc[new["status"] == "HELD", "series_id"]) - stale
    return {
        "published": len(set(new["series_id"]) - stale - held),
        "held": len(held),
        "stale": len(stale),
        "quarantined": len(aside),
    }
