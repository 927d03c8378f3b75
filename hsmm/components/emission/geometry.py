"""How an elliptical law measures a block of rows, and the sums that its M-step needs of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from hsmm.numerics import cholesky, inverse_of_lower
from hsmm.sequences import Block

_NOTHING = torch.zeros((), dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Geometry:
    """Place and scatter over the f features of a block, for R models of K states.

    - ``mean`` (R, K, f)
    - ``precision``: by axis 1 / variance (R, K, f), else the lower triangular W (R, K, f, f) with WᵀW the inverse of
      the covariance
    - ``log_variance`` (R, K, f): for complete rows their sum is the log-determinant of the covariance
    """

    block: Block
    mean: Tensor
    precision: Tensor
    log_variance: Tensor

    @classmethod
    def by_variances(cls, block: Block, mean: Tensor, variance: Tensor) -> Self:
        variance = variance.contiguous()
        return cls(block, mean, variance.reciprocal(), variance.log())

    @classmethod
    def by_matrices(cls, block: Block, mean: Tensor, covariance: Tensor) -> Self:
        if len(block.missing):
            seen = block.features
            mean, covariance = mean[..., seen], covariance[..., seen[:, None], seen]
        factor = cholesky(covariance)
        return cls(block, mean, inverse_of_lower(factor), 2.0 * factor.diagonal(dim1=-2, dim2=-1).log())

    @property
    def by_axis(self) -> bool:
        return self.precision.ndim == self.mean.ndim


@dataclass(frozen=True, eq=False)
class Radial:
    """How the density falls with distance: ``peak`` (R, K), the log-density at the mean under unit scatter, and the
    degrees of freedom ``dof`` (R, K) of a Student-t, None for a Gaussian."""

    peak: Tensor
    dof: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over a block's rows: of weights w, and of scaled weights s, w times the row's expected latent precision.

    - ``weight``, ``scaled`` (R, K): Σ w, Σ s
    - ``first`` (R, K, f): Σ s x of the offsets x from the mean, a missing cell as 0
    - ``second``: by axis Σ s x² (R, K, f), else Σ s x xᵀ (R, K, f, f)
    - ``cell_weight``, ``cell_scaled`` (R, K, f or 1): Σ w, Σ s over the rows that observe a feature
    - ``spread``, ``share``, ``share_squared`` (R, K): Σ w log(1 + r), Σ w q, Σ w q², where r is the squared distance
      over the degrees of freedom and q = r / (1 + r); 0 for a Gaussian, whose s is w
    """

    weight: Tensor
    scaled: Tensor
    first: Tensor
    second: Tensor
    cell_weight: Tensor
    cell_scaled: Tensor
    spread: Tensor = _NOTHING
    share: Tensor = _NOTHING
    share_squared: Tensor = _NOTHING

    def where(self, chosen: Tensor, other: Moments) -> Moments:
        """These sums for states where ``chosen`` (R, K) is True, the other's elsewhere."""
        pairs = {name: (one, getattr(other, name)) for name, one in vars(self).items()}
        return Moments(
            **{
                name: torch.where(chosen.view(*chosen.shape, *[1] * (one.ndim - 2)), one, two)
                for name, (one, two) in pairs.items()
            }
        )
