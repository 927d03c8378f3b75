"""Which model a night follows: after rollbacks, in the past, in another folder; and what names do meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import flows.nightly
import tasks.fitting.finished
import tasks.tracking.track
from flows.cli import main
from tasks.config.errors import ConfigurationError, PublishError, TrackingError
from tasks.judgement.promote import rollback
from tasks.registry.client import Registry
from tasks.tables.show import named_states, rename


@pytest.fixture
def place(place_at, toy):
    """A hundred and sixty days of two levels."""
    here = place_at("here")
    toy.frame(toy.levels(toy.sojourns(160, n_states=2), distance=4.0)).write_parquet(here.source)
    return here


OPTIONS = ("model.n_states=2",)


def follows(place, version: int) -> str:
    (found,) = [v for v in place.registry.versions("toy") if v.number == version]
    return found.tags["followed_champion"]


def test_a_night_follows_the_champion_that_was_gone_back_to(place, toy) -> None:
    for n in (120, 125):
        place.night(toy.day(n), *OPTIONS)
    assert place.registry.champion("toy") == 2
    rollback(place.registry, "toy")
    place.night(toy.day(130), *OPTIONS)
    assert follows(place, 3) == "1"
    assert place.registry.champion("toy") == 3
    rollback(place.registry, "toy")
    assert place.registry.champion("toy") == 1


def test_a_night_whose_champion_changed_while_it_fitted_publishes_nothing(place, toy, monkeypatch) -> None:
    for n in (120, 125):
        place.night(toy.day(n), *OPTIONS)
    honest, published = flows.nightly.judge_task, len(place.table())

    def meanwhile(*arguments):
        judged = honest(*arguments)
        rollback(place.registry, "toy")
        return judged

    with monkeypatch.context() as changed:
        changed.setattr(flows.nightly, "judge_task", meanwhile)
        with pytest.raises(PublishError, match=r"was version 2 when this run began and is 1 now"):
            place.night(toy.day(130), *OPTIONS)
    assert (len(place.table()), len(place.registry.versions("toy"))) == (published, 2)
    assert place.night(toy.day(130), *OPTIONS)["verdict"] == "PUBLISHED"
    assert follows(place, 3) == "1"


def test_a_backfill_that_publishes_nothing_has_failed(place, toy) -> None:
    days = ("--start", str(toy.day(20)), "--end", str(toy.day(30)), "--every", "1w")
    elsewhere = ("--set", "source.min_rows=100", "--set", f"output.states={place.folder}/again")
    said = place.command("backfill", *days, *elsewhere)
    assert (said.status, "no partition could be published" in said.err) == (1, True)
    assert "failed     " in said.out


def test_a_backfill_under_later_nights_leaves_their_champion(place, toy) -> None:
    for n in (120, 140, 150):
        place.night(toy.day(n), *OPTIONS)
    champion = place.registry.champion("toy")
    said = place.backfill(toy.day(125), toy.day(135), "1w", *OPTIONS)
    assert [p["status"] for p in said["partitions"]] == ["DONE", "DONE"]
    assert said["n_published"] == 0
    assert place.registry.champion("toy") == champion
    assert len(place.registry.versions("toy")) == 3


def test_another_table_of_the_same_registry_gets_the_same_rows(place, toy) -> None:
    days = [toy.day(n) for n in range(140, 144)]
    for n in (140, 141, 142):
        place.night(toy.day(n), *OPTIONS)
    rollback(place.registry, "toy")
    for n in (143,):
        place.night(toy.day(n), *OPTIONS)
    champion, made = place.registry.champion("toy"), len(place.registry.versions("toy"))
    place.backfill(days[0], days[-1], "1d", *OPTIONS, f"output.states={place.folder}/again")
    again = pl.read_delta(f"{place.folder}/again")
    assert again["as_of"].n_unique() == len(days)
    assert again.sort("time", "as_of").equals(place.table().sort("time", "as_of"))
    assert (place.registry.champion("toy"), len(place.registry.versions("toy"))) == (champion, made)


@pytest.mark.costly
def test_the_real_registry_tells_the_same_story(real_place, toy) -> None:
    toy.frame(toy.levels(toy.sojourns(160, n_states=2), distance=4.0)).write_parquet(real_place.source)
    settings = real_place.settings(*OPTIONS)
    real_place.night(toy.day(140), *OPTIONS)
    real_place.night(toy.day(141), *OPTIONS)
    registry = Registry(settings.tracking.uri, "toy")
    assert rollback(registry, "toy")["model_version"] == 1
    real_place.night(toy.day(142), *OPTIONS)
    assert [v.tags["followed_champion"] for v in registry.versions("toy")] == ["", "1", "1"]
    real_place.backfill(toy.day(140), toy.day(142), "1d", *OPTIONS, f"output.states={real_place.folder}/again")
    again = pl.read_delta(f"{real_place.folder}/again")
    assert again.sort("time", "as_of").equals(real_place.table().sort("time", "as_of"))
    assert (registry.champion("toy"), len(registry.versions("toy"))) == (3, 3)


def test_rollback_and_promote_go_where_the_configuration_says(real_place, toy, monkeypatch) -> None:
    from mlflow import MlflowClient

    toy.frame(toy.levels(toy.sojourns(160, n_states=2), distance=4.0)).write_parquet(real_place.source)
    for n in (140, 141):
        real_place.night(toy.day(n), *OPTIONS)
    monkeypatch.chdir(real_place.folder / "..")  # where no default database is
    assert "version 1 (before: 2)" in real_place.command("rollback").out
    assert "version 2 (before: 1)" in real_place.command("promote", "--version", "2").out
    uri = real_place.settings().tracking.uri
    monkeypatch.setenv("HSMM_TRACKING__URI", uri)
    assert main(["rollback", "tpy"]) == 1
    assert {found.name for found in MlflowClient(uri).search_experiments()} == {"Default", "toy"}


def test_a_name_stays_with_its_state(place, toy) -> None:
    place.night(toy.day(120), *OPTIONS)
    rename(place.settings(), ["0=calm", "1=wild"])
    for n in (125, 130):
        place.night(toy.day(n), *OPTIONS, f"fit.seed={n}")
    later = place.table().filter(pl.col("as_of") > pl.lit(toy.day(121)))
    assert set(later.select("state", "state_name").unique().rows()) <= {(0, "calm"), (1, "wild")}
    assert named_states(place.settings()) == {0: "calm", 1: "wild"}


@pytest.mark.parametrize("names", [["0=wild"], ["0=same", "1=same"], ["1=state 0"]])
def test_two_states_never_bear_one_name(place, toy, names) -> None:
    place.night(toy.day(120), *OPTIONS)
    rename(place.settings(), ["1=wild"])
    with pytest.raises(ConfigurationError, match="for the states 0 and 1; expected a name for each"):
        rename(place.settings(), names)
    assert named_states(place.settings()) == {0: "state 0", 1: "wild"}
    rename(place.settings(), ["0=wild", "1=calm"])
    assert named_states(place.settings()) == {0: "wild", 1: "calm"}


def test_names_of_states_of_many_models_are_met_everywhere(place, toy) -> None:
    """Units with models of their own: what is named once is called so in table, page and alerts of each."""
    rows = [toy.frame(toy.levels(toy.sojourns(200, 2, seed=s), distance=6.0, seed=s), symbol=f"S{s}") for s in (1, 2)]
    pl.concat(rows).write_parquet(place.source)
    options = [f"--set={option}" for option in (*OPTIONS, "fit.scale=none", "fit.pool=per_series")]
    place.command("run", "--as-of", str(toy.day(120)), *options)
    assert place.command("name", "0=calm", "1=wild").status == 0
    place.command("run", *options)
    table = place.table().filter(pl.col("as_of") > pl.lit(toy.day(121)))
    assert {*table.select("series_id", "state_name").unique().rows()} == {
        (name, state) for name in ("S1", "S2") for state in ("calm", "wild")
    }
    shown = place.command("states", "--json", *options).last_json["rows"]
    assert {row["state_name"] for row in shown} == {"calm", "wild"}
    told = place.command("alerts", "--every", "--json", *options).last_json["alerts"]
    changes = [alert for alert in told if alert["kind"] == "change"]
    assert {(alert["series_id"], alert["detail"]) for alert in changes} == {
        (name, change) for name in ("S1", "S2") for change in ("calm -> wild", "wild -> calm")
    }
    drawn = Path(place.command("report", "--json", *options).last_json["report"]).read_text()
    assert "state 0" not in drawn
    assert drawn.count("background:#") >= drawn.count(">calm</span>") > 2


def test_a_held_night_publishes_with_the_older_version(place, toy) -> None:
    place.night(toy.day(120), *OPTIONS)
    said = place.night(toy.day(130), *OPTIONS, "promote.min_improvement=1e9")
    assert (said["gate"]["verdict"], said["gate"]["reasons"], said["n_held"]) == ("HOLD", ["no_improvement"], 1)
    new = place.table().filter(run_key=said["run_key"])
    assert set(new.select("status", "reason", "model_version").rows()) == {("HELD", "no_improvement", 1)}
    assert place.registry.champion("toy") == 1


def test_a_state_that_died_lives_again_after_a_rollback(place, toy) -> None:
    x = np.concatenate(
        [
            toy.levels(toy.sojourns(120, n_states=3), distance=6.0),
            toy.levels(toy.sojourns(120, n_states=2), distance=6.0),
        ]
    )
    toy.frame(x).write_parquet(place.source)
    options = ("model.n_states=[2, 3]", "fit.train_window=110d", "fit.scale=none")
    place.night(toy.day(115), *options)
    assert place.night(toy.day(238), *options, "promote.min_improvement=-9")["states"] == {"alive": [0, 1], "died": [2]}
    died = pl.read_delta(f"{place.states}_names").sort("state")["died"].to_list()
    assert (died[:2], died[2].date()) == ([None, None], toy.day(238))
    rollback(place.registry, "toy")
    said = place.night(toy.day(240), *options, "promote.min_improvement=-9", "model.n_states=3", "fit.train_window=all")
    assert said["states"]["alive"] == [0, 1, 2]
    assert pl.read_delta(f"{place.states}_names")["died"].null_count() == 3


def test_a_state_born_after_a_rollback_bears_an_id_that_none_has_borne(place, toy) -> None:
    """That of a state which the version that was rolled back gave to rows is none of a later one."""
    toy.frame(toy.levels(toy.sojourns(240, n_states=3, mean=8), distance=6.0)).write_parquet(place.source)
    free = ("promote.min_improvement=-9", "promote.min_margin=0")
    place.night(toy.day(150), "model.n_states=2", *free)
    assert place.night(toy.day(160), "model.n_states=3", *free)["identity"]["births"] == [2]
    rollback(place.registry, "toy")
    assert place.night(toy.day(170), "model.n_states=3", *free)["identity"]["births"] == [3]


def test_what_was_fitted_while_the_registry_was_away_is_not_fitted_again(place, toy, monkeypatch) -> None:
    def away(*_: object) -> None:
        raise TrackingError("no server answers")

    fits: list[object] = []
    fit = tasks.fitting.finished._fitting
    monkeypatch.setattr(tasks.fitting.finished, "_fitting", lambda *given: fits.append(given) or fit(*given))
    place.night(toy.day(120), *OPTIONS)
    with monkeypatch.context() as outage:
        outage.setattr(flows.nightly, "reach_registry", lambda *_: None)
        outage.setattr(tasks.tracking.track, "Registry", away)
        with pytest.raises(TrackingError):
            place.night(toy.day(125), *OPTIONS)
    made = len(fits)
    assert made == 2
    assert place.night(toy.day(125), *OPTIONS)["verdict"] == "PUBLISHED"
    assert len(fits) == made
