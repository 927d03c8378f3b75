"""Expectation-maximisation of many restarts as one tensor axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.duration import DurationCounts
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.sequences import Sequences

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
    on_iteration: Callable[[int], None] | None = None,
) -> Fit:
    """Climb from R starts until the objective gains less than ``tol`` per observed row.

    ``tol=0`` makes ``max_iter`` M-steps. Restarts that have stopped, or whose data are impossible, leave the batch.
    """
    n_restarts = model.emission.n_restarts
    least_gain = tol * sequences.n_observed_rows
    device = sequences.values.device
    blank = torch.full((n_restarts,), torch.nan, dtype=torch.float64, device=device)
    history: list[Tensor] = []
    likelihood, objective, fall = blank.clone(), blank.clone(), torch.zeros_like(blank)
    n_iter = torch.zeros(n_restarts, dtype=torch.int64, device=device)
    converged = torch.zeros(n_restarts, dtype=torch.bool, device=device)
    running = torch.arange(n_restarts, device=device)
    stopped: list[tuple[Tensor, Model]] = []
    previous = torch.full_like(blank, -torch.inf)
    for iteration in range(max_iter + 1):
        counts = inference.expected_counts(model.potentials(sequences))
        reached = counts.log_likelihood.sum(1)
        penalised = reached + model.log_prior()
        likelihood[running], objective[running], n_iter[running] = reached, penalised, iteration
        history.append(blank.clone().index_copy(0, running, penalised))
        gain = penalised - previous[running]
        lost = torch.where(gain < 0, -gain / penalised.abs().clamp(min=1.0), 0.0)
        fall[running] = torch.maximum(fall[running], lost)
        previous[running] = penalised
        done = (gain < least_gain) if tol > 0 else torch.zeros_like(gain, dtype=torch.bool)
        converged[running] = done
        leaving = done | penalised.isneginf() | (iteration == max_iter)
        if bool(leaving.any()):
            stopped.append((running[leaving], model.take(leaving)))
            staying = ~leaving
            if not bool(staying.any()):
                break
            running, model = running[staying], model.take(staying)
            counts = _take(counts, staying)
        model = maximise(model, sequences, counts)
        if on_iteration is not None:
            on_iteration(len(running))
    return Fit(_assemble(stopped), likelihood, objective, torch.stack(history), n_iter, converged, fall)


def _take(counts: Posterior, restarts: Tensor) -> Posterior:
    return Posterior(**{name: value[restarts] for name, value in vars(counts).items()})


def _assemble(stopped: list[tuple[Tensor, Model]]) -> Model:
    indices, model = stopped[0]
    for more, other in stopped[1:]:
        indices, model = torch.cat([indices, more]), model.joined(other)
    return model.take(indices.argsort())
