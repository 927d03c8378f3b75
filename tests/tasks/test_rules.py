"""Every rule of the gate can pass and can stop, is heard wherever reasons are, and names keys that there are.

A new rule needs one line here: what makes it stop a healthy model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import hsmm
from flows.console import print_run
from hsmm.errors import DurationWallWarning
from tasks.config.settings import Settings
from tasks.config.settings_errors import known_keys
from tasks.fitting.bundle import ALL, Bundle, Member
from tasks.fitting.scaling import scaling_for
from tasks.judgement.align import align
from tasks.judgement.gate import Decision, compared, examined
from tasks.judgement.judge import Judged, unmet
from tasks.judgement.promote import settle_newest
from tasks.judgement.rules import RULES, Case
from tasks.report.page.view import because
from tasks.source.ingest import ingest
from tasks.source.validate import validate
from tests.broken import Change, never_done, unloadable, with_parameters, with_value
from tests.sources import tracked_at

N_KEPT = 20  # rows that nothing is fitted on


def fitted(case: Case, **options: Any) -> hsmm.HSMM:
    model = hsmm.HSMM(n_states=2, emission="gaussian", n_init=2, tol=1e-6, random_state=0, **options)
    return model.fit(case.scaling.apply(case.rows.filter("trains")))


def walled(case: Case) -> hsmm.HSMM:
    with pytest.warns(DurationWallWarning):
        return fitted(case, duration="categorical", max_duration=3)


def changed(change: Change) -> Callable[[Case], Case]:
    return lambda case: replace(case, model=change(case.model))


def asked_more(**thresholds: float) -> Callable[[Case], Case]:
    return lambda case: replace(case, wanted=case.wanted.model_copy(update=thresholds))


STOPPED: dict[str, Callable[[Case], Case]] = {
    "not_finite": changed(with_parameters("emission", mean=with_value((0, 1, 0), math.nan))),
    "not_usable": changed(unloadable),
    "not_converged": changed(never_done),
    "collapsed_state": changed(with_parameters("emission", covariance=with_value((0, 1, 0, 0), 1e-7))),
    "dead_state": asked_more(min_share=0.9),
    "duration_wall": lambda case: replace(case, model=walled(case)),
    "states_not_matched": lambda case: replace(case, identity=replace(case.identity, margin=0.0)),
    "no_rows_to_compare_on": lambda case: replace(case, rows=case.rows.filter("trains")),
    "series_not_covered": lambda case: replace(case, champions_series=frozenset("AZ")),
    "inputs_jumped": lambda case: replace(case, jumped=frozenset("A")),
    "no_improvement": asked_more(min_improvement=1e3),
}
"""By code, what makes of a healthy case one that the rule must stop."""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Two clear levels, a model of them, and a champion of the rows before the last that it was fitted on."""
    path = tmp_path_factory.mktemp("rules") / "source.parquet"
    levels = 4.0 * (np.arange(200) // 12 % 2) + np.random.default_rng(5).normal(size=200)
    days = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(200)]
    pl.DataFrame({"symbol": "A", "date": days, "x": levels}).write_parquet(path)
    settings = Settings(
        name="toy",
        source={"path": str(path), "series": "symbol", "time": "date", "frequency": "1d"},
        features={"x": {"op": "identity", "column": "x"}},
        promote={"holdout": N_KEPT, "min_improvement": -0.5},
    )  # type: ignore[arg-type]
    rows = validate(ingest(settings), settings).rows
    training = rows.filter("trains")
    scaling = scaling_for(training, settings)
    case = Case(None, scaling, rows, settings.promote)  # type: ignore[arg-type]
    earlier = training.head(-N_KEPT)
    before = fitted(replace(case, rows=earlier), max_duration=40)
    champion = Member(before, (0, 1), 2, 1, earlier["time"][0], earlier["time"][-1])
    model, identity = align(fitted(case, max_duration=40), scaling, (champion, scaling), training)
    return replace(case, model=model, identity=identity, champion=(champion, scaling), champions_series=frozenset("A"))


def decided(case: Case) -> Decision:
    sound = examined(case)
    return compared(case, sound) if sound.verdict == "PROMOTE" else sound


def test_every_rule_says_here_what_it_stops() -> None:
    silent = sorted(RULES.keys() - STOPPED.keys())
    assert not silent, f"add to STOPPED in {__file__} what makes a healthy case one that is stopped by {silent}"


def test_a_healthy_model_passes_every_rule(healthy: Case) -> None:
    said = decided(healthy)
    assert said.verdict == "PROMOTE"
    assert said.passed == dict.fromkeys(RULES, True)


@pytest.mark.parametrize("code", RULES)
def test_what_a_rule_must_stop_is_stopped_and_said_everywhere(
    healthy: Case, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = STOPPED[code](healthy)
    said = decided(case)
    assert said.verdict == RULES[code].stops
    assert code in said.reasons
    assert said.passed[code] is False
    judged = Judged(said.verdict, {ALL: said}, {}, Bundle({}, healthy.scaling), None, {ALL: code}, 1)
    told = " ".join(unmet(judged.decisions))
    assert all(words in told for words in (code, RULES[code].says, RULES[code].remedy))
    summary = json.loads(json.dumps(judged.summary(), allow_nan=False))
    assert code in summary["gate"]["reasons"]
    assert (code, RULES[code].says) in because(summary["gate"])
    described = {"best": None, "verdict": "PUBLISHED", "n_published": 0, "n_series": 1, "n_quarantined": 0, "n_held": 1}
    described |= {
        "model_name": "toy",
        "model_version": 1,
        "as_of": "2024-07-18",
        "seconds": 1.0,
        "states_table": "out",
        "mlflow_run_id": None,
        "report": "out",
    }
    print_run({**summary, **described}, tracked_at("sqlite:///mlflow.db"))
    assert code in capsys.readouterr().out


@pytest.mark.parametrize("code", RULES)
def test_the_keys_that_a_rule_names_are_there(code: str) -> None:
    named = re.findall(r"`([a-z]+\.[a-z_.]+)", f"{RULES[code].says} {RULES[code].remedy}")
    assert set(named) <= set(known_keys(Settings))


def test_a_state_on_ties_passes_where_the_configuration_allows_it(healthy: Case) -> None:
    tied = asked_more(allow_collapsed=True)(STOPPED["collapsed_state"](healthy))
    assert decided(tied).passed["collapsed_state"] is True


@pytest.mark.parametrize("whose", ["candidate", "champion"])
def test_models_are_compared_on_rows_that_are_evidence_to_both(healthy: Case, whose: str) -> None:
    """A row that one of them makes nothing of says nothing of which is the better."""
    member, scales = healthy.champion  # type: ignore[misc]
    row = healthy.rows["time"].max()
    wild = replace(healthy, rows=healthy.rows.with_columns(x=pl.when(time=row).then(300.0).otherwise("x")))
    believes = replace(healthy.scaling, statistics=scales.statistics.with_columns(pl.col("^(low|high):.*$") * 1e6))
    pair = (believes, scales) if whose == "champion" else (scales, believes)
    gain, n_rows = replace(wild, scaling=pair[0], champion=(member, pair[1])).improvement
    usual, n_usual = replace(healthy, rows=healthy.rows.filter(pl.col("time") != row)).improvement
    assert (gain, n_rows) == (pytest.approx(usual), n_usual)


def test_that_a_registry_was_not_looked_into_is_said() -> None:
    (note,) = settle_newest(None, None).notes  # type: ignore[arg-type]
    assert "does not answer" in note
