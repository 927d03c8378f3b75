"""Sessions of animals that nothing was learnt from: one model for all, one for each, or one with tables of their own.

``python -m benchmarks.animals --reference FOLDER --fold N --json FILE`` takes the choices of mice in
``glmhmm_bolkan2022_direct_miceA.parquet`` (Bolkan et al. 2022), leaves out every fifth session of each, beginning with
the N-th, and adds to FILE what each of the three makes of these.
"""

# ruff: noqa: T201 - lines on standard output are what it is for

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import hsmm
from benchmarks.machine import commit, machine, versions

FILE = "glmhmm_bolkan2022_direct_miceA.parquet"
FOLDS = 5
_OTHERS = ("mouse", "session", "bias", "choice_right")


@dataclass(frozen=True)
class Sessions:
    """Choices ``y`` and what they follow ``X`` of sessions, one after the other; the animal of each row."""

    X: np.ndarray
    y: np.ndarray
    animals: np.ndarray
    lengths: np.ndarray

    def chosen(self, kept: np.ndarray) -> Sessions:
        """Those sessions where ``kept`` is True."""
        rows = np.repeat(kept, self.lengths)
        return Sessions(self.X[rows], self.y[rows], self.animals[rows], self.lengths[kept])

    @property
    def of_session(self) -> np.ndarray:
        """The animal of each session."""
        return self.animals[self.lengths.cumsum() - 1]


def read(folder: Path) -> Sessions:
    data = pl.read_parquet(folder / FILE)
    session = data.select(pl.struct("mouse", "session").rle_id()).to_series()
    X = data.select(pl.exclude(_OTHERS)).to_numpy()
    lengths = session.rle().struct.field("len").to_numpy().astype(np.int64)
    return Sessions(X, data["choice_right"].to_numpy().astype(float), data["mouse"].to_numpy(), lengths)


def left_out(sessions: Sessions, fold: int) -> np.ndarray:
    """Which sessions: of each animal every fifth."""
    animals = sessions.of_session
    place = np.array([(animals[:i] == animal).sum() for i, animal in enumerate(animals)])
    return place % FOLDS == fold


def compared(sessions: Sessions, fold: int, n_states: int, n_init: int) -> dict[str, Any]:
    """Log-likelihoods of the sessions left out, by animal, and how long each took to learn."""
    out = left_out(sessions, fold)
    seen, unseen = sessions.chosen(~out), sessions.chosen(out)
    animals = np.unique(sessions.animals).tolist()
    found: dict[str, Any] = {"fold": fold, "n_states": n_states, "n_rows": len(unseen.y), "animals": animals}

    def model() -> hsmm.HMM:
        return hsmm.HMM(n_states, emission=hsmm.emissions.GLM(family="bernoulli"), n_init=n_init, tol=1e-7)

    def timed(name: str, learn: Callable[[], Any], score: Callable[[Any, Any, Sessions], float]) -> Any:
        began = time.perf_counter()
        learnt = learn()
        seconds = time.perf_counter() - began
        scores = [score(learnt, animal, unseen.chosen(unseen.of_session == animal)) for animal in animals]
        found[name] = {"held_out": scores, "total": sum(scores), "seconds": seconds}
        return learnt

    def asked(one: Any, own: Sessions) -> float:
        return float(one.score(own.y, own.lengths, context=own.X))

    def alone(animal: Any) -> hsmm.HMM:
        own = seen.chosen(seen.of_session == animal)
        return model().fit(own.y, own.lengths, context=own.X)

    pooled = timed(
        "pooled", lambda: model().fit(seen.y, seen.lengths, context=seen.X), lambda one, _, own: asked(one, own)
    )
    shared = timed(
        "shared",
        lambda: hsmm.PartialPooling(pooled).fit(seen.y, seen.animals, seen.lengths, context=seen.X),
        lambda one, animal, own: asked(one.of(animal), own),
    )
    timed(
        "alone", lambda: {animal: alone(animal) for animal in animals}, lambda one, animal, own: asked(one[animal], own)
    )
    return {**found, "concentration": shared.concentration_}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--states", type=int, default=3)
    parser.add_argument("--restarts", type=int, default=4)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    row = compared(read(asked.reference), asked.fold, asked.states, asked.restarts)
    for name in ("pooled", "shared", "alone"):
        print(name, round(row[name]["total"], 2), np.round(row[name]["held_out"], 1), f"{row[name]['seconds']:.1f} s")
    if asked.json is not None:
        about = {"machine": machine(), "versions": versions(), "commit": commit()}
        rows = json.loads(asked.json.read_text())["rows"] if asked.json.exists() else []
        asked.json.write_text(json.dumps({**about, "rows": [*rows, row]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
