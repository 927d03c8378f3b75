"""What a rule is said to do: counted as one would by hand, in series that are the model's own."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import hsmm
from tasks.alerts import statement
from tasks.alerts.hysteresis import Hysteresis
from tasks.alerts.performance import judged, together
from tasks.alerts.rule import ANY, Rule
from tasks.alerts.simulation import simulated, simulated_paths
from tasks.alerts.statement import of_model
from tasks.fitting.bundle import Member

LIMITS = Hysteresis(0.6, 0.4, 2)
EVERY = Rule((), ((ANY, ANY),), LIMITS)


def starts(lengths: list[int]) -> np.ndarray:
    first = np.zeros(sum(lengths), dtype=bool)
    first[np.cumsum([0, *lengths[:-1]])] = True
    return first


def by_hand(rule: Rule, series: list[tuple[list[int], list[int]]]) -> tuple[list[int], int, int]:
    """Delays, missed stays, false alarms of rows whose state is certain and said by ``seen``, one after the other."""
    delays, missed, false = list[int](), 0, 0
    for truth, seen in series:
        run, within, last, noted, told, begin, due = 0, None, None, False, 0, 0, False
        for row, (state, shown) in enumerate(zip(truth, seen, strict=True)):
            if row == 0 or state != truth[row - 1]:
                missed += due and not noted
                noted, told, begin = False, 0, row
                due = row > 0 and state >= 0 and truth[row - 1] >= 0
                due = due and (state in rule.states or rule.matters(truth[row - 1], state))
            run = run + 1 if row and seen[row - 1] == shown else 1
            if within is not None and shown != within:
                within = None
            if within is None and run >= rule.hysteresis.confirm:
                matters = last is not None and last != shown and rule.matters(last, shown)
                if shown in rule.states or matters:
                    told += shown == state
                    false += state >= 0 and (shown != state or told > 1)
                within = last = shown
            if within == state and not noted and state >= 0:
                noted = True
                if due:
                    delays.append(row - begin)
        missed += due and not noted
    return sorted(delays), missed, false


paths = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-1, 2), min_size=n, max_size=n), st.lists(st.integers(0, 2), min_size=n, max_size=n)
    )
)


@given(
    st.lists(paths, min_size=1, max_size=3),
    st.sampled_from([EVERY, Rule((1,), (), LIMITS), Rule((2,), ((0, 1),), LIMITS)]),
)
@example([([0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1])], EVERY)  # a stay that is told twice
def test_stays_and_false_alarms_are_counted_as_by_hand(series: list[tuple[list[int], list[int]]], rule: Rule) -> None:
    truth, seen = (np.concatenate([np.array(one[i]) for one in series]) for i in (0, 1))
    first = starts([len(one[0]) for one in series])
    found = judged(rule, rule.found(np.eye(3)[seen], first), truth, first)
    assert (sorted(found.delays.tolist()), found.n_missed, found.n_false) == by_hand(rule, series)
    assert found.n_rows == (truth >= 0).sum()


def test_what_several_come_to() -> None:
    truth, first = np.array([0, 0, 1, 1, 1, 0, 2, 2]), starts([8])
    found = judged(EVERY, EVERY.found(np.eye(3)[[0, 0, 0, 1, 1, 1, 1, 2]], first), truth, first)
    said = together([found, found])
    assert said == {
        "n_rows": 16,
        "n_stays": 6,
        "delay_mean": 2.0,
        "delay_p50": 2.0,
        "delay_p90": 2.0,
        "missed": pytest.approx(4 / 6),
        "false_per_1000": 0.0,
    }
    assert together([])["delay_mean"] is None


def semi() -> hsmm.HSMM:
    return hsmm.HSMM.from_parameters(
        initial_prob=[0.2, 0.8],
        transition_prob=[[0.0, 1.0], [1.0, 0.0]],
        duration_prob=[[0.0, 0.1, 0.2, 0.7], [0.5, 0.5, 0.0, 0.0]],
        emission=hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [3.0]], covariance=[[1.0], [1.0]]),
    )


def stays(path: np.ndarray) -> list[tuple[int, int]]:
    """(state, steps) of every whole stay."""
    at = np.flatnonzero(np.diff(path)) + 1
    return [(int(path[a]), int(b - a)) for a, b in pairwise(at)]


def test_simulated_stays_have_the_models_durations() -> None:
    model = semi()
    made = simulated_paths(model, 50, 400, np.random.default_rng(0))
    for state, law in enumerate(model.duration_prob_):
        steps = [n for path in made for own, n in stays(path) if own == state]
        share = np.bincount(steps, minlength=5)[1:5] / len(steps)
        assert share == pytest.approx(law, abs=0.03)
    assert (made[:, 0] == 0).mean() == pytest.approx(0.2, abs=0.15)


def test_simulated_tails_go_on_as_the_models() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(4.0 * (i % 2), 1.0, size=1 + rng.geometric(0.05)) for i in range(120)])
    model = hsmm.HSMM(2, duration="geometric", max_duration=5, n_init=2, random_state=0).fit(x)
    made = simulated_paths(model, 60, 600, np.random.default_rng(0))
    for state in range(2):
        steps = [n for path in made for own, n in stays(path) if own == state]
        assert np.mean(steps) == pytest.approx(model.mean_duration_[state], rel=0.12)


def test_an_hmm_moves_as_it_does_step_by_step() -> None:
    law = np.array([[0.9, 0.08, 0.02], [0.3, 0.6, 0.1], [0.0, 0.0, 1.0]])
    emission = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [3.0], [6.0]], covariance=[[1.0]] * 3)
    model = hsmm.HMM.from_parameters(initial_prob=[1.0, 0.0, 0.0], transition_prob=law, emission=emission)
    made = simulated_paths(model, 3000, 30, np.random.default_rng(0))
    moves = np.zeros((3, 3))
    np.add.at(moves, (made[:, :-1].ravel(), made[:, 1:].ravel()), 1)
    assert moves / moves.sum(axis=1, keepdims=True) == pytest.approx(law, abs=0.02)


def test_what_is_stated_is_what_one_long_series_shows() -> None:
    model = semi()
    member = Member(model, (1, 0), 2, 1, datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC))
    rule = Rule((), ((ANY, ANY),), Hysteresis(0.9, 0.5, 1))
    said = together([of_model(member, rule, 20_000, seed=1)])
    X, states = model.sample(20_000, 7)
    first = starts([20_000])
    shown = together([judged(rule, rule.found(model.filter_proba(X), first), np.asarray(states), first)])
    for name in ("delay_mean", "missed", "false_per_1000"):
        assert said[name] == pytest.approx(shown[name], rel=0.15)
    assert said["n_rows"] == 20_000
    assert 0 < said["missed"] < 0.5


def test_simulated_rows_are_the_models_and_the_same_of_the_same_seed() -> None:
    model = semi()
    one, other = simulated(model, 5000, 3), simulated(model, 5000, 3)
    assert np.array_equal(one.X, other.X)
    assert sum(one.lengths) == len(one.X) == len(one.states) == 5000
    assert [one.X[one.states == k].mean() for k in range(2)] == pytest.approx([0.0, 3.0], abs=0.1)


def test_rows_without_a_value_confirm_nothing_and_are_passed_over() -> None:
    """What is stated of rows of which a share is missing is what one long series with such gaps shows."""
    model = semi()
    member = Member(model, (1, 0), 2, 1, datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC))
    rule = Rule((), ((ANY, ANY),), Hysteresis(0.9, 0.5, 1))
    whole = together([of_model(member, rule, 20_000, seed=1)])
    said = together([of_model(member, rule, 20_000, seed=1, missing=0.3)])
    X, states = model.sample(20_000, 7)
    seen = np.random.default_rng(5).random(20_000) >= 0.3
    causal = model.filter_proba(np.where(seen[:, None], X, np.nan))[seen]
    first = starts([int(seen.sum())])
    shown = together([judged(rule, rule.found(causal, first), np.asarray(states)[seen], first)])
    for name, chance in (("delay_mean", 0.15), ("missed", 0.15), ("false_per_1000", 0.4)):
        assert said[name] == pytest.approx(shown[name], rel=chance)
    assert said["n_rows"] == pytest.approx(14_000, rel=0.03)
    assert said["missed"] > 1.1 * whole["missed"]


def decoded(path: list[int], shown: list[int], in_sample: list[bool], status: str = "OK") -> pl.DataFrame:
    n = len(path)
    return pl.DataFrame(
        {
            "series_id": ["A"] * n,
            "status": [status] * n,
            "p_filtered": np.eye(2)[shown].tolist(),
            "viterbi": pl.Series(path, dtype=pl.Int16),
            "in_sample": in_sample,
        }
    )


def test_the_datas_own_rows_are_judged_by_hindsight() -> None:
    """Those that the parameters have not seen where these hold ten stays, else all."""
    path = [state for state in [0, 1] * 12 for _ in range(5)]
    flickers = [*path]
    flickers[2], flickers[72] = 1, 1
    rule = Rule((), ((ANY, ANY),), Hysteresis(0.6, 0.4, 1))

    def in_hindsight(rows: pl.DataFrame) -> dict[str, Any]:
        said = statement._in_hindsight([statement._observed(rule, rows)])
        other = statement._observed(rule, rows.with_columns(pl.lit("B").alias("series_id")))
        shards, both = [statement._observed(rule, rows), other], [rows, rows.with_columns(series_id=pl.lit("B"))]
        assert statement._in_hindsight(shards) == statement._in_hindsight([statement._observed(rule, pl.concat(both))])
        return said

    seen = [row < 60 for row in range(120)]
    half = in_hindsight(decoded(path, flickers, seen))
    assert (half["hindsight"]["n_rows"], half["hindsight_in_sample"]) == (60, 0.0)
    assert half["hindsight"]["false_per_1000"] == pytest.approx(1000 * 2 / 60)
    whole = in_hindsight(decoded(path, flickers, [row < 100 for row in range(120)]))
    assert (whole["hindsight"]["n_rows"], whole["hindsight_in_sample"]) == (120, pytest.approx(100 / 120))
    assert whole["hindsight"]["false_per_1000"] == pytest.approx(1000 * 3 / 120)
    assert in_hindsight(decoded(path, flickers, seen, "MISSING")) == {}
