"""The M-step of linear maps of the rows before, with what is missing at its conditional moments."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsmm.components.emission.autoregressive.lags import Lagged, Pattern, second_moments
from hsmm.numerics import inverse_of_lower
from hsmm.types import StateSeries

_DEPENDENT = 1e-13
_EMPTY = 1e-8


@dataclass(frozen=True, eq=False)
class Maps:
    """R models of K states in ``units`` of the rows: x the rows before, in which lost cells have mean and variance
    ``lost`` (R, L · F) each, y = ``coef`` (R, K, F, 1 + L · F) · (1, x) + noise of ``covariance`` (R, K, F, F)."""

    coef: Tensor
    covariance: Tensor
    lost: tuple[Tensor, Tensor]

    def regressed(self, lagged: Lagged, counts: StateSeries, free: Tensor, *, is_dense: bool) -> Maps:
        """The best maps of this covariance in what is ``free`` (F, 1 + L · F), a constant being the value where x is at
        the mean of lost cells, and the covariance of what is left; states without weight stay as they are.

        Where the maps are ``is_dense``, all of them free, the covariance does not matter to them.
        """
        pooled = lagged.pooled
        whole = pooled.rotation.shape == (free.shape[1],) * 2 or len(lagged.patterns) == 1
        if is_dense and whole:
            change = pooled.of_cells
            sums, weight = self._moments(lagged, counts, change)
            old = (self.coef - pooled.coef) @ pooled.to_cells
            step = _dense_step(sums, old)
            found, coef = old + step, self.coef + step @ pooled.rotation
        else:
            sums, weight = self._moments(lagged, counts, None)
            turn = self._from_centre(sums.shape[-1])
            old = self._centred(self.coef, 1.0)
            step = _sparse_step(turn @ sums @ turn.mT, old, self.covariance, free)
            coef = found = self._centred(old + step, -1.0)
        return replace(self, coef=coef, covariance=self._left(sums, found, weight))

    def _left(self, sums: Tensor, coef: Tensor, weight: Tensor) -> Tensor:
        """(R, K, F, F) the covariance of what maps leave."""
        unit = torch.eye(coef.shape[-2], dtype=coef.dtype, device=coef.device).expand(*coef.shape[:-1], -1)
        leaves = torch.cat([-coef, unit], -1)
        scatter = leaves @ sums @ leaves.mT / weight.clamp(min=_EMPTY)[..., None, None]
        scatter = 0.5 * (scatter + scatter.mT)
        return torch.where((weight > _EMPTY)[..., None, None], scatter, self.covariance)

    def _moments(self, lagged: Lagged, counts: StateSeries, change: Tensor | None) -> tuple[Tensor, Tensor]:
        """Second moments of (1, x, y), in the coordinates that ``change`` makes of them, and the weights (R, K)."""
        parts, weight = [], torch.zeros_like(counts[:, 0])
        for pattern in lagged.patterns:
            own = counts[:, pattern.rows]
            weight = weight + own.sum(1)
            if pattern.is_complete and change is not None:
                parts.append(second_moments(lagged.pooled.coordinates, own))
                continue
            found = second_moments(lagged.cells(pattern), own)
            if not pattern.is_complete:
                found = self._completed(found, pattern)
            parts.append(found if change is None else change @ found @ change.mT)
        return sum(parts[1:], parts[0]), weight

    def _completed(self, sums: Tensor, pattern: Pattern) -> Tensor:
        """(R, K, P, P) expected second moments of all cells (1, x, y) from those of the cells that are known."""
        n_features, p = self.coef.shape[-2:]
        joint, mean = self.joint(pattern)
        n_lost = len(pattern.lost)
        hidden = torch.cat([torch.arange(n_lost, device=mean.device), n_lost + pattern.absent])
        seen = n_lost + pattern.present
        whitener = self.whitener(pattern)
        gain = joint[..., hidden[:, None], seen] @ whitener.mT @ whitener
        spread = joint[..., hidden[:, None], hidden] - gain @ joint[..., seen[:, None], hidden]
        r, k = self.coef.shape[:2]
        n_known = 1 + len(pattern.past)
        cells = mean.new_zeros(r, k, len(seen), n_known + len(seen))
        cells[..., torch.arange(len(seen)), n_known + torch.arange(len(seen))] = 1.0
        off = cells - _padded(mean[..., seen, :], len(seen))
        lift = mean.new_zeros(r, k, p + n_features, n_known + len(seen))
        lift[..., 0, 0] = 1.0
        lift[..., 1 + pattern.past, 1 + torch.arange(len(pattern.past), device=mean.device)] = 1.0
        lift[..., p + pattern.present, :] = cells
        place = torch.cat([1 + pattern.lost, p + pattern.absent])
        lift[..., place, :] = _padded(mean[..., hidden, :], len(seen)) + gain @ off
        found = lift @ sums @ lift.mT
        found[..., place[:, None], place] += sums[..., :1, :1] * spread
        return 0.5 * (found + found.mT)

    def joint(self, pattern: Pattern) -> tuple[Tensor, Tensor]:
        """Of lost cells of the rows before and all of the row's: (R, K, m + F, m + F) covariance, and
        (R, K, m + F, 1 + c) mean as a map of 1 and of what is known of the rows before."""
        known, lost = 1 + pattern.past, 1 + pattern.lost
        r, k, n_features = self.coef.shape[:3]
        centre, variance = (x[:, None, pattern.lost] for x in self.lost)
        through, n_lost = self.coef[..., lost], len(lost)
        carried = through * variance.unsqueeze(-2)
        joint = self.coef.new_zeros(r, k, n_lost + n_features, n_lost + n_features)
        joint[..., :n_lost, :n_lost] = torch.diag_embed(variance)
        joint[..., n_lost:, :n_lost], joint[..., :n_lost, n_lost:] = carried, carried.mT
        joint[..., n_lost:, n_lost:] = self.covariance + carried @ through.mT
        mean = self.coef.new_zeros(r, k, n_lost + n_features, 1 + len(known))
        mean[..., :n_lost, 0] = centre
        mean[..., n_lost:, 0] = self.coef[..., 0] + (through * centre.unsqueeze(-2)).sum(-1)
        mean[..., n_lost:, 1:] = self.coef[..., known]
        return joint, mean

    def whitener(self, pattern: Pattern) -> Tensor:
        """(R, K, f, f) lower triangular W with WᵀW the inverse covariance of what these rows observe.

        It is made of the square roots of noise and of lost cells, so that it is there however unlike they are.
        """
        seen = pattern.present
        root = torch.linalg.cholesky(self.covariance[..., seen[:, None], seen]).mT
        if len(pattern.lost):
            spread = self.lost[1][:, None, pattern.lost].sqrt().unsqueeze(-1)
            through = self.coef[..., seen[:, None], 1 + pattern.lost].mT
            root = torch.linalg.qr(torch.cat([root, spread * through], -2)).R
            root = root * torch.where(root.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).unsqueeze(-1)
        return inverse_of_lower(root.mT)

    def _centred(self, coef: Tensor, sign: float) -> Tensor:
        """Maps of (1, x - centre) from those of (1, x), or the other way round."""
        constant = coef[..., 0] + sign * (coef[..., 1:] * self.lost[0][:, None, None]).sum(-1)
        return torch.cat([constant.unsqueeze(-1), coef[..., 1:]], -1)

    def _from_centre(self, size: int) -> Tensor:
        """(R, 1, P, P) what makes (1, x - centre, y) of (1, x, y)."""
        centre = self.lost[0]
        turn = torch.eye(size, dtype=centre.dtype, device=centre.device).repeat(len(centre), 1, 1, 1)
        turn[:, 0, 1 : 1 + centre.shape[1], 0] = -centre
        return turn


def _dense_step(sums: Tensor, coef: Tensor) -> Tensor:
    """(R, K, F, p) from maps to those of least squares, in the directions that the rows tell apart."""
    p = coef.shape[-1]
    regressors, own = sums[..., :p, :p], sums[..., p:, :p]
    return (own - coef @ regressors) @ _inverse(regressors)


def _sparse_step(sums: Tensor, coef: Tensor, covariance: Tensor, free: Tensor) -> Tensor:
    """(R, K, F, p) from maps to the best with this covariance of which only what is ``free`` (F, p) moves."""
    p = coef.shape[-1]
    regressors, own = sums[..., :p, :p], sums[..., p:, :p]
    precision = torch.linalg.inv(covariance)
    row, column = free.nonzero().unbind(1)
    slope = (precision @ (own - coef @ regressors))[..., row, column]
    bend = precision[..., row[:, None], row] * regressors[..., column[:, None], column]
    step = torch.zeros_like(coef)
    step[..., row, column] = (_inverse(bend) @ slope.unsqueeze(-1)).squeeze(-1)
    return step


def _inverse(matrix: Tensor) -> Tensor:
    """The inverse of (…, p, p) positive semi-definite matrices where they have one, 0 in other directions."""
    size = matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    size = torch.where(size > 0, size, 1.0)
    values, vectors = torch.linalg.eigh(matrix / size.unsqueeze(-1) / size.unsqueeze(-2))
    least = _DEPENDENT * values[..., -1:]
    inverse = torch.where(values > least.clamp(min=1e-300), 1.0 / values, 0.0)
    vectors = vectors / size.unsqueeze(-1)
    return (vectors * inverse.unsqueeze(-2)) @ vectors.mT


def _padded(maps: Tensor, n_more: int) -> Tensor:
    return torch.nn.functional.pad(maps, (0, n_more))
