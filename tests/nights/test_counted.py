"""Steps that are counted: a user meets their numbers and never a moment of 1970; whose count it is, the data say."""

from __future__ import annotations

import json

import polars as pl
import pytest

from tasks.config.errors import ConfigurationError
from tasks.config.moments import parse_as_of, steps_in
from tasks.config.settings import read_settings
from tasks.source.ingest import ingest
from tasks.source.validate import validate

ENDS = {"short": 100, "middle": 130, "long": 160}
OPTIONS = ("--set", "model.n_states=2")


@pytest.fixture
def place(place_at, toy):
    """Machines that count their own cycles, each to an end of its own."""
    place = place_at("here")
    place.config.write_text(place.config.read_text().replace('"1d"', "1", 2))
    write(place, toy, ENDS)
    return place


def machine(toy, name: str, n: int, seed: int) -> pl.DataFrame:
    levels = toy.levels(toy.sojourns(n, n_states=2, seed=seed), distance=4.0, seed=seed)
    return toy.frame(levels, symbol=name).with_columns(date=pl.int_range(1, n + 1))


def write(place, toy, ends: dict[str, int], *more: pl.DataFrame) -> None:
    pl.concat([*(machine(toy, name, n, seed) for seed, (name, n) in enumerate(ends.items())), *more]).write_parquet(
        place.source
    )


def counts(place) -> dict[str, int]:
    return dict(place.table().group_by("series_id").len().iter_rows())


def test_machines_that_end_at_different_counts_lack_nothing(place, toy) -> None:
    said = place.command("run", *OPTIONS, "--json").last_json
    assert (said["n_stale"], said["n_quarantined"], said["n_published"], said["as_of"]) == (
        0,
        0,
        sum(ENDS.values()),
        161,
    )
    assert set(place.table()["status"]) == {"OK"}
    assert counts(place) == ENDS
    write(place, toy, {**ENDS, "short": 104})
    more = place.command("decode", *OPTIONS, "--json").last_json
    assert (more["n_published"], counts(place)["short"]) == (4, 104), "one machine went on, none went further"


def test_a_machine_from_long_before_is_not_stale(place, toy) -> None:
    far = machine(toy, "far", 120, 7).with_columns(pl.col("date") + 5000)
    write(place, toy, ENDS, far)
    assert validate(ingest(place.settings()), place.settings()).quarantine.is_empty()
    shared = place.settings('source.counts="shared"')
    assert set(validate(ingest(shared), shared).quarantine["reason"]) == {"stale"}


def test_each_machine_is_trained_by_its_own_newest_steps(place) -> None:
    settings = place.settings("fit.train_window=50", "promote.holdout=1")
    trains = (
        validate(ingest(settings), settings)
        .rows.group_by("series_id")
        .agg(pl.col("time").filter("trains").min().dt.epoch("s").alias("first"), pl.col("trains").sum().alias("n"))
    )
    assert {row[0]: row[1:] for row in trains.iter_rows()} == {name: (n - 49 + 1, 48) for name, n in ENDS.items()}


def test_counts_are_of_counted_steps_only(place_at) -> None:
    with pytest.raises(ConfigurationError, match="whole number"):
        place_at("dated").settings('source.counts="own"')


def test_a_backfill_goes_by_numbers(place, toy) -> None:
    infinite = machine(toy, "wrong", 60, 5).with_columns(x=float("inf"))
    write(place, toy, ENDS, infinite)
    for options in ((), ("--walk-forward", "--set", f'output.states="{place.folder}/walked"')):
        said = place.command("backfill", "--start", "60", "--end", "120", "--every", "30", *OPTIONS, *options, "--json")
        assert said.status == 0, said.err
        expected = [60, 90, 120][len(options) > 0 :]
        assert [one["as_of"] for one in said.last_json["partitions"]] == expected
        assert "1970" not in said.out + said.err
    backfilled = place.table().group_by("as_of").agg(pl.col("time").dt.epoch("s").max(), pl.len()).sort("as_of")
    assert backfilled["time"].to_list() == [59, 89, 119]
    assert backfilled["len"].to_list() == [3 * 59, 3 * 30, 2 * 30 + 11]
    wrong = place.command("backfill", "--start", "60", "--end", "120", "--every", "1mo")
    assert (wrong.status, "a number of steps, such as 50" in wrong.err) == (2, True)


@pytest.mark.parametrize("text", ["2024-01-01", "1.5", "many", "1e3", "99999999999999999999"])
def test_the_moment_of_a_count_is_a_number(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected the number of a step"):
        parse_as_of(text, counted=True)


def test_nobody_meets_the_seconds_that_stand_for_steps(place, toy, tmp_path) -> None:
    """On console and in JSON, in exports, quarantine, alerts and messages."""
    twice = machine(toy, "twice", 60, 5)
    write(
        place,
        toy,
        ENDS,
        twice,
        twice.head(3).with_columns(x=9.0),
        machine(toy, "ends", 60, 3).with_columns(x=pl.when(pl.col("date") < 40).then("x")),
    )
    told = {
        command[0]: place.command(*command, *OPTIONS, "--json")
        for command in (["run"], ["states", "--latest"], ["alerts", "--every"], ["check"], ["report"])
    }
    for command, said in told.items():
        assert (said.status, "1970" in said.out + said.err) == (0, False), command
    assert (told["run"].last_json["as_of"], told["run"].last_json["stale"][0]["last"]) == (161, 39)
    assert "the first 1 in row" in place.quarantine()["detail"][0]
    newest = {row["series_id"]: row["time"] for row in told["states"].last_json["rows"]}
    assert newest == {**ENDS, "ends": 60}
    assert {alert["time"] for alert in told["alerts"].last_json["alerts"]} <= set(range(162))
    for name in ("out.csv", "out.parquet"):
        place.command("states", "--export", str(tmp_path / name), *OPTIONS)
    exported = [pl.read_csv(tmp_path / "out.csv"), pl.read_parquet(tmp_path / "out.parquet")]
    assert all(set(frame["time"]) == set(range(1, 161)) for frame in exported)
    for wrong in (["decode", "--as-of", "60"], ["run", "--as-of", "0"], ["states", "--series", "twice"]):
        said = place.command(*wrong, *OPTIONS)
        assert (said.status > 0, "1970" in said.err) == (True, False), said.err
    summary = {"notes": ["x moved at 1970-01-01T00:02:00Z"], "series_id": "1970-01-01T00:00:00Z", "n": 1}
    assert steps_in(summary) == {"notes": ["x moved at 120"], "series_id": "1970-01-01T00:00:00Z", "n": 1}


def test_init_speaks_of_steps(tmp_path, toy, monkeypatch) -> None:
    from tests.nights.conftest import Place

    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path)
    twice = machine(toy, "long", 160, 2).head(3).with_columns(x=900.0)
    for name, ends, counts_are in (("own", ENDS, "own"), ("shared", dict.fromkeys(ENDS, 120), "shared")):
        write(place, toy, ends, twice)
        pl.read_parquet(place.source).rename({"date": "cycle"}).write_parquet(place.source)
        place.config = place.source
        said = place.command("init", "--output", f"{name}.toml", "--json")
        text = (tmp_path / f"{name}.toml").read_text()
        assert "1970" not in said.out + text
        assert f"steps 1 to {max(ends.values())}" in " ".join(text.replace("#", "").split())
        assert "resample" not in json.dumps(said.last_json)
        assert read_settings(f"{name}.toml").source.counts == counts_are
