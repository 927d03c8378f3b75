"""States of several chains together, and which state of each chain they hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MEMBER = "member"
"""Of the parameter (R, K, C) that says which state of each chain every state holds: its axis of states is the first."""
MOST_STATES = 512
"""Of the product; a row costs their square."""


def as_chains(chains: Any) -> tuple[int, ...]:
    """The number of states of each chain. Raises ``ValueError`` unless each is 2 or more, and few together."""
    given = list(chains) if isinstance(chains, (list, tuple)) else []
    if not given or any(isinstance(k, bool) or not isinstance(k, int) or k < 2 for k in given):
        raise ValueError(f"chains is {chains!r}; expected the number of states of each chain, 2 or more, as in [2, 3].")
    if (n_states := math.prod(given)) > MOST_STATES:
        raise ValueError(f"chains {given} make {n_states:,} states together; expected at most {MOST_STATES}.")
    return tuple(given)


def check_number(chains: Sequence[int], n_states: int) -> None:
    """Raise ``ValueError`` unless the chains make so many states together."""
    if math.prod(chains) != n_states:
        raise ValueError(
            f"chains {list(chains)} make {math.prod(chains)} states together, but the model has n_states={n_states}."
        )


def members(chains: Sequence[int], n_restarts: int) -> Tensor:
    """(R, K, C) the states of the chains, the last chain's changing fastest."""
    table = torch.cartesian_prod(*(torch.arange(k, dtype=torch.float64) for k in chains)).view(-1, len(chains))
    return table.expand(n_restarts, -1, -1).clone()


def indicators(member: Tensor, chains: Sequence[int]) -> list[Tensor]:
    """For each chain (R, K, k) 1 where a state holds that of the chain, else 0."""
    return [torch.nn.functional.one_hot(member[..., c].long(), k).double() for c, k in enumerate(chains)]


def check_members(member: Tensor, chains: Sequence[int]) -> None:
    """Raise ``ValueError`` unless every combination of the chains' states is there once."""
    wanted = members(chains, 1)[0]
    for found in member:
        if found.shape != wanted.shape or not torch.equal(torch.unique(found, dim=0), wanted):
            raise ValueError(f"{MEMBER} does not hold each combination of the states of chains {list(chains)} once.")
