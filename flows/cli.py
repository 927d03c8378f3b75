"""The ``hsmm`` command: results on standard output, progress on standard error, 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from flows.console import print_backfill, print_check, print_line, print_run
from tasks.config.errors import PipelineError

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
def run(
    config: str,
    *,
    as_of: str | None = None,
    new_lineage: bool = False,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Fit the candidates, choose one, and publish the states of every series.

    Parameters
    ----------
    config
        A TOML configuration.
    as_of
        A date or moment; nothing later is used. By default the moment the source's newest row became known.
    new_lineage
        Rows mean something else from now on (other features, steps or scales): begin a new line of them in this table.
    """

    def load() -> Callable[..., Any]:
        from flows.nightly import nightly

        return partial(nightly, new_lineage=new_lineage)

    summary, settings = _run_flow(load, config, as_of, set_, (as_of,))
    print_run(summary, settings.tracking.uri)
    _print_json(summary, json_)


@app.command
def decode(config: str, *, as_of: str | None = None, set_: Assignments = None, json_: AsJson = False) -> None:
    """Publish the states of new rows under the champion, without a fit.

    Parameters
    ----------
    config
        A TOML configuration.
    as_of
        A date or moment; nothing later is used. By default the moment the source's newest row became known.
    """

    def load() -> Callable[..., Any]:
        from flows.decoding import decode_new

        return decode_new

    summary, settings = _run_flow(load, config, as_of, set_, (as_of,))
    print_run(summary, settings.tracking.uri)
    _print_json(summary, json_)


@app.command
def backfill(
    config: str, *, start: str, end: str, every: str = "1mo", set_: Assignments = None, json_: AsJson = False
) -> None:
    """Publish what each past day would have known; what is there is skipped, so it can be stopped and run again.

    Parameters
    ----------
    config
        A TOML configuration.
    start
        The first day.
    end
        The last day, included. From a month's end, months go to their ends.
    every
        The step: 1d, 1w, 1mo, 1q or 1y.
    """

    def load() -> Callable[..., Any]:
        from flows.backfill import backfill as flow

        return flow

    summary, _ = _run_flow(load, config, None, set_, (start, end, every))
    print_backfill(summary)
    _print_json(summary, json_)


@app.command
def check(config: str, *, cuts: int = 20, seed: int = 0, set_: Assignments = None, json_: AsJson = False) -> None:
    """Prove on the configuration's own source that nothing looks ahead: cut it, do the work again, compare bits.

    Parameters
    ----------
    config
        A TOML configuration.
    cuts
        Random moments at which the source is cut.
    seed
        Which moments.
    """
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    from flows.progress_display import display
    from tasks.config.settings import read_settings
    from tasks.judgement.causality import check_causality, require_causal

    settings = read_settings(config, set_ or ())
    with display():
        said = check_causality(settings, cuts, seed)
    print_check(said)
    _print_json(said, json_)
    require_causal(said)


@app.command
def promote(model: str, *, version: int | None = None, set_: Assignments = None, json_: AsJson = False) -> None:
    """Make a registered version the champion, if its gate said PROMOTE and it can be loaded and used.

    Parameters
    ----------
    model
        Its configuration; or its name, where the tracking server is the default one or HSMM_TRACKING__URI says which.
    version
        By default the newest.
    """
    from tasks.judgement.promote import promote as move

    registry, model = _registered(model, set_)
    said = move(registry, model, version)
    same = said["previous"] == said["model_version"]
    before = "it was already" if same else f"before: {said['previous'] or 'none'}"
    print_line(f"champion   {model} version {said['model_version']} ({before})")
    _print_json(said, json_)


@app.command
def rollback(model: str, *, set_: Assignments = None, json_: AsJson = False) -> None:
    """Make the champion before the present one the champion again.

    Parameters
    ----------
    model
        Its configuration; or its name, where the tracking server is the default one or HSMM_TRACKING__URI says which.
    """
    from tasks.judgement.promote import rollback as move

    registry, model = _registered(model, set_)
    said = move(registry, model)
    print_line(f"champion   {model} version {said['model_version']} (before: {said['previous']})")
    _print_json(said, json_)


