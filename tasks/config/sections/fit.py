"""How candidates are fitted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.config.components import TrainerChoice
from tasks.config.durations import Window
from tasks.config.sections.section import Count, Section


class Fit(Section):
    """How every candidate is fitted."""

    pool: Literal["pooled", "per_series", "shared"] = "pooled"
    """One model of all series together; one for each; or one whose states are common, while each series has its own
    moves and durations about those of all, from which it differs as far as its rows say so.
    """
    scale: Literal["series", "pooled", "none"] = "series"
    """Whose mean and spread features are standardised by. Only those that every candidate describes by a location and
    a scale are; counts, categories and positive quantities never. Values that are far and few bend no scale.
    """
    train_window: Window = "all"
    """How far back the training rows reach, such as "10y" or "90d"; "all" is all."""
    n_init: Count = 32
    """Restarts of every candidate."""
    max_iter: Count = 1000
    """Iterations after which a fit stops that has not converged."""
    tol: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-8
    """A fit has converged when an iteration gains less than this, in nats per row."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The same seed and rows give the same model."""
    trainer: TrainerChoice = "em"
    """How parameters are learnt."""
    frozen: tuple[str, ...] = ()
    """Tables, or parts such as "emission.mean", that a refit takes from the champion unchanged. A first fit learns
    them.
    """
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where fits are computed; "auto" is the CPU."""
