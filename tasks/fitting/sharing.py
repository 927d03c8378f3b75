"""Series that share states and move among them each in its own way: the chosen model of all, parted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import polars as pl

import hsmm
from hsmm import PartialPooling
from tasks.config.progress import say
from tasks.fitting.bundle import ALL, Member
from tasks.fitting.finished import FittedCandidate, Store
from tasks.fitting.scaling import Scaling


def parted(
    chosen: FittedCandidate, rows: pl.DataFrame, scaling: Scaling, states: Sequence[int] | None, store: Store | None
) -> tuple[FittedCandidate, PartialPooling]:
    """The chosen model of all series as that of their group, and beside it what each has of its own.

    What was wrong with the climb is told in the candidate's row, as is how far series differ ("own.transition": as how
    many moves of each state the group's law counts in every series). It comes from the ``store``, if it was finished.
    """
    assert chosen.model is not None
    say("fit", 0, 1, "tables of each series")
    names = rows.select(pl.col("series_id").rle()).unnest("series_id")["value"].to_list()
    stored = None if store is None else store.load_shared(chosen.key, names)
    if stored is not None:
        return replace(chosen, model=stored[0].group_, row=stored[1]), stored[0]
    given = scaling.given(rows, chosen.model)
    packed = hsmm.Sequences.from_arrays(given["X"], given["lengths"], given["context"])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = PartialPooling(chosen.model).fit_sequences(packed, names, states)
    words = [*filter(None, [chosen.row["warnings"]]), *(str(warning.message) for warning in said)]
    strengths = {f"own.{kind}": value for kind, value in found.concentration_.items()}
    row = {**chosen.row, "warnings": "; ".join(words), **strengths}
    if store is not None:
        store.save_shared(chosen.key, names, found, row)
    return replace(chosen, model=found.group_, row=row), found


def members_of(shared: PartialPooling, group: Member, order: tuple[int, ...]) -> Iterator[tuple[str, Member]]:
    """Each series' own model, its states in the ``order`` and under the ids of its group's."""
    own = shared.permuted(order)
    for series in own.units_:
        yield series, replace(group, held=partial(own.of, series))


def made_apart(members: Mapping[str, Member]) -> set[str]:
    """The series whose models were not made with that of all, but by themselves."""
    group = members.get(ALL)
    return {
        unit for unit, member in members.items() if unit != ALL and (group is None or member.version != group.version)
    }
