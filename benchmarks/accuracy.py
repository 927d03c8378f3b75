"""How far float32 is from float64 on the same tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.ours import potentials
from benchmarks.works import WORKS, make_task
from hsmm import inference
from hsmm.potentials import Potentials

STEPS = (1_000, 10_000, 100_000)


def accuracy(steps: tuple[int, ...] = STEPS) -> list[dict[str, Any]]:
    """Differences of the answers; the tables are rounded to float32 once, for both."""
    found = []
    for name in "ade":
        for n_steps in steps:
            p = in_type(potentials(make_task(replace(WORKS[name], n_steps=n_steps))), torch.float32)
            found.append({"work": name, "n_steps": n_steps, **differences(p)})
    return found


def differences(p: Potentials) -> dict[str, float]:
    """Of the log-likelihood and the counts relative, of the state posteriors absolute; the worst entry."""
    low, high = inference.posterior(p), inference.posterior(in_type(p, torch.float64))
    found = {
        "log_likelihood": _relative(low.log_likelihood, high.log_likelihood),
        "state": float((low.state.double() - high.state).abs().max()),
        "transition": _relative(low.transition, high.transition),
    }
    if p.log_duration is not None:
        found["duration"] = _relative(low.duration, high.duration)
    return found


def in_type(p: Potentials, dtype: torch.dtype) -> Potentials:
    return replace(p, **{name: table.to(dtype) for name, table in p.tables().items()})


def _relative(low: Tensor, high: Tensor) -> float:
    """Worst relative difference, of entries that are more than a thousandth of the largest."""
    matters = high.abs() > 1e-3 * high.abs().max()
    return float(((low.double() - high).abs() / high.abs())[matters].max())
