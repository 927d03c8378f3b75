"""Rows that mean something else are never woven into those that are there, and nothing is fitted unasked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import flows.nightly
from tasks.config.errors import LineageError
from tasks.tables.storage import read_states

OPTIONS = ("model.n_states=2", "promote.min_improvement=-9")
CHANGES = {
    "features": 'features={y={op="diff", column="x"}}',
    "`source.frequency` was '1d' and is '2d'": "source.frequency=2d",
    "`fit.scale` was 'series' and is 'none'": "fit.scale=none",
    "source.timezone": "source.timezone=Africa/Cairo",
}


@pytest.fixture
def place(place_at, toy):
    """Two series of two levels, and a night of a hundred and twenty days."""
    here = place_at("here")
    rows = [toy.frame(toy.levels(toy.sojourns(140, 2, seed=s), distance=4.0, seed=s), symbol=f"S{s}") for s in (1, 2)]
    pl.concat(rows).write_parquet(here.source)
    here.night(toy.day(120), *OPTIONS)
    return here


@pytest.fixture
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object) -> None:
        raise AssertionError("something was fitted")

    monkeypatch.setattr(flows.nightly, "fit_task", fit)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("command", ["run", "decode"])
def test_another_meaning_is_refused_with_the_choices(place, toy, no_fit, change: str, command: str) -> None:  # noqa: ARG001
    before = (place.table().height, len(place.registry.versions("toy")), place.registry.champion("toy"))
    said = place.command(command, "--as-of", str(toy.day(140)), "--set", OPTIONS[0], "--set", CHANGES[change])
    assert said.status == 2
    for words in (change, "another `name`", "another `output.states`", "--new-lineage", "Nothing was fitted"):
        assert words in said.err
    assert (place.table().height, len(place.registry.versions("toy")), place.registry.champion("toy")) == before


def test_other_candidates_without_new_rows_fit_and_move_nothing(place, toy, no_fit) -> None:  # noqa: ARG001
    said = place.command("run", "--as-of", str(toy.day(120)), "--set", "model.n_states=3", "--json")
    assert said.status == 0, said.err
    told = said.last_json
    assert (told["verdict"], told["n_published"], told["model_version"]) == ("ALREADY_PUBLISHED", 0, 1)
    assert "nothing was written" in said.out
    assert "pictures" not in said.out
    assert (len(place.registry.versions("toy")), place.registry.champion("toy")) == (1, 1)


def test_other_candidates_go_on_with_new_rows(place, toy) -> None:
    said = place.night(toy.day(140), "model.n_states=3", OPTIONS[1])
    assert (said["verdict"], said["n_published"]) == ("PUBLISHED", 40)


def test_a_new_lineage_is_the_whole_of_what_is_read(place, toy) -> None:
    """Of the two lines in the table each reader sees one: the newer now, the older then."""
    then = read_states(place.states, "toy")
    said = place.night(toy.day(140), *OPTIONS, "source.frequency=2d", "source.off_calendar=drop", new_lineage=True)
    known = read_states(place.states, "toy")
    assert said["n_published"] == known.height == 2 * 70
    assert known["run_key"].unique().to_list() == [said["run_key"]]
    assert set(known["state"]) <= set(said["identity"]["births"]) == {2, 3}
    (before,) = then["as_of"].unique()
    assert read_states(place.states, "toy", as_of=before).equals(then)
    shown = place.command("states", "--json", "--set", OPTIONS[0])
    assert shown.last_json["n_rows"] == 140


def test_a_lineage_goes_on_where_it_stopped(place, toy) -> None:
    place.night(toy.day(125), *OPTIONS, "fit.scale=none", new_lineage=True)
    with pytest.raises(LineageError, match=r"was 'none' and is 'series'"):
        place.night(toy.day(130), *OPTIONS)
    back = place.night(toy.day(130), *OPTIONS, new_lineage=True)
    assert (back["n_published"], back["identity"]["ids"]) == (20, [0, 1])
    assert read_states(place.states, "toy").height == 260


def test_another_table_follows_its_own_line(place, toy) -> None:
    """Of one registry: a table of other features takes the alias, and the first goes on as if it were not there."""
    other = (CHANGES["features"], f"output.states={place.folder}/other")
    place.night(toy.day(121), *OPTIONS, *other)
    assert place.registry.champion("toy") == 2
    said = place.night(toy.day(122), *OPTIONS)
    (made,) = [v for v in place.registry.versions("toy") if v.number == said["model_version"]]
    assert made.tags["followed_champion"] == "1"
    assert said["identity"]["ids"] == [0, 1]


def test_a_source_whose_times_became_others_is_refused(place, toy, no_fit) -> None:  # noqa: ARG001
    """Dates become midnights of New York: no series has its rows twice."""
    rows = pl.read_parquet(place.source)
    zoned = rows.with_columns(pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York"))
    zoned.write_parquet(place.source)
    said = place.command("run", "--as-of", str(toy.day(140)), "--set", OPTIONS[0])
    assert said.status == 2
    assert "the source no longer has the times that are published (S1: 119 of 119 published times" in said.err
    assert "--new-lineage" in said.err


def test_such_a_source_may_begin_a_new_line(place, toy) -> None:
    rows = pl.read_parquet(place.source)
    zoned = rows.with_columns(pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York"))
    zoned.write_parquet(place.source)
    place.night(toy.day(140), *OPTIONS, new_lineage=True)
    known = read_states(place.states, "toy")
    assert known.group_by("series_id").len()["len"].to_list() == [139, 139]
    assert place.night(toy.day(141), *OPTIONS)["n_published"] == 2
    assert read_states(place.states, "toy").height == 2 * 140


def test_one_series_with_other_times_is_set_aside(place_at, toy) -> None:
    place = place_at("three")
    rows = pl.concat(
        [toy.frame(toy.levels(toy.sojourns(140, 2, seed=s), distance=4.0, seed=s), symbol=f"S{s}") for s in (1, 2, 3)]
    ).with_columns(pl.col("date").cast(pl.Datetime("us", "UTC")))
    rows.write_parquet(place.source)
    place.night(toy.day(120), *OPTIONS)
    later = pl.when(pl.col("symbol") == "S2").then(pl.col("date").dt.offset_by("3h")).otherwise("date").alias("date")
    rows.with_columns(later).write_parquet(place.source)
    said = place.night(toy.day(130), *OPTIONS, "promote.min_coverage=0.5")
    assert [(one["series_id"], one["reason"]) for one in said["quarantined"]] == [("S2", "other_times")]
    assert not np.isin(said["run_key"], place.table().filter(series_id="S2")["run_key"].to_numpy())
