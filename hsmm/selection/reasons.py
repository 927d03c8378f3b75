"""What is doubtful about a fitted candidate, as codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from warnings import WarningMessage

from torch import Tensor

from hsmm import inference
from hsmm.components.base import Component
from hsmm.components.model import Model
from hsmm.errors import ConvergenceWarning, DataWarning, DurationWallWarning
from hsmm.selection.merging import STEPS, Merging
from hsmm.sequences import Sequences

Code = Literal[
    "failed", "odd_data", "not_converged", "duration_wall", "boundary", "dead_state", "two_states_alike"
]  # fmt: skip
DEAD_SHARE = 0.005
"""A state expected to hold a smaller share of the rows than this is dead."""
ALL_PAIRS = 4
"""Up to so many states every pair is tested for being alike; beyond, the closest pairs, one for each state."""
_MERGED_STEPS = 10
_EDGE = 1e-9


@dataclass(frozen=True)
class Reason:
    """One doubt: its ``code``, the ``states`` concerned (none: the whole fit), and a sentence."""

    code: Code
    states: tuple[int, ...]
    detail: str


def reasons(model: Any, sequences: Sequences, caught: list[WarningMessage]) -> tuple[Reason, ...]:
    """All doubts about a model fitted on these rows, those of its own warnings first."""
    tables = model._fitted_model()
    return (
        *_of_warnings(model, caught),
        *_dead_states(tables, sequences),
        *_at_the_edge(tables, sequences),
        *_states_alike(model, tables, sequences),
    )


def _of_warnings(model: Any, caught: list[WarningMessage]) -> Iterator[Reason]:
    codes: dict[type[Warning], Code] = {DurationWallWarning: "duration_wall", DataWarning: "odd_data"}
    for warning in caught:
        for category, code in codes.items():
            if issubclass(warning.category, category):
                yield Reason(code, (), str(warning.message))
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught) and not model.converged_:
        yield Reason("not_converged", (), f"stopped after {model.n_iter_} iterations")


def _dead_states(tables: Model, sequences: Sequences) -> Iterator[Reason]:
    occupancy = inference.posterior(tables.potentials(sequences)).state[0].mean(0)
    for state, share in enumerate(occupancy.tolist()):
        if share < DEAD_SHARE:
            yield Reason("dead_state", (state,), f"state {state} holds {share:.2%} of the rows")


def _at_the_edge(tables: Model, sequences: Sequences) -> Iterator[Reason]:
    if bool(tables.emission.collapsed(sequences).any()):
        yield Reason("boundary", (), "a state's spread lies at its floor")
    lone = tables.transition.n_states == 1
    for kind, part in tables.components().items():
        for name, value, low, high in () if lone and kind == "duration" else _bounded(part):
            for where, edge in (("lower", low), ("upper", high)):
                if not math.isfinite(edge):
                    continue
                near = ((value - edge).abs() <= _EDGE * max(1.0, abs(edge))).flatten(1).any(1)
                states = tuple(near.nonzero().flatten().tolist())
                if states:
                    yield Reason("boundary", states, f"{kind} {name} at its {where} bound in states {list(states)}")


def _bounded(part: Component) -> Iterator[tuple[str, Tensor, float, float]]:
    """Parameters (K, ...) of the first model that are held between two numbers."""
    bounds: Any = getattr(part, "bounds", ())
    bounds = bounds() if callable(bounds) else bounds
    if isinstance(bounds, Mapping):
        for name, (low, high) in bounds.items():
            yield name, part.parameters[name][0], float(low), float(high)
    else:
        for column, (low, high) in enumerate(bounds):
            yield "shape", part.parameters["shape"][0, :, column, None], low, high
    if hasattr(part, "dof_bounds"):
        yield "dof", part.parameters["dof"][0, :, None], *part.dof_bounds


def _states_alike(model: Any, tables: Model, sequences: Sequences) -> Iterator[Reason]:
    n_states = tables.transition.n_states
    if n_states < 2 or not tables.is_exchangeable or getattr(model, "frozen", None):
        return
    try:
        trial = Merging(model, sequences)
        pairs = trial.all_pairs() if n_states <= ALL_PAIRS else trial.closest_pairs(n_states)
        first, second, _ = trial.ranked(pairs, STEPS).row(0)
        _, loss, change = trial.climbed((first, second), _MERGED_STEPS)
    except ValueError:  # a component that has no form with one state less says nothing against the model
        return
    if change < 0:
        detail = f"one state for {first} and {second} would cost {loss:.1f} nats and improve bic by {-change:.1f}"
        yield Reason("two_states_alike", (first, second), detail)
