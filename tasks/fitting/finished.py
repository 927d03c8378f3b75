"""Finished fits on disc, named by what went into them: a run that was killed goes on, and none is made twice."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

import hsmm
import hsmm.io
from hsmm import Estimator, PartialPooling
from hsmm.selection import SPLITTERS, HeldOut, Splitter, seeking_reasons, selecting
from hsmm.training.together import Fitting
from tasks.config.components import made as component
from tasks.config.settings import Settings
from tasks.config.whole import appearing
from tasks.fitting.candidates import Candidate
from tasks.source.version import code_version
from tasks.tables.places import fits_folder

_RECORD = "fit.json"
_PIECES = ("log_density", "n_rows", "fold")
_LARGEST = 1 << 26


@dataclass(frozen=True)
class FittedCandidate:
    """One candidate: its fitted model, or None, its row of the ranking, how its best restart climbed, all restarts.

    ``curves`` are its objective, and of a model with an encoder, look by look, what it made of the rows that it learnt
    from and of those held out ("look.objective", "look.held_out"). ``key`` is its name in the store, ``held_out`` its
    scores where these are the criterion.
    """

    model: Estimator | None
    row: dict[str, Any]
    curves: dict[str, list[float]] = field(default_factory=dict)
    restarts: list[dict[str, Any]] = field(default_factory=list)
    key: str = ""
    held_out: HeldOut | None = None


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
            model = cast(Estimator, hsmm.load(path / "model")) if record["has_model"] else None
            pieces = record["held_out"]
            held_out = None if pieces is None else HeldOut(*(np.array(pieces[name]) for name in _PIECES))
            return FittedCandidate(model, record["row"], record["curves"], record["restarts"], key, held_out)
        except (OSError, ValueError, KeyError):
            return None

    def save(self, key: str, candidate: FittedCandidate) -> None:
        """Keep a finished fit; it appears whole or not at all."""
        record = {
            "has_model": candidate.model is not None,
            "row": candidate.row,
            "curves": candidate.curves,
            "restarts": candidate.restarts,
            "held_out": None
            if candidate.held_out is None
            else {name: getattr(candidate.held_out, name).tolist() for name in _PIECES},
        }
        with appearing(self.folder / key, keep=True) as made:
            made.mkdir()
            if candidate.model is not None:
                candidate.model.save(made / "model")
            (made / _RECORD).write_text(json.dumps(record))

    def load_shared(self, key: str, names: Sequence[str]) -> tuple[PartialPooling, dict[str, Any]] | None:
        """What each of these series has of its own beside the fit of this key, and its row, if that was finished."""
        path = self._shared(key, names)
        try:
            found, row = hsmm.load(path / "model"), json.loads((path / _RECORD).read_text())
        except (OSError, ValueError, KeyError):
            return None
        return (found, row) if isinstance(found, PartialPooling) else None

    def save_shared(self, key: str, names: Sequence[str], shared: PartialPooling, row: dict[str, Any]) -> None:
        """Keep what each series has of its own; it appears whole or not at all."""
        with appearing(self._shared(key, names), keep=True) as made:
            made.mkdir()
            shared.save(made / "model")
            (made / _RECORD).write_text(json.dumps(row))

    def _shared(self, key: str, names: Sequence[str]) -> Path:
        return self.folder / f"{key}_{hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()}"

    def forget(self, keys: Iterable[str]) -> None:
        """Remove fits: what they were for is done."""
        for key in keys:
            shutil.rmtree(self.folder / key, ignore_errors=True)
            for beside in self.folder.glob(f"{key}_*"):
                shutil.rmtree(beside, ignore_errors=True)
        with suppress(OSError):  # others are kept there
            self.folder.rmdir()


@dataclass(frozen=True)
class Rows:
    """What a candidate is fitted to, as :func:`hsmm.select_model` takes it."""

    X: np.ndarray
    lengths: list[int]
    context: np.ndarray | None
    states: list[int] | None


@dataclass(frozen=True)
class Weighing:
    """What candidates are scored by, and on which rows where these are held out.

    Of the candidates of many units only the chosen are tested for what may be wrong: ``doubts`` is then "told".
    """

    criterion: str
    splits: Splitter | None
    doubts: Literal["all", "told"] = "all"

    @classmethod
    def of(cls, settings: Settings) -> Weighing:
        """That of a configuration."""
        criterion, chosen = settings.select.criterion, settings.select.splits
        doubts: Literal["all", "told"] = "told" if settings.fit.pool == "per_series" else "all"
        if not hsmm.selection.CRITERIA[criterion].on_held_out:
            return cls(criterion, None, doubts)
        splits = SPLITTERS[chosen]() if isinstance(chosen, str) else component("splits", chosen)
        return cls(criterion, splits, doubts)


def fitting_candidate(
    candidate: Candidate, rows: Rows, how: Weighing, champion: Estimator | None, store: Store | None
) -> Fitting[FittedCandidate]:
    """Fit and score one candidate, or take the finished fit from the store, if there is one.

    A champion of the same structure begins one restart and says what is frozen; the first model learns everything.
    """
    estimator, start = candidate.estimator, _start(candidate.estimator, champion)
    if estimator.frozen and start is None:
        estimator = estimator.clone().set_params(frozen=())
    key = "" if store is None else _key(estimator, rows, how, start)
    found = None if store is None else store.load(key)
    if found is not None:
        return found
    fitted = yield from _fitting(estimator, rows, how, start)
    fitted = replace(fitted, key=key, row={**fitted.row, **candidate.described})
    if store is not None:
        store.save(key, fitted)
    return fitted


def _start(estimator: Estimator, champion: Estimator | None) -> Estimator | None:
    """The champion, if a fit of this estimator can begin there."""
    if champion is None or champion.n_states != estimator.n_states:
        return None
    alike = [_families(model) for model in (champion, estimator)]
    return champion if alike[0] == alike[1] else None


def _families(model: Estimator) -> dict[str, str]:
    """Table to the family that makes it, with its options but for what a fit may have changed of them."""
    return {kind: repr(part) for kind, part in model._structure().components().items()}


def testing(candidate: FittedCandidate, rows: Rows) -> Fitting[FittedCandidate]:
    """The candidate with what tests of its model find in its row."""
    if candidate.model is None:
        return candidate
    doubts = yield from seeking_reasons(candidate.model, hsmm.Sequences.from_arrays(rows.X, rows.lengths, rows.context))
    codes = dict.fromkeys([*candidate.row["reasons"].split(), *(doubt.code for doubt in doubts)])
    words = [*filter(None, [candidate.row["warnings"]]), *(doubt.detail for doubt in doubts)]
    return replace(candidate, row={**candidate.row, "reasons": " ".join(codes), "warnings": "; ".join(words)})


def _fitting(estimator: Estimator, rows: Rows, how: Weighing, start: Estimator | None) -> Fitting[FittedCandidate]:
    try:
        sequences = hsmm.Sequences.from_arrays(rows.X, rows.lengths, rows.context)
        selection = yield from selecting(
            sequences,
            [estimator],
            hsmm.selection.Weighing(how.criterion, how.splits, doubts=how.doubts),
            states=rows.states,
            starts=[start],
        )
    except ValueError as error:
        return FittedCandidate(
            None, {**estimator.describe(), "converged": False, "reasons": "failed", "warnings": f"failed: {error}"}
        )
    row = selection.table.drop("candidate").row(0, named=True)
    model = selection.best
    looks = {f"look.{name}": values for name, values in model.curves_.to_dict(as_series=False).items() if values}
    curves = {"objective": model.history_.tolist(), **looks}
    return FittedCandidate(model, row, curves, model.restarts_.to_dicts(), held_out=selection.held_out[0])


def _key(estimator: Estimator, rows: Rows, how: Weighing, start: Estimator | None) -> str:
    identity = {
        "estimator": repr(sorted(estimator.get_params().items(), key=lambda item: item[0])),
        "kind": type(estimator).__name__,
        "lengths": list(map(int, rows.lengths)),
        "states": rows.states,
        "held_out": repr(how.splits),
        "doubts": how.doubts,
        "criteria": list(hsmm.selection.CRITERIA),
        "start": None if start is None else hsmm.io.digest(start._model),
        "code": code_version(),
    }
    content = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for table in (rows.X, rows.context):
        content.update(b"" if table is None else np.ascontiguousarray(table, dtype="<f8").tobytes())
    return content.hexdigest()
