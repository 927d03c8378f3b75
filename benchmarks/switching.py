"""Which of three hidden rotations turns a point that is seen in one dimension through noise.

``python -m benchmarks.switching --json FILE`` learns semi-Markov models from series of the three-mode system of Ansari
et al. (2021, Deep explicit duration switching models for time series) and prints how well each decodes others, beside
what the system's own numbers tell. ``--series`` is how many there are of each kind, ``--restarts`` from how many starts
a model climbs.
"""

# ruff: noqa: T201 - lines on standard output are what it is for

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hsmm
from benchmarks.machine import commit, machine, versions

LENGTH, LONGEST = 180, 120
NEXT = np.array([[0.1, 0.2, 0.7], [0.3, 0.5, 0.2], [0.3, 0.3, 0.4]])
DURATIONS: tuple[dict[int, int], ...] = (
    {6: 2, 11: 5, 16: 7, 20: 3}, {8: 5, 17: 8, 19: 6, 20: 1}, {13: 3, 16: 7, 18: 5, 20: 2},
)  # fmt: skip
"""How many of the segments of each mode last so many steps; a mode may follow itself."""


@dataclass(frozen=True)
class System:
    """x ← turns[k] x + pushes[k] + noise, y = lines[k] x + levels[k] + noise in mode k; standard deviations of both."""

    turns: np.ndarray
    pushes: np.ndarray
    lines: np.ndarray
    levels: np.ndarray
    moved: float = 0.1
    seen: float = 0.2

    @classmethod
    def published(cls) -> System:
        rng = np.random.RandomState(42)  # the published system is drawn so
        turns = np.stack([_turned(angle, rng) for angle in np.linspace(0.0, np.pi / 4.0, 3)])
        pushes = np.stack([np.zeros(2), *(0.25 * rng.normal(size=2) for _ in range(2))])
        lines = rng.normal(size=(3, 2))
        return cls(turns, pushes, lines, np.array([int(rng.randint(3, size=1)[0]) for _ in range(3)], dtype=float))


FIRST, FIRST_SPREAD = np.array([2.0, 0.0]), 0.1


