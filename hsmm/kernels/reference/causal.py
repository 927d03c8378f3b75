"""What the forward pass alone knows: filtered states, densities, ages, steps left; and how to go on after it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hsmm.kernels.reference.chain import Chain, Step
from hsmm.kernels.reference.segments import OpenSegments, open_segments
from hsmm.kernels.results import Causal, CausalName, FilterState, with_tables_by_row
from hsmm.numerics import log_vector_matrix, logsumexp, ordered_sum
from hsmm.potentials import Potentials


@with_tables_by_row
def causal(p: Potentials, want: Collection[CausalName], after: FilterState | None = None) -> Causal:
    found = Causal.empty(p, want, after)
    for step, segments in _pass(p, want, after):
        rows = step.rows
        if found.filtered is not None:
            found.filtered[:, rows] = ordered_sum(step.filtered.exp())
        if found.predicted is not None:
            found.predicted[:, rows] = logsumexp(step.predicted)
        if found.log_density is not None:
            found.log_density[:, rows] = step.log_density
        if found.remaining is not None:
            found.remaining[:, rows] = ordered_sum(step.filtered.exp(), 2)
        if found.elapsed is not None and segments is not None:
            found.elapsed[:, rows] = ordered_sum(segments.weighed(ended=False).exp(), 2).clamp(max=1.0)
        if found.filter_state is not None and segments is not None:
            _save(found.filter_state, step, segments)
    return found


def _pass(
    p: Potentials, want: Collection[CausalName], after: FilterState | None
) -> Iterator[tuple[Step, OpenSegments | None]]:
    """The forward pass, and the segments under way where somebody asks for them."""
    if "elapsed" in want or "filter_state" in want:
        yield from open_segments(p, after)
    else:
        yield from ((step, None) for step in Chain(p, after).forward())


def _save(state: FilterState, step: Step, segments: OpenSegments) -> None:
    """What the series say that end with this step."""
    chain = segments.chain
    last = slice(chain.active(step.t + 1), len(step.rows))
    series = chain.order[last]
    transition = chain.transition_into(step.rows + 1)
    if transition.shape[1] > 1:
        transition = transition[:, last]
    state.starting[:, series] = log_vector_matrix(step.ended[:, last], transition).double()
    state.steps_left[:, series] = step.filtered[:, last].double()
    state.by_age[:, series] = segments.by_age[:, last].double()
