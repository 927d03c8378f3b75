"""What training maximises where every model sees the series of its own unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hsmm.inference import Posterior
from hsmm.training.objective import Objective
from hsmm.units import Units

_BY_ROW = ("log_likelihood", "state")


@dataclass(frozen=True, eq=False)
class ObjectiveOfUnits(Objective):
    """log p(series of the unit) + log-prior of each model; neither states nor weights are known.

    Counts by row and by series are packed as :class:`Units` pack them.
    """

    sequences: Units  # type: ignore[assignment]

    @cached_property
    def n_observations(self) -> Tensor:  # type: ignore[override]
        """(R,) of each model."""
        return self.sequences.n_observed_rows

    def of_models(self, kept: Tensor) -> ObjectiveOfUnits:
        return replace(self, sequences=self.sequences.of_models(kept))

    def counts_of(self, counts: Posterior, kept: Tensor) -> Posterior:
        kept = kept.nonzero().flatten() if kept.dtype == torch.bool else kept
        places = self._places(kept)
        return Posterior(
            **{
                name: value.index_select(int(name in places), places.get(name, kept))
                for name, value in vars(counts).items()
            }
        )

    def with_counts(self, counts: Posterior, models: Tensor, other: Posterior) -> Posterior:
        places = self._places(models)
        return Posterior(
            **{
                name: value.index_copy(int(name in places), places.get(name, models), getattr(other, name))
                for name, value in vars(counts).items()
            }
        )

    def _places(self, models: Tensor) -> dict[str, Tensor]:
        """Where along the second axis lies what belongs to these models."""
        series = torch.isin(self.sequences.owners, models).nonzero().flatten()
        return dict(zip(_BY_ROW, (series, self.sequences.rows_of_models(models)), strict=True))
