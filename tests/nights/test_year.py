"""Nights on feeds as they come: no row is lost or doubled, no series forgotten, and the counts add up every night.

A fortnight of 8 series here; HSMM_NIGHTS=365 HSMM_SERIES=50 in the environment for a year of fifty.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import flows.nightly
from tests.nights import world
from tests.nights.independent import Books, Episodes, Table, known_rows, series_counts

N_NIGHTS = int(os.environ.get("HSMM_NIGHTS", "14"))
N_SERIES = int(os.environ.get("HSMM_SERIES", "8"))


class Nights:
    """Nights at a place, and the books that are kept beside it."""

    def __init__(self, place: Any, n_series: int, n_nights: int) -> None:
        self.place, self.source, self.told = place, place.folder / "feed", place.folder / "told"
        self.versions = world.feed(n_series, n_nights)
        uri = f"sqlite:///{place.folder}/mlflow.db"
        place.config.write_text(world.CONFIG.format(path=self.source, states=place.states, uri=uri, told=self.told))
        self.table, self.aside = Table(Path(place.states)), Table(Path(f"{place.states}_quarantine"))
        self.books, self.episodes = Books(), Episodes()

    def work(self, number: int) -> dict[str, int]:
        """One night; how many series were what, after everything about it was found to be right."""
        as_of = world.moment(number)
        world.write_source(self.versions, number, self.source)
        said = flows.nightly.nightly(str(self.place.config), as_of.isoformat())
        new, told = self.table.news(), self.aside.news()
        aside = dict(zip(told["series_id"], told["reason"], strict=True)) if len(told) else {}
        source = known_rows(self.source)
        valued, empty = self.books.night(source, aside, as_of)
        self._rows_are(new, valued, empty, said)
        self.episodes.night(new, aside, said["gate"]["verdict"])
        counts = series_counts(new, aside)
        assert sum(counts.values()) == source["symbol"].nunique() == said["n_series"]
        assert [counts[name] for name in ("held", "stale", "quarantined")] == [
            said["n_held"],
            said["n_stale"],
            said["n_quarantined"],
        ]
        return counts

    def alerts_are_right(self) -> None:
        """One of each episode, and each that is to be told was told once."""
        alerts = pd.DataFrame(pl.read_delta(f"{self.place.states}_alerts").to_dicts())
        assert not alerts["alert_id"].duplicated().any()
        of_nights = alerts[alerts["kind"].isin(["stale", "quarantine", "held"])]
        found = of_nights[["kind", "rule", "series_id"]].itertuples(index=False, name=None)
        assert Counter(found) == Counter(self.episodes.begun)
        assert not (alerts["delivery"] == "PENDING").any()
        told = [one["alert_id"] for one in _objects(self.told.read_text())]
        assert sorted(told) == sorted(alerts.loc[alerts["delivery"] == "DELIVERED", "alert_id"])

    def _rows_are(self, new: pd.DataFrame, valued: set, empty: set, said: dict[str, Any]) -> None:
        without = new["status"].isin(["MISSING", "STALE"])
        found = [list(zip(part["series_id"], part["time"], strict=True)) for part in (new[~without], new[without])]
        for rows, expected in zip(found, (valued, empty), strict=True):
            assert len(rows) == len(set(rows)), "a row is there twice"
            assert set(rows) == expected
        assert (len(new), said["verdict"]) == (said["n_published"], "PUBLISHED")
        assert set(new["run_key"]) == {said["run_key"]}
        assert (new["time"] + world.DELAY <= new["as_of"]).all()


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects, one after the other."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        one, end = decoder.raw_decode(text)
        yield one
        text = text[end:].strip()


@pytest.mark.costly
def test_every_night_of_feeds_as_they_come_adds_up(place_at) -> None:
    nights = Nights(place_at("year"), N_SERIES, N_NIGHTS)
    counts = pd.DataFrame([nights.work(number) for number in range(N_NIGHTS)])
    everything = nights.table.frame
    assert not everything.duplicated(["series_id", "time", "as_of"]).any()
    assert everything.groupby(["series_id", "time"]).size().max() == 2, "no row came late: less was tried"
    assert (counts[["stale", "quarantined"]].max() > 0).all(), "no series ended or lied: less was tried"
    nights.alerts_are_right()
    assert set(everything["series_id"]) == {version.symbol for version in nights.versions}
