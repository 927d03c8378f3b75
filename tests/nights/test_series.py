"""No series is forgotten: new, ended, wild and missing ones are decoded, or said to be set aside, and counted."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tasks.fitting.scaling import scaling_for
from tasks.source.wild import without_far
from tasks.tables.states import read_states

OPTIONS = ("model.n_states=2",)
SET = ("--set", OPTIONS[0])


def series(toy, name: str, n: int = 160, seed: int = 0) -> pl.DataFrame:
    return toy.frame(toy.levels(toy.sojourns(n, n_states=2, seed=seed), distance=4.0, seed=seed), symbol=name)


@pytest.fixture
def place(place_at):
    return place_at("here")


def write(place, *frames: pl.DataFrame) -> None:
    pl.concat(frames).write_parquet(place.source)


def balanced(said: dict, place) -> None:
    """in = published + held + stale + quarantined."""
    rows = place.table().filter(run_key=said["run_key"])
    stale = {one["series_id"] for one in said["stale"]}
    current = rows.filter(~pl.col("series_id").is_in(list(stale)))
    held = current.filter(pl.col("status") == "HELD")["series_id"].n_unique()
    published = current["series_id"].n_unique() - held
    assert said["n_series"] == published + said["n_held"] + said["n_stale"] + said["n_quarantined"]
    assert (held, len(stale)) == (said["n_held"], said["n_stale"])
    assert place.quarantine().filter(run_key=said["run_key"]).height == said["n_quarantined"]


@pytest.mark.parametrize("scale", ["series", "pooled", "none"])
def test_a_new_series_is_decoded_where_the_scale_allows_it(place, toy, scale: str) -> None:
    write(place, series(toy, "old", 150))
    how = ("--set", f"fit.scale={scale}", *SET, "--json")
    assert place.command("run", "--as-of", str(toy.day(140)), *how).status == 0
    write(place, series(toy, "old", 150), series(toy, "new", 150, seed=1))
    said = place.command("decode", *how)
    assert said.status == 0, said.err
    told = said.last_json
    if scale == "series":
        assert (told["n_quarantined"], told["quarantined"][0]["reason"]) == (1, "no_scale")
        assert "new: no_scale, " in said.out
        assert set(place.table().filter(run_key=told["run_key"])["series_id"]) == {"old"}
    else:
        assert told["n_quarantined"] == 0
        assert place.table().filter(run_key=told["run_key"], series_id="new").height == 150
    balanced(told, place)


def test_a_new_series_is_decoded_by_the_champion_of_a_night_that_is_held(place, toy) -> None:
    write(place, series(toy, "old", 150))
    place.night(toy.day(140), *OPTIONS)
    write(place, series(toy, "old", 150), series(toy, "new", 150, seed=1))
    said = place.night(None, *OPTIONS, "promote.min_improvement=1e9")
    assert said["gate"]["verdict"] == "HOLD"
    new = place.table().filter(run_key=said["run_key"], series_id="new")
    assert (new.height, new["model_version"].unique().to_list()) == (150, [1])
    balanced(said, place)


def test_a_series_that_is_not_there_is_answered_with_those_that_are(place, toy) -> None:
    write(place, series(toy, "old"), series(toy, "older", seed=1))
    place.night(toy.day(140), *OPTIONS)
    said = place.command("states", "--series", "OLD")
    assert said.status == 2
    assert "--series: found 'OLD'; expected one of 'old', 'older'; did you mean 'old'?" in said.err
    assert "did you mean" not in place.command("states", "--series", "17").err


def test_that_all_series_are_unknown_is_one_sentence(place, toy) -> None:
    write(place, series(toy, "old"))
    place.night(toy.day(140), *OPTIONS)
    write(place, series(toy, "new", seed=1).with_columns(pl.col("date").dt.offset_by("140d")))
    said = place.command("decode", *SET)
    assert said.status == 1
    assert "all 1 series are quarantined" in said.err
    assert "new: no_scale" in said.err
    assert "Traceback" not in said.err
    assert place.quarantine()["series_id"].to_list() == ["new"]


def test_the_quarantine_is_written_though_nothing_is_published(place, toy) -> None:
    write(place, series(toy, "old", 150))
    said = place.command("run", *SET, "--json")
    assert (place.quarantine().height, said.last_json["n_quarantined"]) == (0, 0)
    short = series(toy, "short", 5, seed=1)
    write(place, series(toy, "old", 150), short)
    again = place.command("run", *SET, "--json")
    assert again.last_json["verdict"] == "ALREADY_PUBLISHED"
    assert [one["reason"] for one in again.last_json["quarantined"]] == ["too_short"]
    assert place.quarantine().filter(run_key=again.last_json["run_key"])["series_id"].to_list() == ["short"]
    assert "short: too_short, " in again.out


def test_a_series_without_rows_is_said_to_be_set_aside(place, toy) -> None:
    write(place, series(toy, "old", 150), series(toy, "short", 5, seed=1))
    place.night(None, *OPTIONS)
    said = place.command("states", "--series", "short")
    assert said.status == 2
    assert "'short' has no rows: it was set aside as of 2020-05-30 (too_short: found 5 rows" in said.err
    assert "hsmm run" not in said.err


def test_a_feed_error_in_one_series_does_not_cost_it_its_model(place, toy) -> None:
    """While B cannot be read, no model that never saw it takes over; were one to, B would still have its scale."""
    whole = [series(toy, "A", 160), series(toy, "B", 160, seed=1)]
    broken = whole[1].with_columns(x=pl.when(pl.int_range(pl.len()) == 9).then(np.inf).otherwise("x"))
    write(place, *whole)
    place.night(toy.day(140), *OPTIONS)
    write(place, whole[0], broken)
    said = place.night(toy.day(145), *OPTIONS, "promote.min_improvement=-9")
    assert (said["gate"]["verdict"], said["gate"]["reasons"]) == ("HOLD", ["series_not_covered"])
    assert said["gate"]["evidence"]["coverage"] == 0.5
    balanced(said, place)
    took_over = place.night(toy.day(150), *OPTIONS, "promote.min_improvement=-9", "promote.min_coverage=0.5")
    assert took_over["gate"]["verdict"] == "PROMOTE"
    write(place, *whole)
    back = place.decode(toy.day(155), *OPTIONS)
    assert back["n_quarantined"] == 0
    assert set(place.table().filter(run_key=back["run_key"])["series_id"]) == {"A", "B"}


@pytest.mark.parametrize("scale", ["series", "pooled", "none"])
@pytest.mark.parametrize("value", [1e300, -1e9])
def test_a_wild_value_stops_nobody_else(place, toy, scale: str, value: float) -> None:
    wild = series(toy, "wild", seed=1).with_columns(x=pl.when(pl.int_range(pl.len()) == 50).then(value).otherwise("x"))
    write(place, series(toy, "A"), series(toy, "B", seed=2), wild)
    said = place.command("run", "--set", f"fit.scale={scale}", *SET, "--json")
    assert said.status == 0, said.err
    assert [one["reason"] for one in said.last_json["quarantined"]] == ["wild_value"]
    assert "2020-02-20T00:00:00Z" in said.last_json["quarantined"][0]["detail"]
    assert set(place.table()["series_id"]) == {"A", "B"}
    balanced(said.last_json, place)


@pytest.mark.parametrize("options", [(), ("fit.scale=none",), ("fit.pool=per_series",)])
def test_a_day_in_another_unit_teaches_nothing(place_at, toy, options) -> None:
    """One value times a hundred: every other row is decoded as if it had not been there, and it is said."""
    clean = [series(toy, "A"), series(toy, "B", seed=2), series(toy, "C", seed=1)]
    (row,) = clean[2].with_row_index().filter(pl.col("x") > 3, pl.col("index") >= 50).head(1).rows(named=True)
    wrong = clean[2].with_columns(x=pl.when(date=row["date"]).then(100 * pl.col("x")).otherwise("x"))
    places = {name: place_at(name) for name in ("clean", "wild")}
    write(places["clean"], *clean)
    write(places["wild"], clean[0], clean[1], wrong)
    told = {
        name: place.command("run", *(f"--set={option}" for option in (*OPTIONS, *options)), "--json")
        for name, place in places.items()
    }
    both = places["clean"].table().join(places["wild"].table(), on=["series_id", "time"], suffix=":wild")
    others = both.filter(~((pl.col("series_id") == "C") & (pl.col("time").dt.date() == row["date"])))
    assert (others["viterbi"] == others["viterbi:wild"]).mean() > 0.99
    assert told["clean"].last_json["wild"] == []
    (one,) = told["wild"].last_json["wild"]
    assert (one["series_id"], one["feature"], one["value"]) == ("C", "x", pytest.approx(100 * row["x"]))
    assert "nothing is learnt from them" in told["wild"].out
    assert "wild  " not in told["clean"].out
    one_each = "model      toy version 1: one each for 3 series\n           3 of 2 states, gaussian emission"
    assert (one_each in told["clean"].out) == ("fit.pool=per_series" in options)
    marked = places["wild"].table().filter(reason="wild_value")
    assert marked["series_id", "status"].rows() == [("C", "MISSING")]


@pytest.mark.parametrize(("n_far", "kept"), [(1, 0), (2, 0), (3, 3), (20, 20)])
def test_what_a_state_could_be_of_is_learnt(place, toy, n_far: int, kept: int) -> None:
    """At most one row in a hundred is left out, and none that is near; what is learnt is evidence, and nothing else."""
    far = pl.int_range(pl.len()) % (200 // n_far) == 7
    rows = series(toy, "A", 200).with_columns(x=pl.when(far).then(500.0).otherwise("x"))
    settings = place.settings()
    training = rows.select(pl.col("symbol").alias("series_id"), pl.col("date").alias("time"), "x")
    tame = without_far(training, settings)
    assert (tame["x"] == 500).sum() == kept
    assert tame.filter(pl.col("x") < 500).equals(training.filter(pl.col("x") < 500))
    assert scaling_for(training, settings).far(training)["x"].sum() == n_far - kept


def test_a_series_that_ended_is_stale(place, toy) -> None:
    """Its rows go on, without values, to the moment of the night; after ten it is called stale, with its age."""
    live, ended = series(toy, "live", 160), series(toy, "ended", 100, seed=1)
    write(place, live, ended)
    said = place.command("run", *SET, "--json")
    told = said.last_json
    assert (told["n_series"], told["n_stale"], told["n_quarantined"]) == (2, 1, 0)
    assert told["stale"] == [{"series_id": "ended", "last": "2020-04-09T00:00:00Z", "age": 60}]
    assert "ended: the last of 2020-04-09T00:00:00Z, 60 steps ago" in said.out
    rows = place.table().filter(series_id="ended").sort("time")
    assert rows["status"].to_list() == ["OK"] * 100 + ["MISSING"] * 10 + ["STALE"] * 50
    assert set(rows["reason"][-50:]) == {"no_value_for_long"}
    assert rows["time"].to_list() == place.table().filter(series_id="live").sort("time")["time"].to_list()
    balanced(told, place)


def test_a_series_that_comes_back_is_current_again(place, toy) -> None:
    live, whole = series(toy, "live", 160), series(toy, "late", 160, seed=1)
    write(place, live.head(140), whole.head(100))
    assert place.night(None, *OPTIONS)["n_stale"] == 1
    write(place, live, whole)
    said = place.night(None, *OPTIONS)
    assert said["n_stale"] == 0
    known = read_states(place.states, "toy", "late")
    assert (known.height, set(known["status"]) - {"OK", "HELD"}) == (160, set())
    balanced(said, place)


def test_without_a_calendar_age_is_counted_in_usual_distances(place, toy) -> None:
    write(place, series(toy, "live", 160), series(toy, "ended", 100, seed=1))
    said = place.night(None, *OPTIONS, 'source.frequency={none="1d"}')
    assert [(one["series_id"], one["age"]) for one in said["stale"]] == [("ended", 60)]


def test_a_series_that_ended_long_ago_is_set_aside(place, toy) -> None:
    long_ago = series(toy, "gone", 60, seed=1).with_columns(pl.col("date") - timedelta(days=3000))
    write(place, series(toy, "live", 160), long_ago)
    said = place.night(None, *OPTIONS)
    assert [(one["series_id"], one["reason"]) for one in said["quarantined"]] == [("gone", "stale")]
    assert "about 31" in said["quarantined"][0]["detail"]
    balanced(said, place)


def test_every_series_that_ended_is_told_with_its_age(place, toy) -> None:
    """However many they are: in JSON all of them, on the console the first."""
    ended = [series(toy, f"E{i:02d}", 100, seed=i) for i in range(25)]
    write(place, series(toy, "A", 160), *ended)
    said = place.command("run", *SET, "--json")
    told = {one["series_id"]: (one["last"], one["age"]) for one in said.last_json["stale"]}
    assert told == {f"E{i:02d}": (f"{toy.day(99)}T00:00:00Z", 60) for i in range(25)}
    assert said.last_json["n_stale"] == 25
    assert "25 series without values for long" in said.out


def test_counted_steps_end_and_are_carried_on(place, toy) -> None:
    """Of counts that are shared, STALE, trailing rows and --as-of are counted in steps."""
    place.config.write_text(
        place.config.read_text().replace('"1d"', "1", 2).replace("[features]", 'counts = "shared"\n[features]')
    )
    steps = pl.int_range(1000, 1000 + pl.len())
    stops = series(toy, "stops", 100, seed=1).with_columns(date=steps)
    write(place, series(toy, "goes", 160).with_columns(date=steps), stops)
    said = place.command("run", "--as-of", "1105", *SET, "--json")
    assert (said.last_json["stale"], said.last_json["n_published"]) == ([], 210)
    trail = place.table().filter(pl.col("series_id") == "stops").sort("time").tail(5)
    assert trail["time"].dt.epoch("s").to_list() == [1100, 1101, 1102, 1103, 1104]
    assert trail["status"].to_list() == ["MISSING"] * 5
    later = place.command("run", "--as-of", "1120", *SET, "--json").last_json
    assert [(one["series_id"], one["age"]) for one in later["stale"]] == [("stops", 20)]
    assert later["n_published"] == 30
    newest = place.table().filter(pl.col("series_id") == "stops").sort("time").tail(15)
    assert newest["status"].to_list() == ["MISSING"] * 5 + ["STALE"] * 10
    assert newest["time"].dt.epoch("s").to_list() == list(range(1105, 1120))
    told = place.command("alerts", *SET)
    assert ("1970" in told.out, "stops  stale" in told.out) == (False, True), told.out
    tried = place.command("try", "--output", f"{place.folder}/tried", *SET)
    assert ("1970" in tried.out, " as of 1160" in tried.out) == (False, True), tried.out


@pytest.mark.parametrize("command", [["run"], ["decode"], ["backfill", "--end", "2130-02-01", "--start"]])
def test_no_row_is_published_of_days_to_come(place, toy, command: list[str]) -> None:
    series(toy, "A").write_parquet(place.source)
    assert place.command("run", *SET).status == 0
    published = place.table().height
    arguments = [*command, "2130-01-01"] if len(command) > 1 else [*command, "--as-of", "2130-01-01"]
    found = place.command(*arguments, *SET)
    assert found.status == (1 if len(command) > 1 else 2)
    assert (
        "2130-01-01T00:00:00+00:00 is a moment to come, while the newest row is of 2020-06-08" in found.out + found.err
    )
    assert place.table().height == published
