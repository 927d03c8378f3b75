"""When a state is left depends on what is known beside the data; what follows it does not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hsmm.components.base import Bound, Constraint, as_parameter, check_distribution, from_free, safe_log
from hsmm.components.covariates import ahead
from hsmm.components.dirichlet import dirichlet_mode
from hsmm.components.head import LARGEST_SLOPE, LinearHead, check_temperature, standard, with_constant
from hsmm.components.logistic import newton_step
from hsmm.components.transition.base import Transition
from hsmm.sequences import Sequences
from hsmm.types import StateMatrix, StateMatrixSeries, StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class Gated(LinearHead, Transition):
    """A gate that the context opens, and one table behind it: state i is left with the probability g_i = 1 / (1 +
    exp(-bias_i - coef_i · context)), for j with that of the table.

    The step from row n to row n + 1 reads the context of row n + 1. It has K · (1 + C) + K · (K - 2) numbers where
    contextual transitions have K · (K - 1) · (1 + C). For HMMs; a semi-Markov model's gate is its duration. The logit
    of leaving is divided by ``temperature``: above 1 a gate is less certain than numbers within their bounds could make
    it.

    Parameters ``bias`` (R, K), ``coef`` (R, K, C), see :class:`~hsmm.components.head.LinearHead`, and ``moves``
    (R, K, K), P(next state | it is left), whose diagonal is zero.
    """

    name: ClassVar[str] = "gated"
    state_axes: ClassVar = {"bias": (1,), "coef": (1,), "moves": (1, 2), "centre": (), "spread": ()}

    penalty: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.temperature)

    @classmethod
    def from_parameters(cls, intercept: Any, coef: Any, moves: Any, **hyperparameters: Any) -> Self:
        """``intercept`` (K,) and ``coef`` (K, C) of the logit of leaving a state, for a context in its own units;
        ``moves`` (K, K), rows that sum to one, the diagonal zero."""
        bias, slopes = as_parameter(intercept, "intercept", (1,)), as_parameter(coef, "coef", (2,))
        given = {"bias": bias, "coef": slopes, "moves": as_parameter(moves, "moves", (2,))}
        n_columns = slopes.shape[-1]
        units = {"centre": bias.new_zeros(1, n_columns), "spread": bias.new_ones(1, n_columns)}
        made = cls(parameters={**given, **units}, **{"self_transitions": True, **hyperparameters})
        made.check()
        return made

    def check(self) -> None:
        bias, moves = self.parameters["bias"], self.parameters["moves"]
        k = bias.shape[1]
        if moves.shape[1:] != (k, k):
            raise ValueError(f"moves has shape {tuple(moves.shape[1:])}; expected ({k}, {k}), as there are biases.")
        self.check_head((k,))
        if k > 1:
            check_distribution(moves.numpy(), "moves")
            if bool(moves.diagonal(dim1=-2, dim2=-1).any()):
                raise ValueError("moves has positive numbers on its diagonal; expected 0, as the gate says who stays.")

    def check_semi_markov(self) -> None:
        raise ValueError(
            "transition 'gated' is given to a semi-Markov model, whose durations say when a state is left; choose "
            "duration 'contextual' and transition 'dense'."
        )

    @property
    def n_states(self) -> int:
        return self.parameters["bias"].shape[-1]

    @property
    def coef_(self) -> np.ndarray:
        """(K, C) change of the logit of leaving by one unit of the context."""
        spread = self.fitted("spread")
        return np.where(spread > 0, self.fitted("coef") / np.where(spread > 0, spread, 1.0), 0.0)

    @property
    def intercept_(self) -> np.ndarray:
        """(K,) logit of leaving where the context is 0."""
        return self.fitted("bias") - self.coef_ @ self.fitted("centre")

    @property
    def moves_(self) -> np.ndarray:
        """(K, K) P(next state | the state is left)"""
        return self.fitted("moves")

    def log_potentials(self, sequences: Sequences | None = None) -> StateMatrixSeries:
        if sequences is None:
            raise ValueError("gated transitions are known only beside a context; give the sequences.")
        return self._log_table(self.numbers(self._ahead(sequences)))

    def typical(self) -> StateMatrix:
        return self._log_table(self.parameters["bias"].unsqueeze(1))[:, 0].exp()

    def initialise(self, sequences: Sequences, mean_dwell: StateVector, generator: torch.Generator) -> Self:
        r, k = mean_dwell.shape
        weights = 1.0 + torch.rand((r, k, k), generator=generator, dtype=torch.float64)
        weights = weights * (1.0 - torch.eye(k, dtype=torch.float64))
        moves = weights / weights.sum(-1, keepdim=True).clamp(min=1e-300)
        return self.with_parameters(bias=-self.temperature * (mean_dwell - 1.0).log(), moves=moves).beside(sequences)

    def maximise(self, sequences: Sequences, counts: StateMatrixSeries, held: Collection[str] = ()) -> Self:
        """The best table, and a damped Newton step of the gates, never downhill."""
        if self.n_states == 1:
            return self
        stays = counts.diagonal(dim1=-2, dim2=-1)
        left = counts - torch.diag_embed(stays)
        old = self.parameters["moves"]
        moves = dirichlet_mode(left.sum(1), 1.0, old, allowed=old > 0)
        both = torch.stack([stays, left.sum(-1)], -1).movedim(1, -1).contiguous()  # (R, K, 2, N)
        point = torch.stack([torch.zeros_like(self.point()), self.point()], 2)
        every = torch.ones(point.shape[1:3], dtype=torch.bool, device=point.device)
        leaves = every.clone()
        leaves[:, 0] = False
        design = with_constant(self._ahead(sequences)) / self.temperature
        # Of two choices whose coefficients are 0 and w, Σ (coef - mean)² is w² / 2.
        found = newton_step(point, design, both, every, leaves, 2.0 * self.penalty, LARGEST_SLOPE)[:, :, 1]
        return self.at(found).with_parameters(moves=moves)

    def tamed(self, point: Tensor) -> Tensor:
        return point.clamp(-LARGEST_SLOPE, LARGEST_SLOPE)

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return dict.fromkeys(("bias", "coef"), (-LARGEST_SLOPE, LARGEST_SLOPE))

    def constraints(self) -> Mapping[str, Constraint]:
        return {**super().constraints(), "moves": "simplex"} if self.n_states > 1 else {}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        own = dict(coordinates)
        moves = own.pop("moves", None)
        made = self if moves is None else self.with_parameters(moves=from_free(moves, "simplex"))
        return LinearHead.with_free(made, own) if own else made

    def n_parameters(self) -> int:
        k = self.n_states
        return k * (1 + self.n_slopes() + k - 2) if k > 1 else 0

    def _ahead(self, sequences: Sequences) -> Tensor:
        """(R, N, C) the context of the next row, in the units of the fit."""
        centre, spread = self.parameters["centre"], self.parameters["spread"]
        return standard(ahead(self.design(sequences, centre.shape[-1]), sequences), centre, spread)

    def _log_table(self, numbers: Tensor) -> Tensor:
        """(R, N, K, K) of the logits (R, N, K) of leaving."""
        if self.n_states == 1:
            return torch.zeros_like(numbers).unsqueeze(-1)
        numbers = numbers / self.temperature
        leaves = logsigmoid(numbers).unsqueeze(-1) + safe_log(self.parameters["moves"]).unsqueeze(1)
        own = torch.eye(self.n_states, dtype=torch.bool, device=numbers.device)
        return torch.where(own, logsigmoid(-numbers).unsqueeze(-1), leaves)
