"""How far a law's durations reach, and what its geometric tail makes of those beyond its table."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from hsmm.components.duration.base import Duration
from hsmm.types import StateVector

_FARTHEST = 4096
_RARE = 0.01
_ALIKE = 0.1  # relative difference of expected steps


@dataclass(frozen=True, eq=False)
class Beyond:
    """Of each state (R, K), what lies beyond ``max_duration``.

    ``mass`` is P(d > max_duration), ``rest`` the steps that the tail expects of a segment there, whatever its age.
    ``is_even``: whether the family itself expects about as many of a segment just there.
    ``reach`` and ``farthest`` are the shortest tables that leave at most a hundredth and a thousandth of the segments
    beyond them, or 4096.
    """

    mass: StateVector
    rest: StateVector
    is_even: torch.Tensor
    reach: torch.Tensor
    farthest: torch.Tensor


def beyond(law: Duration) -> Beyond:
    """What lies beyond the table of a law with a tail."""
    near = law.log_potentials()
    assert near.log_tail is not None
    mass, rest = near.log_duration[..., -1].exp(), _rest_in(near.log_tail)
    far = replace(law, max_duration=max(2 * law.max_duration, _FARTHEST)).log_potentials()
    assert far.log_tail is not None
    longer = far.log_duration.exp().flip(-1).cumsum(-1).flip(-1)  # column n: P(d > n), n = 0, 1, …
    later = longer[..., 1:].flip(-1).cumsum(-1).flip(-1) + (longer[..., -1] * (_rest_in(far.log_tail) - 1.0))[..., None]
    expected = 1.0 + later / longer[..., :-1].clamp(min=1e-300)  # column n: E[d - n | d > n]
    is_even = (expected[..., law.max_duration] / rest - 1.0).abs() <= _ALIKE
    reach, farthest = ((longer > share).sum(-1).clamp(max=_FARTHEST) for share in (_RARE, _RARE / 10.0))
    return Beyond(mass, rest, is_even, reach, farthest)


def _rest_in(log_tail: StateVector) -> StateVector:
    """Expected steps of a segment that stays in the slot with this log-probability."""
    return -1.0 / torch.expm1(log_tail)
