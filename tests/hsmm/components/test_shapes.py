"""What the signatures say of shapes is so: axes of one name have one size throughout a call."""

from __future__ import annotations

import pytest
import torch

from hsmm.components.duration import Duration
from hsmm.components.transition import Transition
from hsmm.types import StateSeries, StateVector
from tests.hsmm.components.cases import N_STATES, Case, EmissionCase, all_cases
from tests.shapes import call

CASES = list({(case.component.kind, case.component.name, case.name[-8:]): case for case in all_cases()}.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tables_and_m_steps_have_the_shapes_of_their_signatures(case: Case) -> None:
    component, counts = case.random(0), case.counts(case.statistics(0))
    call(component.log_potentials, case.sequences)
    after = call(component.maximise, case.sequences, counts)
    assert after.log_prior().shape == (after.n_restarts,)
    if isinstance(case, EmissionCase):
        labels = torch.zeros((2, case.sequences.n_rows), dtype=torch.int64)
        call(case.component.initialise, case.sequences, labels, N_STATES)
        call(component.log_potentials, case.sequences, component.log_potentials(case.sequences))
    if isinstance(component, Transition):
        call(component.typical)
    if isinstance(component, Duration):
        for method in (component.probability, component.mean, component.deviation):
            call(method)


def test_a_false_annotation_is_found() -> None:
    def fault(table: StateSeries) -> StateVector:
        return table[:, 0, :-1]

    with pytest.raises(AssertionError, match=r"-> .* is \(2, 3\)"):
        call(fault, torch.zeros(2, 5, 4, dtype=torch.float64))
    with pytest.raises(AssertionError, match=r"fault\(table\) is \(2, 5\)"):
        call(fault, torch.zeros(2, 5, dtype=torch.float64))
