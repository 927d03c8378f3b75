"""The M-step: each component for itself."""

from __future__ import annotations

from dataclasses import replace

from hsmm.components.base import Component
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.sequences import Sequences
from hsmm.training.encoder_step import counts_of, with_better_encoder
from hsmm.training.freezing import frozen_parts
from hsmm.training.stationary import with_first_state


def maximise(model: Model, sequences: Sequences, counts: Posterior, frozen: frozenset[str] = frozenset()) -> Model:
    """Models that do not lower the expected complete-data objective of these counts; what is frozen stays."""
    rows, changed = model.beside(sequences), dict[str, Component]()
    for kind, part in model.components().items():
        if kind not in frozen and kind != "context":
            counted = counts_of(kind, model, rows, counts)
            seen = model.table_rows(kind, rows).rows if kind in ("transition", "duration") else rows
            changed[kind] = part.maximise(seen, counted, frozen_parts(frozen, kind))
    after = replace(model, **changed)  # type: ignore[arg-type]
    if model.context is not None and "context" not in frozen:
        after = with_better_encoder(after, sequences, counts, frozen_parts(frozen, "context"))
    return with_first_state(model, after, counts, frozen) if model.initial.follows_transition else after
