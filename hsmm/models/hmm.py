"""The hidden Markov model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from hsmm.components.context import Encoder
from hsmm.components.emission import Emission
from hsmm.components.initial import FreeInitial, Initial
from hsmm.components.model import Model
from hsmm.components.transition import Dense, Transition
from hsmm.models.base import Device, Estimator
from hsmm.models.heads import with_heads
from hsmm.models.parameters import RandomState
from hsmm.models.summary import mean_durations
from hsmm.potentials import Potentials
from hsmm.training.trainers import Trainer


class Memoryless(Estimator):
    """Base of the estimators whose states forget how long they have lasted."""

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
