"""The candidates: what is fitted."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from tasks.config.components import Durations, Emissions, Encoders, Initials, Transitions
from tasks.config.sections.section import Count, Section, as_candidates, distinct

StateCounts = Annotated[tuple[Count, ...], BeforeValidator(as_candidates), AfterValidator(distinct)]
EstimatorName = Literal["dssm", "hmm", "hsmm"]
Estimators = Annotated[tuple[EstimatorName, ...], BeforeValidator(as_candidates), AfterValidator(distinct)]


def _longest(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError('a whole number of steps >= 1, or "auto"')


LongestDuration = Annotated[int | Literal["auto"], BeforeValidator(_longest)]


class Model(Section):
    """The candidates: every combination of these lists is fitted."""

    estimator: Estimators = ("hsmm",)
    """Whether states have durations of their own ("hsmm"), or may change at every step, by tables ("hmm") or by
    networks that make moves and normal emissions of the state ("dssm").
    """
    n_states: StateCounts = (2, 3, 4)
    """Numbers of states."""
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
    def _durations_are_of_a_semi_markov_model(self) -> Self:
        of_durations = ("duration", "max_duration", "min_duration", "left_censored", "right_censored")
        given = [key for key in of_durations if key in self.model_fields_set]
        if self.estimator == ("hmm",) and given:
            raise ValueError(f'estimator = "hsmm" with `{given[0]}`, which an HMM does not have')
        if self.estimator == ("dssm",):
            given += [key for key in ("emission", "transition", "context") if key in self.model_fields_set]
            if given:
                raise ValueError(f'no `{given[0]}` with estimator = "dssm", whose networks make moves and emissions')
        return self
