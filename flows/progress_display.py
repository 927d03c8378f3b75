"""Progress on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tasks.config.progress import listening

_WORDS = {
    "start": "starting",
    "backfill": "partition",
    "check": "cutting the source",
    "ingest": "reading the source",
    "validate": "checking the rows",
    "turn": "waiting for its turn after",
    "no_turn": "no turn to wait for:",
    "fit": "fitting",
    "track": "logging to MLflow",
    "gate": "judging",
    "decode": "decoding",
    "publish": "publishing",
    "promote": "promoting",
    "report": "drawing",
    "alert": "noting alerts",
}
_COUNTED = ("backfill", "check", "fit")


@contextmanager
def display() -> Iterator[None]:
    """Within this context: a bar for every stage on a terminal, a line for every stage elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with listening(_Lines(console)):
            yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars = _Bars(progress)
        with listening(bars):
            yield
        bars.finish()


class _Lines:
    """One line when a stage begins, one for every candidate."""

    def __init__(self, console: Console) -> None:
        self._console, self._last = console, ""

    def __call__(self, stage: str, done: int = 0, total: int = 0, label: str = "") -> None:
        counted = stage in _COUNTED
        line = f"{_WORDS[stage]} {f'{done + 1}/{total}: ' if counted else ''}{label}".strip()
        if line != self._last and (not counted or done < total):
            self._console.print(line, highlight=False, markup=False)
            self._last = line


class _Bars:
    """One bar a stage; a stage without a count spins until the next begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage: str | None = None
        self._bar = progress.add_task(_WORDS["start"], total=None)

    def __call__(self, stage: str, done: int = 0, total: int = 0, label: str = "") -> None:
        if stage != self._stage:
            self.finish()
            self._stage = stage
            self._bar = self._progress.add_task(_WORDS[stage], total=None)
        words = f"{_WORDS[stage]} {label}".strip() if done < total else _WORDS[stage]
        self._progress.update(self._bar, description=words, completed=done, total=total or None)

    def finish(self) -> None:
        """Fill the bar of the stage that ended."""
        bar = self._progress.tasks[self._bar]
        self._progress.update(self._bar, total=bar.total or 1, completed=bar.total or 1)
