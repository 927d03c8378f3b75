"""What a night leaves in Prefect's and MLflow's pages: links where there is an address, no mark-up of strangers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.registry.client import Registry
from tasks.report.announce import announced, as_markdown
from tests.sources import tracked_at

SUMMARY: Any = {
    "verdict": "PUBLISHED",
    "as_of": "2024-05-01T00:00:00+00:00",
    "n_published": 84,
    "n_series": 6,
    "n_quarantined": 1,
    "n_stale": 1,
    "quarantined": [{"series_id": "[x](http://evil)|<b>", "reason": "constant", "detail": "the `same`\nvalue"}],
    "best": {"criterion": "bic", "score": 12.5, "n_states": 3, "emission": "gaussian", "duration": "geometric"},
    "gate": {"verdict": "HOLD", "reasons": {"A": ["no_improvement"], "B": ["no_improvement", "dead_state"]}},
    "mlflow_run_id": "abc",
    "mlflow_experiment_id": "7",
    "model_version": 4,
    "states_table": "out/states",
    "report": "out/states_report/k",
    "notes": ["a *note*"],
}


def test_links_lead_into_mlflow_where_it_has_an_address_and_show_no_password() -> None:
    told = as_markdown(SUMMARY, tracked_at("https://me:secret@mlflow.example:5000/"))
    assert "mlflow.example:5000/#/experiments/7/runs/abc?workflowType=machine_learning)" in told
    assert "mlflow.example:5000/#/models/own/versions/4)" in told
    assert "secret" not in told
    plain = as_markdown(SUMMARY, tracked_at("sqlite:///mlflow.db"))
    assert "#/" not in plain
    assert "`abc`" in plain


def test_a_night_is_told_whole_and_names_are_no_markup() -> None:
    told = as_markdown(SUMMARY, tracked_at("sqlite:///mlflow.db"))
    head = "# PUBLISHED: 84 rows of 5 series as of 2024\\-05".replace("\\-", "-")
    assert told.startswith(head)
    for words in ("gate HOLD: dead\\_state, no\\_improvement", "1 of 6 series set aside", "1 stale", "bic", "12.5"):
        assert words in told
    assert "\\[x\\]\\(http://evil\\)\\|\\<b\\>" in told
    assert "the \\`same\\` value" in told
    assert "a \\*note\\*" in told


def test_a_page_is_named_where_there_is_one(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    summary = {**SUMMARY, "report": str(tmp_path)}
    assert "report.html" not in as_markdown(summary, tracked_at("sqlite:///mlflow.db"))
    page.touch()
    assert f"`{page}`" in as_markdown(summary, tracked_at("sqlite:///mlflow.db"))


def test_outside_a_flow_a_summary_is_a_summary() -> None:
    assert announced(SUMMARY, tracked_at("sqlite:///mlflow.db")) is SUMMARY


class _Client:
    """As much of MLflow's client as a line over nights needs."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}
        self.points: list[Any] = []

    def search_runs(self, _: object, condition: str, **__: object) -> list[Any]:
        return [
            SimpleNamespace(info=SimpleNamespace(run_id=r)) for r, line in self.runs.items() if f"'{line}'" in condition
        ]

    def create_run(self, _: object, *, run_name: str, tags: dict[str, str]) -> Any:  # noqa: ARG002
        run = f"run {len(self.runs)}"
        self.runs[run] = tags["nights_of"]
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def set_terminated(self, _: str) -> None: ...

    def get_metric_history(self, run: str, name: str) -> list[Any]:
        return [point for of_run, point in self.points if of_run == run and point.key == name]

    def log_batch(self, run: str, metrics: list[Any]) -> None:
        self.points += [(run, metric) for metric in metrics]


@pytest.fixture
def registry() -> Registry:
    made = object.__new__(Registry)
    made.uri, made.experiment_id, made._client = "sqlite:///mlflow.db", "1", _Client()
    return made


def test_a_night_has_one_step_of_its_lines_however_often_it_is_made(registry: Registry) -> None:
    nights = [datetime(2024, 5, 1, tzinfo=UTC) + timedelta(days=i) for i in range(3)]
    for lineage, moment in [*(("one", night) for night in (*nights, *nights)), ("two", nights[0])]:
        registry.log_night(lineage, moment, {"n_series": 4, "margin": 0.5, "improvement": float("inf")})
    steps = {(run, point.key, point.step, point.timestamp) for run, point in registry._client.points}
    expected = {
        (run, name, step, round(night.timestamp() * 1000))
        for run, of_line in (("run 0", nights), ("run 1", nights[:1]))
        for step, night in enumerate(of_line)
        for name in ("n_series", "margin")
    }
    assert steps == expected
    assert len(registry._client.points) == len(expected)
