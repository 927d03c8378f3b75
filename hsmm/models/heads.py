"""Which components of an estimator read what its encoder makes."""

from __future__ import annotations

from typing import Any

from hsmm.components.duration import Contextual as ContextualDuration
from hsmm.components.transition import Contextual as ContextualTransition
from hsmm.components.transition import Dense


def with_heads(parts: dict[str, Any]) -> dict[str, Any]:
    """The components by kind, transitions and durations made contextual where an encoder would have no reader."""
    if parts.get("context") is None or any(part.uses_covariates for part in parts.values() if part is not None):
        return parts
    moves = parts["transition"]
    if type(moves) is not Dense or moves.concentration != 1.0:
        raise ValueError(
            f"context is the encoder {parts['context'].name!r}, but no component reads it, and {moves.name!r} "
            "transitions have no contextual form; name what is to read it, such as duration='contextual'."
        )
    made = {**parts, "transition": ContextualTransition(self_transitions=moves.self_transitions, penalty=1.0)}
    if (law := parts.get("duration")) is not None:
        longest = {"max_duration": law.max_duration, "min_duration": law.min_duration}
        made["duration"] = ContextualDuration(family=law.name if law == type(law)() else law, **longest)
    return made
