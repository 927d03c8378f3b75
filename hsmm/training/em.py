"""Expectation-maximisation of many restarts as one tensor axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.duration import DurationCounts
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.sequences import Sequences
from hsmm.training.acceleration import Extrapolation

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


def maximise(model: Model, sequences: Sequences, counts: Posterior) -> Model:
    """The M-step: every component for itself."""
    duration = model.duration
    if duration is not None:
        duration = duration.maximise(
            DurationCounts(counts.duration, counts.residual, counts.tail_stay, counts.tail_leave)
        )
    return replace(
        model,
        initial=model.initial.maximise(counts.initial),
        transition=model.transition.maximise(counts.transition),
        duration=duration,
        emission=model.emission.maximise(sequences, counts.state),
    )


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


class _Climb:
    """The restarts still ``running``, their models and counts, and the record of all R."""

    def __init__(self, model: Model, sequences: Sequences, tol: float) -> None:
        self.sequences, self.tol = sequences, tol
        self.least_gain = tol * sequences.n_observed_rows
        n_restarts, device = model.emission.n_restarts, sequences.values.device
        self.blank = torch.full((n_restarts,), torch.nan, dtype=torch.float64, device=device)
        self.likelihood, self.objective = self.blank.clone(), torch.full_like(self.blank, -torch.inf)
        self.fall = torch.zeros_like(self.blank)
        self.n_iter = torch.zeros(n_restarts, dtype=torch.int64, device=device)
        self.converged = torch.zeros(n_restarts, dtype=torch.bool, device=device)
        self.history: list[Tensor] = []
        self.stopped: list[tuple[Tensor, Model]] = []
        self.running = torch.arange(n_restarts, device=device)
        self.model = model
        self.path: list[Model] = []
        self.leapt = False
        self.extrapolation = Extrapolation(n_restarts, device)

    def evaluate(self, iteration: int, *, last: bool) -> None:
        """The E-step at the present models; those that are done leave."""
        counts = inference.expected_counts(self.model.potentials(self.sequences))
        if self.leapt:
            counts = self._retreat(counts)
        reached = counts.log_likelihood.sum(1)
        penalised = reached + self.model.log_prior()
        gain = penalised - self.objective[self.running]
        lost = torch.where(gain < 0, -gain / penalised.abs().clamp(min=1.0), 0.0)
        self.fall[self.running] = torch.maximum(self.fall[self.running], lost)
        self.likelihood[self.running], self.objective[self.running] = reached, penalised
        self.n_iter[self.running] = iteration
        self.history.append(self.blank.clone().index_copy(0, self.running, penalised))
        done = (gain < self.least_gain) if self.tol > 0 and not self.leapt else torch.zeros_like(gain).bool()
        self.converged[self.running] = done
        self.leapt = False
        self.counts = counts
        leaving = done | penalised.isneginf() | last
        if bool(leaving.any()):
            self._leave(leaving)

    def step(self, *, leap: bool) -> None:
        """The M-step and, with ``leap``, an extrapolation beyond it."""
        self.path = [*self.path[-1:], self.model] if leap else [self.model]
        after = maximise(self.model, self.sequences, self.counts)
        if leap:
            self.path = [*self.path, after]
            after = self.extrapolation.leap(*self.path)
            after = replace(after, emission=after.emission.confined(self.sequences))
        self.model, self.leapt = after, leap

    def result(self) -> Fit:
        indices = torch.cat([indices for indices, _ in self.stopped])
        model = self.stopped[0][1]
        for _, other in self.stopped[1:]:
            model = model.joined(other)
        return Fit(
            model.take(indices.argsort()), self.likelihood, self.objective, torch.stack(self.history),
            self.n_iter, self.converged, self.fall,
        )  # fmt: skip

    def _retreat(self, counts: Posterior) -> Posterior:
        """Where a leap lowered the objective, go back to the plain EM step."""
        reached = counts.log_likelihood.sum(1) + self.model.log_prior()
        accepted = reached >= self.objective[self.running]
        self.extrapolation.judge(accepted)
        if bool(accepted.all()):
            return counts
        self.model = self.model.where(accepted, self.path[-1])
        rejected = (~accepted).nonzero().flatten()
        again = inference.expected_counts(self.model.take(rejected).potentials(self.sequences))
        return Posterior(
            **{name: value.index_copy(0, rejected, getattr(again, name)) for name, value in vars(counts).items()}
        )

    def _leave(self, leaving: Tensor) -> None:
        self.stopped.append((self.running[leaving], self.model.take(leaving)))
        staying = ~leaving
        self.running, self.model = self.running[staying], self.model.take(staying)
        self.path = [model.take(staying) for model in self.path]
        self.counts = Posterior(**{name: value[staying] for name, value in vars(self.counts).items()})
        self.extrapolation.take(staying)
