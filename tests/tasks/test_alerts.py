"""The rule for states, the hook, and what the inputs are compared with."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.alerts.hook import HookError, hook_call, persistently
from tasks.alerts.hysteresis import Hysteresis, beginnings, last_before
from tasks.alerts.inputs import drifted, inputs_drifted, stuck, told_drift
from tasks.alerts.ledger import key_of, within_rate
from tasks.alerts.of_rows import newest_of, overdue
from tasks.alerts.rule import ANY, Rule
from tasks.alerts.sequence import first_rows, valued
from tasks.alerts.surprise import with_surprise
from tasks.config.errors import ConfigurationError
from tasks.config.sections.alerts import Alerts, Drift, Hook
from tasks.config.sections.promote import Promote
from tasks.config.settings import read_settings

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def one_by_one(values: list[float], limits: Hysteresis) -> list[bool]:
    """Hysteresis as it is told: row after row."""
    within, high, told = False, 0, []
    for value in values:
        high = high + 1 if value >= limits.enter else 0
        if high >= limits.confirm:
            within = True
        elif value < limits.leave:
            within = False
        told.append(within)
    return told


def starts(lengths: list[int]) -> np.ndarray:
    first = np.zeros(sum(lengths), dtype=bool)
    first[np.cumsum([0, *lengths[:-1]])] = True
    return first


@given(st.lists(probabilities, min_size=1, max_size=4), st.integers(1, 4), st.floats(0.1, 1), st.floats(0, 1))
def test_all_series_at_once_are_each_row_after_row(
    series: list[list[float]], confirm: int, enter: float, share: float
) -> None:
    limits = Hysteresis(enter, enter * share, confirm)
    stacked = np.concatenate([np.array(values) for values in series])[:, None]
    found = limits.entered(stacked, starts([len(values) for values in series]))[:, 0]
    assert found.tolist() == [told for values in series for told in one_by_one(values, limits)]


@given(probabilities, st.integers(1, 4), st.data())
def test_later_rows_change_nothing(values: list[float], confirm: int, data: st.DataObject) -> None:
    limits, first = Hysteresis(0.8, 0.4, confirm), starts([len(values)])
    cut = data.draw(st.integers(1, len(values)))
    whole = limits.entered(np.array(values)[:, None], first)
    assert np.array_equal(limits.entered(np.array(values[:cut])[:, None], first[:cut]), whole[:cut])


def test_what_begins_begins_anew_in_every_series() -> None:
    within = np.array([[1], [1], [0], [1], [1]], dtype=bool)
    assert beginnings(within, starts([4, 1]))[:, 0].tolist() == [True, False, False, True, True]


@given(st.lists(st.lists(st.integers(-1, 3), min_size=1, max_size=12), min_size=1, max_size=3))
def test_the_last_event_before_a_row_is_of_its_own_series(series: list[list[int]]) -> None:
    expected = [
        next((event for event in reversed(events[:row]) if event >= 0), -1)
        for events in series
        for row in range(len(events))
    ]
    found = last_before(np.concatenate([np.array(events) for events in series]), starts([len(e) for e in series]))
    assert found.tolist() == expected


def test_a_change_is_between_confirmed_states_and_matters_where_a_pattern_says_so() -> None:
    path = [0, 0, 0, 2, 1, 1, 1, 0, 0, 0]
    rule = Rule((), ((0, 1),), Hysteresis(0.9, 0.5, 2))
    found = rule.found(np.eye(3)[path], starts([len(path)]))
    entries = np.flatnonzero(found.entered >= 0)
    assert [(int(row), int(found.before[row]), int(found.entered[row])) for row in entries] == [
        (1, -1, 0),
        (5, 0, 1),
        (8, 1, 0),
    ]
    assert (rule.matters(0, 1), rule.matters(1, 0)) == (True, False)
    assert Rule((), ((ANY, 1),), rule.hysteresis).watched(3).tolist() == [False, True, False]


def moment(day: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)


def test_what_arrives_late_says_nothing_about_the_present() -> None:
    """Of a day that was missing, the value counts where none later was known; a day counts once."""
    rows = pl.DataFrame(
        {
            "series_id": "A",
            "order": [0, 0, 1, 1, 2, 2, 2],
            "time": [moment(day) for day in (0, 1, 1, 2, 1, 2, 3)],
            "status": ["OK", "MISSING", "OK", "HELD", "OK", "OK", "STALE"],
        }
    )
    assert valued(rows).select("order", "time").rows() == [(0, moment(0)), (1, moment(1)), (1, moment(2))]
    early = pl.DataFrame({"series_id": "A", "order": [0, 1], "time": [moment(5), moment(3)], "status": "OK"})
    assert valued(early)["time"].to_list() == [moment(5)]


def test_an_alerts_key_is_its_cause_and_nothing_else() -> None:
    alert = {"order": 3, "kind": "change", "rule": "change 0 -> 1", "series_id": "A", "time": moment(4), "value": 0.9}
    key = key_of("toy", "line", alert)
    assert key_of("toy", "line", {**alert, "order": 8, "value": 0.5, "detail": "calm -> crisis"}) == key
    others = [key_of("other", "line", alert), key_of("toy", "next line", alert)]
    for name, other in {"kind": "state", "rule": "change 1 -> 0", "series_id": "B", "time": moment(5)}.items():
        others.append(key_of("toy", "line", {**alert, name: other}))
    assert len({key, *others}) == 7
    of_a_night = {**alert, "order": None}
    assert key_of("toy", "line", of_a_night) == key_of("toy", "next line", of_a_night)


def test_within_the_largest_rate_rows_are_counted_from_each_that_is_told() -> None:
    """One in ten rows: the ninth row after one that is told is too many, the tenth is not; series do not share."""
    places = [("A", 0), ("A", 9), ("A", 10), ("A", 19), ("A", 30), ("B", 1), ("B", 5)]
    found = pl.DataFrame(
        [
            {"alert_id": f"{s}{place}", "kind": "change", "series_id": s, "place": place, "delivery": "PENDING"}
            for s, place in places
        ]
    )
    known = found.head(1).with_columns(delivery=pl.lit("DELIVERED"))
    told = within_rate(found.tail(-1), found, known, Alerts(most=1, per=10))
    assert told.select("alert_id", "delivery").rows() == [
        ("A9", "RATE"),
        ("A10", "PENDING"),
        ("A19", "RATE"),
        ("A30", "PENDING"),
        ("B1", "PENDING"),
        ("B5", "RATE"),
    ]


def scored(densities: np.ndarray, states: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"series_id": "A", "state": states, "log_density": densities})


def test_surprise_is_a_standard_normal_where_nothing_changes_though_states_differ() -> None:
    rng = np.random.default_rng(0)
    states = np.repeat(np.arange(40) % 2, 200)
    densities = -0.5 * rng.chisquare(1, size=8000) - 4.0 * states
    surprise = with_surprise(scored(densities, states), 50)["surprise"].to_numpy()[50:]
    assert abs(surprise.mean()) < 0.3
    assert 0.7 < surprise.std() < 1.3
    assert surprise.max() < 5.0
    lower = with_surprise(scored(np.append(densities, densities[-60:] - 3.0), np.append(states, states[-60:])), 50)
    assert lower["surprise"][-1] > 8.0


def test_surprise_is_of_earlier_rows_alone() -> None:
    rng = np.random.default_rng(1)
    rows = scored(rng.normal(size=600), rng.integers(2, size=600))
    whole = with_surprise(rows, 20)
    assert with_surprise(rows.head(400), 20).equals(whole.head(with_surprise(rows.head(400), 20).height))


@pytest.fixture
def walk() -> Callable[..., pl.DataFrame]:
    def build(change: Callable[[np.ndarray], np.ndarray], n: int = 400) -> pl.DataFrame:
        x = np.random.default_rng(3).normal(10.0, 1.0, size=n) + 3.0 * (np.arange(n) // 60 % 2)
        return pl.DataFrame({"series_id": "A", "x": change(x)}).with_columns(pl.col("x").fill_nan(None))

    return build


def at_the_end(values: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.concatenate([x[:-30], values(x[-30:])])


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (lambda x: x, []),
        (at_the_end(lambda x: 100.0 * x), ["level", "spread"]),
        (at_the_end(lambda x: x / 100.0), ["spread"]),
        (at_the_end(lambda x: x + 50.0), ["level"]),
        (at_the_end(lambda x: np.where(np.arange(30) % 2, x, np.nan)), ["missing"]),
        (at_the_end(lambda x: np.where(np.arange(30) % 2, x + 50.0, np.nan)), ["level", "missing"]),
    ],
    ids=["as before", "times 100", "by 100", "moved", "half missing", "half missing and moved"],
)
def test_inputs_that_are_no_longer_what_they_were_are_seen(walk, change, reasons: list[str]) -> None:
    found = drifted(walk(change), ["x"], Drift(window=30))
    assert found["reason"].to_list() == reasons
    assert ((found["value"] < found["least"]) | (found["value"] > found["most"])).all()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (at_the_end(lambda x: np.full(30, x[0])), [("stuck", 30.0, 1.0)]),
        (at_the_end(lambda x: np.where(np.arange(30) > 20, 0.0, x)), [("stuck", 9.0, 1.0)]),
        (at_the_end(lambda x: np.where(np.arange(30) < 20, 0.0, x)), []),
        (at_the_end(lambda x: np.where(np.arange(30) > 24, 0.0, x)), []),
        (lambda x: np.concatenate([x[:60], np.zeros(12), x[72:-30], np.full(30, 7.0)]), []),
        (lambda x: np.concatenate([x[:60], np.zeros(9), x[69:-30], np.full(30, 7.0)]), [("stuck", 30.0, 9.0)]),
        (at_the_end(lambda x: np.where(np.arange(30) % 2, 7.0, 0 * x + np.nan)), [("stuck", 15.0, 1.0)]),
    ],
    ids=["held", "held of late", "held once", "five times", "long held before", "less long before", "half missing"],
)
def test_a_value_that_is_held_as_never_before_is_seen(walk, change, found: list[tuple[str, float, float]]) -> None:
    told = stuck(walk(change), ["x"], Drift())
    assert told.select("reason", "value", "most").rows() == found
    assert stuck(walk(change).tail(290), ["x"], Drift()).select("reason", "value", "most").rows() == (
        found if found and found[0][1] < 29 else []
    )
    for one in told_drift(told):
        assert (
            one["detail"]
            == f"x holds one value for {found[0][1]:.0f} rows; before, it did for {found[0][2]:.0f} at most"
        )


def test_a_series_too_short_to_compare_is_not_judged(walk) -> None:
    assert drifted(walk(at_the_end(lambda x: 100.0 * x), n=149), ["x"], Drift(window=30)).is_empty()


def test_inputs_judged_a_few_series_at_a_time_are_those_of_all_at_once(walk, monkeypatch: pytest.MonkeyPatch) -> None:
    half_missing = at_the_end(lambda x: np.where(np.arange(30) % 2, x, np.nan))
    changes = {"A": half_missing, "B": lambda x: x, "C": at_the_end(lambda x: 100.0 * x), "D": half_missing}
    parts = [
        walk(change)
        .with_columns(series_id=pl.lit(series), y=2.0 * pl.col("x"))
        .with_columns(time=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)) + pl.duration(days=pl.int_range(pl.len())))
        for series, change in changes.items()
    ]
    rows = pl.concat(parts).with_columns(age=pl.lit(0), stale=pl.lit(value=False), trains=pl.lit(value=True))
    validated: Any = SimpleNamespace(rows=rows, value_columns=["x", "y"])
    settings: Any = SimpleNamespace(alerts=Alerts(drift=Drift(window=30)), promote=Promote())
    whole = inputs_drifted(validated, settings)
    monkeypatch.setattr("tasks.source.pieces.AT_ONCE", 1)
    assert inputs_drifted(validated, settings).equals(whole)
    assert {*whole["series_id"]} == {"A", "C", "D"}
    assert whole["reason"].str.starts_with("jump").any()


class Listener:
    """A server on this machine that notes what it is told, and answers as it is bid."""

    def __init__(self, answers: list[int]) -> None:
        self.told: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        told, headers = self.told, self.headers

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                headers.append(dict(self.headers))
                self.send_response(answers.pop(0) if answers else 200)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                told.append({"redirected": True})
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def listening() -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def make(*answers: int) -> Listener:
        made.append(Listener(list(answers)))
        return made[-1]

    yield make
    for listener in made:
        listener.server.shutdown()
        listener.server.server_close()


ALERT = {"alert_id": "a1", "detail": "entered crisis"}


def test_an_address_is_told_once_with_a_key(listening, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listening()
    monkeypatch.setenv("TOLD_AT", listener.url)
    monkeypatch.setenv("TOKEN", "s3cret")
    hook_call(Hook(url_from="TOLD_AT", token_from="TOKEN"))(ALERT)
    assert listener.told == [ALERT]
    assert listener.headers[0]["Idempotency-Key"] == "a1"
    assert listener.headers[0]["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("answers", "n_told", "fails"),
    [([500, 503, 200], 3, False), ([500] * 9, 4, True), ([400], 1, True), ([302], 1, True), ([429, 204], 2, False)],
)
def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    listening, answers: list[int], n_told: int, fails: bool
) -> None:
    listener, hook, pauses = listening(*answers), None, list[float]()
    hook = Hook(url=listener.url, retries=3, backoff=0.5)
    call = persistently(hook_call(hook), hook, pauses.append)
    if fails:
        with pytest.raises(HookError, match=rf"127.0.0.1 answered {answers[-1]}"):
            call(ALERT)
    else:
        call(ALERT)
    assert listener.told == [ALERT] * n_told
    assert pauses == [0.5 * 2**n for n in range(n_told - 1)]


def test_an_answer_that_never_ends_is_none() -> None:
    """Byte by byte it keeps every limit of the socket."""
    stop, slow = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = slow.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for _ in range(60):
                if stop.wait(0.05):
                    return
                connection.sendall(b".")
            connection.sendall(b"\r\nContent-Length: 0\r\n\r\n")

    answering = threading.Thread(target=answer)
    answering.start()
    try:
        with pytest.raises(HookError, match=r"gave no answer within 0\.2 s") as told:
            hook_call(Hook(url=f"http://127.0.0.1:{slow.getsockname()[1]}/a", timeout=0.2))(ALERT)
    finally:
        stop.set()
        answering.join()
        slow.close()
    assert told.value.may_pass


def test_nobody_there_is_said_without_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLD_AT", "http://127.0.0.1:9/services/T000/secret-part")
    with pytest.raises(HookError) as told:
        hook_call(Hook(url_from="TOLD_AT", timeout=0.5))(ALERT)
    assert "127.0.0.1" in str(told.value)
    assert "secret-part" not in str(told.value)
    assert told.value.__cause__ is None


def test_a_command_reads_the_alert(tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f"import sys; open({str(said)!r}, 'w').write(sys.stdin.read())"
    hook_call(Hook(command=(sys.executable, "-c", script)))(ALERT)
    assert json.loads(said.read_text()) == ALERT


@pytest.mark.parametrize(
    ("command", "message", "may_pass"),
    [
        ((sys.executable, "-c", "raise SystemExit(3)"), "ended with status 3", True),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "took more than 0.5 s", True),
        (("/nowhere/at-all", "s3cret"), "'at-all' cannot be started: No such file", False),
    ],
)
def test_a_command_that_fails_is_said_without_its_arguments(
    command: tuple[str, ...], message: str, may_pass: bool
) -> None:
    with pytest.raises(HookError, match=message) as told:
        hook_call(Hook(command=command, timeout=0.5))(ALERT)
    assert told.value.may_pass is may_pass
    assert not any(argument in str(told.value) for argument in command[1:])


WRONG = {
    'alerts.hook={url="http://example.org"}': "begins with https://",
    'alerts.hook={url="https://u:p@example.org"}': "without password or token",
    'alerts.hook={url="https://example.org?token=abc"}': "without password or token",
    'alerts.hook={url="https://a", command=["b"]}': "one of `url`, `url_from` and `command`",
    "alerts.hook={timeout=3}": "one of `url`, `url_from` and `command`",
    'alerts.hook={command=["a"], token_from="B"}': "`token_from` together with",
    'alerts.hook={url_from="a b"}': "the name of a variable",
    "alerts.hook={command=[]}": "at least 1 item",
    "alerts.release=0.95": "release = 0.95 no larger than probability = 0.9",
    "alerts.probability=0.5": "above 0.5 together with `changes`",
    "alerts.probability=1.0": "less than 1",
    "alerts.confirm=0": "greater than or equal to 1",
    'alerts.changes=["calm"]': 'two states such as "calm -> crisis"',
    'alerts.changes=["calm -> calm"]': 'two states such as "calm -> crisis"',
    'alerts.also=["stail"]': "'stale', 'quarantine', 'held', 'drift' or 'wild'",
    "alerts.drift.window=3": "greater than or equal to 5",
    "alerts.probabilty=0.8": "did you mean `alerts.probability`?",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_option_is_refused_with_what_was_expected(tmp_path: Path, line: str) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(
        f'name = "toy"\n{line}\n[source]\npath = "p"\ntime = "t"\n[features.x]\nop = "identity"\ncolumn = "x"\n'
    )
    with pytest.raises(ConfigurationError) as told:
        read_settings(path)
    assert WRONG[line] in str(told.value)
    assert "u:p" not in str(told.value)


def test_every_change_matters_where_nothing_is_named() -> None:
    assert Alerts().patterns == [("*", "*")]
    assert Alerts(states=("crisis",)).patterns == []
    assert Alerts(changes=("calm->crisis",)).patterns == [("calm", "crisis")]


def test_a_series_first_row_is_marked() -> None:
    rows = pl.DataFrame({"series_id": ["A", "A", "B"]})
    assert first_rows(rows).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("days", "status", "aside", "expected"),
    [
        (30, "OK", set(), ["gone"]),
        (30, "MISSING", set(), ["gone"]),
        (30, "STALE", set(), []),
        (30, "OK", {"gone"}, []),
        (4, "OK", set(), []),
        (0, "OK", set(), []),
    ],
    ids=["without a row for long", "empty before", "told as stale by its rows", "set aside", "not for long", "there"],
)
def test_what_the_source_has_no_more_is_overdue(days: int, status: str, aside: set[str], expected: list[str]) -> None:
    """Not what is there: that a weekend is longer than `source.stale_after` is the calendar's business."""
    assignments = ["source.stale_after=5", 'source.available_after="1d"', 'source.frequency="1bd"']
    settings = read_settings(Path("configs/markets.toml"), assignments)
    newest = datetime(2024, 3, 29, tzinfo=UTC)

    def series(name: str, until: datetime, last: str) -> pl.DataFrame:
        times = [until - timedelta(days=n) for n in range(9, -1, -1)]
        return pl.DataFrame({"series_id": name, "time": times, "status": ["OK"] * 9 + [last]})

    rows = pl.concat([series("gone", newest - timedelta(days=days), status), series("there", newest, "OK")])
    blank = {name: pl.lit(0) for name in ("model_version", "run_key", "order", "debut", "occasion")}
    parts = rows.with_columns(as_of=pl.lit(newest), **blank).partition_by("series_id")
    seen = pl.concat([newest_of(part, settings) for part in parts])
    told = overdue(seen, settings, newest + timedelta(days=9), aside)
    assert told["series_id"].to_list() == expected
