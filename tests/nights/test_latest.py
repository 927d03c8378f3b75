"""The small table to join: the newest row of each series, the asked columns, one file."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

COLUMNS = ("p_change_5", "series_id", "state_name", "time", "p_filtered")


@pytest.fixture
def place(place_at, toy):
    """Two series, the second of which ended earlier, published twice."""
    here, paths = place_at("here"), [toy.sojourns(n, seed=n) for n in (90, 80)]
    frames = [toy.frame(toy.levels(p, seed=1), symbol=s) for p, s in zip(paths, "AB", strict=True)]
    pl.concat([frames[0].head(85), frames[1]]).write_parquet(here.source)
    here.night()
    pl.concat(frames).write_parquet(here.source)
    here.decode()
    return here


def ask(place, *arguments: str):
    return place.command("states", *arguments)


def test_the_newest_row_of_each_series_is_its_last_in_time(place) -> None:
    told = ask(place, "--latest", "--json").last_json["rows"]
    table = place.table()
    assert [row["series_id"] for row in told] == ["A", "B"]
    for row in told:
        newest = table.filter(series_id=row["series_id"])["time"].max()
        assert row["time"].startswith(f"{newest:%Y-%m-%dT%H:%M:%S}")
    assert place.command("states", "--latest", "--head", "1").out.count("\n") == 2


def test_columns_stand_as_they_were_asked_for_on_the_screen_and_in_files(place, tmp_path: Path) -> None:
    assert place.command("name", "0=calm").status == 0
    asked = ",".join(COLUMNS)
    shown = ask(place, "--latest", "--columns", asked).out
    assert shown.splitlines()[0].split() == list(COLUMNS)
    files = {ending: tmp_path / "out" / f"newest.{ending}" for ending in ("csv", "parquet")}
    for file in files.values():
        said = ask(place, "--latest", "--columns", asked, "--export", str(file), "--json").last_json
        assert said["export"] == str(file)
        assert said["n_rows"] == 2
    parquet, csv = pl.read_parquet(files["parquet"]), pl.read_csv(files["csv"], try_parse_dates=True)
    assert tuple(parquet.columns) == tuple(csv.columns) == COLUMNS
    moments = parquet.with_columns(pl.col("time").cast(csv["time"].dtype))
    assert csv.drop("p_filtered").equals(moments.drop("p_filtered"))
    assert [json.loads(cell) for cell in csv["p_filtered"]] == parquet["p_filtered"].to_list()
    everything = tmp_path / "all.csv"
    assert ask(place, "--export", str(everything)).status == 0
    assert pl.read_csv(everything).columns == place.table().columns


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--columns", "series_id,stat"], "--columns: found 'stat'; expected one of series_id, time"),
        (["--columns", "series_id,stat"], "did you mean 'state'?"),
        (["--columns", "time,time"], "found 'time' twice"),
        (["--columns", ""], "found ''"),
        (["--export", "/nowhere/dir/rows.csv"], "--export: found no folder '/nowhere'"),
        (["--export", "rows.xlsx"], "found 'rows.xlsx'; expected a file.csv, a file.parquet, or a folder"),
    ],
)
def test_what_is_not_known_is_answered_before_anything_is_read(place_at, arguments: list[str], words: str) -> None:
    said = place_at("nowhere").command("states", *arguments)
    assert said.status == 2
    assert words in said.err
    assert said.out == ""


def test_a_folder_takes_a_file_of_the_configurations_name(place, tmp_path: Path) -> None:
    folder = tmp_path / "weekly.2024"
    folder.mkdir()
    for named, made in ((folder, folder), (tmp_path / "plain", tmp_path / "plain")):
        assert ask(place, "--latest", "--export", str(named)).status == 0
        assert pl.read_parquet(made / "toy.parquet").height == 2
