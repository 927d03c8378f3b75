"""State identity: a refit's states under the ids that the champion's states bear, births and deaths declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

import hsmm
from hsmm import Estimator
from tasks.fitting.bundle import Member
from tasks.fitting.scaling import Scaling


@dataclass(frozen=True)
class Identity:
    """Who is who.

    Attributes
    ----------
    ids
        The persistent id of each state of the model, rising.
    next_id
        The first id that no state has ever had.
    margin
        How decided the match is: 0 (another does as well) to 1.
    births, deaths
        Ids that appear with this model, and ids of the champion that none of its states bears.
    order
        Which state of the model, as it was fitted, each of its states was; empty where they are as they were.
    """

    ids: tuple[int, ...]
    next_id: int
    margin: float
    births: tuple[int, ...] = ()
    deaths: tuple[int, ...] = ()
    order: tuple[int, ...] = ()


def first_identity(model: Estimator, first_id: int = 0) -> Identity:
    """Ids for a model that has no predecessor; those below ``first_id`` were borne by states that it does not know."""
    ids = tuple(range(first_id, first_id + model.n_states))
    return Identity(ids, first_id + model.n_states, 1.0, *((ids, tuple(range(first_id))) if first_id else ()))


def successor(model: Estimator, before: Sequence[Member]) -> Identity:
    """Ids for a model whose states cannot be compared with those before it: none that was ever borne."""
    first = max(member.next_id for member in before)
    births = tuple(range(first, first + model.n_states))
    return Identity(births, births[-1] + 1, 0.0, births, tuple(sorted({i for member in before for i in member.ids})))


def _both_given(scaling: Scaling, reference: Estimator, model: Estimator, rows: pl.DataFrame) -> dict[str, Any]:
    """The rows as the model is asked, with the context if either of the two uses it."""
    return scaling.given(rows, reference if reference.uses_context else model)


def align(
    model: Estimator, scaling: Scaling, champion: tuple[Member, Scaling] | None, rows: pl.DataFrame, first_id: int = 0
) -> tuple[Estimator, Identity]:
    """The model with its states in the champion's order, and their ids, by what both say of the same ``rows``.

    States that are born are given ids from ``first_id`` on, and never one that the champion knows.
    """
    if champion is None:
        return model, first_identity(model, first_id)
    member, scales = champion
    member = replace(member, next_id=max(member.next_id, first_id))
    known = scales.known(rows)
    if known.is_empty():
        return model, successor(model, [member])
    match = hsmm.match_states(
        member.model, model, **_both_given(scaling, member.model, model, known), reference_X=scales.apply(known)
    )
    born = tuple(range(member.next_id, member.next_id + len(match.births)))
    kept = tuple(identity for place, identity in enumerate(member.ids) if place not in match.deaths)
    died = tuple(member.ids[place] for place in match.deaths)
    order = tuple(match.permutation.tolist())
    return match.apply(model), Identity((*kept, *born), member.next_id + len(born), match.margin, born, died, order)
