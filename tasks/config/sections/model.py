"""The candidates: what is fitted."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from tasks.config.components import Durations, Emissions, Initials, Transitions
from tasks.config.sections.section import Count, Section, as_candidates, distinct

StateCounts = Annotated[tuple[Count, ...], BeforeValidator(as_candidates), AfterValidator(distinct)]
EstimatorName = Literal["hmm", "hsmm"]
Estimators = Annotated[tuple[EstimatorName, ...], BeforeValidator(as_candidates), AfterValidator(distinct)]


class Model(Section):
    """The candidates: every combination of these lists is fitted."""

    estimator: Estimators = ("hsmm",)
    """Whether states have durations of their own, or may change at every step."""
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
    max_duration: Count = 120
    """The longest duration with a probability of its own, in steps; laws with a tail go on beyond it."""
    min_duration: Count = 1
    """No segment is shorter, but for the first and the last of a series where these are cut off."""
    left_censored: bool = False
    """Whether series begin in the midst of a segment."""
    right_censored: bool = True
    """Whether the last segment may go on after the end of its series."""

    @model_validator(mode="after")
    def _durations_are_ordered(self) -> Self:
        if self.min_duration > self.max_duration:
            raise ValueError(f"min_duration = {self.min_duration} no larger than max_duration = {self.max_duration}")
        return self

    @model_validator(mode="after")
    def _durations_are_of_a_semi_markov_model(self) -> Self:
        of_durations = ("duration", "max_duration", "min_duration", "left_censored", "right_censored")
        given = [key for key in of_durations if key in self.model_fields_set]
        if self.estimator == ("hmm",) and given:
            raise ValueError(f'estimator = "hsmm" with `{given[0]}`, which an HMM does not have')
        return self
