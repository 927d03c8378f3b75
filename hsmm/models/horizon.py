"""How long the table of durations must be: chosen from the data, or said to be too short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Final

from hsmm.components.duration import Duration, NegativeBinomial
from hsmm.components.duration.reach import beyond
from hsmm.components.model import Model
from hsmm.selection.soundness import DEAD_SHARE, WALL_SHARE, state_shares, strained_tail, wall_share
from hsmm.sequences import Sequences
from hsmm.training.objective import Objective
from hsmm.training.race import BestFit
from hsmm.training.supervision import known_runs
from hsmm.training.together import Fitting

AUTO: Final = "auto"
FIRST = 100
"""Steps that a table has at first: most laws need no more, and with a tail more cost time and say nothing new."""
LONGEST = 2000
"""Steps beyond which no table grows by itself."""
_FASTEST = 8  # times as long a table becomes at once: what a short one says of the far end is vague


def first_longest(duration: Duration, min_duration: int) -> int:
    """How long a table is before anything is known of the data; a law given with one keeps its own."""
    return max(FIRST, 2 * min_duration) if duration.max_duration == 1 else duration.max_duration


def searching(
    structure: Model,
    objective: Objective,
    start: Model | None,
    fit: Callable[[Model, Model | None], Fitting[BestFit]],
    climb: Callable[[Model, Model], Fitting[BestFit]],
) -> Fitting[BestFit]:
    """``fit`` with a table that is long enough: the best of all restarts with a short one climbs on with longer ones.

    A law without a tail cuts longer segments in pieces that press against no wall; how long they are it is told by a
    negative binomial, where nothing else says it.
    """
    least = _least(structure, objective, start)
    if start is None and objective.states is None and not objective.frozen and _ends(structure):
        told = yield from searching(replace(structure, duration=_with_tail(structure)), objective, None, fit, climb)
        least = max(least, _reach(told.model, objective))
    best = yield from fit(_resized(structure, least), None if start is None else _resized(start, least))
    while (longest := _longer(best.model, objective)) is not None:
        further = yield from climb(_resized(structure, longest), _resized(best.model, longest))
        best = replace(further, restarts=best.restarts, set_aside=best.set_aside, n_iter=best.n_iter + further.n_iter)
    return best


def _least(structure: Model, objective: Objective, start: Model | None) -> int:
    """As long as that of ``start``, and as the known states last."""
    law = structure.duration
    assert law is not None
    longest = [law.max_duration]
    if start is not None and start.duration is not None:
        if "duration" in objective.frozen:
            return start.duration.max_duration
        longest.append(start.duration.max_duration)
    if objective.states is not None and not law.has_tail:
        for first, stop in pairwise(objective.sequences.offsets.tolist()):
            longest += [n_rows for _, _, n_rows, _ in known_runs(objective.states[first:stop].tolist())]
    return max(longest)


def _ends(structure: Model) -> bool:
    assert structure.duration is not None
    return not structure.duration.has_tail


def _with_tail(structure: Model) -> Duration:
    law = structure.duration
    assert law is not None
    return NegativeBinomial(max_duration=law.max_duration, min_duration=law.min_duration)


def _reach(told: Model, objective: Objective) -> int:
    """How long a table must be in which the segments of all states that are not dead find their place."""
    assert told.duration is not None
    alive = state_shares(told, objective.sequences) >= DEAD_SHARE
    reach = beyond(told.duration).farthest[0]
    return min(int(reach[alive].max()), _most(objective))


def _longer(fitted: Model, objective: Objective) -> int | None:
    """How long the table must be instead; None where it is long enough, or fixed, or may not grow."""
    law, sequences = fitted.duration, objective.sequences
    assert law is not None
    most = _most(objective)
    if "duration" in objective.frozen or law.max_duration >= most:
        return None
    if wall_share(fitted, sequences) > WALL_SHARE:
        return min(2 * law.max_duration, most)
    strained = strained_tail(fitted, sequences)
    if strained is None:
        return None
    state, found = strained
    wanted = min(max(int(found.reach[0, state]), 2 * law.max_duration), _FASTEST * law.max_duration)
    return min(wanted, most)


def _most(objective: Objective) -> int:
    return min(LONGEST, int(objective.sequences.offsets.diff().max()))


def _resized(model: Model, max_duration: int) -> Model:
    assert model.duration is not None
    if model.duration.max_duration == max_duration:
        return model
    return replace(model, duration=model.duration.resized(max_duration))


def pressing(model: Model, sequences: Sequences, is_auto: bool) -> str | None:
    """What is wrong with a table of durations that is too short, in a sentence; None if it is not."""
    law = model.duration
    assert law is not None
    if (share := wall_share(model, sequences)) > WALL_SHARE:
        return (
            f"{share:.1%} of the expected segments last max_duration = {law.max_duration} steps, the longest "
            "allowed; raise max_duration, or use a law with a tail."
        )
    if (strained := strained_tail(model, sequences)) is None:
        return None
    state, found = strained
    remedy = f"set max_duration={AUTO!r}, or take coarser steps" if not is_auto else "take coarser steps"
    return (
        f"{float(found.mass[0, state]):.1%} of the segments of state {state} last longer than max_duration = "
        f"{law.max_duration} steps, and of each the model expects {float(found.rest[0, state]):.3g} more whatever its "
        f"age, as the {law.name} law itself does not; {remedy}."
    )
