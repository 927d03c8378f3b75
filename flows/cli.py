"""The ``hsmm`` command: results on standard output, progress on standard error, 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from tasks.errors import PipelineError

_QUIET = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

Assignments = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative="",
        help="section.key=value, over file and environment; repeatable, the last wins.",
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="End standard output with one JSON object.")]


def _version() -> str:
    from importlib.metadata import version

    return version("hsmm-flows")


app = App(
    name="hsmm",
    help="Hidden semi-Markov regimes for time series, as a nightly job.",
    version=_version,
    result_action="return_value",
)


@app.command
def run(config: str, *, as_of: str | None = None, set_: Assignments = None, json_: AsJson = False) -> None:
    """Fit the candidates, choose one, and publish the states of every series.

    Parameters
    ----------
    config
        A TOML configuration.
    as_of
        A date or moment; nothing later is used. By default the moment the source's newest row became known.
    """
    began = time.monotonic()
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    from flows.progress_display import display
    from tasks.progress import say
    from tasks.settings import read_settings

    settings = read_settings(config, set_ or ())
    with display():
        say("start")
        from tasks.ingest import check_source
        from tasks.storage import check_output

        check_source(settings, as_of)
        check_output(settings.output.states)
        from flows.server import server_starting

        ready = server_starting()
        from flows.nightly import nightly

        _use_the_wait(ready)
        summary = _orchestrated(ready, nightly, config, as_of, set_)
    summary["seconds"] = round(time.monotonic() - began, 1)
    _print_run(summary, settings.tracking.uri)
    if json_:
        _print(json.dumps(summary))


@app.command
def states(
    config: str,
    *,
    series: str | None = None,
    as_of: str | None = None,
    head: int | None = None,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Print the state table.

    Parameters
    ----------
    config
        A TOML configuration.
    series
        Only this series.
    as_of
        As it was known then; by default as it is known now.
    head
        Only so many rows.
    """
    from tasks.settings import read_settings
    from tasks.show import known_rows, rows_as_json, rows_as_text

    settings = read_settings(config, set_ or ())
    rows = known_rows(settings, series=series, as_of=as_of, head=head)
    _print(rows_as_text(rows))
    if json_:
        _print(json.dumps({"states_table": settings.output.states, "n_rows": len(rows), "rows": rows_as_json(rows)}))


@app.command
def report(config: str, *, set_: Assignments = None, json_: AsJson = False) -> None:
    """Write one self-contained HTML page of what is published.

    Parameters
    ----------
    config
        A TOML configuration.
    """
    began = time.monotonic()
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    from tasks.settings import read_settings

    settings = read_settings(config, set_ or ())
    from tasks.page.recorded import recorded_report

    summary = recorded_report(settings) | {"seconds": round(time.monotonic() - began, 1)}
    for note in summary["notes"]:
        sys.stderr.write(f"{note}\n")
    _print(f"report     {summary['report']}")
    if json_:
        _print(json.dumps(summary))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _complain(str(error).strip(), 2)
    except PipelineError as error:
        return _complain(str(error), error.exit_status)
    except KeyboardInterrupt:
        return _complain("stopped by the user; nothing further is published.", 1)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stays open until the interpreter ends
    except OSError as error:
        return _complain(f"the machine refused: {error}.", 1)
    return 0


def _orchestrated(ready: Future[None], flow: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The flow's result; an orchestrator that cannot be reached is the user's to mend, not a bug of ours."""
    try:
        ready.result()
        return flow(*arguments)
    except RuntimeError as error:
        if "API" not in str(error):
            raise
        raise PipelineError(
            f"Prefect: {error}; start its server, or unset PREFECT_API_URL to run without one."
        ) from error


def _use_the_wait(ready: Future[None]) -> None:
    """Import what the job needs last while the server starts: that takes seconds, and another core is at work."""
    from tasks import registry, report

    for load in (registry.load_mlflow, report.load_matplotlib):
        if not ready.done():
            load()


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"hsmm: {message}\n")
    return status


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _print_run(summary: dict[str, Any], tracking_uri: str) -> None:
    best, table = summary["best"], summary["states_table"]
    lines = [_verdict(summary)]
    if best:
        chosen = f"{best['n_states']} states, {best['emission']} emission, {best['duration']} duration"
        lines.append(f"model      {summary['model_name']} version {summary['model_version']}: {chosen}")
        lines.append(f"           {best['criterion']} {best['score']:.1f}, log-likelihood {best['log_likelihood']:.1f}")
    lines.append(f"pictures   {summary['report']}/states.png and others beside it")
    if summary["mlflow_run_id"]:
        run = f"experiment {summary['model_name']}, run {summary['mlflow_run_id']}"
        lines.append(f"MLflow     {run}; to look at it: {_ui(tracking_uri)}")
    lines.append(f'states     {table}; to read it: pl.read_delta("{table}")')
    if summary["n_quarantined"]:
        lines.append(f'quarantine {summary["n_quarantined"]} series; why: pl.read_delta("{table}_quarantine")')
    _print("\n".join(lines))


def _verdict(summary: dict[str, Any]) -> str:
    if summary["verdict"] == "ALREADY_PUBLISHED":
        rows = f"the rows of {summary['model_name']} as of {summary['as_of']}"
        return f"ALREADY_PUBLISHED: {rows} are there; nothing was written."
    return (
        f"PUBLISHED: {summary['n_published']} rows of {summary['n_series'] - summary['n_quarantined']} series "
        f"as of {summary['as_of']}, in {summary['seconds']:.0f} s."
    )


def _ui(tracking_uri: str) -> str:
    if tracking_uri.startswith("http"):
        return tracking_uri
    program = "mlflow" if shutil.which("mlflow") else os.path.relpath(Path(sys.executable).with_name("mlflow"))
    return f"{program} ui --host 127.0.0.1 --backend-store-uri {tracking_uri}"


if __name__ == "__main__":
    sys.exit(main())
