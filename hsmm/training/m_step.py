"""The M-step: each component for itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hsmm.components.base import Component
from hsmm.components.duration import DurationCounts
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.sequences import Sequences
from hsmm.training.freezing import frozen_parts
from hsmm.training.stationary import with_first_state


def maximise(model: Model, sequences: Sequences, counts: Posterior, frozen: frozenset[str] = frozenset()) -> Model:
    """Models that do not lower the expected complete-data objective of these counts; what is frozen stays."""
    changed: dict[str, Component] = {}
    for kind, part in model.components().items():
        if kind not in frozen:
            changed[kind] = part.maximise(sequences, _counts(kind, counts), frozen_parts(frozen, kind))
    after = replace(model, **changed)  # type: ignore[arg-type]
    return with_first_state(model, after, counts, frozen) if model.initial.follows_transition else after


def _counts(kind: str, counts: Posterior) -> Any:
    """What was counted of this table."""
    if kind == "duration":
        return DurationCounts(counts.duration, counts.residual, counts.tail_stay, counts.tail_leave)
    return counts.state if kind == "emission" else getattr(counts, kind)
