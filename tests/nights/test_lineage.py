"""Rows that mean something else are never woven into those that are there, and nothing is fitted unasked."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import flows.nightly
import flows.server
from tasks.config.errors import LineageError, PromotionError
from tasks.judgement.promote import promote, promote_newest, rollback
from tasks.source.ingest import ingest
from tasks.source.sample import compared, renewed, sampled
from tasks.source.validate import validate
from tasks.tables.lineage import lineage, lineage_notes
from tasks.tables.states import read_states
from tests.costly import costly_beyond

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


@pytest.mark.parametrize("change", costly_beyond(2, CHANGES))
@pytest.mark.parametrize("command", ["run", "decode"])
def test_another_meaning_is_refused_with_the_choices(place, toy, monkeypatch, change: str, command: str) -> None:
    """Before anything is loaded that fits."""
    monkeypatch.setattr(flows.server, "server_starting", lambda: pytest.fail("it was loaded"))
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
    assert "no row is new, so nothing was fitted: what has changed in configuration" in said.out
    assert "pictures" not in said.out
    assert (len(place.registry.versions("toy")), place.registry.champion("toy")) == (1, 1)


def test_what_has_not_changed_is_not_said_to_have(place, toy, no_fit) -> None:  # noqa: ARG001
    said = place.command(
        "run", "--as-of", f"{toy.day(120)}T01:00:00+00:00", *(x for option in OPTIONS for x in ("--set", option))
    )
    assert (said.status, "ALREADY_PUBLISHED" in said.out, "no row is new" in said.out) == (0, True, False)


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
    """Of one registry: each goes on as if the other were not there, and the alias stays with the first until it is
    asked for, or that table is gone.
    """
    other = (*OPTIONS, CHANGES["features"], f"output.states={place.folder}/other")
    for n, own, followed in ((121, other, "1"), (122, OPTIONS, "1"), (123, other, "2"), (124, OPTIONS, "3")):
        said = place.night(toy.day(n), *own)
        (made,) = [v for v in place.registry.versions("toy") if v.number == said["model_version"]]
        assert made.tags["followed_champion"] == followed
        assert said["identity"]["ids"] == ([2, 3] if own is other else [0, 1])
        assert ["`champion` stays with" in note for note in said["notes"]] == [True] * (own is other)
        assert place.registry.champion("toy") == (1 if n < 122 else n - 119 if own is OPTIONS else 3)
    promote_newest(place.registry, "toy", f"{place.folder}/other")
    assert place.registry.champion("toy") == 5
    back = place.command("rollback", "--json", *as_set(*other))
    assert (back.last_json["previous"], back.last_json["model_version"], place.registry.champion("toy")) == (4, 2, 5)
    taken = place.command("promote", "--json", *as_set(*other))
    assert (taken.status, place.registry.champion("toy")) == (0, 4), taken.err
    shutil.rmtree(f"{place.folder}/other")
    place.night(toy.day(125), *OPTIONS)
    assert place.registry.champion("toy") == 6


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


def of_seeds(toy, *series: tuple[str, int]) -> pl.DataFrame:
    """Series by name and seed."""
    return pl.concat(
        toy.frame(toy.levels(toy.sojourns(140, 2, seed=seed), distance=4.0, seed=seed), symbol=name)
        for name, seed in series
    )


@pytest.mark.parametrize(
    ("series", "found"),
    [
        ((("T1", 1), ("T2", 2), ("T3", 3)), "has none of the 2 series that are published of its time ('S1', 'S2')"),
        (
            (("S1", 8), ("S2", 9), ("S3", 1)),
            "has other values than those that are published for 2 of 2 series (S1: x is ",
        ),
    ],
    ids=["other series", "other values"],
)
def test_another_source_under_one_name_is_refused(place, toy, no_fit, series, found: str) -> None:  # noqa: ARG001
    place.source = place.folder / "other.parquet"
    of_seeds(toy, *series).write_parquet(place.source)
    before = (place.table().height, place.registry.champion("toy"))
    for command in ("run", "decode"):
        said = place.command(command, *as_set(f"source.path={place.source}", *OPTIONS))
        assert said.status == 2
        for words in (found, "looks like another source", "another `name`", "--new-lineage", "Nothing was fitted"):
            assert words in said.err
    assert (place.table().height, place.registry.champion("toy")) == before
    published = {"T1", "T2", "T3"} if "T1" in dict(series) else {"S1", "S2", "S3"}
    line, validated = lineage(place.settings(f"source.path={place.source}"), read(place), new=True)
    assert line.endswith(":2")
    assert {*validated.rows["series_id"]} == published


def test_every_series_is_known_by_its_values(place_at, toy) -> None:
    """Two of seven that bear each other's names are set aside, as is one in another unit, until a new model."""
    place = place_at("seven")
    rows = of_seeds(toy, *((f"S{seed}", seed) for seed in range(1, 8)))
    rows.write_parquet(place.source)
    place.night(toy.day(120), *OPTIONS)
    other_name = pl.col("symbol").replace({"S2": "S5", "S5": "S2"})
    fahrenheit = pl.when(pl.col("symbol") == "S3").then(1.8 * pl.col("x") + 32).otherwise("x").alias("x")
    rows.with_columns(other_name, fahrenheit).write_parquet(place.source)
    said = place.command("decode", "--as-of", str(toy.day(130)), *as_set(*OPTIONS), "--json")
    told = {one["series_id"]: (one["reason"], one["detail"]) for one in said.last_json["quarantined"]}
    reason, detail = told.pop("S3")
    assert reason == "other_values"
    assert detail.endswith(
        ": 1.8 times what it was, and 32; expected the values that its model has seen, or a new model: hsmm run"
    )
    assert told == {
        "S2": ("other_series", "its rows are those that were published as S5"),
        "S5": ("other_series", "its rows are those that were published as S2"),
    }
    assert said.last_json["n_published"] == 4 * 10
    (note,) = said.last_json["notes"]
    assert note.startswith("S3 has other values than were published: x is ")
    assert "in 12 of 12 rows: 1.8 times what it was, and 32; look" in note
    rows.with_columns(fahrenheit).write_parquet(place.source)
    held = place.night(toy.day(132), "model.n_states=2", "promote.min_improvement=9")
    assert [(one["series_id"], one["reason"]) for one in held["quarantined"]] == [("S3", "other_values")]
    assert abs(held["gate"]["evidence"]["improvement"]) < 1.0
    assert [one["series_id"] for one in place.night(toy.day(134), *OPTIONS)["quarantined"]] == []
    assert (place.decode(toy.day(136), *OPTIONS)["quarantined"], place.table()["series_id"].n_unique()) == ([], 7)
    rows.filter(symbol="S3").with_columns(pl.col("x") * 100).write_parquet(place.source)
    said = place.command("decode", "--as-of", str(toy.day(140)), *as_set(*OPTIONS))
    assert said.status == 2
    assert "for 1 of 1 series (S3: x is " in said.err
    assert "its history is in another unit" in said.err


