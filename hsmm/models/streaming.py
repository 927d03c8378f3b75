"""What a model knows after the rows so far, kept until the next ones come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hsmm.inference import FilterState
from hsmm.io import load_states, save_states
from hsmm.potentials import Potentials

_OWN, _WIDE = "own", "wide"


@dataclass(frozen=True, eq=False)
class StreamState:
    """All that the rows so far say about the rows to come, under one fitted model.

    ``model.filter_state`` makes it; given as ``after`` with the next rows of the same series, in the same order,
    it gives the same bits as one pass over all rows. ``model`` is the digest of the model it belongs to; ``states``
    are its :class:`~hsmm.inference.FilterState` by the tables they follow: the model's own, and where questions of
    time need wider ones, those. ``rows`` (n_series, n_before, F) are the last rows, which the emission of a model that
    reads them needs; NaN where missing or none, None for other models.
    """

    model: str
    states: Mapping[str, FilterState]
    rows: Tensor | None = None

    @classmethod
    def of(cls, model: str, own: FilterState, wide: FilterState | None, rows: Tensor | None = None) -> StreamState:
        return cls(model, {_OWN: own} if wide is None else {_OWN: own, _WIDE: wide}, rows)

    @property
    def n_series(self) -> int:
        """Series it is the state of."""
        return self.states[_OWN].n_rows.numel()

    @property
    def n_rows(self) -> np.ndarray:
        """(n_series,) rows of each series seen so far."""
        return self.states[_OWN].n_rows.numpy()

    def save(self, folder: str | Path) -> Path:
        """Write it to a folder of safetensors and JSON; :func:`hsmm.load_filter_state` reads it back."""
        return save_states(folder, self.model, self.states, self.rows)

    def own(self) -> FilterState:
        return self.states[_OWN]

    def wide(self, p: Potentials, max_duration: int) -> FilterState:
        """The state that follows tables as wide as those of ``p``, which answer in ``max_duration`` columns."""
        found = self.states.get(_WIDE)
        if found is None or found.steps_left.shape[-1] != p.n_durations:
            raise ValueError(
                f"the state cannot answer with max_duration={max_duration}, because it was made for another; make it "
                f"from the first row on with filter_state(..., max_duration={max_duration})."
            )
        return found


def load_filter_state(folder: str | Path) -> StreamState:
    """The state that ``save`` wrote to this folder. Reads numbers and names, never executes anything."""
    model, states, kept = load_states(folder)
    if _OWN not in states or states.keys() - {_OWN, _WIDE}:
        found = ", ".join(sorted(states)) or "nothing"
        raise ValueError(f"{folder} holds {found}; expected {_OWN}, and maybe {_WIDE}.")
    rows = [state.n_rows.tolist() for state in states.values()]
    if rows[0] != rows[-1]:
        raise ValueError(f"{folder} holds states after {rows[0]} and {rows[-1]} rows; expected the same rows.")
    if kept is not None and len(kept) != len(rows[0]):
        raise ValueError(f"{folder} holds the last rows of {len(kept)} series and states of {len(rows[0])}.")
    return StreamState(model, states, kept)


def check_state(after: Any, model: str, n_series: int) -> None:
    """Raise ``ValueError`` unless ``after`` is the state of this many series under the model of this digest."""
    if not isinstance(after, StreamState):
        raise ValueError(
            f"after is a {type(after).__name__}; expected what filter_state or hsmm.load_filter_state returned."
        )
    if after.model != model:
        raise ValueError(
            f"the state belongs to a model with digest {after.model[:12]}, this one's is {model[:12]}; a refit model "
            "needs a state of its own: call its filter_state on the rows so far."
        )
    if after.n_series != n_series:
        raise ValueError(
            f"the state is of {after.n_series} series but the rows are of {n_series}; give the next rows of each of "
            "them, in the same order."
        )
