"""The M-step: each component for itself."""

from __future__ import annotations

from dataclasses import replace

from hsmm.components.duration import DurationCounts
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.sequences import Sequences


def maximise(model: Model, sequences: Sequences, counts: Posterior) -> Model:
    """Models that do not lower the expected complete-data objective of these counts."""
    duration = model.duration
    if duration is not None:
        duration = duration.maximise(
            DurationCounts(counts.duration, counts.residual, counts.tail_stay, counts.tail_leave)
        )
    return replace(
        model,
        initial=model.initial.maximise(counts.initial),
        transition=model.transition.maximise(sequences, counts.transition),
        duration=duration,
        emission=model.emission.maximise(sequences, counts.state),
    )