@pytest.mark.parametrize("changed", ["x", "y"])
def test_a_series_is_another_if_one_of_its_features_is(place, toy, changed: str) -> None:  # noqa: ARG001
    features = "features={" + ", ".join(f'{name} = {{op = "identity", column = "{name}"}}' for name in "xyz") + "}"
    rows = pl.read_parquet(place.source).with_columns(y=pl.col("x").shift(3).over("symbol"), z=pl.col("x") ** 2)
    rows.write_parquet(place.source)
    sample = sampled(read(place, features))
    rows.with_columns(pl.when(symbol="S2").then(4.5 * pl.col(changed)).otherwise(changed).alias(changed)).write_parquet(
        place.source
    )
    found = compared(sample, read(place, features))
    assert dict(found.select("series_id", "is_other").iter_rows()) == {"S1": False, "S2": True}


def test_what_is_kept_of_a_source_is_of_every_series_and_little(place, toy) -> None:
    """It stays as it is while it tells the series; it follows a series that has grown, or lost what was kept of it."""
    of_seeds(toy, *((f"S{seed}", seed) for seed in range(40))).write_parquet(place.source)
    known = {n: validate(ingest(place.settings(), str(toy.day(n))), place.settings()) for n in (60, 100, 130)}
    before, after, grown = known.values()
    kept = renewed(sampled(before).clear(), before)
    assert {*kept.group_by("series_id").len()["len"]} == {12}
    assert kept["series_id"].n_unique() == 40
    assert compared(kept, after).select(~pl.col("is_other"), pl.col("n") == 12).to_dict(as_series=False) == {
        "is_other": [True] * 40,
        "n": [True] * 40,
    }
    assert renewed(kept, after).equals(kept)
    cut = replace(after, rows=after.rows.filter(pl.col("time") > pl.lit(toy.day(30)).cast(after.rows.schema["time"])))
    for now in (grown, cut):
        made = renewed(kept, now)
        assert made.equals(sampled(now))
        assert not made.equals(kept)
    assert renewed(kept, replace(cut, rows=cut.rows.filter(series_id="S7")))["series_id"].n_unique() == 40


