"""The gate."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.config.sections.section import Count, Section


class Promote(Section):
    """The gate: what a new model must show before it takes the champion's place. Fixed before anything is fitted."""

    min_improvement: Annotated[float, Field(allow_inf_nan=False)] = -0.01
    """Nats per row, on rows that neither was fitted on, by which the new model must predict better; below zero, it may
    be that much worse.
    """
    holdout: Count = 20
    """Newest rows of each series that nothing is fitted on, at most a tenth of it."""
    min_margin: Annotated[float, Field(ge=0, le=1)] = 0.05
    """How clearly every state must be recognised in the champion, 0 to 1."""
    min_share: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """The share of the rows that its rarest state must hold."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.8
    """The share of the champion's series that it must have been fitted on."""
    allow_collapsed: bool = False
    """Whether a state may live on ties or a constant, such as a sensor's zeros at night."""
    max_jump: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 10.0
    """How many times as far as ever before a feature may move at once; beyond that its series has jumped."""
    max_jumped: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of the series that may have jumped since the champion was made."""
