"""Multinomial logistic regression on expected counts, one for each restart and unit: a state, or a first row."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.components.ascent import choose_entries, longest_step

_STEP_SIZES = (1.0, 0.5, 0.2, 0.05, 0.005)
_LONGEST = 8.0  # of a step in a logit
_ROUNDING = 1e-14  # of an objective: a last, tiny step must not depend on it
_MOST_CELLS = 4_000_000  # of the curvatures by row that are held at once
_MOST_COORDINATES = 200  # of a unit whose curvature is made; more climb by a bound of it


def newton_step(
    point: Tensor, design: Tensor, counts: Tensor, possible: Tensor, movable: Tensor, penalty: float, largest: float
) -> Tensor:
    """One damped Newton step from ``point`` (R, U, J, C), its last axis the columns of ``design`` (R, N, C).

    The objective of each (restart, unit) is Σ counts · log softmax(point · design) - penalty / 2 · Σ (coef - mean)²,
    with ``counts`` (R, U, J, N), coef all columns but the first, the mean over ``possible`` (U, J) choices. Only
    ``movable`` entries change, within ±``largest``; a unit that every step size lowers stays. Where there are very many
    coordinates, the step is that of a lower bound of the curvature (Böhning 1992).
    """
    reached = _objective(point, design, counts, possible, penalty)
    gradient = _gradient(point, design, counts, possible, penalty)
    pressed = ((point >= largest) & (gradient > 0)) | ((point <= -largest) & (gradient < 0))
    if point.shape[2] * point.shape[3] > _MOST_COORDINATES:
        step = _bounded_step(gradient, design, counts, possible, movable, penalty)
    else:
        step = _exact_step(point, gradient, design, counts, possible, movable.unsqueeze(-1) & ~pressed, penalty)

    def trial(size: float) -> Tensor:
        return (point + size * step).clamp(-largest, largest)

    def value(there: Tensor) -> Tensor:
        return _objective(there, design, counts, possible, penalty)

    return longest_step(point, reached, trial, value, _STEP_SIZES, choose_entries, _ROUNDING)[0]


def _objective(point: Tensor, design: Tensor, counts: Tensor, possible: Tensor, penalty: float) -> Tensor:
    """(R, U)"""
    log_table = _log_table(point, design, possible)
    value = (counts * log_table.masked_fill(~possible.unsqueeze(-1), 0.0)).sum((2, 3))
    return value - 0.5 * penalty * centred(point[..., 1:], possible).square().sum((-1, -2))


def _gradient(point: Tensor, design: Tensor, counts: Tensor, possible: Tensor, penalty: float) -> Tensor:
    """(R, U, J, C)"""
    residual = counts - counts.sum(2, keepdim=True) * _log_table(point, design, possible).exp()
    gradient = (residual.flatten(1, 2) @ design).view(point.shape)
    gradient[..., 1:] -= penalty * centred(point[..., 1:], possible)
    return gradient


def _exact_step(
    point: Tensor, gradient: Tensor, design: Tensor, counts: Tensor, possible: Tensor, moving: Tensor, penalty: float
) -> Tensor:
    """Newton's, of the coordinates that are ``moving`` (R, U, J, C)."""
    r, u, j, c = point.shape
    curvature = point.new_zeros(r, u * j * j, c * c)
    for rows in torch.arange(design.shape[1], device=design.device).split(max(1, _MOST_CELLS // (r * u * j * j))):
        x, total = design[:, rows], counts[..., rows].sum(2, keepdim=True)
        p = _log_table(point, x, possible).exp()
        weight = -total.unsqueeze(2) * p.unsqueeze(3) * p.unsqueeze(2)
        weight.diagonal(dim1=2, dim2=3).add_((total * p).transpose(2, 3))
        curvature = curvature + weight.flatten(1, 3) @ (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(2)
    hessian = curvature.view(r, u, j, j, c, c).permute(0, 1, 2, 4, 3, 5) + penalty * _ridge(possible, c).to(point)
    size = j * c
    hessian, moving = hessian.reshape(r, u, size, size), moving.view(r, u, size)
    hessian = torch.where(moving.unsqueeze(-1) & moving.unsqueeze(-2), hessian, 0.0)
    scale = hessian.diagonal(dim1=-2, dim2=-1)
    damping = torch.where(moving, 1e-12 * scale.amax(-1, keepdim=True) + 1e-30, 1.0)
    slope = torch.where(moving, gradient.view(r, u, size), 0.0)
    found = torch.linalg.solve(hessian + torch.diag_embed(damping), slope.unsqueeze(-1)).squeeze(-1)
    found = found * (_LONGEST / found.abs().amax(-1, keepdim=True).clamp(min=_LONGEST))
    return found.view(r, u, j, c)


def _bounded_step(
    gradient: Tensor, design: Tensor, counts: Tensor, possible: Tensor, movable: Tensor, penalty: float
) -> Tensor:
    """The step where the curvature is nowhere more than ½ Σ counts · xxᵀ for each choice: never too long."""
    total = counts.sum(2)
    n_columns = design.shape[-1]
    curvature = torch.stack([design.mT @ (weight.unsqueeze(-1) * design) for weight in total.unbind(1)], 1)
    ridge = torch.full((n_columns,), penalty, dtype=design.dtype, device=design.device)
    ridge[0] = 0.0
    scale = curvature.diagonal(dim1=-2, dim2=-1).amax(-1)
    damping = torch.diag_embed((1e-10 * scale + 1e-30).unsqueeze(-1).expand(-1, -1, n_columns))
    found = torch.linalg.solve(0.5 * curvature + torch.diag(ridge) + damping, gradient.mT).mT
    return torch.where(movable.unsqueeze(-1), found - _reference(found, possible, movable), 0.0)


def _reference(step: Tensor, possible: Tensor, movable: Tensor) -> Tensor:
    """(R, U, 1, C) the step of the choice that the others are relative to; 0 where none is."""
    fixed = (possible & ~movable).unsqueeze(-1)
    return torch.where(fixed, step, 0.0).sum(-2, keepdim=True)


def _log_table(point: Tensor, design: Tensor, possible: Tensor) -> Tensor:
    """(R, U, J, N)"""
    r, u, j, c = point.shape
    logits = (point.reshape(r, u * j, c) @ design.mT).view(r, u, j, -1)
    return logits.masked_fill(~possible.unsqueeze(-1), -torch.inf).log_softmax(2)


def centred(coef: Tensor, possible: Tensor) -> Tensor:
    """Coefficients (..., U, J, C) less their mean over the ``possible`` choices (U, J) of their unit; 0 elsewhere."""
    cells = possible.unsqueeze(-1)
    mean = torch.where(cells, coef, 0.0).sum(-2, keepdim=True) / cells.sum(-2, keepdim=True)
    return torch.where(cells, coef - mean, 0.0)


def _ridge(possible: Tensor, n_columns: int) -> Tensor:
    """(U, J, C, J, C) the second derivatives of ½ Σ (coef - mean)² in each unit."""
    cells = possible.double()
    centring = torch.diag_embed(cells) - cells.unsqueeze(-1) * cells.unsqueeze(-2) / cells.sum(-1)[:, None, None]
    columns = torch.eye(n_columns, dtype=torch.float64, device=cells.device)
    columns[0, 0] = 0.0
    return torch.einsum("ijl,ce->ijcle", centring, columns)