def read(place, *assignments: str):
    settings = place.settings(f"source.path={place.source}", *assignments)
    return validate(ingest(settings), settings)


@pytest.mark.parametrize("change", ["moved", "grown", "cut", "mended", "succeeded", "one other"])
def test_a_source_that_goes_on_is_the_same(place, toy, change: str) -> None:
    """Under another path; of more series; of its newest rows alone; with corrections; of series that begin where those
    of before end; and one series that is another is said, and stops nobody.
    """
    rows = pl.read_parquet(place.source)
    if change == "grown":
        rows = pl.concat([rows, of_seeds(toy, *((f"S{seed}", seed) for seed in range(3, 9)))])
    if change == "cut":
        rows = rows.filter(pl.col("date") > toy.day(100))
    if change == "mended":
        rows = rows.with_columns(x=pl.when(pl.int_range(pl.len()) % 3 == 0).then(99).otherwise(pl.col("x") + 0.05))
    if change == "succeeded":
        later = of_seeds(toy, ("T1", 3), ("T2", 4))
        rows = later.with_columns(pl.col("date").dt.offset_by("120d"))
    if change == "one other":
        rows = of_seeds(toy, ("S1", 1), ("S2", 9))
    (place.folder / "2020-05-20").mkdir()
    place.source = place.folder / "2020-05-20" / "rows.parquet"
    rows.write_parquet(place.source)
    line, validated = lineage(place.settings(), read(place))
    assert (line, validated.quarantine.height) == (versions(place)[1], 0)
    notes = lineage_notes(place.settings(), line, validated, new=False)
    assert ["S2 has other values than were published: x is " in note for note in notes] == [True] * (
        change == "one other"
    )


def test_features_in_another_order_mean_the_same(place, toy) -> None:
    """Rows, ids and what is there already are those of the order in which they were published."""
    rows = pl.read_parquet(place.source).with_columns(y=pl.col("x").shift(3).over("symbol"))
    rows.write_parquet(place.source)
    x, y = (f'{name}={{op="identity",column="{name}"}}' for name in "xy")
    own = (*OPTIONS, f"output.states={place.states}_xy")
    first = place.night(toy.day(120), *own, f"features={{{x},{y}}}")
    turned = (*own, f"features={{{y},{x}}}")
    assert place.night(toy.day(120), *turned)["verdict"] == "ALREADY_PUBLISHED"
    assert place.decode(toy.day(125), *turned)["n_published"] == 10
    said = place.night(toy.day(130), *turned)
    assert (said["identity"]["ids"], said["identity"]["births"]) == (first["identity"]["ids"], [])
    assert place.registry.bundle(said["model_version"]).scaling.columns == ["x", "y"]


SCALE = "fit.scale=none"


