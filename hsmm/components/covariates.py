"""Components whose tables depend on what is known beside the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.sequences import Sequences


@dataclass(frozen=True, kw_only=True, eq=False)
class OnCovariates(Component):
    """Reads the covariates of each row (in an estimator: ``context``), or those of its ``columns``."""

    uses_covariates: ClassVar[bool] = True
    reads_one_row: ClassVar[bool] = False
    """Whether each table is a function of one row's context alone, whatever the other rows are."""

    columns: Sequence[int] | None = None

    def design(self, sequences: Sequences, n_columns: int | None = None) -> Tensor:
        """(N, C) the covariates of every row, or (R, N, C) what an encoder made of them; ``n_columns`` of them, if the
        component was fitted on so many.

        Raises ``ValueError`` where there are none, or not as many.
        """
        found = sequences.covariates if sequences.encoded is None else sequences.encoded
        if found is None:
            raise ValueError(f"the {self.name} component depends on covariates; give them as context=.")
        if self.columns is not None:
            last = max(self.columns)
            if not 0 <= min(self.columns) <= last < found.shape[-1]:
                raise ValueError(f"columns are {list(self.columns)}, but the context has {found.shape[-1]} columns.")
            found = found[..., list(self.columns)]
        if n_columns is not None and found.shape[-1] != n_columns:
            raise ValueError(f"the context has {found.shape[-1]} columns for {self.name}, fitted on {n_columns}.")
        return found


def ahead(context: Tensor, sequences: Sequences) -> Tensor:
    """(…, N, C) the context of the next row, or of a series' last row its own, which no step reads."""
    following = torch.arange(1, context.shape[-2] + 1, device=context.device)
    following[sequences.offsets[1:] - 1] -= 1
    return context[..., following, :]
