"""Walk-forward: rows are decoded by what was fitted before they were known, and no others are published."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

import flows.nightly
import flows.publishing
import flows.walk_forward
from tasks.tables.show import named_states
from tests.costly import costly_beyond

START, STEP, N_STRETCHES = 120, 7, 3
N_ROWS = START + STEP * N_STRETCHES
OPTIONS = ("model.n_states=2",)
DAYS = [START + STEP * i for i in range(N_STRETCHES + 1)]
POOLED = ("fit.pool=pooled", "promote.min_improvement=0.02")


@pytest.fixture
def rows(toy):
    """Two series of two levels."""
    series = [toy.frame(toy.levels(toy.sojourns(N_ROWS, 2, seed=s), seed=s), symbol=f"S{s}") for s in (1, 2)]
    return pl.concat(series)


def walk(place, toy, *options: str, until: int = DAYS[-1]) -> dict:
    return place.backfill(toy.day(DAYS[0]), toy.day(until), f"{STEP}d", *OPTIONS, *options, walk_forward=True)


def table(place, folder: str = "states") -> pl.DataFrame:
    return pl.read_delta(f"{place.folder}/{folder}").sort("series_id", "time", "as_of")


def verdicts(place) -> list[str]:
    return [version.tags["verdict"] for version in place.registry.versions("toy")]


@pytest.mark.parametrize("pool", costly_beyond(1, [POOLED, ("fit.pool=per_series",)]))
def test_the_rows_are_those_of_a_night_followed_by_the_next_nights_decoding(place_at, toy, rows, pool) -> None:
    walked, nights = place_at("walked"), place_at("nights")
    for place in (walked, nights):
        rows.write_parquet(place.source)
    walk(walked, toy, *pool)
    for since, until in pairwise(DAYS):
        nights.night(toy.day(since), *OPTIONS, *pool, f"output.states={nights.folder}/fits")
        nights.decode(toy.day(until), *OPTIONS, *pool, f"output.states={nights.folder}/decoded")
    decoded = table(nights, "decoded").filter(pl.col("time").dt.date() >= toy.day(DAYS[0]))
    assert table(walked).drop("run_key").equals(decoded.drop("run_key"))
    assert verdicts(walked) == verdicts(nights)
    if pool == POOLED:
        assert set(verdicts(walked)) == {"PROMOTE", "HOLD"}, "without a night that is held, less was tried"


def test_every_row_is_out_of_sample_and_there_once(place_at, toy, rows) -> None:
    place = place_at("walked")
    rows.write_parquet(place.source)
    said = walk(place, toy)
    made = table(place)
    assert not made["in_sample"].any()
    expected = rows.filter(pl.col("date") >= toy.day(DAYS[0])).select("symbol", "date").sort("symbol", "date")
    assert made.select("series_id", pl.col("time").dt.date()).rows() == expected.rows()
    assert (said["n_published"], said["failed"]) == (len(expected), {})
    assert place.registry.champion("toy") == N_STRETCHES
    assert not list(place.folder.glob("states_fits/*")), "finished fits are kept for nobody"
    fitted = {version.number: version.tags["as_of"] for version in place.registry.versions("toy")}
    known_at = made["time"] + timedelta(days=1)
    assert (made["model_version"].replace_strict(fitted).str.to_datetime(time_zone="UTC") < known_at).all()
    moments = [datetime.combine(toy.day(n), time(), UTC).isoformat() for n in DAYS]
    assert [(p["fitted_as_of"], p["as_of"], p["status"]) for p in said["partitions"]] == [
        (since, until, "DONE") for since, until in pairwise(moments)
    ]


def test_a_step_that_others_were_resampled_to_belongs_to_the_stretch_in_which_it_ends(place_at, toy) -> None:
    """Fits amid weeks, whose rows bear the weeks' first days: none is seen by a fit, none falls between stretches."""
    place, weeks = place_at("walked"), 60
    toy.frame(np.repeat(toy.levels(toy.sojourns(weeks, 2)), 7)).write_parquet(place.source)
    first, last = toy.day(7 * 45 + 3), toy.day(7 * 45 + 3 + 3 * 18)
    weekly = ('source.frequency="1w"', 'source.resample="mean"', "fit.scale=none")
    said = place.backfill(first, last, "18d", *OPTIONS, *weekly, walk_forward=True)
    made = table(place)
    ends = made["time"].dt.date() + timedelta(days=8)  # a week, and a day until it is known
    assert (ends.min() - timedelta(days=7) <= first < ends.min(), ends.max() <= last) == (True, True)
    assert (last - ends.max()) < timedelta(days=7)
    assert made["time"].diff().drop_nulls().unique().to_list() == [timedelta(days=7)]
    assert (len(made), made["in_sample"].any()) == (said["n_published"], False)


