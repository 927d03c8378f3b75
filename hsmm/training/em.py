"""Expectation-maximisation of many restarts as one tensor axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences
from hsmm.training.acceleration import Extrapolation
from hsmm.training.m_step import maximise

FALL_TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False)
class Fit:
    """R fitted models.

    - ``log_likelihood``, ``objective`` (R,): at the returned parameters, without and with the log-prior
    - ``history`` (iterations, R): the objective before each M-step and at the end; NaN after a restart stopped
    - ``n_iter`` (R,): M-steps made
    - ``converged`` (R,): the gain fell below the tolerance
    - ``fall`` (R,): largest relative fall of the objective in one iteration, 0 if it never fell
    """

    model: Model
    log_likelihood: Tensor
    objective: Tensor
    history: Tensor
    n_iter: Tensor
    converged: Tensor
    fall: Tensor


def expectation_maximisation(
    model: Model,
    sequences: Sequences,
    *,
    max_iter: int,
    tol: float,
    accelerate: bool = False,
) -> Fit:
    """Climb from R starts until an EM step gains less than ``tol`` per observed row.

    ``tol=0`` makes ``max_iter`` M-steps. Restarts that have stopped, or whose data are impossible, leave the batch.
    ``accelerate`` leaps ahead after every second step, where that does not lower the objective.
    """
    climb = _Climb(model, sequences, tol)
    for iteration in range(max_iter + 1):
        climb.evaluate(iteration, last=iteration == max_iter)
        if not len(climb.running):
            break
        climb.step(leap=accelerate and iteration % 2 == 1)
    return climb.result()


@dataclass(frozen=True, eq=False)
class _Stop:
    """Where some restarts ended."""

    restarts: Tensor
    model: Model
    log_likelihood: Tensor
    objective: Tensor
    n_iter: Tensor
    converged: Tensor
    fall: Tensor


class _Climb:
    """The restarts still ``running``, their models and counts, and the record of all R."""

    def __init__(self, model: Model, sequences: Sequences, tol: float) -> None:
        self.sequences, self.tol = sequences, tol
        self.least_gain = tol * sequences.n_observed_rows
        self.n_restarts, device = model.emission.n_restarts, sequences.values.device
        self.running = torch.arange(self.n_restarts, device=device)
        self.model = model
        self.objective = torch.full((self.n_restarts,), -torch.inf, dtype=torch.float64, device=device)
        self.fall = torch.zeros_like(self.objective)
        self.history: list[tuple[Tensor, Tensor]] = []
        self.stopped: list[_Stop] = []
        self.path: list[Model] = []
        self.leapt = False
        self.extrapolation = Extrapolation(self.n_restarts, device)
        self.log_emission: Tensor | None = None
        self.counts: Posterior | None = None

    def evaluate(self, iteration: int, *, last: bool) -> None:
        """The E-step at the present models; those that are done leave."""
        counts = inference.expected_counts(self._potentials())
        if self.leapt:
            counts = self._retreat(counts)
        reached = counts.log_likelihood.sum(1)
        penalised = reached + self.model.log_prior()
        gain = penalised - self.objective
        lost = torch.where(gain < 0, -gain / penalised.abs().clamp(min=1.0), 0.0)
        self.fall = torch.maximum(self.fall, lost)
        self.objective = penalised
        self.history.append((self.running, penalised))
        judged = self.tol > 0 and not self.leapt
        done = gain < self.least_gain if judged else torch.zeros_like(gain, dtype=torch.bool)
        self.leapt, self.counts = False, counts
        leaving = done | penalised.isneginf() | last
        if bool(leaving.any()):
            self._leave(leaving, reached, done, iteration)

    def step(self, *, leap: bool) -> None:
        """The M-step and, with ``leap``, an extrapolation beyond it."""
        assert self.counts is not None
        self.path = [*self.path[-1:], self.model] if leap else [self.model]
        after = maximise(self.model, self.sequences, self.counts)
        self.counts = None  # so that the next ones may lie where these lay
        if leap:
            self.path = [*self.path, after]
            after = self.extrapolation.leap(*self.path)
            after = replace(after, emission=after.emission.confined(self.sequences))
        self.model, self.leapt = after, leap

    def result(self) -> Fit:
        order = torch.cat([stop.restarts for stop in self.stopped]).argsort()
        model = self.stopped[0].model
        for stop in self.stopped[1:]:
            model = model.joined(stop.model)
        history = order.new_full((len(self.history), self.n_restarts), torch.nan, dtype=torch.float64)
        for row, (restarts, objective) in zip(history, self.history, strict=True):
            row[restarts] = objective
        names = ("log_likelihood", "objective", "n_iter", "converged", "fall")
        records = {name: torch.cat([getattr(stop, name) for stop in self.stopped])[order] for name in names}
        return Fit(model=model.take(order), history=history, **records)

    def _potentials(self) -> Potentials:
        """The tables, those of all rows in the same place each time: the largest are the dearest to allocate."""
        if self.log_emission is None:
            p = self.model.potentials(self.sequences)
            self.log_emission = p.log_emission
            return p
        return self.model.potentials(self.sequences, self.log_emission[: len(self.running)])

    def _retreat(self, counts: Posterior) -> Posterior:
        """Where a leap lowered the objective, go back to the plain EM step."""
        reached = counts.log_likelihood.sum(1) + self.model.log_prior()
        accepted = reached >= self.objective
        self.extrapolation.judge(accepted)
        if bool(accepted.all()):
            return counts
        self.model = self.model.where(accepted, self.path[-1])
        rejected = (~accepted).nonzero().flatten()
        again = inference.expected_counts(self.model.take(rejected).potentials(self.sequences))
        return Posterior(
            **{name: value.index_copy(0, rejected, getattr(again, name)) for name, value in vars(counts).items()}
        )

    def _leave(self, leaving: Tensor, reached: Tensor, converged: Tensor, iteration: int) -> None:
        assert self.counts is not None
        n_iter = torch.full_like(self.running, iteration)
        record = (reached, self.objective, n_iter, converged, self.fall)
        self.stopped.append(
            _Stop(self.running[leaving], self.model.take(leaving), *(values[leaving] for values in record))
        )
        staying = ~leaving
        self.running, self.model = self.running[staying], self.model.take(staying)
        self.objective, self.fall = self.objective[staying], self.fall[staying]
        self.path = [model.take(staying) for model in self.path]
        self.counts = Posterior(**{name: value[staying] for name, value in vars(self.counts).items()})
        self.extrapolation.take(staying)
