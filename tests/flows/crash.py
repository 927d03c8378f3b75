"""Runs of the night in processes of their own, that can be killed at a named point."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import multiprocessing
import os
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tests.sources import toy_config, walk

CONFIG = f"""{toy_config(max_iter=300, tol=1e-6)}
[promote]
min_improvement = -10.0
min_margin = 0.0
min_share = 0.0
"""

N_FITS = 2

# Where: module, the function there that is called, before or after it.
POINTS: dict[str, tuple[str, str, str]] = {
    "after ingest": ("flows.nightly", "ingest_task", "after"),
    "after validate": ("flows.nightly", "validate_task", "after"),
    "after the run was noted": ("tasks.tables.publish", "append_run", "after"),
    "after the champion's copy was replaced": ("tasks.judgement.champion", "_keep", "after"),
    "after the champion was read": ("flows.nightly", "champion_at", "after"),
    "after a fit that is not kept yet": ("tasks.fitting.finished", "_fitting", "after"),
    "between two candidates": ("tasks.fitting.finished", "Store.save", "after"),
    "after fit": ("flows.nightly", "fit_task", "after"),
    "after gate": ("flows.nightly", "judge_task", "after"),
    "after the run's start": ("tasks.registry.client", "Registry.start_run", "after"),
    "after the candidates were logged": ("tasks.tracking.track", "_log_candidates", "after"),
    "before registration": ("tasks.registry.client", "Registry.register_model", "before"),
    "model logged, not registered": ("mlflow.pyfunc", "log_model", "after"),
    "after registration": ("tasks.registry.client", "Registry.register_model", "after"),
    "after decode": ("flows.publishing", "decode_task", "after"),
    "after names": ("tasks.tables.publish", "append_names", "after"),
    "after quarantine": ("tasks.tables.publish", "append_quarantine", "after"),
    "after the results": ("tasks.tables.publish", "append_results", "after"),
    "rows written, not committed": ("tasks.tables.publish", "publish_states", "half"),
    "after the states' commit": ("tasks.tables.publish", "publish_states", "after"),
    "after the deaths": ("tasks.judgement.promote", "rewrite_names", "after"),
    "after the canary": ("tasks.judgement.promote", "check_usable", "after"),
    "after the tag, before the alias": ("tasks.registry.client", "Registry.tag_version", "after"),
    "after the alias": ("tasks.registry.client", "Registry.move_champion", "after"),
    "in the pictures": ("tasks.report.pictures", "_lay_out", "after"),
    "after the page": ("flows.nightly", "page_task", "after"),
    "after the outcome": ("flows.nightly", "log_outcome", "after"),
    "before the alerts": ("tasks.alerts.ledger", "change_alerts", "before"),
    "after the alerts": ("tasks.alerts.ledger", "change_alerts", "after"),
}


def make_place(folder: Path, seed: int) -> Path:
    """A folder with a configuration and a source of two good series and a bad one."""
    folder.mkdir(parents=True)
    series = [walk(name, 10 * seed + i) for i, name in enumerate("AB")]
    pl.concat([*series, walk("constant", 0).with_columns(close=1.0)]).write_parquet(folder / "prices.parquet")
    (folder / "toy.toml").write_text(CONFIG)
    return folder


@functools.cache
def _processes() -> Any:
    """Processes that are forked from one which has imported everything and run nothing."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["flows.nightly", "flows.decoding", "mlflow.pyfunc", "matplotlib.figure", __name__])
    return server


def start(
    folder: Path,
    as_of: str | None,
    point: str | None = None,
    overrides: tuple[str, ...] = (),
    prepare: Callable[[], Any] | None = None,
) -> Any:
    """A night in a process of its own, which ends at ``point`` by a signal that cannot be caught."""
    child = _processes().Process(target=_night, args=(str(folder), as_of, point, overrides, prepare))
    child.start()
    return child


def finish(folder: Path, child: Any, timeout: float = 300) -> dict[str, Any]:
    """What the night said: its summary, or {"error": its sentence, "status": its exit status}."""
    child.join(timeout)
    said = folder / f"said-{child.pid}.json"
    assert child.exitcode == 0, f"ended with {child.exitcode}"
    return json.loads(said.read_text())