@pytest.mark.parametrize("change", costly_beyond(1, ["cut", "other values"]))
def test_later_rows_touch_no_earlier_row(place_at, toy, rows, change: str) -> None:
    """Neither by values nor by parameters, scales, the gate, names or numbers of versions."""
    whole, other = place_at("whole"), place_at("other")
    rows.write_parquet(whole.source)
    later = pl.col("date") >= toy.day(DAYS[2])
    wild = rows.with_columns(x=pl.when(later).then(pl.col("x") * -3 + 1).otherwise("x"))
    (rows.filter(~later) if change == "cut" else wild).write_parquet(other.source)
    walk(whole, toy)
    walk(other, toy, until=DAYS[2] if change == "cut" else DAYS[-1])
    earlier = pl.col("as_of").dt.date() <= toy.day(DAYS[2])
    made, remade = table(whole).filter(earlier), table(other).filter(earlier)
    assert len(made) == 2 * STEP * 2
    assert made.equals(remade)
    if change != "cut":
        assert not table(whole).drop("run_key").equals(table(other).drop("run_key"))


class _KilledError(BaseException):
    """What nothing of the program catches."""


STOPS = [
    (flows.nightly, "track_task"),
    (flows.walk_forward, "settle_task"),
    (flows.publishing, "decode_task"),
    (flows.publishing, "publish_task"),
]


