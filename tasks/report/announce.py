"""What a run says of itself in Prefect's pages: in its log, in an artifact with links, and as its state's message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from tasks.config.moments import steps_in
from tasks.config.outcome import RunSummary
from tasks.config.secrets import without_secrets
from tasks.config.settings import Settings
from tasks.config.telling import told_gate, told_in_a_line

_MOST_TOLD = 5
_MODELS = "?workflowType=machine_learning"  # else MLflow's pages show what they would of a language model


def announced(summary: RunSummary, settings: Settings) -> RunSummary:
    """The summary; within a flow run as the data of a state that says it in a line, logged and left as an artifact."""
    from prefect.context import FlowRunContext
    from prefect.states import Completed

    if FlowRunContext.get() is None:
        return summary
    told = steps_in(summary) if settings.source.counts_steps else summary
    _log(told)
    _leave(told, settings)
    return cast(RunSummary, Completed(message=told_in_a_line(told), data=summary))


def _log(summary: RunSummary) -> None:
    from prefect.logging import get_run_logger

    logger = get_run_logger()
    logger.info("%s", told_in_a_line(summary))
    if best := summary.get("best"):
        logger.info("%s of %s: %s", best["criterion"], _law(best), best["score"])
    for one in summary.get("quarantined", [])[:_MOST_TOLD]:
        logger.warning("set aside %s: %s, %s", one["series_id"] or "(no name)", one["reason"], one["detail"])
    for note in summary.get("notes", []):
        logger.warning("%s", note)


def _leave(summary: RunSummary, settings: Settings) -> None:
    """The artifact; where it cannot be left, the log says so, and the run is done nevertheless."""
    from prefect.artifacts import create_markdown_artifact
    from prefect.logging import get_run_logger

    try:
        create_markdown_artifact(
            markdown=as_markdown(summary, settings),
            key=f"{settings.name.replace('_', '-').rstrip('-')}-night",
            description=told_in_a_line(summary),
        )
    except Exception as error:  # the orchestrator's own: what was published stands
        get_run_logger().warning("the artifact could not be left: %s", error)


def as_markdown(summary: RunSummary, settings: Settings) -> str:
    """A run as a page of Markdown, with links where there is an address."""
    rows = "\n".join(f"| {_plain(name)} | {value} |" for name, value in _facts(summary, settings))
    aside = "".join(
        f"\n- {_plain(one['series_id'] or '(no name)')}: {_plain(one['reason'])}, {_plain(one['detail'])}"
        for one in summary.get("quarantined", [])[:_MOST_TOLD]
    )
    more = "".join(f"\n- {_plain(note)}" for note in summary.get("notes", []))
    parts = [f"# {_plain(told_in_a_line(summary))}", f"| | |\n|---|---|\n{rows}"]
    parts += [f"## Set aside\n{aside}"] if aside else []
    parts += [f"## Notes\n{more}"] if more else []
    return "\n\n".join(parts) + "\n"


def _facts(summary: RunSummary, settings: Settings) -> Iterator[tuple[str, str]]:
    n_series = summary["n_series"]
    yield "rows published", str(summary["n_published"])
    yield "series", f"{n_series}, of which {summary['n_quarantined']} set aside, {summary.get('n_stale', 0)} stale"
    if best := summary.get("best"):
        yield "model", f"{_plain(_law(best))}, version {summary['model_version']}"
        yield best["criterion"], str(best["score"])
    if gate := summary.get("gate"):
        yield "gate", _plain(told_gate(gate))
    yield from _links(summary, settings)
    yield "table", f"`{summary['states_table']}`"
    page = Path(summary["report"]).absolute() / "report.html"
    if page.is_file():
        yield "page", f"`{page}`"


def _links(summary: RunSummary, settings: Settings) -> Iterator[tuple[str, str]]:
    """Into MLflow's pages, where they have an address."""
    uri = without_secrets(settings.tracking.uri).rstrip("/")
    run, version = summary.get("mlflow_run_id"), summary.get("model_version")
    experiment = summary.get("mlflow_experiment_id")
    if not uri.startswith(("http://", "https://")):
        if run:
            yield "MLflow run", f"`{run}`"
        return
    if run and experiment:
        yield "MLflow run", f"[{run}]({uri}/#/experiments/{experiment}/runs/{run}{_MODELS})"
    if version:
        yield "registered model", f"[version {version}]({uri}/#/models/{settings.name}/versions/{version})"


def _law(best: Any) -> str:
    return f"{best['n_states']} states, {best['emission']} emission, {best['duration']} duration"


def _plain(text: str) -> str:
    """Text that no mark-up can hide in."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~])", r"\\\1", " ".join(str(text).split()))
