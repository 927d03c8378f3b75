"""The candidates: what is fitted."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from tasks.config.components import Durations, Emissions, Encoders, Initials, Transitions
from tasks.config.sections.section import Count, Section, as_candidates, distinct

StateCounts = Annotated[tuple[Count, ...], BeforeValidator(as_candidates), AfterValidator(distinct)]
EstimatorName = Literal["dssm", "factorial", "hmm", "hsmm"]
Estimators = Annotated[tuple[EstimatorName, ...], BeforeValidator(as_candidates), AfterValidator(distinct)]


def _longest(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError('a whole number of steps >= 1, or "auto"')


LongestDuration = Annotated[int | Literal["auto"], BeforeValidator(_longest)]


def _as_chains(value: object) -> object:
    """Candidates of chains; one candidate may stand for a list of it alone."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    return tuple(map(_chains, items if items and isinstance(items[0], (list, tuple)) else [items]))


def _chains(candidate: object) -> tuple[int, ...]:
    from hsmm.components.factorial.members import as_chains

    return as_chains(candidate)


Chains = Annotated[tuple[tuple[int, ...], ...], BeforeValidator(_as_chains), AfterValidator(distinct)]

_OF_DURATIONS = ("duration", "max_duration", "min_duration", "left_censored", "right_censored")
_NOT_OF = {
    "hmm": (_OF_DURATIONS, 'estimator = "hsmm" with `{}`, which an HMM does not have'),
    "dssm": (
        (*_OF_DURATIONS, "emission", "transition", "context"),
        'no `{}` with estimator = "dssm", whose networks make moves and emissions',
    ),
    "factorial": (
        (*_OF_DURATIONS, "n_states", "emission", "transition", "initial", "context"),
        'no `{}` with estimator = "factorial", whose `chains` make states, moves and emissions',
    ),
}


class Model(Section):
    """The candidates: every combination of these lists is fitted."""

    estimator: Estimators = ("hsmm",)
    """Whether states have durations of their own ("hsmm"), or may change at every step, by tables ("hmm") or by
    networks that make moves and normal emissions of the state ("dssm"); or are what several chains are in together,
    whose levels add up ("factorial").
    """
    n_states: StateCounts = (2, 3, 4)
    """Numbers of states."""
    chains: Chains = ((2, 2),)
    """Of "factorial", how many states each chain has: [2, 3], or a list of such."""
    emission: Emissions = ("gaussian", "student_t")
    """Laws of the features given the state."""
    duration: Durations = ("geometric", "negative_binomial")
    """Laws of how long a state lasts."""
    transition: Transitions = ("dense",)
    """Laws of the next state."""
    initial: Initials = ("free",)
    """Laws of the first state."""
    context: Encoders = ()
    """Encoders of the context, or with `source = "x"` of the series itself, that contextual laws share."""
    max_duration: LongestDuration = "auto"
    """The longest duration with a probability of its own, in steps; laws with a tail go on beyond it. "auto" begins
    with 100 and grows until at most a hundredth of a state's segments last longer, or the tail is the law's own.
    """
    min_duration: Count = 1
    """No segment is shorter, but for the first and the last of a series where these are cut off."""
    left_censored: bool = False
    """Whether series begin in the midst of a segment."""
    right_censored: bool = True
    """Whether the last segment may go on after the end of its series."""

    @model_validator(mode="after")
    def _durations_are_ordered(self) -> Self:
        if isinstance(self.max_duration, int) and self.min_duration > self.max_duration:
            raise ValueError(f"min_duration = {self.min_duration} no larger than max_duration = {self.max_duration}")
        return self

    @model_validator(mode="after")
    def _keys_are_of_the_estimator(self) -> Self:
        if len(self.estimator) == 1 and self.estimator[0] in _NOT_OF:
            foreign, told = _NOT_OF[self.estimator[0]]
            given = [key for key in foreign if key in self.model_fields_set]
            if given:
                raise ValueError(told.format(given[0]))
        if "chains" in self.model_fields_set and "factorial" not in self.estimator:
            raise ValueError('estimator = "factorial" with `chains`, which no other has')
        return self