def test_a_walk_that_is_stopped_anywhere_and_begun_again_ends_as_one_that_was_not(
    place_at, toy, rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed after each of these steps of its first two stretches, eight times."""
    stopped, undisturbed = place_at("stopped"), place_at("undisturbed")
    for place in (stopped, undisturbed):
        rows.write_parquet(place.source)
    for module, function in 2 * STOPS:
        with monkeypatch.context() as planted:
            planted.setattr(module, function, _deadly(getattr(module, function)))
            with pytest.raises(_KilledError):
                walk(stopped, toy)
    walk(stopped, toy)
    walk(undisturbed, toy, until=DAYS[2])
    walk(undisturbed, toy)
    assert table(stopped).equals(table(undisturbed))
    assert verdicts(stopped) == verdicts(undisturbed)
    assert stopped.registry.champion("toy") == undisturbed.registry.champion("toy")
    assert len(verdicts(stopped)) == N_STRETCHES
    monkeypatch.setattr(flows.nightly, "fit_task", lambda *_: pytest.fail("what is done was fitted again"))
    assert walk(stopped, toy)["n_published"] == 0


def _deadly(honest):
    def step(*arguments, **named):
        honest(*arguments, **named)
        raise _KilledError

    return step


def test_states_keep_ids_and_names_from_stretch_to_stretch(place_at, toy) -> None:
    place = place_at("walked")
    states = toy.sojourns(N_ROWS, 2, mean=3)
    toy.frame(toy.levels(states, distance=5.0)).write_parquet(place.source)
    walk(place, toy, until=DAYS[1])
    first = table(place)["state"].to_numpy()
    same = bool(np.mean(first == states[DAYS[0] : DAYS[1]]) > 0.5)
    assert place.command("name", "0=low" if same else "0=high", *("--set", OPTIONS[0])).status == 0
    for seed in (5, 6):
        walk(place, toy, f"fit.seed={seed}", "promote.min_improvement=-9")
    truth = states[DAYS[0] :] if same else 1 - states[DAYS[0] :]
    made = table(place)
    assert made["model_version"].n_unique() == N_STRETCHES
    assert np.mean(made["state"].to_numpy() == truth) > 0.95
    later = made.filter(pl.col("as_of").dt.date() > toy.day(DAYS[1]))
    assert dict(later.select("state", "state_name").unique().rows())[0] == ("low" if same else "high")
    assert named_states(place.settings())[0] == ("low" if same else "high")


def test_where_nothing_can_be_fitted_the_model_before_goes_on_and_it_is_said(place_at, toy, rows) -> None:
    place = place_at("walked")
    rows.write_parquet(place.source)
    walk(place, toy, until=DAYS[1])
    said = walk(place, toy, "source.min_rows=10", "promote.min_share=0.9")
    assert said["failed"] == {}
    assert set(table(place).filter(pl.col("time").dt.date() >= toy.day(DAYS[1]))["model_version"]) == {1}
    assert verdicts(place) == ["PROMOTE"] + ["REJECT"] * (N_STRETCHES - 1)


def test_rows_before_there_is_a_model_are_not_published_and_it_is_said(place_at, toy, rows) -> None:
    place = place_at("walked")
    rows.write_parquet(place.source)
    said = walk(place, toy, f"source.min_rows={DAYS[1] - 12}")
    (moment,) = said["failed"]
    assert (moment[:10], said["failed"][moment][:13]) == (str(toy.day(DAYS[0])), "all 2 series ")
    assert [p["status"] for p in said["partitions"]] == ["MISSING"] + ["DONE"] * (N_STRETCHES - 1)
    assert table(place)["time"].min().date() == toy.day(DAYS[1])


def test_a_table_that_holds_rows_which_models_have_seen_is_refused(place_at, toy, rows) -> None:
    place = place_at("nights")
    rows.write_parquet(place.source)
    place.night(toy.day(DAYS[0]), *OPTIONS)
    days = ("--start", str(toy.day(DAYS[0])), "--end", str(toy.day(DAYS[1])), "--every", f"{STEP}d")
    how = (*days, "--walk-forward", "--set", OPTIONS[0])
    before, versions = table(place), len(verdicts(place))
    refused = place.command("backfill", *how)
    assert refused.status == 2
    assert "that their models were fitted on" in refused.err
    assert "--set output.states=" in refused.err
    assert table(place).equals(before)
    assert len(verdicts(place)) == versions
    beside = f"output.states={place.states}_walk_forward"
    taken = place.command("backfill", *how, "--set", beside, "--json")
    assert (taken.status, taken.last_json["n_published"]) == (0, 2 * STEP)


def test_a_walk_beside_later_nights_is_the_same_walk_and_leaves_their_champion(place_at, toy, rows) -> None:
    alone, beside = place_at("alone"), place_at("beside")
    for place in (alone, beside):
        rows.write_parquet(place.source)
    for n in (DAYS[1], DAYS[2] - 2, DAYS[-1]):
        beside.night(toy.day(n), *OPTIONS, "fit.seed=7", f"output.states={beside.folder}/nights")
    champion = beside.registry.champion("toy")
    walk(alone, toy, until=DAYS[1])
    walk(beside, toy, until=DAYS[1])
    other = ["run_key", "model_version"]
    assert table(alone).drop(other).equals(table(beside).drop(other))
    assert beside.registry.champion("toy") == champion
    of_nights = ("--set", f"output.states={beside.folder}/nights", "--set", OPTIONS[0], "--set", "fit.seed=7")
    walked = beside.registry.versions("toy")[-1].number
    refused = beside.command("promote", "--version", str(walked), *of_nights)
    assert refused.status == 2
    assert f"was made for the table '{beside.states}'" in refused.err
    assert f"expected one that was made for '{beside.folder}/nights': 1" in refused.err
    assert beside.registry.champion("toy") == champion
    assert beside.command("promote", "--version", "99", *of_nights).status == 2
    beside.registry.set_champion("toy", walked)  # as versions before could
    toy.frame(toy.levels(toy.sojourns(N_ROWS + 1, 2, seed=1), seed=1), symbol="S1").write_parquet(beside.source)
    assert beside.decode(None, *of_nights[1::2])["model_version"] == champion
    assert beside.command("rollback", *of_nights).status == 0
    assert beside.registry.champion("toy") == champion


def test_a_walk_of_later_days_beside_the_nights_is_never_the_champion(place_at, toy, rows) -> None:
    place = place_at("beside")
    rows.write_parquet(place.source)
    nights = f"output.states={place.folder}/nights"
    place.night(toy.day(DAYS[0] - 2), *OPTIONS, nights)
    walk(place, toy, until=DAYS[2])
    assert place.registry.champion("toy") == 1
    assert [version.tags["followed_champion"] for version in place.registry.versions("toy")] == ["", "1", "2"]
    assert place.decode(None, *OPTIONS, nights)["model_version"] == 1


def test_a_walk_alerts_nobody(place_at, toy) -> None:
    place = place_at("walked")
    toy.frame(toy.levels(toy.sojourns(N_ROWS, 2, mean=3), distance=6.0)).write_parquet(place.source)
    hook = ('alerts.hook.command=["false"]', "alerts.confirm=1")
    walk(place, toy, *hook, until=DAYS[1])  # from here on, somebody looks
    said = walk(place, toy, *hook)
    later = pl.read_delta(f"{place.states}_alerts").filter(pl.col("as_of").dt.date() > toy.day(DAYS[1]))
    assert set(later["delivery"]) == {"BACKFILL"}
    assert said["alerts"]["n_pending"] == 0


def test_rows_that_a_walk_leaves_out_are_there_for_a_decoding(place_at, toy, rows) -> None:
    place = place_at("walked")
    rows.write_parquet(place.source)
    walk(place, toy, until=DAYS[1])
    said = place.decode(toy.day(DAYS[1]), *OPTIONS)
    assert (said["verdict"], said["n_published"]) == ("PUBLISHED", 2 * DAYS[0])


def test_one_moment_is_no_walk(place_at, toy, rows) -> None:
    place = place_at("walked")
    rows.write_parquet(place.source)
    day = str(toy.day(DAYS[0]))
    refused = place.command("backfill", "--start", day, "--end", day, "--walk-forward")
    assert refused.status == 2
    assert "one to fit at and one to decode to" in refused.err
