"""What every component keeps, whatever its family and options."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.duration import Duration
from hsmm.components.emission import Emission
from hsmm.components.emission.support import ANGLES, BINARY, COUNTS, NUMBERS, POSITIVE, ZERO_OR_POSITIVE
from hsmm.components.initial import Initial
from hsmm.components.network import StateNetwork
from hsmm.components.register import KINDS
from hsmm.components.transition import Transition
from hsmm.sequences import Sequences
from tests.hsmm.components.cases import (
    N_RESTARTS,
    N_STATES,
    Case,
    DurationCase,
    EmissionCase,
    TransitionCase,
    all_cases,
    along_coordinates,
    at_bound,
    families_without_cases,
    taken,
)

CASES = all_cases()
DURATIONS = [case for case in CASES if isinstance(case, DurationCase)]
COMPONENTS = list({(type(case), repr(case.component)): case for case in CASES}.values())
"""One case a component, for what does not depend on what it is fitted to."""
HOLDABLE = [case for case in CASES if case.component.holdable]
LAWS = [
    case
    for case in CASES
    if isinstance(case, EmissionCase)
    and case.is_complete
    and all(law.support in (NUMBERS, POSITIVE, ZERO_OR_POSITIVE, ANGLES, COUNTS, BINARY) for law in case.columns())
    and case.component.name != "multinomial"  # its features have one law together
]
ORDER = torch.tensor([2, 0, 1])


def test_every_family_has_cases() -> None:
    assert not families_without_cases()
    tried = {(case.component.kind, case.component.name) for case in CASES}
    chain = {
        kind: entry for kind, entry in KINDS.items() if kind != "context"
    }  # whose families have tests of their own
    assert tried == {(kind, name) for kind, entry in chain.items() for name in entry.families}


every_component = pytest.mark.parametrize("case", COMPONENTS, ids=lambda case: case.name, indirect=True)


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


class TestEveryComponent:
    def test_an_m_step_never_lowers_its_objective(self, case: Case) -> None:
        statistics, component = case.statistics(0), case.random(0)
        reached = case.objective(component, statistics)
        for _ in range(4):
            component = case.maximise(component, statistics)
            now = case.objective(component, statistics)
            assert (now >= reached - 1e-10 * reached.abs().clamp(min=1.0)).all()
            reached = now

    def test_restarts_do_not_influence_each_other(self, case: Case) -> None:
        statistics, component = case.statistics(3), case.random(3)
        together = case.maximise(case.maximise(component, statistics), statistics)
        middle = torch.tensor([1])
        own = taken(statistics, middle)
        alone = case.maximise(case.maximise(component.take(middle), own), own)
        _assert_same_law(case, alone, together.take(middle))

    def test_permuting_states_permutes_tables_and_m_step(self, case: Case) -> None:
        statistics, component = case.statistics(4), case.random(4)
        _close(case.log_table(component.permuted(ORDER)), _permuted_table(case, component))
        after = case.maximise(component.permuted(ORDER), case.permuted(statistics, ORDER))
        _assert_same_law(case, after, case.maximise(component, statistics).permuted(ORDER))

    @every_component
    def test_taking_joining_and_choosing_agree(self, case: Case) -> None:
        one, other = case.random(5), case.random(6)
        first, rest = one.take(torch.tensor([0])), one.take(torch.tensor([1, 2]))
        _assert_same(first.joined(rest), one, rtol=0.0)
        chosen = one.where(torch.tensor([True, False, True]), other)
        _assert_same(chosen.take(torch.tensor([0, 2])), one.take(torch.tensor([0, 2])), rtol=0.0)
        _assert_same(chosen.take(torch.tensor([1])), other.take(torch.tensor([1])), rtol=0.0)
        assert one.n_restarts == N_RESTARTS
        _close(case.log_table(one)[:1], case.log_table(first))

    @every_component
    def test_free_coordinates_round_trip(self, case: Case) -> None:
        component = case.random(7)
        _assert_same(component.with_free(component.free()), component, rtol=1e-12)

    @every_component
    def test_the_prior_is_flat_or_finite(self, case: Case) -> None:
        prior = case.random(8).log_prior()
        assert prior.shape == (N_RESTARTS,)
        assert prior.isfinite().all()

    @every_component
    def test_parameters_are_counted_by_the_rank_of_the_jacobian(self, case: Case) -> None:
        component = case.random(9)
        if not component.free():
            assert component.n_parameters() == 0
            return
        step = 1e-5
        low, high = along_coordinates(component, step)
        difference = (case.log_table(high) - case.log_table(low)).nan_to_num(0.0).flatten(1) / (2.0 * step)
        assert int(torch.linalg.matrix_rank(difference, rtol=1e-7, atol=1e-9)) == component.n_parameters()

    def test_tables_are_distributions(self, case: Case) -> None:
        if isinstance(case, EmissionCase):
            return
        for component in (case.random(10), case.maximise(case.random(10), case.statistics(10))):
            table = case.log_table(component)
            if isinstance(component, Initial):
                table = component.log_potentials(case.sequences)
            if isinstance(component, Duration):
                table = component.log_potentials().log_duration
                assert component.probability().shape == (N_RESTARTS, N_STATES, component.max_duration)
                _close(component.probability().sum(-1), torch.ones(N_RESTARTS, N_STATES))
                assert table[..., : component.min_duration - 1].isneginf().all()
            _close(table.exp().sum(-1), torch.ones(table.shape[:-1]))

    def test_statistics_of_nothing_change_nothing_and_stay_finite(self, case: Case) -> None:
        component = case.random(11)
        nothing = {name: torch.zeros_like(value) for name, value in case.statistics(11).items()}
        after = case.maximise(component, nothing)
        assert all(value.isfinite().all() for value in after.parameters.values())
        if not component.log_prior().any():
            _assert_same(after, component, rtol=1e-12)

    def test_parameters_stay_within_their_bounds(self, case: Case) -> None:
        component = case.maximise(case.random(14), case.statistics(14))
        for name, edges in component.bounds().items():
            value = component.parameters[name]
            low, high = (value.new_tensor(edge) for edge in edges)
            assert ((value >= low) & (value <= high)).all()
        far = {name: torch.where(x.isfinite(), 50.0 * x.sign(), x) for name, x in component.free().items()}
        bounded = component.with_free({name: x for name, x in far.items() if name in component.bounds()})
        for name, edges in component.bounds().items():
            value = bounded.parameters[name]
            low, high = (value.new_tensor(edge) for edge in edges)
            assert ((value >= low) & (value <= high)).all()


def test_the_gradient_vanishes_at_the_maximiser(case: Case) -> None:
    if isinstance(case, DurationCase) and case.component.max_duration == 1:
        return  # what is beyond a single step tells little of two parameters
    statistics = case.statistics(2)
    best, n_steps = case.optimum(case.random(2), statistics)
    step, tolerance = 1e-5, 1e-6 if n_steps <= 1 else 2e-4
    for restart in range(N_RESTARTS if best.free() else 0):
        here = torch.tensor([restart])
        one = best.take(here)
        if at_bound(one) or (isinstance(case, EmissionCase) and bool(one.collapsed(case.sequences))):
            continue
        low, high = along_coordinates(one, step)
        repeated = taken(statistics, here.expand(low.n_restarts))
        slope = (case.objective(high, repeated) - case.objective(low, repeated)) / (2.0 * step)
        scale = case.objective(one, taken(statistics, here)).abs().clamp(min=1.0)
        assert (slope.abs() / scale).max() < tolerance


@pytest.mark.parametrize("case", HOLDABLE, ids=lambda case: case.name)
def test_what_is_held_stays_while_the_rest_does_not_fall(case: Case) -> None:
    statistics, before = case.statistics(15), case.random(15)
    for name in sorted(case.component.holdable):
        after = case.maximise(before, statistics, held=(name,))
        assert torch.equal(after.parameters[name], before.parameters[name])
        low, now = case.objective(before, statistics), case.objective(after, statistics)
        assert (now >= low - 1e-10 * low.abs().clamp(min=1.0)).all()
        assert any(not torch.equal(value, before.parameters[x]) for x, value in after.parameters.items())


@pytest.mark.parametrize("case", [c for c in DURATIONS if not c.residual], ids=lambda case: case.name)
def test_a_law_is_the_maximiser_of_its_own_segments(case: DurationCase) -> None:
    truth, other = case.random(12), case.random(13)
    if truth.log_prior().any():
        return
    found, _ = case.optimum(other, case.expected(truth, 1e4))
    torch.testing.assert_close(case.log_table(found).exp(), case.log_table(truth).exp(), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(
    "case", [c for c in DURATIONS if c.component.has_tail and not c.residual], ids=lambda case: case.name
)
def test_a_tail_begins_later_where_the_table_is_longer_and_is_what_that_shows(case: DurationCase) -> None:
    law = case.random(16)
    longest = law.max_duration + 60
    tables, longer = law.log_potentials(), replace(law, max_duration=longest).log_potentials()
    own, seen = (
        table[..., law.min_duration - 1 : law.max_duration] for table in (tables.log_duration, longer.log_duration)
    )
    _close(own - own[..., :1], seen - seen[..., :1])
    assert tables.log_tail is not None
    assert (tables.log_tail < 0).all()
    # Only a tail that ends within the longer table can be seen in it: further on, every law goes on geometrically.
    beyond = longer.log_duration[..., law.max_duration :]
    whole = beyond[..., -1] < -23.0
    torch.testing.assert_close(tables.log_duration[..., -1][whole], beyond.logsumexp(-1)[whole], rtol=1e-6, atol=1e-6)
    stay = beyond[..., 1:].logsumexp(-1) - beyond.logsumexp(-1)
    torch.testing.assert_close(tables.log_tail[whole], stay[whole], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c, TransitionCase)], ids=lambda case: case.name)
def test_states_that_may_be_numbered_anew_have_the_same_moves(case: TransitionCase) -> None:
    if case.component.is_exchangeable:
        possible = case.log_table(case.started(0)).isfinite()
        assert torch.equal(possible[..., ORDER, :][..., ORDER] if possible.ndim == 3 else possible, possible)


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_a_density_is_normalised(case: EmissionCase) -> None:
    law = case.random(12)
    for feature in range(law.n_features):
        rows, width = _grid(case, feature)
        assert ((law.log_potentials(rows).exp() * width[:, None]).sum(1) - 1.0).abs().max() < 1e-6


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_tails_are_what_the_density_sums_to_from_either_end(case: EmissionCase) -> None:
    law = case.random(12).take(torch.tensor([0]))
    for feature in range(law.n_features):
        rows, width = _grid(case, feature)
        try:
            found = law.tails(rows)
        except ValueError:
            assert type(law).tails is Emission.tails
            return
        below, at, above = (part[:, feature] for part in found.parts())
        assert (below.exp() + at.exp() + above.exp() - 1.0).abs().max() < 1e-9
        mass = law.log_potentials(rows)[0] + width.log()[:, None]
        support = case.columns()[feature].support
        is_discrete = support.is_discrete
        has_mass = torch.isin(rows.values[:, feature], torch.tensor(support.atoms, dtype=torch.float64)) | is_discrete
        torch.testing.assert_close(at, mass.where(has_mass[:, None], -torch.inf), rtol=1e-9, atol=1e-9)
        whole = torch.where(has_mass, 1.0, 0.5)[:, None]
        for side, own, share in (below, mass, whole), (above.flip(0), mass.flip(0), whole.flip(0)):
            # Half of its cell lies on this side of a density's point, none of it where values have mass.
            total = own.logcumsumexp(0)
            summed = total + torch.log1p(-share * (own - total).exp())
            # What lies beyond the grid is no part of the sum.
            seen = summed > (-40.0 if is_discrete else (total[0] + 12.0).clamp(min=-40.0))
            assert ((side - summed).abs()[seen] < 0.01).all()


def _grid(case: EmissionCase, feature: int) -> tuple[Sequences, Tensor]:
    """Rows with values of a feature alone, close together where they are small, and the widths to sum a density with.

    What it depends on besides is the same in all of them.
    """
    support = case.columns()[feature].support
    if support.is_discrete:
        values = torch.arange(2000, dtype=torch.float64)
        values = values[support.contains(values)]
        width = torch.ones_like(values)
    elif support is ANGLES:
        edges = torch.linspace(-torch.pi, torch.pi, 20_001, dtype=torch.float64)
        values, width = 0.5 * (edges[1:] + edges[:-1]), edges.diff()
    else:
        steps = torch.linspace(-30.0, 30.0, 24_001, dtype=torch.float64)
        values, slope = (steps.sinh(), steps.cosh()) if support is NUMBERS else (steps.exp(), steps.exp())
        width = slope * (steps[1] - steps[0])
        atoms = torch.tensor(support.atoms, dtype=torch.float64)
        values, width = torch.cat([atoms, values]), torch.cat([torch.ones_like(atoms), width])
    cells = torch.full((len(values), case.sequences.n_features), torch.nan, dtype=torch.float64)
    cells[:, feature] = values
    beside = case.sequences.covariates
    context = None if beside is None else beside[:1].expand(len(cells), -1)
    return Sequences.from_arrays(cells, [1] * len(cells), context), width


def _permuted_table(case: Case, component: Component) -> Tensor:
    table = case.log_table(component)[:, ORDER]
    return table[..., ORDER] if isinstance(component, Transition) else table


def _assert_same(found: Component, expected: Component, rtol: float) -> None:
    assert found.parameters.keys() == expected.parameters.keys()
    for name, value in expected.parameters.items():
        torch.testing.assert_close(found.parameters[name], value, rtol=rtol, atol=rtol)


def _assert_same_law(case: Case, found: Component, expected: Component) -> None:
    """The same parameters but for rounding; of a network, whose weights many make the same, the same tables."""
    if isinstance(found, StateNetwork):
        torch.testing.assert_close(case.log_table(found), case.log_table(expected), rtol=1e-6, atol=1e-6)
    else:
        _assert_same(found, expected, rtol=1e-9)


def _close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-12, atol=1e-12)
