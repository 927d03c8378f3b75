"""Alerts over nights: each once whatever is repeated, stopped or filled in; told until it is taken; never too late."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import flows.decoding
import tasks.alerts.ledger
import tasks.alerts.sequence
import tasks.tables.silence
from tasks.alerts.show import noted_alerts
from tasks.report.page.recorded import recorded_page_data
from tasks.report.page.render import page
from tasks.tables.alerts import read_alerts
from tests.costly import costly_beyond

N = 200
KEY = ("alert_id", "kind", "rule", "series_id", "time", "released", "as_of")
TWO = ("--set", "model.n_states=2")


def values(toy, n: int = N, seed: int = 0) -> np.ndarray:
    return toy.levels(toy.sojourns(n, n_states=2, mean=10, seed=seed), distance=6.0, seed=seed)


@pytest.fixture
def rows(toy) -> pl.DataFrame:
    return pl.concat([toy.frame(values(toy, seed=seed), symbol) for seed, symbol in enumerate("AB")])


@pytest.fixture
def made(place_at, toy, rows):
    """Places with a first night as of day 150, and its rows beyond."""

    def make(name: str, *options: str):
        place = place_at(name)
        rows.write_parquet(place.source)
        said = place.command("run", "--as-of", str(toy.day(150)), *TWO, *options)
        assert said.status == 0, said.err
        return place

    return make


@pytest.fixture
def night(toy):
    def work(place, n: int, *options: str):
        said = place.command("decode", "--as-of", str(toy.day(n)), *TWO, *options, "--json")
        assert said.status == 0, said.err
        return said.last_json["alerts"]

    return work


@pytest.fixture
def listener(tmp_path: Path):
    """A command that takes alerts, or refuses them while the file ``away`` is there."""

    class Listener:
        away, said = tmp_path / "away", tmp_path / "said"
        script = (
            f"import sys, os; os.path.exists({str(away)!r}) and sys.exit(9); "
            f"open({str(said)!r}, 'a').write(sys.stdin.read() + '\\n')"
        )
        options = (
            "--set",
            f"alerts.hook.command={json.dumps([sys.executable, '-S', '-c', script, 'hunter2'])}",
            "--set",
            "alerts.hook.retries=0",
        )

        def told(self) -> list[dict]:
            return [json.loads(line) for line in self.said.read_text().splitlines()] if self.said.exists() else []

    return Listener()


class Stopped(BaseException):
    """What ends a process at once."""


def stop(*_: object) -> None:
    raise Stopped


def alerts(place) -> pl.DataFrame:
    return read_alerts(place.states, "toy")


def test_a_night_made_again_adds_none(made, night) -> None:
    place = made("here")
    night(place, 160)
    before = alerts(place)
    assert before["alert_id"].n_unique() == before.height > 0
    for _ in range(2):
        assert night(place, 160)["n_new"] == 0
    assert alerts(place).equals(before)


def test_nights_one_by_one_and_all_rows_at_once_find_the_same(made, night, monkeypatch: pytest.MonkeyPatch) -> None:
    """All series together, or one series' rows after the other's."""
    slow, fast = made("slow"), made("fast")
    for n in range(160, N + 1, 10):
        night(slow, n)
    monkeypatch.setattr("tasks.source.pieces.AT_ONCE", 1)
    night(fast, N)
    key = [name for name in KEY if name != "as_of"]
    assert alerts(slow).filter(pl.col("kind") == "change").height > 4
    assert alerts(slow).select(key).sort(key).equals(alerts(fast).select(key).sort(key))


@pytest.mark.costly
def test_later_rows_change_no_alert(made, night) -> None:
    """What there was at a moment is there ever after; only that it has ended may be added."""
    place, known = made("here"), []
    for n in range(155, 180, 6):
        night(place, n)
        known.append(alerts(place).drop("released"))
    for earlier in known:
        assert earlier.join(alerts(place), on=earlier.columns, how="anti", nulls_equal=True).is_empty()


def test_hindsight_is_not_looked_at(made, night, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    original = tasks.alerts.sequence.read_as_published

    def reading(states, name, publishes, columns):
        asked.update(columns)
        return original(states, name, publishes, columns)

    monkeypatch.setattr(tasks.alerts.sequence, "read_as_published", reading)
    night(made("here"), 160)
    assert "p_filtered" in asked
    assert not asked & {"p_smoothed", "viterbi"}


@pytest.mark.parametrize("next_night", costly_beyond(1, [170, 185]))
def test_a_run_that_is_stopped_between_publish_and_alert_loses_none(
    made, night, monkeypatch: pytest.MonkeyPatch, listener, next_night: int
) -> None:
    place, undisturbed = made("here", *listener.options), made("other")
    with monkeypatch.context() as patched:
        patched.setattr(tasks.alerts.ledger, "change_alerts", stop)
        with pytest.raises(Stopped):
            place.command("decode", "--as-of", "2020-06-19", *TWO, *listener.options)
    assert place.table()["as_of"].n_unique() == 2
    first = {one["alert_id"] for one in listener.told()}
    night(place, next_night, *listener.options)
    for n in sorted({170, next_night}):
        night(undisturbed, n)
    assert alerts(place).select(KEY).equals(alerts(undisturbed).select(KEY))
    due = alerts(undisturbed).filter(pl.col("as_of") > pl.col("as_of").min(), pl.col("delivery") == "NONE")
    assert due.height > 0
    assert {one["alert_id"] for one in listener.told()} - first == {*due["alert_id"]}


def test_a_backfill_tells_nobody(place_at, toy, rows, listener) -> None:
    place = place_at("here")
    short = rows.filter(symbol="A").head(5).with_columns(symbol=pl.lit("C"))
    pl.concat([rows, short]).write_parquet(place.source)
    said = place.command(
        "backfill", "--start", str(toy.day(150)), "--end", str(toy.day(190)), "--every", "20d", *TWO, *listener.options
    )
    assert said.status == 0, said.err
    assert {*alerts(place)["delivery"]} == {"BACKFILL"}
    assert {*alerts(place)["kind"]} <= {"change", "drift"}
    assert alerts(place).height > 5
    told = place.command("run", "--as-of", str(toy.day(N)), *TWO, *listener.options, "--json").last_json
    assert not {one["alert_id"] for one in listener.told()} & {*alerts(place).filter(delivery="BACKFILL")["alert_id"]}
    assert {one["as_of"][:10] for one in listener.told()} <= {told["as_of"][:10]}


def test_what_was_over_before_the_first_night_is_told_to_nobody(made, listener) -> None:
    place = made("here", "--set", "alerts.states=[1]", *listener.options)
    entered = alerts(place).filter(kind="state")
    assert entered.height > 4
    open_ones = entered.filter(pl.col("released").is_null())
    assert {*entered.filter(pl.col("delivery") != "HISTORY")["alert_id"]} == {*open_ones["alert_id"]}
    assert [one["alert_id"] for one in listener.told() if one["kind"] == "state"] == open_ones["alert_id"].to_list()


def test_a_hook_that_fails_costs_no_publish_and_is_told_later_under_the_same_id(made, night, listener) -> None:
    place = made("here", *listener.options)
    before = len(listener.told())
    listener.away.touch()
    said = night(place, 170, *listener.options)
    assert "ended with status 9" in said["failed"]
    assert said["n_pending"] == said["n_new"] > 0
    assert len(listener.told()) == before
    pending = alerts(place).filter(delivery="PENDING")
    assert pending["attempts"].max() == 1
    shown = place.command("run", "--as-of", "2020-06-19", *TWO, *listener.options)
    assert (shown.status, "not all are told: the command" in shown.out) == (0, True)
    listener.away.unlink()
    assert night(place, 170, *listener.options)["n_pending"] == 0
    assert {one["alert_id"] for one in listener.told()[before:]} == {*pending["alert_id"]}
    n_told = len(listener.told())
    assert "failed" not in night(place, 171, *listener.options)
    assert len({one["alert_id"] for one in listener.told()}) == len(listener.told())
    assert len(listener.told()) >= n_told


def test_one_that_is_never_taken_does_not_stand_before_the_others(made, night, monkeypatch) -> None:
    from tasks.alerts import step
    from tasks.alerts.hook import HookError

    place = made("here")
    options = ("--set", 'alerts.hook.url="https://127.0.0.1:9"', "--set", "alerts.most=99")
    told: list[str] = []

    def call(alert) -> None:
        if alert["series_id"] == "A":
            raise HookError("no", may_pass=False)
        told.append(alert["alert_id"])

    monkeypatch.setattr(step, "hook_call", lambda _: call)
    for n in (190, 190, 191, 192):
        night(place, n, *options)
    known = alerts(place).filter(pl.col("delivery").is_in(["PENDING", "DELIVERED"]))
    assert {*known.filter(series_id="A")["delivery"]} == {"PENDING"}
    assert {*known.filter(series_id="B")["delivery"]} == {"DELIVERED"}
    assert len(told) == len({*told}) == known.filter(series_id="B").height > 0


def test_three_in_a_row_that_are_not_taken_are_enough(made, night, monkeypatch) -> None:
    from tasks.alerts import step
    from tasks.alerts.hook import HookError

    place, tried = made("here"), list[str]()

    def call(alert) -> None:
        tried.append(alert["alert_id"])
        raise HookError("away", may_pass=False)

    monkeypatch.setattr(step, "hook_call", lambda _: call)
    options = ("--set", 'alerts.hook.url="https://127.0.0.1:9"', "--set", "alerts.most=99")
    assert night(place, N, *options)["n_pending"] > 3
    assert len(tried) == 3


def test_what_was_taken_before_a_run_was_stopped_is_not_told_again(made, night, monkeypatch) -> None:
    from tasks.alerts import step

    place, taken = made("here"), list[str]()

    def call(alert) -> None:
        if len(taken) == 2:
            raise Stopped
        taken.append(alert["alert_id"])

    options = ("--set", 'alerts.hook.url="https://127.0.0.1:9"', "--set", "alerts.most=99")
    with monkeypatch.context() as patched:
        patched.setattr(step, "hook_call", lambda _: call)
        with pytest.raises(Stopped):
            night(place, N, *options)
    later: list[str] = []
    monkeypatch.setattr(step, "hook_call", lambda _: lambda alert: later.append(alert["alert_id"]))
    night(place, N, *options)
    assert len(taken) == 2
    assert len(later) > 0
    assert not {*taken} & {*later}


def test_a_new_line_of_rows_is_judged_anew(made, toy) -> None:
    """Its rows have the times of the old line's; what is over is history, and the old line's alerts have ended."""
    place = made("here")
    before = alerts(place)
    new = ("--set", "fit.scale=none", "--new-lineage")
    assert place.command("run", "--as-of", str(toy.day(160)), *TWO, *new).status == 0
    changes = alerts(place).filter(~pl.col("alert_id").is_in(before["alert_id"].implode()), kind="change")
    assert changes.height > 5
    assert {*changes["delivery"]} == {"HISTORY"}
    old = alerts(place).filter(pl.col("alert_id").is_in(before["alert_id"].implode()))
    assert old["released"].null_count() == 0


def test_alerts_change_neither_what_a_run_is_nor_what_is_logged_of_it(made, toy, listener, monkeypatch) -> None:
    place = made("here")
    logged: list[dict] = []
    monkeypatch.setattr(place.registry, "log", lambda _, params, *__, **___: logged.append(params))
    first = place.command("run", "--as-of", str(toy.day(150)), *TWO, "--json").last_json
    other = place.command("run", "--as-of", str(toy.day(150)), *TWO, *listener.options, "--json").last_json
    assert (other["run_key"], other["verdict"]) == (first["run_key"], "ALREADY_PUBLISHED")
    assert place.command("run", "--as-of", str(toy.day(160)), *TWO, *listener.options).status == 0
    assert any("alerts.confirm" in params for params in logged)
    assert "hunter2" not in str(logged)


def test_no_secret_is_said(made, monkeypatch, listener) -> None:
    monkeypatch.setenv("TOLD_AT", "http://127.0.0.1:9/services/hunter2")
    monkeypatch.setenv("TOKEN", "hunter2")
    place = made("here")
    listener.away.touch()
    web = ("--set", 'alerts.hook={url_from="TOLD_AT", token_from="TOKEN", timeout=0.5, retries=0}')
    for how, host in ((listener.options, "the command"), (web, "127.0.0.1 cannot be reached")):
        said = place.command("decode", "--as-of", "2020-06-29", *TWO, *how, "--json")
        assert host in said.last_json["alerts"]["failed"]
        assert "hunter2" not in said.out + said.err + json.dumps(
            alerts(place).drop("time", "as_of").to_dicts(), default=str
        )


def test_a_variable_that_is_not_set_is_said_before_the_source_is_looked_at(place_at) -> None:
    said = place_at("here").command("run", "--set", 'alerts.hook={url_from="NOWHERE_AT_ALL"}')
    assert said.status == 2
    assert "alerts.hook.url_from: the variable NOWHERE_AT_ALL is not set" in said.err
    assert "source" not in said.err


def test_a_state_that_there_is_not_is_answered_with_the_nearest_before_the_source_is_looked_at(made) -> None:
    place = made("here")
    place.source.unlink()
    assert place.command("name", "0=calm", "1=crisis").status == 0
    for command in ("run", "decode", "alerts"):
        said = place.command(command, *TWO, "--set", 'alerts.states=["crises"]')
        assert (said.status, "did you mean 'crisis'?" in said.err) == (2, True), said.err
    said = place.command("run", *TWO, "--set", 'alerts.changes=["calm -> 7"]')
    assert (said.status, "found '7'" in said.err) == (2, True)


def test_before_the_first_night_states_have_numbers(place_at, toy, rows) -> None:
    place = place_at("here")
    said = place.command("run", *TWO, "--set", 'alerts.states=["crisis"]')
    assert (said.status, "a number from 0 to 1" in said.err) == (2, True)
    rows.write_parquet(place.source)
    assert place.command("run", "--as-of", str(toy.day(150)), *TWO, "--set", "alerts.states=[1]").status == 0


def test_a_name_that_is_given_later_makes_no_alert_again(made, night) -> None:
    place = made("here", "--set", "alerts.states=[1]")
    before = {*alerts(place)["alert_id"]}
    assert place.command("name", "1=crisis").status == 0
    assert night(place, 150, "--set", 'alerts.states=["crisis"]')["n_new"] == 0
    assert {*alerts(place)["alert_id"]} == before
    night(place, N, "--set", 'alerts.states=["crisis"]')
    later = alerts(place).filter(~pl.col("alert_id").is_in(list(before)), kind="state")
    assert {*later["state_name"]} == {"crisis"}


def test_a_changed_rule_looks_ahead_only(made, night) -> None:
    place = made("here", "--set", "alerts.states=[0]")
    last = alerts(place)["time"].max()
    night(place, 151, "--set", "alerts.states=[0, 1]", "--set", "alerts.confirm=1")
    night(place, N, "--set", "alerts.states=[0, 1]", "--set", "alerts.confirm=1")
    other = alerts(place).filter(rule="state 1")
    assert other.height > 0
    assert other["time"].min() > last
    assert other["as_of"].min() > alerts(place)["as_of"].min()


def test_only_changes_that_are_named_are_alerts(made, night) -> None:
    place = made("here", "--set", 'alerts.changes=["0 -> 1"]', "--set", 'alerts.also=["held"]')
    night(place, N, "--set", 'alerts.changes=["0 -> 1"]', "--set", 'alerts.also=["held"]')
    assert {*alerts(place)["rule"]} == {"change 0 -> 1"}


def test_no_more_are_told_of_a_series_than_the_largest_rate(made, night) -> None:
    options = ("--set", "alerts.most=2", "--set", "alerts.per=25")
    place = made("here", *options)
    night(place, N, *options)
    changes = alerts(place).filter(kind="change")
    told = {name: changes.filter(pl.col("delivery") == "NONE", series_id=name)["time"].to_list() for name in "AB"}
    assert max(len(own) for own in told.values()) > 2
    for own in told.values():
        assert all((c - a).days >= 25 for a, c in zip(own, own[2:], strict=False))
    for series, time in changes.filter(delivery="RATE").select("series_id", "time").iter_rows():
        assert sum(0 <= (time - one).days < 25 for one in told[series]) == 2
    assert "RATE" in {*changes["delivery"]}


def test_a_feed_that_ended_is_one_alert_until_it_returns(made, night, rows, toy) -> None:
    window = ("--set", "alerts.drift.window=20")
    place = made("here", *window)
    stops = rows.filter((pl.col("symbol") == "A") | ~pl.col("date").is_between(toy.day(152), toy.day(175)))
    stops.write_parquet(place.source)
    for n in (160, 166, 170, 176):
        night(place, n, *window)
    stale = alerts(place).filter(kind="stale")
    assert stale.select("series_id", pl.col("released").is_null()).rows() == [("B", True)]
    assert stale["delivery"].to_list() == ["NONE"]
    night(place, 180, *window)
    assert alerts(place).filter(kind="stale").select("alert_id", pl.col("released").is_null()).rows() == [
        (stale["alert_id"][0], False)
    ]
    assert alerts(place).filter(kind="drift").is_empty(), "that a feed ended is told twice"


def test_that_all_feeds_are_silent_is_told_once_where_they_were_alive(made, place_at, rows, toy, monkeypatch) -> None:
    """By the clock, for no row can tell; by no clock where the source was history when it was published."""
    now = datetime.now(UTC)
    since = now.date() - toy.day(160)
    live, history = place_at("live"), made("history")
    (live.folder / "mlflow.db").touch()
    today = rows.filter(pl.col("date") < toy.day(160)).with_columns(pl.col("date") + since)
    today.write_parquet(live.source)

    def worked(days: int, place=live) -> tuple[list[str], list[tuple[str, str, bool]]]:
        monkeypatch.setattr(tasks.tables.silence, "clock", lambda: now + timedelta(days=days))
        said = place.command("decode", *TWO, "--json")
        assert said.status == 0, said.err
        told = alerts(place).filter(kind="stale").select("rule", "series_id", pl.col("released").is_null())
        shown = place.command("states", "--latest", *TWO, "--json").last_json["notes"]
        assert [note for note in said.last_json["notes"] if "no series" in note] == shown
        return shown, told.rows()

    assert live.command("run", *TWO).status == 0
    assert worked(9) == worked(0) == ([], [])
    for _ in range(2):
        (note,), told = worked(12)
        assert note.startswith("no series has had a new row for 11 days: the newest were known at ")
        assert told == [("feeds", "", True)]
    another = pl.concat([today, today.group_by("symbol").tail(1).with_columns(pl.col("date") + timedelta(days=1))])
    another.write_parquet(live.source)
    assert worked(1) == ([], [("feeds", "", False)])
    assert worked(4000, history)[0] == []


@pytest.mark.costly
def test_a_series_without_a_calendar_that_ended_is_one_alert_too(place_at, rows, toy) -> None:
    place = place_at("here")
    place.config.write_text(place.config.read_text().replace('frequency = "1d"\n', ""))
    stops = rows.filter((pl.col("symbol") == "A") | (pl.col("date") < toy.day(152)))
    stops.write_parquet(place.source)
    assert place.command("run", "--as-of", str(toy.day(155)), *TWO).status == 0
    assert alerts(place).filter(kind="stale").is_empty()
    for n in (170, 175, 175):
        assert place.command("decode", "--as-of", str(toy.day(n)), *TWO).status == 0
    assert alerts(place).filter(kind="stale").select("series_id", "delivery").rows() == [("B", "NONE")]
    rows.write_parquet(place.source)
    assert place.command("decode", "--as-of", str(toy.day(180)), *TWO).status == 0
    assert alerts(place).filter(kind="stale")["released"].null_count() == 0


def test_a_series_that_is_set_aside_is_one_alert_for_as_long(made, night, rows, toy) -> None:
    place = made("here")
    broken = rows.with_columns(
        x=pl.when((pl.col("symbol") == "B") & (pl.col("date") == toy.day(40))).then(np.inf).otherwise("x")
    )
    broken.write_parquet(place.source)
    for n in (152, 154, 156):
        night(place, n)
    rows.write_parquet(place.source)
    night(place, 158)
    broken.write_parquet(place.source)
    night(place, 160)
    aside = alerts(place).filter(kind="quarantine")
    assert {*aside["rule"]} == {"infinite_value"}
    assert [
        (one.day, None if until is None else until.day) for one, until in aside.select("as_of", "released").rows()
    ] == [
        (toy.day(152).day, toy.day(158).day),
        (toy.day(160).day, None),
    ]


def test_what_came_and_went_while_runs_were_stopped_is_told_all_the_same(made, night, rows, monkeypatch) -> None:
    place = made("here")
    broken = rows.with_columns(x=pl.when(pl.col("symbol") == "B").then(np.inf).otherwise("x"))
    broken.write_parquet(place.source)
    with monkeypatch.context() as patched:
        patched.setattr(tasks.alerts.ledger, "change_alerts", stop)
        with pytest.raises(Stopped):
            night(place, 152)
    rows.write_parquet(place.source)
    night(place, 154)
    aside = alerts(place).filter(kind="quarantine")
    assert aside.select("series_id", "delivery", pl.col("released").is_null()).rows() == [("B", "NONE", False)]


def test_that_every_series_is_set_aside_is_told_though_the_night_fails(made, rows, toy, listener) -> None:
    place = made("here", *listener.options)
    rows.with_columns(x=pl.lit(np.inf)).write_parquet(place.source)
    said = place.command("run", "--as-of", str(toy.day(160)), *TWO, *listener.options)
    assert (said.status, "all 2 series are quarantined" in said.err) == (2, True)
    told = [(one["kind"], one["series_id"]) for one in listener.told() if one["kind"] == "quarantine"]
    assert sorted(told) == [("quarantine", "A"), ("quarantine", "B")]


def test_a_run_that_is_refused_ends_no_alert_and_its_own_end_with_the_next_night(made, night, rows) -> None:
    place = made("here")
    half = rows.with_columns(x=pl.when(pl.col("symbol") == "B").then(np.inf).otherwise("x"))
    half.write_parquet(place.source)

    def found() -> dict[tuple[str, str], bool]:
        told = alerts(place).filter(kind="quarantine").select("series_id", "rule", pl.col("released").is_null())
        assert told.select("series_id", "rule").is_unique().all()
        return {(series, rule): is_open for series, rule, is_open in told.iter_rows()}

    night(place, 155)
    ((of_b, _),) = found().items()
    rows.with_columns(x=pl.lit(np.inf)).write_parquet(place.source)
    wrong = place.command("run", *TWO)  # as of the newest row, later than any night
    assert (wrong.status, "all 2 series are quarantined" in wrong.err) == (2, True)
    half.write_parquet(place.source)
    during = found()
    assert during.pop(of_b)
    assert during
    assert all(during.values())
    night(place, 157)
    after = found()
    assert after.pop(of_b)
    assert after == dict.fromkeys(during, False)
    assert alerts(place).filter(pl.col("released") < pl.col("as_of"), kind="quarantine").is_empty()


def test_a_gate_that_holds_is_one_alert_until_it_lets_one_pass(made, toy) -> None:
    place = made("here")
    held = ("--set", "promote.min_improvement=1e9")
    for n in (155, 160):
        assert place.command("run", "--as-of", str(toy.day(n)), *TWO, *held).status == 0
    found = alerts(place).filter(kind="held")
    assert found.select("as_of", "released").with_columns(pl.col("as_of").dt.date()).rows() == [(toy.day(155), None)]
    assert "no_improvement" in found["detail"][0]
    assert place.command("run", "--as-of", str(toy.day(165)), *TWO, "--set", "promote.min_improvement=-9").status == 0
    assert alerts(place).filter(kind="held")["released"].dt.date().to_list() == [toy.day(165)]


def test_an_input_that_is_scaled_anew_is_an_alert_whatever_the_gate_says(made, night, rows, toy) -> None:
    place = made("here", "--set", "alerts.drift.window=20")
    night(place, 160, "--set", "alerts.drift.window=20")
    assert alerts(place).filter(kind="drift").is_empty()
    scaled = pl.when((pl.col("symbol") == "B") & (pl.col("date") >= toy.day(160))).then(100 * pl.col("x"))
    rows.with_columns(x=scaled.otherwise("x")).write_parquet(place.source)
    for n in (178, 179):
        night(place, n, "--set", "alerts.drift.window=20")
    found = alerts(place).filter(kind="drift")
    assert {*found["series_id"]} == {"B"}
    assert {"level x", "spread x"} <= {*found["rule"]}
    assert found["rule"].n_unique() == found["alert_id"].n_unique() == found.height


def test_what_is_published_stands_where_alerts_cannot_be_written(made, night, monkeypatch) -> None:
    from tasks.config.errors import PublishError

    place = made("here")
    with monkeypatch.context() as patched:
        patched.setattr(tasks.alerts.ledger, "change_alerts", lambda *_: (_ for _ in ()).throw(PublishError("full.")))
        said = night(place, 170)
    assert said == {"failed": "full. The next run notes and tells what this one did not."}
    assert place.table()["as_of"].n_unique() == 2
    assert night(place, 170)["n_new"] > 0


def test_the_list_holds_what_is_open_and_what_is_new(made, night) -> None:
    place = made("here")
    night(place, 190)
    said = place.command("alerts", "--json").last_json
    known = alerts(place)
    expected = known.filter(pl.col("released").is_null() | (pl.col("as_of") == pl.col("as_of").max()))
    assert {one["alert_id"] for one in said["alerts"]} == {*expected["alert_id"]}
    assert (said["n_alerts"], said["n_open"]) == (known.height, known["released"].null_count())
    every = place.command("alerts", "--every", "--series", "A", "--json").last_json
    assert {one["alert_id"] for one in every["alerts"]} == {*known.filter(series_id="A")["alert_id"]}
    assert said["alerts_table"] == f"{place.states}_alerts"
    for asked, words in (
        (("--series", "AA"), "--series: found 'AA'; expected one of 'A', "),
        (("--set", "output.states=elsewhere"), "found no state table at 'elsewhere'; expected one: run `hsmm run`"),
    ):
        said = place.command("alerts", *asked)
        assert (said.status, words in said.err) == (2, True), said.err


@pytest.mark.parametrize("pool", ["pooled", "per_series"])
def test_what_the_rule_does_is_said_before_it_is_used(place_at, toy, pool: str) -> None:
    """On the console, in JSON and with the publish; on known states too, where the source has some."""
    place = place_at("here")
    paths = {name: toy.sojourns(N, n_states=2, seed=seed) for seed, name in enumerate("AB")}
    parts = [
        toy.frame(toy.levels(z, distance=6.0, seed=5), name).with_columns(z=pl.Series(z)) for name, z in paths.items()
    ]
    pl.concat(parts).write_parquet(place.source)
    options = (*TWO, "--set", "source.states=z", "--set", f"fit.pool={pool}", "--json")
    said = place.command("run", "--as-of", str(toy.day(170)), *options)
    assert said.status == 0, said.err
    rule = said.last_json["rule"]
    assert "rule       simulated, as if the model were true: stays noted after" in said.out
    assert "on 340 rows of known states" in said.out
    assert rule["simulated"]["n_rows"] > 15_000
    assert rule["measured"]["n_rows"] == 340
    assert 0.8 < rule["in_sample"] < 1.0
    due = sum(int((np.diff(z[:170]) != 0).sum()) for z in paths.values())
    assert rule["measured"]["n_stays"] == due
    assert rule["measured"]["delay_mean"] == pytest.approx(1.0, abs=0.5)
    assert "rule" in place.command("decode", "--as-of", str(toy.day(180)), *options).last_json
    again = place.command("run", "--as-of", str(toy.day(170)), *options).last_json
    assert again["rule"] == rule


def test_the_page_and_the_command_know_the_same_alerts(made, night, toy) -> None:
    """The page of a night that alerts are not judged by yet says so, and lists none."""
    place = made("here")
    night(place, 170)
    listed = place.command("alerts", *TWO, "--json").last_json["alerts"]
    settings = place.settings(TWO[1])
    shown = noted_alerts(settings)
    assert {alert["alert_id"] for alert in listed} == {*shown["alert_id"]}
    assert len(listed) > 1
    drawn = Path(place.command("report", *TWO, "--json").last_json["report"]).read_text()
    section = drawn[drawn.index('<section id="alerts">') : drawn.index("<h3>Newest rows</h3>")]
    assert section.count("<tr><td") == len(listed)
    flows.decoding.decode_rows(settings, str(toy.day(175)))
    assert noted_alerts(settings) is None
    assert "are noted once it is published" in page(recorded_page_data(settings))


def set_aside(place) -> list[str]:
    """The series whose alert of being set aside is open."""
    told = alerts(place).filter(pl.col("released").is_null(), kind="quarantine")
    return told["series_id"].to_list()


def test_what_stopped_a_night_is_over_once_it_is_worked_without_it(made, rows, toy) -> None:
    """Of the same moment: what a run that is refused finds is no cause that goes on after one that publishes. What an
    option keeps it from reading is no news of the source at all.
    """
    place, when = made("here"), ("--as-of", str(toy.day(150)))
    (place.folder / "mlflow.db").touch()
    held = rows.with_columns(x=pl.when(pl.col("symbol") == "B").then(np.inf).otherwise("x"))
    three = pl.concat([rows, held.filter(symbol="B").with_columns(symbol=pl.lit("C"))])
    three.write_parquet(place.source)
    assert place.command("run", *when, *TWO).status == 0
    noted = alerts(place), place.quarantine()
    for option, found in (
        ("source.min_rows=9999", "Since the newest publish `source.min_rows` was 20 and is 9999: undo it"),
        ("source.available_after=1h", "the source has other values than those that are published"),
    ):
        if found.startswith("the source"):
            three.with_columns(x=-7 * pl.col("x").shift(3)).write_parquet(place.source)
        wrong = place.command("run", *when, *TWO, "--set", option, "--set", 'alerts.also=["held"]')
        assert (wrong.status, found in wrong.err) == (2, True), wrong.err
        assert (alerts(place).equals(noted[0]), place.quarantine().equals(noted[1])) == (True, True)
    three.with_columns(x=pl.lit(np.inf)).write_parquet(place.source)
    assert place.command("run", *when, *TWO).status == 2
    assert {*set_aside(place)} == {"A", "B", "C"}
    three.write_parquet(place.source)
    for _ in range(2):
        said = place.command("run", *when, *TWO, "--json")
        assert (said.status, said.last_json["verdict"]) == (0, "ALREADY_PUBLISHED")
        assert set_aside(place) == ["C"]
        assert said.last_json["alerts"]["n_open"] == alerts(place)["released"].null_count()
    assert place.command("decode", "--as-of", str(toy.day(155)), *TWO).status == 0
    assert set_aside(place) == ["C"]


@pytest.mark.costly
def test_what_is_wrong_again_after_it_was_mended_is_another_alert(made, night, rows, toy) -> None:
    """Mended on the very night on which it began, by another run; wrong again on that night, it is the same one."""
    place = made("here")

    def worked(n: int, *aside: str) -> list[tuple[int, int | None]]:
        is_aside = pl.col("symbol").is_in(list(aside))
        rows.with_columns(x=pl.when(is_aside).then(np.inf).otherwise("x")).write_parquet(place.source)
        night(place, n)
        found = alerts(place).filter(kind="quarantine").select("as_of", "released")
        first = toy.day(0)
        return [
            ((begin.date() - first).days, None if end is None else (end.date() - first).days)
            for begin, end in found.rows()
        ]

    assert worked(155, "B") == [(155, None)]
    assert worked(155) == [(155, 155)]
    assert worked(155, "B") == [(155, None)]
    assert worked(155) == [(155, 155)]
    assert worked(157, "B") == [(155, 155), (157, None)]
    assert worked(158, "B") == [(155, 155), (157, None)]
    assert worked(158) == [(155, 155), (157, 158)]
    assert worked(160, "B") == [(155, 155), (157, 158), (160, None)]
    assert worked(162) == [(155, 155), (157, 158), (160, 162)]


@pytest.mark.costly
def test_a_backfill_that_publishes_nothing_tells_nobody_either(place_at, toy, rows, listener) -> None:
    place = place_at("here")
    rows.write_parquet(place.source)
    options = (*TWO, *listener.options, "--set", "source.min_rows=61")
    said = place.command("backfill", "--start", str(toy.day(30)), "--end", str(toy.day(90)), "--every", "30d", *options)
    assert {*place.quarantine()["as_of"].dt.date()} == {toy.day(30), toy.day(60)}, said.err
    assert place.command("run", "--as-of", str(toy.day(100)), *options).status == 0
    assert not [one for one in listener.told() if one["kind"] == "quarantine"]
    assert {*alerts(place).filter(kind="quarantine")["delivery"]} <= {"BACKFILL"}


def newest(place, *arguments: str) -> dict[str, tuple[str, str | None, int]]:
    """By series the status, reason and age of its newest row, as the command and its file say alike."""
    file = place.folder / "newest.csv"
    asked = ("states", "--latest", *arguments, *TWO)
    told = place.command(*asked, "--json").last_json["rows"]
    assert place.command(*asked, "--columns", "series_id,status,reason,age", "--export", str(file)).status == 0
    assert pl.read_csv(file).rows() == [
        tuple(row[name] for name in ("series_id", "status", "reason", "age")) for row in told
    ]
    return {row["series_id"]: (row["status"], row["reason"], row["age"]) for row in told}


@pytest.mark.costly
def test_a_series_that_the_source_has_no_more_is_one_alert_until_it_returns(made, night, rows, toy) -> None:
    """It has no rows that could go on without values; one that is set aside for as long is told as that alone."""
    place = made("here")
    calm = rows.filter(symbol="A").with_columns(symbol=pl.lit("C"))
    broken = calm.with_columns(x=pl.when(pl.col("date") > toy.day(150)).then(np.inf).otherwise("x"))

    def gone() -> list[tuple[str, str, bool]]:
        found = alerts(place).filter(kind="stale").select("series_id", "detail", pl.col("released").is_null())
        return found.rows()

    pl.concat([rows, calm]).write_parquet(place.source)
    night(place, 151)
    pl.concat([rows.filter(symbol="A"), broken]).write_parquet(place.source)
    night(place, 160)
    assert gone() == []
    night(place, 165)
    assert gone() == [("B", "the source has it no more", True)]
    assert newest(place) == {"A": ("OK", None, 0), "B": ("STALE", "gone", 14)}
    assert newest(place, "--as-of", str(toy.day(160)))["B"] == ("OK", None, 9)
    for n in (165, 170):
        night(place, n)
    assert gone() == [("B", "the source has it no more", True)]
    assert newest(place, "--series", "B") == {"B": ("STALE", "gone", 19)}
    assert "B  stale: the source has it no more  open" in place.command("alerts", *TWO).out
    pl.concat([rows, broken]).write_parquet(place.source)
    night(place, 172)
    assert gone() == [("B", "the source has it no more", False)]
    assert {*alerts(place).filter(kind="quarantine")["series_id"]} == {"C"}
    of_b = pl.when(pl.col("symbol") == "B", pl.col("date") > toy.day(171)).then(np.inf).otherwise("x").alias("x")
    rows.with_columns(of_b).write_parquet(place.source)
    night(place, 185)
    assert newest(place)["B"] == ("STALE", "infinite_value", 13)
