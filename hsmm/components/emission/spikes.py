"""States that live on few distinct values: what the likelihood gains from ties and single rows is no regime.

A state is believed to be narrow if half as many distinct values lie within its spread as it has rows, and a few at
least where its spread is the least allowed; or if it holds about its fair share of all rows. Otherwise it is taken to
be as wide as its fair share of all distinct values around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from hsmm.numerics import eigvalsh
from hsmm.sequences import Sequences, distinct_values

NARROW = 1e-2  # share of a feature's variance below which a state is looked at
_FEWEST = 5
_FAIR, _LARGE = 0.8, 0.25  # of a state's fair share, and of all rows: what a regime of equal values holds at least
AT_FLOOR = 1.01


def narrow_axes(variance: Tensor, sequences: Sequences, whole: Tensor | None = None) -> Tensor:
    """(R, K, F) variances so small, beside the ``whole`` (F,) by default of all rows, that a state might live on few
    values."""
    whole = sequences.tamed.scale**2 if whole is None else whole
    return (variance < NARROW * whole) & (sequences.moments[1] > 0)


def narrow_directions(covariance: Tensor, sequences: Sequences) -> Tensor:
    """(R, K, F) eigenvalues, smallest first, that are so small in units of the features' scales."""
    return eigvalsh(_standard(covariance, sequences)) < NARROW


def widened_axes(mean: Tensor, variance: Tensor, floor: Tensor, sequences: Sequences, weights: Tensor) -> Tensor:
    """(R, K, F) the variances, no state narrower along an axis than its distinct values allow.

    ``floor`` (F,) are the least variances, ``weights`` (R, N, K) the posterior weights of rows.
    """
    made, scale = widened_about(mean.unsqueeze(1), variance, floor, sequences, weights), sequences.tamed.scale
    floored = variance <= AT_FLOOR * floor
    for restart, state, width in _lone(mean / scale, sequences.values / scale, sequences, weights, floored.any(-1)):
        made[restart, state] = torch.maximum(made[restart, state], (width * scale) ** 2)
    return made


def widened_about(
    centre: Tensor,
    variance: Tensor,
    floor: Tensor,
    sequences: Sequences,
    weights: Tensor,
    *,
    n_slopes: int = 0,
    whole: Tensor | None = None,
    shortest: Callable[[Tensor], Tensor] = lambda difference: difference,
) -> Tensor:
    """(R, K, F) the variances about centres (R, N, K, F), or (R, 1, K, F), that ``n_slopes`` numbers besides the level
    have been fitted for, none narrower than its distinct values allow.

    ``whole`` is that of :func:`narrow_axes`; ``shortest`` makes distances of differences where values lie on a circle.
    """
    made, floored = variance.clone(), variance <= AT_FLOOR * floor
    for where in narrow_axes(variance, sequences, whole).nonzero().tolist():
        restart, state, feature = where
        seen = sequences.observed[:, feature]
        values = sequences.values[seen, feature]
        distance = shortest((sequences.values[:, feature] - centre[restart, :, state, feature])[seen])
        own, fewest = float(variance[tuple(where)]) ** 0.5, _FEWEST if floored[tuple(where)] else 1
        mass = float(weights[restart, seen, state].sum())
        levels = distinct_values(distance).abs() if centre.shape[1] == 1 else _nearest(values, distance)
        width = _width(levels, len(values), mass, weights.shape[-1], own, fewest + n_slopes)
        made[tuple(where)] = width**2
    return made


def _nearest(values: Tensor, distance: Tensor) -> Tensor:
    """(U,) how near each distinct value comes to its centre."""
    levels, of_row = values.unique(return_inverse=True)
    return distance.new_full((len(levels),), torch.inf).scatter_reduce(0, of_row, distance.abs(), "amin")


def widened_matrices(
    mean: Tensor, covariance: Tensor, floored: Tensor, sequences: Sequences, weights: Tensor
) -> Tensor:
    """(R, K, F, F) the covariances, no state narrower in any direction than its distinct values allow.

    ``floored`` (R, K) are states of the least variance in a direction.
    """
    scale, whole = sequences.tamed.scale, sequences.observed.all(1)
    rows, centres = sequences.values / scale, mean / scale

    def nearest(restart: int, state: int, direction: Tensor) -> Iterator[Tensor]:
        yield distinct_values((rows[whole] - centres[restart, state]) @ direction).abs()

    sizes, directions = torch.linalg.eigh(_standard(covariance, sequences))
    sizes = _widened_along(sizes, directions, nearest, floored, weights[:, whole])
    for restart, state, width in _lone(centres, rows, sequences, weights, floored):
        sizes[restart, state] = sizes[restart, state].clamp(min=width**2)
    return _composed(sizes, directions, scale)