def killed(child: Any, timeout: float = 300) -> bool:
    """Whether the night came to its point."""
    child.join(timeout)
    return child.exitcode == -signal.SIGKILL


def n_fits(folder: Path) -> int:
    """Fits that were made in this folder."""
    log = folder / "fits.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def _night(
    folder: str, as_of: str | None, point: str | None, overrides: tuple[str, ...], prepare: Callable[[], Any] | None
) -> None:
    os.chdir(folder)
    from flows import nightly
    from tasks.config.errors import PipelineError
    from tasks.config.settings import read_settings
    from tasks.fitting import finished

    for name, value in vars(nightly).items():
        if name.endswith("_task"):
            setattr(nightly, name, value.fn)
    if point != "in the pictures":
        nightly.pictures_task = _no_pictures
    _wrap(finished, "_fitting", after=_count_fit)
    if prepare is not None:
        prepare()
    if point is not None:
        _die_at(*POINTS[point])
    try:
        settings = read_settings("toy.toml", overrides)
        said = nightly.alerted(settings, lambda: nightly.night(settings, as_of), nightly.alert_task)
    except PipelineError as error:
        said = {"error": str(error), "status": error.exit_status}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc(), "status": 99}
    Path(f"said-{os.getpid()}.json").write_text(json.dumps(said, default=str))


def _no_pictures(*_: object) -> list[str]:
    return []


def _count_fit() -> None:
    with open("fits.log", "a") as log:
        log.write(f"{os.getpid()}\n")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(module: str, path: str, when: str) -> None:
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    if when == "half":
        _wrap(importlib.import_module("tasks.tables.commit"), "write_deltalake", before=_write_half)
    else:
        _wrap(owner, name, **{when: _die})


def _write_half(table: Any, rows: pl.DataFrame, **_: Any) -> None:
    where = Path(table if isinstance(table, str) else table.table_uri.removeprefix("file://"))
    if where.name == "states":
        where.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(where / "part-00000-half-written.zstd.parquet")
        _die()


def _wrap(
    owner: Any, name: str, before: Callable[..., None] | None = None, after: Callable[[], None] | None = None
) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def to_the_end(*args: Any, **kwargs: Any) -> Any:
        result = yield from original(*args, **kwargs)
        if after is not None:
            after()
        return result

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(*args, **kwargs) if before is _write_half else before()
        result = original(*args, **kwargs)
        if after is not None:
            after()
        return result

    setattr(owner, name, to_the_end if inspect.isgeneratorfunction(original) else wrapped)


def content(folder: Path) -> dict[str, Any]:
    """All that users see, in an order that does not depend on who wrote first."""
    states = str(folder / "out" / "states")
    tables = {
        name: pl.read_delta(f"{states}{name}") if Path(f"{states}{name}").exists() else None
        for name in ("", "_quarantine", "_names", "_alerts", "_results")
    }
    rows = {name: None if t is None else t.fill_nan(None).sort(*_keys(t)).rows() for name, t in tables.items()}
    return rows | registered(folder)


def registered(folder: Path) -> dict[str, Any]:
    """Versions with their tags, the alias, and what became of the runs."""
    import sqlite3

    with sqlite3.connect(folder / "mlflow.db") as db:
        tags = db.execute("select version, key, value from model_version_tags order by 1, 2").fetchall()
        versions = db.execute("select version from model_versions order by 1").fetchall()
        alias = db.execute("select alias, version from registered_model_aliases").fetchall()
        running = db.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[0]
    return {"tags": tags, "versions": versions, "alias": alias, "running": running}


def _keys(table: pl.DataFrame) -> list[str]:
    return [
        name
        for name in ("series_id", "state", "candidate", "time", "as_of", "run_key", "alert_id")
        if name in table.columns
    ]


def copy_place(base: Path, folder: Path) -> Path:
    """The same place as another; registered files stay where they are."""
    shutil.copytree(base, folder)
    return folder
