"""The hidden semi-Markov model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np

from hsmm.components.context import Encoder
from hsmm.components.duration import Categorical, Duration
from hsmm.components.duration.parametric import Parametric
from hsmm.components.emission import Emission
from hsmm.components.initial import FreeInitial, Initial
from hsmm.components.model import Model
from hsmm.components.register import resolve
from hsmm.components.transition import Dense, Transition
from hsmm.errors import DurationWallWarning, warn
from hsmm.models import horizon
from hsmm.models.base import Device, Estimator
from hsmm.models.heads import with_heads
from hsmm.models.horizon import AUTO
from hsmm.models.parameters import RandomState, whole
from hsmm.models.predictive import expected_durations
from hsmm.models.summary import mean_durations
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences
from hsmm.training.objective import Objective
from hsmm.training.race import BestFit
from hsmm.training.supervision import known_runs
from hsmm.training.together import Fitting
from hsmm.training.trainers import Trainer


class HSMM(Estimator):
    """Hidden semi-Markov model: states that last as long as their duration law says.

    Parameters
    ----------
    n_states : int
        Number of hidden states.
    emission : str or Emission
        The name of a family, or an object of ``hsmm.emissions``.
    duration : str or Duration
        The name of a family, or an object of ``hsmm.durations``.
    max_duration : int or "auto"
        Longest duration, in steps, with a probability of its own; parametric laws continue beyond it with a geometric
        tail, categorical ones end there. "auto" fits with 100, and the best climbs on with more until at most a
        hundredth of a state's segments are longer, or the tail is the law's own; ``max_duration_`` is what it came to.
    min_duration : int
        Shortest duration, in steps, of a segment that is neither cut off at the start nor at the end of its series.
    transition : str or Transition
        The name of a family, or an object of ``hsmm.transitions``.
    initial : str or Initial
        The name of a family, or an object of ``hsmm.initials``.
    context : str, Encoder or None
        What makes features of ``fit``'s ``context``, or of the series itself, for contextual components: the name of a
        family, or an object of ``hsmm.context``. Where no component reads them, transitions and durations do.
    left_censored : bool
        Whether series begin in the midst of a segment (equilibrium law) rather than with a new one.
    right_censored : bool
        Whether the last segment may run beyond the end of its series.
    n_init : int
        Restarts; those least promising stop early, as the trainer's ``rounds`` say.
    max_iter : int
        EM stops after so many iterations.
    tol : float
        EM stops when an iteration gains less, in nats per observed row; with 0 it makes ``max_iter`` iterations.
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None
        The same seed and data give the same bits on the same machine. A generator gives a new seed for each fit and
        each sample, None one that nobody chose; ``restarts_`` tells which.
    device : str
        "cpu", "cuda", or "auto", which is the CPU.
    trainer : str or Trainer
        "em", "gradient", "hybrid", or an object of ``hsmm.trainers``.
    frozen : sequence of str
        What is not learnt: "initial", "transition", "duration", "emission", or a part such as "emission.mean". Values
        are those of ``fit``'s ``start``, or of a component given with parameters.
    verbose : int
        1 writes every tenth iteration of a fit to standard output, 2 each, 0 nothing.
    """

    def __init__(
        self,
        n_states: int = 2,
        *,
        emission: str | Emission = "gaussian",
        duration: str | Duration = "negative_binomial",
        max_duration: int | Literal["auto"] = AUTO,
        min_duration: int = 1,
        transition: str | Transition = "dense",
        initial: str | Initial = "free",
        context: str | Encoder | None = None,
        left_censored: bool = False,
        right_censored: bool = True,
        n_init: int = 16,
        max_iter: int = 1000,
        tol: float = 1e-8,
        random_state: RandomState = 0,
        device: Device = "auto",
        trainer: str | Trainer = "em",
        frozen: Sequence[str] = (),
        verbose: int = 0,
    ) -> None:
        self.n_states = n_states
        self.emission = emission
        self.duration = duration
        self.max_duration = max_duration
        self.min_duration = min_duration
        self.transition = transition
        self.initial = initial
        self.context = context
        self.left_censored = left_censored
        self.right_censored = right_censored
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.trainer = trainer
        self.frozen = frozen
        self.verbose = verbose

    @classmethod
    def from_parameters(
        cls,
        *,
        initial_prob: Any,
        transition_prob: Any,
        duration_prob: Any,
        emission: Emission,
        right_censored: bool = True,
        left_censored: bool = False,
    ) -> Self:
        """A model with known parameters, ready for queries.

        ``initial_prob`` (K,), ``transition_prob`` (K, K) with a zero diagonal but for absorbing rows,
        ``duration_prob`` (K, D), and an emission made by its own ``from_parameters``. Raises ``ValueError`` where the
        numbers of states differ or rows are not probabilities.
        """
        model = Model(
            initial=FreeInitial.from_parameters(initial_prob),
            transition=Dense.from_parameters(transition_prob),
            duration=Categorical.from_parameters(duration_prob),
            emission=emission,
            left_censored=left_censored,
            right_censored=right_censored,
        )
        n_states = model.check_sizes()
        made = cls(
            n_states,
            emission=emission.name,
            duration="categorical",
            max_duration=model.duration.max_duration if model.duration else 1,
            left_censored=left_censored,
            right_censored=right_censored,
        )
        return made._adopt_loaded(model, None)

    @property
    def duration_prob_(self) -> np.ndarray:
        """(K, max_duration) P(a segment lasts d steps), column d - 1; with a tail the last column is P(d >= D)."""
        return self._duration().probability()[0].numpy()

    @property
    def max_duration_(self) -> int:
        """Longest duration with a probability of its own, in steps."""
        return self._duration().max_duration

    @property
    def mean_duration_(self) -> np.ndarray:
        """(K,) expected steps of a segment."""
        return mean_durations(self._fitted_model())[0].numpy()

    @property
    def duration_(self) -> Duration:
        """The fitted duration component."""
        return self._duration()

    @property
    def duration_parameters_(self) -> dict[str, np.ndarray]:
        """(K,) each parameter of the duration law by the name it has in books, and its ``mean`` in steps."""
        own = {name: value[0].numpy() for name, value in self._duration().natural().items()}
        return {"mean": self.mean_duration_, **own}

    @property
    def tail_prob_(self) -> np.ndarray | None:
        """(K,) P(a segment longer than max_duration lasts one more step); None where durations end there."""
        log_tail = self._duration().log_potentials().log_tail
        return None if log_tail is None else log_tail[0].exp().numpy()

    @property
    def can_predict_durations(self) -> bool:
        """Whether :meth:`with_predictive_durations` can be asked."""
        return isinstance(self._duration(), Parametric)

    def with_predictive_durations(self, X: Any = None, lengths: Any = None, *, context: Any = None) -> HSMM:
        """The fitted model with the durations to be expected of segments to come, given how few were seen.

        A fitted law knows no doubt: after a handful of segments, intervals of the time that remains hold too seldom.
        Here each state's law is averaged over the parameters that as many segments allow as were seen to end (see
        docs/maths/durations.md), in a table four times as long; with many segments it is the fitted law. All else stays
        as it is, and the new model answers, streams and saves as any other. How often each state was left, ``exits_``
        (K,), is remembered of the fit; or counted in X.

        Raises ``ValueError`` for categorical and contextual durations, and where X is left out by a model that was not
        fitted.
        """
        duration, model = self._duration(), self._fitted_model()
        if not isinstance(duration, Parametric):
            raise ValueError(
                f"{duration.name} durations have no few parameters to be averaged over; give a table of its own a "
                "prior, such as duration=hsmm.durations.Categorical(concentration=1.1)."
            )
        law = expected_durations(duration, self._seen_exits(X, lengths, context))
        made = self.clone().set_params(duration="categorical", max_duration=law.max_duration)
        return made._adopt_loaded(replace(model, duration=law), None, self._details()["features"])

    def describe(self) -> dict[str, Any]:
        name = self.duration if isinstance(self.duration, str) else self.duration.name
        return {**super().describe(), "duration": name}

    def _structure(self) -> Model:
        duration = resolve("duration", self.duration)
        wanted = {"max_duration": self._first_longest(duration), "min_duration": int(self.min_duration)}
        for name, value in wanted.items():
            own = getattr(duration, name)
            if own not in (1, value):
                raise ValueError(
                    f"{name} is {value} in the model but {own} in its duration; set it on the model alone."
                )
        parts = with_heads({**self._shared_components(), "duration": replace(duration, **wanted)})
        return Model(
            **parts,
            left_censored=bool(self.left_censored),
            right_censored=bool(self.right_censored),
        )

    def _check_numbers(self) -> None:
        super()._check_numbers()
        whole("min_duration", self.min_duration, 1)
        if self.max_duration != AUTO:
            whole("max_duration", self.max_duration, 1, f" or {AUTO!r}")
        for name in ("left_censored", "right_censored"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected True or False.")
        self._check_memory(self._first_longest(resolve("duration", self.duration)))

    def _duration(self) -> Duration:
        duration = self._fitted_model().duration
        assert duration is not None
        return duration

    def _first_longest(self, duration: Duration) -> int:
        """How long the table is that a fit begins with."""
        return (
            horizon.first_longest(duration, int(self.min_duration))
            if self.max_duration == AUTO
            else int(self.max_duration)
        )

    def _searching(self, structure: Model, objective: Objective, seed: int, start: Model | None) -> Fitting[BestFit]:
        one = super()._searching
        if self.max_duration != AUTO or resolve("duration", self.duration).max_duration != 1:
            return one(structure, objective, seed, start)
        single = super(HSMM, self.clone().set_params(n_init=1))._searching
        return horizon.searching(
            structure,
            objective,
            start,
            fit=lambda model, first: one(model, objective, seed, first),
            climb=lambda model, first: single(model, objective, seed, first),
        )

    def _default_columns(self) -> int:
        return self._duration().max_duration

    def _with_columns(self, p: Potentials, n_columns: int) -> Potentials:
        return p.lengthened(n_columns) if p.log_tail is not None and p.n_durations < n_columns else p

    def _why_impossible(self, objective: Objective) -> str | None:
        shortest, ends = int(self.min_duration), not resolve("duration", self.duration).has_tail
        for series, (start, stop) in enumerate(pairwise(objective.sequences.offsets.tolist())):
            if stop - start < shortest and not (self.right_censored or self.left_censored):
                return (
                    f"series {series} has {stop - start} rows, but min_duration is {shortest}, and a last segment that "
                    "is cut off is ruled out; lower min_duration, or allow right_censored."
                )
            if objective.states is None:
                continue
            for state, first, n_rows, beside in known_runs(objective.states[start:stop].tolist()):
                where = f"states says that state {state} lasts for {n_rows} rows from row {first} of series {series} on"
                if ends and self.max_duration != AUTO and n_rows > self.max_duration:
                    return (
                        f"{where}, but no segment is longer than max_duration = {self.max_duration}; raise it, or "
                        "choose a duration with a tail."
                    )
                if beside and n_rows < shortest:
                    return f"{where} alone, but no segment is shorter than min_duration = {shortest}; lower it."
        return None

    def _warn_of_fit(self, best: BestFit, sequences: Sequences) -> None:
        super()._warn_of_fit(best, sequences)
        if (sentence := horizon.pressing(best.model, sequences, self.max_duration == AUTO)) is not None:
            warn(sentence, DurationWallWarning)