def widened_noise(
    rest: Tensor, covariance: Tensor, floored: Tensor, rows: tuple[Tensor, Tensor], weights: Tensor, scale: Tensor
) -> Tensor:
    """(R, K, F, F) the covariances of what states leave of rows, no narrower than distinct values of these allow.

    ``rest`` (R, N, K, F) is what is left of the ``rows`` (N, F) and (N, L, F) of those before, ``scale`` (F,) the unit
    of what is left on the whole. Rows that repeat one of those before are one value together: foretold to the last
    digit, they tell no more than ties do.
    """
    sizes, directions = torch.linalg.eigh(covariance / (scale[:, None] * scale))

    def nearest(restart: int, state: int, direction: Tensor) -> Iterator[Tensor]:
        values, before = ((x / scale) @ direction for x in rows)
        distance = (rest[restart, :, state] / scale) @ direction
        again = (before == values.unsqueeze(1)).any(1)
        together = distance[again].abs().sort().values[:1]
        for lone in (_nearest(values[~again], distance[~again]), distinct_values(distance[~again]).abs()):
            yield torch.cat([lone, together])

    return _composed(_widened_along(sizes, directions, nearest, floored, weights), directions, scale)


def _widened_along(
    sizes: Tensor,
    directions: Tensor,
    nearest: Callable[[int, int, Tensor], Iterable[Tensor]],
    floored: Tensor,
    weights: Tensor,
) -> Tensor:
    """(R, K, F) the squared spreads along directions, of how near distinct values come to a restart's state there, the
    widest where these are told apart in several ways."""
    made = sizes.clone()
    for where in (sizes < NARROW).nonzero().tolist() if weights.shape[1] else ():
        restart, state, axis = where
        mass = float(weights[restart, :, state].sum())
        own = float(sizes[tuple(where)].clamp(min=0.0)) ** 0.5
        fewest = _FEWEST if floored[restart, state] else 1
        made[tuple(where)] = max(
            _width(levels, weights.shape[1], mass, weights.shape[-1], own, fewest) ** 2
            for levels in nearest(restart, state, directions[restart, state, :, axis])
        )
    return made


def _composed(sizes: Tensor, directions: Tensor, scale: Tensor) -> Tensor:
    made = (directions * sizes.unsqueeze(-2)) @ directions.mT * (scale[:, None] * scale)
    return 0.5 * (made + made.mT)


def _standard(covariance: Tensor, sequences: Sequences) -> Tensor:
    scale = sequences.tamed.scale
    return covariance / (scale[:, None] * scale)


def _width(levels: Tensor, n_rows: int, mass: float, n_states: int, own: float, fewest: int) -> float:
    """The spread of a state with ``mass`` of ``n_rows`` rows, its own or a wider one; ``levels`` (U,) are distances of
    all distinct values from its centre."""
    if mass >= max(_FAIR / n_states, _LARGE) * n_rows:
        return own
    due = max(0.5 * mass * len(levels) / n_rows, fewest)
    fair = max(len(levels) // n_states, 1)
    if int((levels <= 1.001 * own).sum()) >= min(int(due), fair):
        return own
    return max(own, float(levels.kthvalue(fair).values))


def _lone(
    centres: Tensor, rows: Tensor, sequences: Sequences, weights: Tensor, floored: Tensor
) -> Iterator[tuple[int, int, float]]:
    """Floored states with too few rows for a spread in all directions: restart, state, spread of the nearest rows."""
    n_features, whole = rows.shape[1], sequences.observed.all(1)
    fewest = 2 * n_features + 3
    if n_features < 2 or int(whole.sum()) < fewest * weights.shape[-1]:
        return
    for restart, state in (floored & (weights.sum(1) < fewest)).nonzero().tolist():
        nearest = rows[whole].unique(dim=0) - centres[restart, state]
        distance = nearest.square().mean(1).sqrt()
        yield restart, state, float(distance.kthvalue(min(fewest, len(distance))).values)
