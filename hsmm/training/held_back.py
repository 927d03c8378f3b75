"""Rows that a climb does not see, and stopping where they are foretold best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.model import Model
from hsmm.training.objective import Objective

_FEWEST_SERIES = 5

Judge = Callable[[Model], Tensor]
Advance = Callable[[Model], tuple[Model, Tensor, int]]


@dataclass(frozen=True, eq=False)
class Learnt:
    """R models, each as it was where rows held back were foretold best.

    - ``held_out`` (R,): log-likelihood of those rows there, and ``curve`` (T, R) at every look
    - ``history`` (T, R): the objective of the rows that were seen, at every look
    - ``n_iter`` (R,): iterations to the best look; ``settled`` (R,): whether looks after it were no better
    """

    model: Model
    held_out: Tensor
    curve: Tensor
    history: Tensor
    n_iter: Tensor
    settled: Tensor


def held_back(objective: Objective, share: float) -> tuple[Objective, Judge]:
    """What is learnt from, and the log-likelihood (R,) of the rest: of whole series where there are enough, otherwise
    of the end of each given its beginning."""
    sequences = objective.sequences
    n_held = round(share * sequences.n_series)
    if sequences.n_series >= _FEWEST_SERIES and n_held:
        every = sequences.n_series / n_held
        rest = sorted({int((i + 1) * every) - 1 for i in range(n_held)})
        unseen = replace(objective.chosen(rest), watch=None)
        seen = objective.chosen([s for s in range(sequences.n_series) if s not in set(rest)])
        return seen, lambda model: _total(unseen, model)
    lengths = (sequences.lengths - (share * sequences.lengths).long()).clamp(min=1)
    seen, whole = objective.head(lengths), replace(objective, watch=None)
    return seen, lambda model: _total(whole, model) - _total(replace(seen, watch=None), model)


def _total(objective: Objective, model: Model) -> Tensor:
    with torch.no_grad():
        return objective.total(inference.log_partition(objective.potentials(model)))


@dataclass(eq=False)
class Looks:
    """What looks at the rows held back have told so far: of each restart the ``best`` model, what it made of them
    (``held``), after how many iterations, and for how many looks none was better."""

    best: Model
    held: Tensor
    n_iter: Tensor
    idle: Tensor
    curve: list[Tensor]
    history: list[Tensor]
    made: int = 0

    @classmethod
    def first(cls, model: Model, judge: Judge) -> Looks:
        """Before anything is learnt: where a climb begins is none of its ends."""
        held = judge(model).nan_to_num(-torch.inf)
        blank = torch.zeros_like(held, dtype=torch.int64)
        return cls(model, torch.full_like(held, -torch.inf), blank, blank, [held], [])

    def look(self, model: Model, now: Tensor, reached: Tensor, n_more: int, patience: int, tol: float) -> None:
        """Take note of models ``n_more`` iterations on, and of what they make of the rows held back."""
        now, self.made = now.nan_to_num(-torch.inf), self.made + n_more
        better = (now > self.held + tol) & (self.idle < patience)
        self.best, self.held = model.where(better, self.best), torch.where(better, now, self.held)
        self.n_iter = torch.where(better, self.made, self.n_iter)
        self.idle = torch.where(better, 0, self.idle + 1)
        self.curve.append(now)
        self.history.append(reached)

    def learnt(self, patience: int) -> Learnt:
        curve, history = torch.stack(self.curve), torch.stack(self.history)
        return Learnt(self.best, self.held, curve, history, self.n_iter, self.idle >= patience)


def stopped_early(
    model: Model,
    advance: Advance,
    judge: Judge,
    n_looks: int,
    patience: int,
    tol: float,
    looks: Looks | None = None,
    after: Callable[[Looks], None] | None = None,
) -> Learnt:
    """Advance all models together, until there were ``n_looks`` or none of the last ``patience`` foretold the rows held
    back better, by more than ``tol`` nats, than one before. ``looks`` goes on with earlier ones; ``after`` is told of
    each."""
    looks = looks or Looks.first(model, judge)
    while len(looks.history) < n_looks and not bool((looks.idle >= patience).all()):
        model, reached, n_more = advance(model)
        looks.look(model, judge(model), reached, n_more, patience, tol)
        if after is not None:
            after(looks)
    return looks.learnt(patience)
