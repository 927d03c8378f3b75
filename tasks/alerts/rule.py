"""The rule for states: which entries and changes matter, by persistent ids, and at which rows they happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.alerts.hysteresis import Hysteresis, beginnings, last_before
from tasks.config.errors import ConfigurationError
from tasks.config.sections.alerts import EVERY, Alerts
from tasks.config.settings import Settings
from tasks.config.settings_errors import ended, nearest
from tasks.tables.names import read_names

ANY = -1


@dataclass(frozen=True)
class Rule:
    """What matters, by persistent ids; ``ANY`` stands for every state."""

    states: tuple[int, ...]
    changes: tuple[tuple[int, int], ...]
    hysteresis: Hysteresis

    def matters(self, before: int, after: int) -> bool:
        """Whether a change from one state to another does."""
        return any(a in (ANY, before) and b in (ANY, after) for a, b in self.changes)

    def watched(self, n_states: int) -> np.ndarray:
        """(n_states,) whether the entry of a state, from wherever, may be an alert."""
        ids = range(n_states)
        return np.array([k in self.states or any(self.matters(a, k) for a in ids if a != k) for k in ids], dtype=bool)

    def found(self, probabilities: np.ndarray, first: np.ndarray) -> Found:
        """What (n_rows, n_states) filtered probabilities make of the rule; ``first`` marks each series' first row."""
        within = self.hysteresis.entered(probabilities, first)
        began = beginnings(within, first)
        entered = np.where(began.any(axis=1), began.argmax(axis=1), -1)
        return Found(within, began, entered, last_before(entered, first))


@dataclass(frozen=True)
class Found:
    """What a rule found.

    Attributes
    ----------
    within, began
        (n_rows, n_states) whether a row lies within a state, and whether it is the row at which that was confirmed.
    entered, before
        (n_rows,) the state that was confirmed at the row, and the one confirmed last before it; -1 for none. Where
        several are at the same row, which the configuration allows of single states only, that of the lowest id.
    """

    within: np.ndarray
    began: np.ndarray
    entered: np.ndarray
    before: np.ndarray


def rule_for(settings: Settings) -> Rule:
    """The configuration's rule, its names read as the ids that bear them.

    Raises ``ConfigurationError`` for a state that there is not.
    """
    alerts, names = settings.alerts, read_names(settings.output.states, settings.name)
    ids = _Ids(settings, names)
    return Rule(
        tuple(ids.of("alerts.states", state) for state in alerts.states),
        tuple((ids.of("alerts.changes", a), ids.of("alerts.changes", b)) for a, b in alerts.patterns),
        hysteresis_of(alerts),
    )


def hysteresis_of(alerts: Alerts) -> Hysteresis:
    """When a state is entered and left."""
    return Hysteresis(alerts.probability, alerts.release, alerts.confirm)


@dataclass(frozen=True)
class _Ids:
    settings: Settings
    names: Mapping[int, str]

    def of(self, key: str, state: int | str) -> int:
        """The id of a state that is given by name or number."""
        if state == EVERY:
            return ANY
        for identity, name in self.names.items():
            if name == state:
                return identity
        if str(state).isdigit() and self._is_there(int(state)):
            return int(state)
        raise ConfigurationError(ended(f"{key}: found {state!r}; expected {self._expected(str(state))}"))

    def _is_there(self, state: int) -> bool:
        """Before the first night, ids are the places of the candidates' states."""
        return state in self.names if self.names else state < max(self.settings.model.n_states)

    def _expected(self, state: str) -> str:
        if self.names:
            return f"the name or number of a state: {nearest(state, [*self.names.values(), *map(str, self.names)])}"
        last = max(self.settings.model.n_states) - 1
        return (
            f"a number from 0 to {last}, since no state of {self.settings.name} has a name yet: run it once without, "
            "then name its states with `hsmm name`"
        )