@app.command
def name(config: str, *names: str, set_: Assignments = None, json_: AsJson = False) -> None:
    """Give persistent states their names, such as 0=calm 2=crisis.

    Parameters
    ----------
    config
        A TOML configuration.
    names
        state=name, as many as you like.
    """
    from tasks.config.settings import read_settings
    from tasks.tables.show import named_states, rename

    settings = read_settings(config, set_ or ())
    rename(settings, names)
    known = named_states(settings)
    print_line("\n".join(f"{state}  {known[state]}" for state in sorted(known)))
    _print_json({"model_name": settings.name, "names": {str(state): known[state] for state in sorted(known)}}, json_)


@app.command
def states(
    config: str,
    *,
    series: str | None = None,
    as_of: str | None = None,
    head: int | None = None,
    export: str | None = None,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Print the state table, or write it as one plain Parquet file.

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
    export
        A folder: the rows become one Parquet file there, whole or not at all, and none is printed.
    """
    from tasks.config.settings import read_settings
    from tasks.tables.show import export_rows, known_rows, rows_as_json, rows_as_text

    settings = read_settings(config, set_ or ())
    rows = known_rows(settings, series=series, as_of=as_of, head=head)
    if export is not None:
        path = export_rows(rows, settings, export)
        print_line(f"{len(rows)} rows  {path}")
        _print_json({"states_table": settings.output.states, "n_rows": len(rows), "export": path}, json_)
        return
    print_line(rows_as_text(rows))
    _print_json({"states_table": settings.output.states, "n_rows": len(rows), "rows": rows_as_json(rows)}, json_)


@app.command
def maintain(config: str, *, keep_days: int = 7, set_: Assignments = None, json_: AsJson = False) -> None:
    """Compact the tables, and remove files that no reader needs.

    Parameters
    ----------
    config
        A TOML configuration.
    keep_days
        Files that were in use this many days ago or later stay; at least 7.
    """
    from tasks.config.settings import read_settings
    from tasks.tables.maintain import maintain as tidy

    said = tidy(read_settings(config, set_ or ()), keep_days)
    for table, done in said["tables"].items():
        print_line(f"{table}  {done['n_merged']} files merged, {done['n_removed']} removed")
    _print_json(said, json_)


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
    from tasks.config.settings import read_settings

    settings = read_settings(config, set_ or ())
    from tasks.report.page.recorded import recorded_report

    summary = recorded_report(settings) | {"seconds": round(time.monotonic() - began, 1)}
    for note in summary["notes"]:
        sys.stderr.write(f"{note}\n")
    print_line(f"report     {summary['report']}")
    _print_json(summary, json_)


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


def _orchestrated(ready: Future[None], flow: Callable[..., Any], *arguments: Any) -> Any:
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
    from tasks.registry.client import load_mlflow
    from tasks.report.pictures import load_matplotlib

    for load in (load_mlflow, load_matplotlib):
        if not ready.done():
            load()


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"hsmm: {message}\n")
    return status


def _run_flow(
    load: Callable[[], Callable[..., Any]],
    config: str,
    as_of: str | None,
    assignments: Sequence[str] | None,
    arguments: tuple[Any, ...],
) -> tuple[Any, Any]:
    """A flow's summary with the seconds it took, and its settings, whose mistakes are told before it starts."""
    began = time.monotonic()
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    from flows.progress_display import display
    from tasks.config.progress import say
    from tasks.config.settings import read_settings

    settings = read_settings(config, assignments or ())
    with display():
        say("start")
        from tasks.source.ingest import check_source
        from tasks.tables.storage import check_output

        check_source(settings, as_of)
        check_output(settings.output.states)
        from flows.server import server_starting

        ready = server_starting()
        flow = load()
        _use_the_wait(ready)
        summary = _orchestrated(ready, flow, config, *arguments, assignments)
    return {**summary, "seconds": round(time.monotonic() - began, 1)}, settings


def _registered(model: str, assignments: Sequence[str] | None) -> tuple[Any, str]:
    """The tracking server and the model's name: as a configuration says, or of a name where variables say."""
    from tasks.config.settings import check_name, read_settings, read_tracking
    from tasks.registry.client import existing_registry

    if model.endswith(".toml"):
        settings = read_settings(model, assignments or ())
        return existing_registry(settings.tracking.uri, settings.name), settings.name
    return existing_registry(read_tracking(assignments or ()).uri, check_name(model)), model


def _print_json(said: Mapping[str, Any], wanted: bool) -> None:
    if wanted:
        print_line(json.dumps(said))


if __name__ == "__main__":
    sys.exit(main())
