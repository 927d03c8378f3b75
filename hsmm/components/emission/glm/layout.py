"""Where each parameter of each state stands among the coordinates that a solver sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

INTERCEPT = -1


@dataclass(frozen=True, eq=False)
class Layout:
    """G groups of states share coordinates: one group of all states where something is tied, else one for each.

    ``place`` (G, K/G, M·P) coordinate at each place; ``feature`` (Q,) the column a coordinate belongs to, or
    ``INTERCEPT``; ``block`` (Q,) which coefficient vector it is part of; ``first`` (Q,) its first place in a group.
    """

    place: Tensor
    feature: Tensor
    block: Tensor
    first: Tensor

    @property
    def n_coordinates(self) -> int:
        return len(self.feature)


@cache
def layout(n_states: int, n_categories: int, n_columns: int, tied: frozenset[str], device: torch.device) -> Layout:
    """``n_columns`` counts the intercept's column of ones; ``tied`` names parameters that all states share."""
    together = bool(tied & {"coef", "intercept"})
    members = n_states if together else 1
    number: dict[tuple[int, int, int], int] = {}
    place = torch.empty(members, n_categories * n_columns, dtype=torch.int64)
    for state in range(members):
        for at in range(n_categories * n_columns):
            category, column = divmod(at, n_columns)
            owner = 0 if ("coef" if column else "intercept") in tied else state
            place[state, at] = number.setdefault((owner, category, column), len(number))
    keys, places = list(number), place.flatten().tolist()
    return Layout(
        place=place.expand(n_states // members, -1, -1).to(device),
        feature=torch.tensor([column - 1 for _, _, column in keys], device=device),
        block=torch.tensor([owner * n_categories + category for owner, category, _ in keys], device=device),
        first=torch.tensor([places.index(coordinate) for coordinate in range(len(keys))], device=device),
    )
