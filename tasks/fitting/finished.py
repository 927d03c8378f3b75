"""Finished fits on disc, named by what went into them: a run that was killed goes on, and none is made twice."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import hsmm
import hsmm.io
from tasks.config.settings import Settings
from tasks.source.run_key import code_version
from tasks.tables.storage import fits_folder

_RECORD = "fit.json"
_LARGEST = 1 << 26


@dataclass(frozen=True)
class FittedCandidate:
    """One candidate: its fitted model, or None, its row of the ranking, the climb of its best restart, all restarts.

    ``key`` is its name in the store.
    """

    model: Any
    row: dict[str, Any]
    history: list[float] = field(default_factory=list)
    restarts: list[dict[str, Any]] = field(default_factory=list)
    key: str = ""


@dataclass(frozen=True)
class Store:
    """A folder of finished fits."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> Store:
        """The folder of this configuration's fits."""
        return cls(fits_folder(settings.output.states, settings.name))

    def load(self, key: str) -> FittedCandidate | None:
        """The fit of this key if it was finished; one that cannot be read counts as not made."""
        path = self.folder / key
        try:
            if (path / _RECORD).stat().st_size > _LARGEST:
                return None
            record = json.loads((path / _RECORD).read_text())
            model = hsmm.load(path / "model") if record["has_model"] else None
            return FittedCandidate(model, record["row"], record["history"], record["restarts"], key)
        except (OSError, ValueError, KeyError):
            return None

    def save(self, key: str, candidate: FittedCandidate) -> None:
        """Keep a finished fit; it appears whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {
            "has_model": candidate.model is not None,
            "row": candidate.row,
            "history": candidate.history,
            "restarts": candidate.restarts,
        }
        made = Path(tempfile.mkdtemp(dir=self.folder, prefix=".unfinished-"))
        try:
            if candidate.model is not None:
                candidate.model.save(made / "model")
            (made / _RECORD).write_text(json.dumps(record))
            if not (self.folder / key).exists():
                made.rename(self.folder / key)
        except OSError:
            if not (self.folder / key).exists():  # unless another run was faster
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def forget(self, keys: Iterable[str]) -> None:
        """Remove fits: what they were for is done."""
        for key in keys:
            shutil.rmtree(self.folder / key, ignore_errors=True)
        with suppress(OSError):  # others are kept there
            self.folder.rmdir()


def fit_candidate(
    estimator: Any, values: np.ndarray, lengths: Sequence[int], criterion: Any, champion: Any, store: Store
) -> FittedCandidate:
    """Fit and score one candidate, or take the finished fit from the store."""
    start = champion if champion is not None and champion.describe() == estimator.describe() else None
    key = _key(estimator, values, lengths, criterion, start)
    found = store.load(key)
    if found is not None:
        return found
    made = replace(_fit(estimator, values, lengths, criterion, start), key=key)
    store.save(key, made)
    return made


def _fit(estimator: Any, values: np.ndarray, lengths: Sequence[int], criterion: Any, start: Any) -> FittedCandidate:
    try:
        selection = hsmm.select_model(values, [estimator], lengths, criterion=criterion, starts=[start])
    except ValueError as error:
        return FittedCandidate(None, {**estimator.describe(), "converged": False, "warnings": f"failed: {error}"})
    row = selection.table.drop("candidate").row(0, named=True)
    model = selection.best
    return FittedCandidate(model, row, model.history_.tolist(), model.restarts_.to_dicts())


def _key(estimator: Any, values: np.ndarray, lengths: Sequence[int], criterion: Any, start: Any) -> str:
    identity = {
        "estimator": repr(sorted(estimator.get_params().items(), key=lambda item: item[0])),
        "kind": type(estimator).__name__,
        "lengths": list(map(int, lengths)),
        "held_out": hsmm.selection.CRITERIA[criterion].on_held_out,
        "criteria": list(hsmm.selection.CRITERIA),
        "start": None if start is None else hsmm.io.digest(start._model),
        "code": code_version(),
    }
    content = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    content.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return content.hexdigest()
