"""Moves that depend on what is known beside the data: multinomial logistic rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Bound, Constraint, as_parameter
from hsmm.components.covariates import OnCovariates, ahead
from hsmm.components.dirichlet import reordered
from hsmm.components.head import check_penalty, check_temperature, standard, units, with_constant
from hsmm.components.logistic import centred, newton_step
from hsmm.components.transition.base import Transition
from hsmm.components.transition.dense import Dense
from hsmm.components.transition.masked import as_mask
from hsmm.sequences import Sequences
from hsmm.types import StateMatrix, StateMatrixSeries, StateVector

LARGEST = 30.0
"""The largest logit, and change of a logit by a standard deviation of the context: a bound for separable data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contextual(OnCovariates, Transition):
    """log P(j follows i) = intercept_ij + coef_ij · context + constant of i, with the context of the row that j begins.

    The step from row n to row n + 1 reads the context of row n + 1. Logits are relative to staying or, in a semi-Markov
    model, where no state follows itself, to the other state of lowest number: their intercepts and coefficients are 0.
    ``penalty`` >= 0 is that of a ridge: penalty / 2 · Σ (coef - mean of its row)², in units of the context's standard
    deviations, which does not depend on the reference. A column that is constant in the fit has coefficients of 0.

    ``allowed`` (K, K) rules moves out, as in :class:`~hsmm.components.transition.masked.Masked`. All logits are divided
    by ``temperature``: above 1 the moves are less certain than logits within their bounds could make them.

    Parameters are in those units: ``bias`` (R, K, K) at the mean context, ``coef`` (R, K, K, C), both within
    ±:data:`LARGEST`, and ``centre``, ``spread`` (R, C) of the context; :attr:`intercept_` and :attr:`coef_` are in the
    context's own.
    """

    name: ClassVar[str] = "contextual"
    state_axes: ClassVar = {"bias": (1, 2), "coef": (1, 2), "centre": (), "spread": ()}
    reads_one_row: ClassVar[bool] = True

    penalty: float = 0.0
    temperature: float = 1.0
    allowed: Sequence[Sequence[bool]] | None = None

    def __post_init__(self) -> None:
        check_penalty(self.penalty)
        check_temperature(self.temperature)
        if self.allowed is not None:
            object.__setattr__(self, "allowed", as_mask(self.allowed))

    @classmethod
    def from_parameters(cls, intercept: Any, coef: Any, **hyperparameters: Any) -> Self:
        """``intercept`` (K, K) and ``coef`` (K, K, C) of the logits, for a context in its own units.

        Adding a constant to a row changes nothing. An HMM needs ``self_transitions=True``.
        """
        bias, slopes = as_parameter(intercept, "intercept", (2,)), as_parameter(coef, "coef", (3,))
        k, n_columns = bias.shape[1], slopes.shape[-1]
        if bias.shape[1:] != (k, k) or slopes.shape[1:3] != (k, k) or not n_columns:
            raise ValueError(
                f"intercept has shape {tuple(bias.shape[1:])} and coef {tuple(slopes.shape[1:])}; expected "
                "(n_states, n_states) and (n_states, n_states, n_columns)."
            )
        units = {"centre": bias.new_zeros(1, n_columns), "spread": bias.new_ones(1, n_columns)}
        return cls(parameters={"bias": bias, "coef": slopes, **units}, **hyperparameters)._referenced()

    @property
    def n_states(self) -> int:
        return self.parameters["bias"].shape[-1]

    @property
    def n_absorbing(self) -> int:
        possible = self._possible()
        return int((possible.diagonal() & (possible.sum(-1) == 1)).sum())

    @property
    def is_exchangeable(self) -> bool:
        return self.allowed is None

    @property
    def coef_(self) -> np.ndarray:
        """(K, K, C) change of the logit of a move by one unit of the context, relative to the reference."""
        spread = torch.from_numpy(self.fitted("spread"))
        coef = torch.from_numpy(self.fitted("coef"))
        return torch.where(spread > 0, coef / spread, 0.0).numpy()

    @property
    def intercept_(self) -> np.ndarray:
        """(K, K) logits of the moves where the context is 0, relative to the reference."""
        return self.fitted("bias") - (self.coef_ * self.fitted("centre")).sum(-1)

    def probability(self, context: Any) -> np.ndarray:
        """(N, K, K) P(next state | state) of steps into rows with this context (N, C), or (C,) for one."""
        rows = torch.from_numpy(np.atleast_2d(np.array(context, dtype=np.float64)))
        expected = self.fitted("centre").shape[0]
        if rows.shape[1] != expected or not bool(rows.isfinite().all()):
            raise ValueError(f"context has shape {tuple(rows.shape)}; expected (n, {expected}) finite numbers.")
        return self._log_table(self._standard(rows))[0].exp().numpy()

    def log_potentials(self, sequences: Sequences | None = None) -> StateMatrixSeries:
        if sequences is None:
            raise ValueError("contextual transitions are known only beside a context; give the sequences.")
        return self._log_table(self._standard(self._ahead(sequences)))

    def typical(self) -> StateMatrix:
        return self._masked(self.parameters["bias"]).softmax(-1)

    def initialise(self, sequences: Sequences, mean_dwell: StateVector, generator: torch.Generator) -> Self:
        moves = Dense(self_transitions=self.self_transitions).initialise(sequences, mean_dwell, generator).typical()
        bias = torch.where(moves > 0, moves.clamp(min=1e-12).log(), 0.0)
        return self.with_parameters(bias=bias).beside(sequences)

    def beside(self, sequences: Sequences) -> Self:
        bias = self.parameters["bias"]
        centre, spread = (x.to(bias) for x in units(self.design(sequences), len(bias)))
        coef = bias.new_zeros(*bias.shape, centre.shape[-1])
        made = self.with_parameters(bias=bias, coef=coef, centre=centre, spread=spread)
        return made._referenced() if self.n_states > 1 else made

    def maximise(self, sequences: Sequences, counts: StateMatrixSeries, held: Collection[str] = ()) -> Self:
        """A damped Newton step on the exact objective, never downhill; new counts are worth more than a second one."""
        context = self._standard(self._ahead(sequences))
        design = with_constant(context)
        point, counts = self._point(), counts.movedim(1, -1).contiguous()
        colder = design / self.temperature
        point = newton_step(point, colder, counts, self._possible(), self._movable(), self.penalty, LARGEST)
        return self.with_parameters(bias=point[..., 0].clone(), coef=point[..., 1:].clone())

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return dict.fromkeys(("bias", "coef"), (-LARGEST, LARGEST))

    def constraints(self) -> Mapping[str, Constraint]:
        return {"bias": "real", "coef": "real"}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        movable = self._movable()
        bounded = {name: self.within_bounds(name, value) for name, value in coordinates.items()}
        if "bias" in bounded:
            bounded["bias"] = torch.where(movable, bounded["bias"], 0.0)
        if "coef" in bounded:
            learnt = movable[:, :, None] & (self.parameters["spread"] > 0)[:, None, None]
            bounded["coef"] = torch.where(learnt, bounded["coef"], 0.0)
        return self.with_parameters(**bounded)

    def permuted(self, order: Tensor) -> Self:
        moved = super().permuted(order)
        if self.allowed is not None:
            moved = replace(moved, allowed=reordered(self.allowed, order))
        return moved._referenced()

    def log_prior(self) -> Tensor:
        return -0.5 * self.penalty * centred(self.parameters["coef"], self._possible()).square().flatten(1).sum(1)

    def n_parameters(self) -> int:
        n_slopes = int((self.parameters["spread"][0] > 0).sum())
        return int(self._movable().sum()) * (1 + n_slopes)

    def check(self) -> None:
        shapes = {name: tuple(value.shape[1:]) for name, value in self.parameters.items()}
        k, c = shapes["bias"][-1:], shapes["centre"]
        if len(c) != 1 or shapes != {"bias": k + k, "coef": k + k + c, "centre": c, "spread": c}:
            raise ValueError(f"the contextual transition has tables of shapes {shapes}, which do not fit each other.")

    def _ahead(self, sequences: Sequences) -> Tensor:
        """(N, C) the context of the next row."""
        return ahead(self.design(sequences, self.parameters["centre"].shape[-1]), sequences)

    def _standard(self, context: Tensor) -> Tensor:
        """(R, N, C) in standard deviations from the mean; 0 in columns that were constant in the fit."""
        return standard(context, self.parameters["centre"], self.parameters["spread"])

    def _log_table(self, context: Tensor) -> Tensor:
        """(R, N, K, K), column by column, so that no row's bits depend on the others."""
        logits = self.parameters["bias"].unsqueeze(1)
        for column in range(context.shape[-1]):
            slope = self.parameters["coef"][..., column].unsqueeze(1)
            logits = logits + slope * context[..., column, None, None]
        return self._masked(logits).log_softmax(-1)

    def _masked(self, logits: Tensor) -> Tensor:
        return (logits / self.temperature).masked_fill(~self._possible(), -torch.inf)

    def _point(self) -> Tensor:
        return torch.cat([self.parameters["bias"].unsqueeze(-1), self.parameters["coef"]], -1)

    def _possible(self) -> Tensor:
        """(K, K) moves that can be made."""
        k, device = self.n_states, self.parameters["bias"].device
        stays = torch.eye(k, dtype=torch.bool, device=device)
        known = torch.ones_like(stays) if self.allowed is None else torch.tensor(self.allowed, device=device)
        if len(known) != k:
            raise ValueError(f"allowed is a mask of {len(known)} states, but the model has {k}.")
        moves = known & ~stays
        return known if self.self_transitions else moves | (known & stays & ~moves.any(-1, keepdim=True))

    def _reference(self) -> Tensor:
        """(K,) the move of each state that the others are compared with."""
        possible = self._possible()
        stays = torch.arange(self.n_states, device=possible.device)
        return torch.where(possible.diagonal(), stays, possible.long().argmax(-1))

    def _movable(self) -> Tensor:
        """(K, K) possible moves but the references."""
        states = torch.arange(self.n_states, device=self.parameters["bias"].device)
        return self._possible() & (states != self._reference()[:, None])

    def _referenced(self) -> Self:
        """The same law with logits relative to the reference."""
        reference, possible = self._reference(), self._possible()
        states = torch.arange(self.n_states, device=possible.device)
        bias, coef = self.parameters["bias"], self.parameters["coef"]
        bias = torch.where(possible, bias - bias[:, states, reference].unsqueeze(-1), 0.0)
        coef = torch.where(possible.unsqueeze(-1), coef - coef[:, states, reference].unsqueeze(-2), 0.0)
        return self.with_parameters(bias=bias, coef=coef)
