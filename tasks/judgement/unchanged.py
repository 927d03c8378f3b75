"""What a run or a decoding answered last, while nothing has changed: configuration, source, code, what is published
and registered.

With it one that has nothing to do is answered before anything is loaded that fits, tracks or draws. It is a note
beside the state table; without it the command finds the same by itself.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.config.errors import PipelineError
from tasks.config.outcome import AlertsSummary, RunSummary
from tasks.config.settings import Settings
from tasks.config.whole import appearing
from tasks.registry.mark import registry_mark
from tasks.source.files import LOG, is_delta, source_files
from tasks.source.version import code_version
from tasks.tables.alerts import alerts_mark
from tasks.tables.places import is_local
from tasks.tables.publishes import newest_summary, published_summary
from tasks.tables.silence import silence

Command = Literal["run", "decode"]


@dataclass(frozen=True)
class Question:
    """What a command was asked: a configuration as it is written, the bytes of its source, a moment, and the code.

    ``key`` is their digest, or None where the source is not on this machine or cannot be read.
    """

    settings: Settings
    as_of: str | None
    key: str | None
    command: Command = "run"

    @classmethod
    def asked(cls, settings: Settings, as_of: str | None, command: Command = "run") -> Question:
        """The question, of which every byte of the source is read."""
        try:
            return cls(settings, as_of, _digest(settings, as_of), command)
        except (OSError, ValueError):
            return cls(settings, as_of, None, command)

    def answer(self) -> RunSummary | None:
        """What is said of rows that are there; None where this was not the last that was asked, or rows came since.

        ``n_published`` is 0: nothing is written.
        """
        with suppress(OSError, ValueError, KeyError, TypeError, PipelineError):
            note = json.loads(self._note.read_text(encoding="utf-8"))
            states = self.settings.output.states
            if note["question"] == self.key and note["found"] == _found(self.settings):
                published = published_summary(states, note["run_key"]) or note["answer"]
                said: RunSummary = {"verdict": "ALREADY_PUBLISHED", "n_published": 0, "notes": []}
                said["alerts"] = note["alerts"]
                return {**published, **said} if published else None
        return None

    def note(self, answer: RunSummary) -> None:
        """Note what was answered, unless something was left undone, or the source has changed meanwhile."""
        found, alerts = _found(self.settings), answer.get("alerts", {})
        left_undone = answer["notes"] or alerts.get("failed") or alerts.get("n_pending")
        if left_undone or None in (self.key, *found) or Question.asked(self.settings, self.as_of).key != self.key:
            return
        told: AlertsSummary = {**alerts, "n_new": 0, "new": []}
        own = published_summary(self.settings.output.states, answer["run_key"])
        said = {
            "question": self.key,
            "run_key": answer["run_key"],
            "found": found,
            "alerts": told,
            "answer": None if own else answer,  # rows that others published bear another's key
        }
        with suppress(OSError), appearing(self._note) as path:
            path.write_text(json.dumps(said), encoding="utf-8")

    @property
    def _note(self) -> Path:
        states, name = self.settings.output.states, self.settings.name
        base = states.rstrip("/") if is_local(states) else f"out/{name}"
        return Path(f"{base}_answered") / (f"{name}.json" if self.command == "run" else f"{name}.{self.command}.json")


def _digest(settings: Settings, as_of: str | None) -> str | None:
    path = settings.source.path
    if not is_local(path):
        return None
    log = Path(path) / LOG  # of a Delta table, whose other files never change
    files = sorted(map(str, log.iterdir())) if is_delta(path) else [file.path for file in source_files(path)]
    asked = {
        "settings": settings.model_dump(mode="json"),
        "as_of": as_of,
        "code": code_version(),
        "files": [(file, _digest_of(file)) for file in files],
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _digest_of(file: str) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _found(settings: Settings) -> list[str | None]:
    """The key of the newest publish, what is registered, how far alerts have come, and whether all feeds are silent."""
    states = settings.output.states
    newest: RunSummary = newest_summary(states, settings.name) or {}
    marks = [newest.get("run_key"), registry_mark(settings.tracking.uri, settings.name), alerts_mark(states)]
    return [*marks, "silent" if silence(settings) else "heard"]
