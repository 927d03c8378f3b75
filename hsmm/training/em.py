"""Expectation-maximisation of many restarts as one tensor axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.numerics import surely_all, surely_none
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences
from hsmm.training.acceleration import Extrapolation
from hsmm.training.coordinates import confined
from hsmm.training.objective import Objective, objective_of

FALL_TOLERANCE = 1e-8
_NUMBERS = ("log_likelihood", "objective", "n_iter", "converged", "fall")
_LOOK = 4
"""Iterations on a GPU from one look at who is done to the next, each of which the host waits for."""


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

    @cached_property
    def told(self) -> dict[str, list[Any]]:
        """The numbers of each restart as the host knows them."""
        return {name: getattr(self, name).tolist() for name in _NUMBERS}

    @cached_property
    def climbs(self) -> Tensor:
        """The ``history`` as the host knows it."""
        return self.history.cpu()

    def take(self, restart: Tensor) -> Fit:
        """The climb of one restart alone."""
        one = restart.view(1)
        parts = {name: getattr(self, name)[one] for name in _NUMBERS}
        return Fit(self.model.take(one), history=self.history[:, one], **parts)


def expectation_maximisation(
    model: Model,
    data: Sequences | Objective,
    *,
    max_iter: int,
    tol: float,
    accelerate: bool = False,
    limits: Sequence[int] | None = None,
) -> Fit:
    """Climb from R starts until an EM step gains less than ``tol`` per observed row.

    ``tol=0`` makes ``max_iter`` M-steps. Restarts that have stopped, or whose data are impossible, leave the batch.
    ``accelerate`` leaps ahead after every second step, where that does not lower the objective. ``limits``, one for all
    or one for each restart, are how many M-steps each makes, the largest of them ``max_iter``.
    """
    climb = _Climb(model, objective_of(data), tol, limits)
    for iteration in range(max_iter + 1):
        climb.evaluate(iteration, last=iteration == max_iter)
        if not len(climb.running):
            break
        climb.step(leap=accelerate and iteration % 2 == 1)
    return climb.result()


class _Climb:
    """The restarts still ``running`` with their models, counts and objective, and the ``record`` of those that left."""

    def __init__(self, model: Model, target: Objective, tol: float, limits: Sequence[int] | None) -> None:
        n_restarts, device = model.emission.n_restarts, target.sequences.device
        self.target, self.tol = target, tol
        self.running = torch.arange(n_restarts, device=device)
        self.limit = None if limits is None else torch.tensor(limits, device=device).expand(n_restarts)
        self.model = model
        self.objective = torch.full((n_restarts,), -torch.inf, dtype=torch.float64, device=device)
        self.fall = torch.zeros_like(self.objective)
        self.extrapolation = Extrapolation(n_restarts, device)
        self.path: list[Model] = []  # the models before the last steps, if a leap may follow or followed
        self.leapt = False
        self.counts: Posterior | None = None
        self.log_emission: Tensor | None = None
        self.gone: Tensor | None = None  # those that are done, as nobody has looked at yet
        self.last: dict[str, Tensor] = {}  # how these stood when they were
        self.history: list[Tensor] = []
        self.left: list[tuple[Tensor, Model]] = []
        self.record = {
            **{name: torch.empty_like(self.objective) for name in ("log_likelihood", "objective", "fall")},
            "n_iter": torch.empty_like(self.running),
            "converged": torch.empty_like(self.running, dtype=torch.bool),
        }

    def evaluate(self, iteration: int, *, last: bool) -> None:
        """The E-step at the present models, without counts where no step follows; those that are done leave."""
        looks = self._looks(iteration, last=last)
        self.counts, reached = self._reached(
            self.target, self._potentials(), counts=not last or self.limit is not None, trial=self.leapt, awaited=looks
        )
        objective = reached + self.model.log_prior()
        judged = self.tol > 0 and not self.leapt
        if self.leapt:
            accepted = objective >= self.objective
            self.extrapolation.judge(accepted)
            if not bool(accepted.all()):
                reached = self._retreat(reached, accepted)
                objective = reached + self.model.log_prior()
        gain = objective - self.objective
        if not surely_none(gain < 0):
            lost = torch.where(gain < 0, -gain / objective.abs().clamp(min=1.0), 0.0)
            self.fall = torch.maximum(self.fall, lost)
        self.objective, self.leapt = objective, False
        self._remember(objective)
        done = (gain < self.tol * self.target.n_observations) & judged
        leaving = done | objective.isneginf() | last
        if self.limit is not None:
            leaving |= self.limit <= iteration
        n_iter = torch.full_like(self.running, iteration)
        self._record(
            leaving, log_likelihood=reached, objective=objective, fall=self.fall, n_iter=n_iter, converged=done
        )
        if looks:
            self.target.tell(objective)
            self._leave()

    def step(self, *, leap: bool) -> None:
        """The M-step and, with ``leap``, an extrapolation beyond it."""
        assert self.counts is not None
        before = self.model
        after = self.target.maximise(before, self.counts)
        self.counts = None  # so that the next ones may lie where these lay
        self.path = [*self.path[-1:], before, after] if leap else [before]
        if leap:
            after = self.extrapolation.leap(*self.path)
            after = confined(after, self.target)
            if not surely_all(proper := after.emission.is_proper()):
                after = after.where(proper, self.path[-1])
            after = self.target.with_frozen(after, before)
        if self.gone is not None:
            after = after.where(~self.gone, before)
        self.model, self.leapt = after, leap

    def result(self) -> Fit:
        order = torch.cat([restarts for restarts, _ in self.left]).argsort()
        model = self.left[0][1].joined(*(other for _, other in self.left[1:]))
        n_rows = int(self.record["n_iter"].max()) + 1
        return Fit(model=model.take(order), history=torch.stack(self.history[:n_rows]), **self.record)

    def _looks(self, iteration: int, *, last: bool) -> bool:
        """Whether to look at who is done: always, but on a GPU only after a leap, and every few iterations."""
        waits = self.target.sequences.device.type != "cpu"
        return last or self.leapt or not waits or iteration % _LOOK == _LOOK - 1

    def _potentials(self) -> Potentials:
        """Of the present models; the largest tables lie in the same place each time: they are dear to allocate."""
        n_states = self.model.transition.n_states
        size = (*self.target.sequences.table_size(len(self.running)), n_states)
        room = None if self.log_emission is None else self.log_emission[: math.prod(size)].view(size)
        p = self.target.potentials(self.model, room)
        if room is None:
            self.log_emission = p.log_emission.flatten()
        return p

    @staticmethod
    def _reached(
        target: Objective, p: Potentials, *, counts: bool, trial: bool = False, awaited: bool = True
    ) -> tuple[Posterior | None, Tensor]:
        """The counts of some models, if wanted, and (R,) their log-likelihoods."""
        if not counts:
            return None, target.total(target.log_likelihood(p, trial=trial))
        found = target.expected_counts(p, trial=trial, awaited=awaited)
        return found, target.total(found.log_likelihood)

    def _retreat(self, reached: Tensor, accepted: Tensor) -> Tensor:
        """(R,) what is ``reached`` where a leap that lowered the objective is taken back to the plain EM step."""
        self.model = self.model.where(accepted, self.path[-1])
        rejected = (~accepted).nonzero().flatten()
        target = self.target.of_models(rejected)
        p = target.potentials(self.model.take(rejected))
        again, height = self._reached(target, p, counts=self.counts is not None)
        if self.counts is not None and again is not None:
            self.counts = self.target.with_counts(self.counts, rejected, again)
        return reached.index_copy(0, rejected, height)

    def _remember(self, objective: Tensor) -> None:
        row = own = objective if self.gone is None else objective.masked_fill(self.gone, torch.nan)
        if len(self.running) < len(self.record["objective"]):
            row = torch.full_like(self.record["objective"], torch.nan)
            row[self.running] = own
        self.history.append(row)

    def _record(self, leaving: Tensor, **reached: Tensor) -> None:
        """Who is ``gone``, and how each stood when it first was."""
        if self.gone is not None:
            reached = {name: torch.where(self.gone, self.last[name], value) for name, value in reached.items()}
            leaving = leaving | self.gone
        self.gone, self.last = leaving, reached

    def _leave(self) -> None:
        """Look who is gone, and go on without them."""
        assert self.gone is not None
        gone, self.gone = self.gone, None
        leaving = gone.nonzero().flatten()
        if not len(leaving):
            return
        restarts, staying = self.running[leaving], (~gone).nonzero().flatten()
        for name, values in self.last.items():
            self.record[name][restarts] = values[leaving]
        self.left.append((restarts, self.model.take(leaving)))
        self.running, self.model = self.running[staying], self.model.take(staying)
        self.limit = None if self.limit is None else self.limit[staying]
        self.objective, self.fall = self.objective[staying], self.fall[staying]
        self.path = [model.take(staying) for model in self.path]
        self.counts = None if self.counts is None else self.target.counts_of(self.counts, staying)
        self.target = self.target.of_models(staying)
        self.extrapolation.take(staying)
