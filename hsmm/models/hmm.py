"""The hidden Markov model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from hsmm.components.context import Encoder
from hsmm.components.emission import Emission
from hsmm.components.initial import FreeInitial, Initial
from hsmm.components.model import Model
from hsmm.components.transition import Dense, Transition
from hsmm.models.base import Device, Estimator
from hsmm.models.heads import with_heads
from hsmm.models.hsmm import HSMM
from hsmm.models.parameters import RandomState
from hsmm.models.predictive import expected_durations, geometric_of, moves_of
from hsmm.models.summary import mean_durations
from hsmm.potentials import Potentials
from hsmm.training.trainers import Trainer


class Memoryless(Estimator):
    """Base of the estimators whose states forget how long they have lasted."""

    OPTIONS_OF_OTHERS: ClassVar[Mapping[str, str]] = MappingProxyType(
        dict.fromkeys(("duration", "max_duration", "min_duration", "left_censored", "right_censored"), "hsmm.HSMM")
    )

    @property
    def mean_duration_(self) -> np.ndarray:
        """(K,) expected steps of a stay, 1 / (1 - P(stay)); inf for an absorbing state."""
        return mean_durations(self._fitted_model())[0].numpy()

    def _check_numbers(self) -> None:
        super()._check_numbers()
        self._check_memory()

    def _structure(self) -> Model:
        shared = self._shared_components()
        shared["transition"] = replace(shared["transition"], self_transitions=True)
        return Model(**with_heads(shared), duration=None)

    def _default_columns(self) -> int:
        return 100

    def _with_columns(self, p: Potentials, n_columns: int) -> Potentials:
        return p.with_dwell_times(n_columns)


class HMM(Memoryless):
    """Hidden Markov model: a semi-Markov model whose every step may change state.

    Parameters are those of :class:`hsmm.HSMM` without durations.
    """

    def __init__(
        self,
        n_states: int = 2,
        *,
        emission: str | Emission = "gaussian",
        transition: str | Transition = "dense",
        initial: str | Initial = "free",
        context: str | Encoder | None = None,
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
        self.transition = transition
        self.initial = initial
        self.context = context
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.trainer = trainer
        self.frozen = frozen
        self.verbose = verbose

    @property
    def can_predict_durations(self) -> bool:
        """Whether :meth:`with_predictive_durations` can be asked."""
        model = self._fitted_model()
        return model.context is None and not model.transition.uses_covariates

    def with_predictive_durations(self, X: Any = None, lengths: Any = None, *, context: Any = None) -> HSMM:
        """The fitted model with the durations to be expected of stays to come, given how few were seen: see
        :meth:`hsmm.HSMM.with_predictive_durations`.

        Averaged over how likely it is to stay, durations are no longer geometric, and the model is an HSMM. Raises
        ``ValueError`` where moves follow a context, or an encoder is read.
        """
        if not self.can_predict_durations:
            raise ValueError(
                "how long states last follows the context in this model, so that no one law can be averaged; choose an "
                "HSMM with durations of their own."
            )
        stay = self.transition_prob_.diagonal()
        law = expected_durations(geometric_of(stay), self._seen_exits(X, lengths, context))
        made = HSMM.from_parameters(
            initial_prob=self.initial_prob_,
            transition_prob=moves_of(self.transition_prob_),
            duration_prob=law.parameters["probability"][0],
            emission=self.emission_,
        )
        made._remember_features(self.__dict__.get("feature_names_in_"))
        made._answer_as(self)
        return made

    @classmethod
    def from_parameters(cls, *, initial_prob: Any, transition_prob: Any, emission: Emission) -> Self:
        """A model with known parameters: ``initial_prob`` (K,), ``transition_prob`` (K, K) and an emission."""
        model = Model(
            initial=FreeInitial.from_parameters(initial_prob),
            transition=Dense.from_parameters(transition_prob, self_transitions=True),
            duration=None,
            emission=emission,
        )
        return cls(model.check_sizes(), emission=emission.name)._adopt_loaded(model, None)
