"""States of units with models of their own: one id, and so one name, is one kind of state in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from hsmm import Estimator
from hsmm.identity import match_laws
from tasks.fitting.bundle import Member
from tasks.fitting.scaling import Scaling
from tasks.judgement.align import Identity

_MOST_ROWS = 5_000
_MOST_KIN = 5


@dataclass(frozen=True)
class Kin:
    """A model under persistent ids that others are measured by, and rows of its unit."""

    model: Estimator
    ids: tuple[int, ...]
    scaling: Scaling
    rows: pl.DataFrame


class Kinship:
    """Which kinds of states there are: those of a few models, the kin, and the first id that none has borne yet."""

    def __init__(self, kin: Sequence[Kin], free: int, min_margin: float) -> None:
        self._kin, self._free, self._min_margin = list(kin), free, min_margin

    def settle(
        self, model: Estimator, identity: Identity, new: set[int], scaling: Scaling, rows: pl.DataFrame
    ) -> tuple[Estimator, Identity]:
        """The model of one unit in the order of its ids: of those that are ``new`` there, the kin's or free ones.

        A state is of the kin's kind if its law is like that of the kin's state at the rows of both units, each on its
        own scale, and clearly so; otherwise its id is borne by nothing else. The first models that have kinds of their
        own are kin to those that follow.
        """
        kinds, first_own = self._kinds(model, scaling, rows) if new else {}, self._free
        renamed = self._renamed(identity.ids, new, kinds)
        ids, births = [*renamed.values()], sorted(renamed[state] for state in identity.births)
        settled = replace(identity, ids=tuple(sorted(ids)), next_id=self._free, births=tuple(births))
        model = model if ids == sorted(ids) else model.permuted(np.argsort(ids))
        if len(self._kin) < _MOST_KIN and (not self._kin or self._free > first_own):
            self._kin.append(Kin(model, settled.ids, scaling, rows))
        return model, settled

    def _renamed(self, ids: Sequence[int], new: set[int], kinds: Mapping[int, int]) -> dict[int, int]:
        """By id of each state, in their order, the id that it is to bear."""
        renamed, given = dict[int, int](), {*ids} - new
        for state, before in enumerate(ids):
            own = before if before not in new else kinds.get(state)
            if own is None or (before in new and own in given):
                own, self._free = self._free, self._free + 1
            given.add(own)
            renamed[before] = own
        return renamed

    def _kinds(self, model: Estimator, scaling: Scaling, rows: pl.DataFrame) -> dict[int, int]:
        """State of the model to the id of the kin's state that it is like; earlier kin before later."""
        found: dict[int, int] = {}
        for kin in self._kin:
            for state, identity in self._kinds_of(kin, model, scaling, rows).items():
                if state not in found and identity not in found.values():
                    found[state] = identity
        return found

    def _kinds_of(self, kin: Kin, model: Estimator, scaling: Scaling, rows: pl.DataFrame) -> dict[int, int]:
        asked = kin.model if kin.model.uses_context else model
        both = [scaling.given(rows.tail(_MOST_ROWS), asked), kin.scaling.given(kin.rows.tail(_MOST_ROWS), asked)]
        try:
            match = match_laws(kin.model, model, **_joined(both))
        except ValueError:  # rows of the one that the other's laws cannot be asked about: nothing to compare
            return {}
        clear = (match.partners >= 0) & (np.nan_to_num(match.margins) >= self._min_margin)
        return {int(match.partners[place]): kin.ids[place] for place in np.flatnonzero(clear)}


def _joined(both: list[dict[str, Any]]) -> dict[str, Any]:
    context = [of["context"] for of in both]
    return {
        "X": np.concatenate([of["X"] for of in both]),
        "lengths": [length for of in both for length in of["lengths"]],
        "context": None if context[0] is None else np.concatenate(context),
    }


def widest_first(members: Mapping[str, Estimator]) -> list[str]:
    """The units of these models, that with the most states before the others."""
    return sorted(members, key=lambda unit: -members[unit].n_states)


def kin_of(members: Mapping[str, Member], scaling: Scaling, rows: Mapping[str, pl.DataFrame]) -> list[Kin]:
    """Of the models in force whose units have rows, the first that bear ids of their own; the widest before others."""
    found, known = list[Kin](), set[int]()
    for unit in widest_first({unit: member.model for unit, member in members.items() if unit in rows}):
        member = members[unit]
        if len(found) < _MOST_KIN and not known.issuperset(member.ids):
            known.update(member.ids)
            found.append(Kin(member.model, member.ids, scaling, rows[unit]))
    return found