def three_modes(n_series: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n_series, LENGTH) observations and modes of a damped rotation in two dimensions, through another line each."""
    system, rng = System.published(), np.random.default_rng(seed)
    Y, modes = np.empty((n_series, LENGTH)), np.empty((n_series, LENGTH), dtype=np.int64)
    for series in range(n_series):
        mode, x = int(rng.integers(3)), FIRST + FIRST_SPREAD * rng.normal(size=2)
        left = _duration(mode, rng)
        for row in range(LENGTH):
            Y[series, row] = system.lines[mode] @ x + system.levels[mode] + system.seen * rng.normal()
            modes[series, row] = mode
            left -= 1
            if not left:
                mode = int(rng.choice(3, p=NEXT[mode]))
                left = _duration(mode, rng)
            x = system.turns[mode] @ x + system.pushes[mode] + system.moved * rng.normal(size=2)
    return Y, modes


def known_paths(Y: np.ndarray, n_kept: int = 300) -> np.ndarray:
    """(n_series, LENGTH) the likeliest modes under the true system, of as many kept at every row as ``n_kept``.

    For each path of modes the hidden point has a normal law, that of a Kalman filter; paths are told apart by mode and
    by how long it has lasted.
    """
    system, hazards = System.published(), _hazards()
    n_series, longest = len(Y), hazards.shape[1]
    mode = np.tile(np.arange(3), (n_series, 1))
    age = np.ones_like(mode)
    weight = np.full(mode.shape, -np.log(3.0))
    mean = np.tile(FIRST, (*mode.shape, 1))
    spread = np.tile(FIRST_SPREAD**2 * np.eye(2), (*mode.shape, 1, 1))
    came: list[np.ndarray] = []
    modes = [mode]
    everyone = np.arange(n_series)[:, None]
    for row in range(LENGTH):
        if row:
            ends = hazards[mode, np.minimum(age, longest) - 1]
            with np.errstate(divide="ignore"):
                goes_on = weight + np.log1p(-ends)
                begins = weight[..., None] + np.log(ends)[..., None] + np.log(NEXT)[mode]
            every = np.concatenate([goes_on, begins.reshape(n_series, -1)], 1)
            best = np.argsort(-every, 1)[:, :n_kept]
            n = mode.shape[1]
            is_new = best >= n
            before = np.where(is_new, (best - n) // 3, best)
            came.append(before)
            mode = np.where(is_new, (best - n) % 3, mode[everyone, before])
            age = np.where(is_new, 1, age[everyone, before] + 1)
            weight = every[everyone, best]
            turns = system.turns[mode]
            mean = (turns @ mean[everyone, before][..., None])[..., 0] + system.pushes[mode]
            spread = turns @ spread[everyone, before] @ turns.swapaxes(-1, -2) + system.moved**2 * np.eye(2)
            modes.append(mode)
        line = system.lines[mode]
        along = (spread @ line[..., None])[..., 0]
        variance = (along * line).sum(-1) + system.seen**2
        missed = Y[:, row, None] - (line * mean).sum(-1) - system.levels[mode]
        weight = weight - 0.5 * (np.log(2.0 * np.pi * variance) + missed**2 / variance)
        mean = mean + along * (missed / variance)[..., None]
        spread = spread - along[..., None] * along[..., None, :] / variance[..., None, None]
    place, found = weight.argmax(1), np.empty(Y.shape, dtype=np.int64)
    for row in range(LENGTH - 1, -1, -1):
        found[:, row] = modes[row][np.arange(n_series), place]
        if row:
            place = came[row - 1][np.arange(n_series), place]
    return found


def _hazards() -> np.ndarray:
    """(3, 20) P(a mode's segment ends | it has lasted so long)."""
    law = np.array([[of.get(steps, 0) for steps in range(1, 21)] for of in DURATIONS], dtype=np.float64)
    still = law[:, ::-1].cumsum(1)[:, ::-1]
    return np.where(still > 0, law / np.where(still > 0, still, 1.0), 1.0)


def _turned(angle: float, rng: np.random.RandomState) -> np.ndarray:
    turn = 0.99 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axes = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    return axes @ turn @ axes.T


def _duration(mode: int, rng: np.random.Generator) -> int:
    steps, weights = np.array(list(DURATIONS[mode])), np.array(list(DURATIONS[mode].values()), dtype=np.float64)
    return int(rng.choice(steps, p=weights / weights.sum()))


def laws() -> dict[str, Any]:
    """Emissions by what they are called."""
    lags = {f"lags={n}": hsmm.emissions.AutoregressiveGaussian(lags=n) for n in (1, 2, 4, 8)}
    return {"gaussian": hsmm.emissions.Gaussian(), **lags}


def decoded(law: Any, n_series: int, n_init: int, seed: int) -> dict[str, dict[str, float]]:
    """How well models tell the modes of other series apart: learnt without labels, with them, and without them from
    where these led."""
    (Y, labels), (fresh, modes) = three_modes(n_series, 2 * seed), three_modes(n_series, 2 * seed + 1)
    lengths = [LENGTH] * n_series
    bare = hsmm.HSMM(
        3,
        emission=law,
        duration="categorical",
        max_duration=LONGEST,
        n_init=n_init,
        max_iter=300,
        tol=1e-7,
        random_state=seed,
    )

    def told(**given: Any) -> tuple[hsmm.HSMM, dict[str, float]]:
        began = time.process_time()
        model = bare.clone().fit(Y.ravel(), lengths, **given)
        seconds = time.process_time() - began
        held_out = model.score(fresh.ravel(), lengths) / fresh.size
        return model, {
            **agreement(modes, model.predict(fresh.ravel(), lengths)),
            "held_out": held_out,
            "cpu_seconds": seconds,
        }

    _, unlabelled = told()
    known, labelled = told(states=labels.ravel())
    _, from_labels = told(start=known)
    return {"unlabelled": unlabelled, "labelled": labelled, "from_labels": from_labels}


def agreement(modes: np.ndarray, found: np.ndarray) -> dict[str, float]:
    truth, found = modes.ravel(), found.ravel()
    return {
        "accuracy": hsmm.metrics.aligned_accuracy(truth, found),
        "normalized_mutual_info": hsmm.metrics.normalized_mutual_info(truth, found),
        "adjusted_rand": hsmm.metrics.adjusted_rand(truth, found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=250)
    parser.add_argument("--restarts", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    fresh, modes = three_modes(asked.series, 2 * asked.seed + 1)
    rows: list[dict[str, Any]] = [{"law": "the system itself", "known": agreement(modes, known_paths(fresh))}]
    print(rows[0], flush=True)
    for name, law in laws().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rows.append({"law": name, **decoded(law, asked.series, asked.restarts, asked.seed)})
        print(rows[-1], flush=True)
    if asked.json is not None:
        about = {"machine": machine(), "versions": versions(), "commit": commit()}
        asked.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
