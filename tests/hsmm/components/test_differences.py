"""Durations learnt by differences, as on a GPU, are those that derivatives find."""

from __future__ import annotations

from functools import partial

import pytest

from hsmm.components.duration import DURATIONS
from hsmm.components.duration.differences import ascended
from hsmm.components.duration.parametric import Parametric
from tests.hsmm.components.cases import DurationCase, duration_cases

CASES = [case for case in duration_cases() if isinstance(case.component, Parametric)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_steps_are_never_downhill_and_go_as_far_as_those_by_derivatives(case: DurationCase) -> None:
    statistics, law = case.statistics(4), case.random(5)
    counts = case.counts(statistics)
    shape = other = law.parameters["shape"]
    reached = law._objective(shape, counts)
    for _ in range(25):
        shape = ascended(shape, partial(law._objective, counts=counts), partial(law.within_bounds, "shape"))
        now = law._objective(shape, counts)
        assert (now >= reached - 1e-12 * reached.abs()).all()
        reached, other = now, law._newton_step(other, counts)
    best = law._objective(other, counts)
    assert (reached >= best - 1e-6 * best.abs()).all()


def test_every_law_of_one_or_two_parameters_is_tried() -> None:
    laws = {name for name, family in DURATIONS.items() if issubclass(family, Parametric)}
    assert {case.component.name for case in CASES} == laws
    assert {len(DURATIONS[name].shape_bounds) for name in laws} == {1, 2}  # type: ignore[attr-defined]
