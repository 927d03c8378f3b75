"""What is doubtful about a fitted candidate, as codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from warnings import WarningMessage

from hsmm.components.model import Model
from hsmm.errors import ConvergenceWarning, DataWarning, DurationWallWarning
from hsmm.selection.merging import STEPS, Merging
from hsmm.selection.soundness import DEAD_SHARE, state_shares
from hsmm.sequences import Sequences
from hsmm.training.together import Fitting

Code = Literal[
    "failed", "odd_data", "not_converged", "duration_wall", "boundary", "dead_state", "two_states_alike", "not_tested"
]  # fmt: skip
ALL_PAIRS = 4
"""Up to so many states every pair is tested for being alike; beyond, the closest pairs, one for each state."""
_MERGED_STEPS = 10
_EDGE = 1e-9
_FAILURES = (ArithmeticError, RuntimeError, ValueError)  # torch's LinAlgError is a RuntimeError


@dataclass(frozen=True)
class Reason:
    """One doubt: its ``code``, the ``states`` concerned (none: the whole fit), and a sentence."""

    code: Code
    states: tuple[int, ...]
    detail: str


def told_reasons(model: Any, caught: list[WarningMessage]) -> tuple[Reason, ...]:
    """The doubts that a fit told of itself, by its warnings."""
    return tuple(_of_warnings(model, caught))


def seeking_reasons(model: Any, sequences: Sequences) -> Fitting[tuple[Reason, ...]]:
    """The doubts that tests of a model fitted on these rows bring up, to be made alone or together with others.

    A test that fails on a model says nothing against it, but for the doubt that it was not made ("not_tested").
    """
    tables = model._fitted_model()
    found = [
        *_tested("dead states", lambda: _dead_states(tables, sequences)),
        *_tested("values at their bounds", lambda: _at_the_edge(tables, sequences)),
    ]
    try:
        found += yield from _states_alike(model, tables, sequences)
    except _FAILURES as error:
        found.append(_not_tested("states alike", error))
    return tuple(found)


def _tested(what: str, test: Callable[[], Iterator[Reason]]) -> tuple[Reason, ...]:
    try:
        return tuple(test())
    except _FAILURES as error:
        return (_not_tested(what, error),)


def _not_tested(what: str, error: Exception) -> Reason:
    return Reason("not_tested", (), f"the test for {what} failed: {error}")


def _of_warnings(model: Any, caught: list[WarningMessage]) -> Iterator[Reason]:
    codes: dict[type[Warning], Code] = {DurationWallWarning: "duration_wall", DataWarning: "odd_data"}
    for warning in caught:
        for category, code in codes.items():
            if issubclass(warning.category, category):
                yield Reason(code, (), str(warning.message))
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught) and not model.converged_:
        yield Reason("not_converged", (), f"stopped after {model.n_iter_} iterations")


def _dead_states(tables: Model, sequences: Sequences) -> Iterator[Reason]:
    for state, share in enumerate(state_shares(tables, sequences).tolist()):
        if share < DEAD_SHARE:
            yield Reason("dead_state", (state,), f"state {state} holds {share:.2%} of the rows")


def _at_the_edge(tables: Model, sequences: Sequences) -> Iterator[Reason]:
    if bool(tables.emission.collapsed(sequences).any()):
        yield Reason("boundary", (), "a state's spread lies at its floor")
    lone = tables.transition.n_states == 1
    for kind, part in tables.components().items():
        for name, edges in () if lone and kind == "duration" else part.bounds().items():
            value = part.parameters[name][0]
            for where, edge in zip(("lower", "upper"), map(value.new_tensor, edges), strict=True):
                near = edge.isfinite() & ((value - edge).abs() <= _EDGE * edge.abs().clamp(min=1.0))
                states = tuple(near.view(len(near), -1).any(1).nonzero().flatten().tolist())
                if states:
                    yield Reason("boundary", states, f"{kind} {name} at its {where} bound in states {list(states)}")


def _states_alike(model: Any, tables: Model, sequences: Sequences) -> Fitting[list[Reason]]:
    n_states = tables.transition.n_states
    if n_states < 2 or not tables.is_divisible or getattr(model, "frozen", None) or tables.context is not None:
        return []
    try:
        trial = Merging(model, sequences)
        pairs = trial.all_pairs() if n_states <= ALL_PAIRS else trial.closest_pairs(n_states)
        first, second, _ = (yield from trial.ranking(pairs, STEPS)).row(0)
        _, loss, change = yield from trial.climbing((first, second), _MERGED_STEPS)
    except ValueError:  # a component that has no form with one state less says nothing against the model
        return []
    if change >= 0:
        return []
    detail = f"one state for {first} and {second} would cost {loss:.1f} nats and improve bic by {-change:.1f}"
    return [Reason("two_states_alike", (first, second), detail)]