def as_set(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


def versions(place) -> dict[int, str]:
    return {v.number: v.tags["lineage"] for v in place.registry.versions("toy")}


def test_asking_for_a_new_line_that_nothing_calls_for_is_answered(place, toy) -> None:
    for command in ("run", "decode"):
        for n in (130, 130, 120) if command == "run" else (135,):
            said = place.command(command, "--as-of", str(toy.day(n)), "--new-lineage", "--json", *as_set(*OPTIONS))
            assert said.status == 0, said.err
            assert said.last_json["notes"] == [
                "--new-lineage: nothing has changed what rows mean; the rows go on in the line that is there."
            ]
            assert said.last_json["notes"][0] in said.out


def test_the_first_line_needs_no_asking(place_at, toy) -> None:
    place = place_at("empty")
    toy.frame(toy.levels(toy.sojourns(140, 2), distance=4.0)).write_parquet(place.source)
    said = place.command("run", "--new-lineage", "--json", *as_set(*OPTIONS))
    assert said.last_json["notes"] == ["--new-lineage: nothing is published for 'toy' yet."]


def test_decoding_goes_back_to_a_line_and_the_alias_with_it(place, toy) -> None:
    """What is decoded after a line was gone back to, what readers see, and the alias speak of the same rows."""
    place.night(toy.day(125), *OPTIONS, SCALE, new_lineage=True)
    assert place.registry.champion("toy") == 2
    back = ["decode", "--as-of", str(toy.day(130)), *as_set(*OPTIONS), "--json"]
    refused = place.command(*back)
    assert (refused.status, "--new-lineage" in refused.err) == (2, True)
    said = place.command(*back, "--new-lineage")
    assert (said.status, said.last_json["n_published"], said.last_json["notes"]) == (0, 20, []), said.err
    assert place.registry.champion("toy") == 1
    assert versions(place)[1] == said.last_json["lineage"]
    assert read_states(place.states, "toy").height == 260


def test_a_held_night_takes_the_alias_back_with_its_line(place, toy) -> None:
    place.night(toy.day(125), *OPTIONS, SCALE, new_lineage=True)
    said = place.night(toy.day(130), OPTIONS[0], "promote.min_improvement=9", new_lineage=True)
    assert said["gate"]["verdict"] == "HOLD"
    assert place.registry.champion("toy") == 1


def test_a_line_without_a_new_row_stays_out_of_sight(place, toy) -> None:
    place.night(toy.day(125), *OPTIONS, SCALE, new_lineage=True)
    said = place.night(toy.day(120), *OPTIONS, new_lineage=True)
    assert (said["n_published"], len(said["notes"])) == (0, 1)
    assert "readers see the other until this one has a new row" in said["notes"][0]
    assert place.registry.champion("toy") == 2


def test_decoding_nothing_moves_no_alias(place, toy) -> None:
    place.night(toy.day(125), *OPTIONS, SCALE, new_lineage=True)
    said = place.command("decode", "--as-of", str(toy.day(120)), "--new-lineage", "--json", *as_set(*OPTIONS))
    assert (said.status, said.last_json["n_published"], place.registry.champion("toy")) == (0, 0, 2), said.err


def test_the_alias_is_not_moved_to_another_line_by_hand(place, toy) -> None:
    place.night(toy.day(125), *OPTIONS, SCALE, new_lineage=True)
    for move in (lambda: rollback(place.registry, "toy"), lambda: promote(place.registry, "toy", 1)):
        with pytest.raises(PromotionError, match="`--new-lineage`"):
            move()
    assert place.registry.champion("toy") == 2


def test_a_rollback_passes_over_other_lines(place, toy) -> None:
    place.night(toy.day(122), *OPTIONS, SCALE, new_lineage=True)
    place.night(toy.day(125), *OPTIONS, new_lineage=True)
    assert place.registry.champion("toy") == 3
    assert rollback(place.registry, "toy")["model_version"] == 1


@pytest.mark.parametrize("how", [[], ["--walk-forward"]], ids=["as then", "walk forward"])
def test_a_backfill_begins_a_new_line_once(place_at, toy, how: list[str]) -> None:
    place = place_at("filled")
    toy.frame(toy.levels(toy.sojourns(140, 2), distance=4.0)).write_parquet(place.source)
    fill = ["--every", "5d", "--json", *how, *as_set(*OPTIONS)]
    days = ["--start", str(toy.day(110)), "--end", str(toy.day(120))]
    assert place.command("backfill", *days, *fill).status == 0
    refused = place.command("backfill", *days[:3], str(toy.day(125)), *fill, *as_set(SCALE))
    assert (refused.status, "--new-lineage" in refused.err) == (2, True)
    said = place.command(
        "backfill", "--start", str(toy.day(121)), "--end", str(toy.day(136)), *fill, *as_set(SCALE), "--new-lineage"
    )
    assert (said.status, said.last_json["failed"], said.last_json["notes"]) == (0, {}, []), said.err
    known = read_states(place.states, "toy")
    assert known.height == said.last_json["n_published"] == (15 if how else 136)


def test_the_page_of_another_meaning_shows_no_features(place) -> None:
    said = place.command("report", "--json", *as_set(*OPTIONS, SCALE))
    assert said.status == 0, said.err
    assert "rows mean something else than these" in " ".join(said.last_json["notes"])
    assert "rows mean something else" not in " ".join(
        place.command("report", "--json", *as_set(*OPTIONS)).last_json["notes"]
    )
