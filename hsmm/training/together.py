"""Fits that wait for climbs, run side by side: those of one structure climb in one batch.

A fit is a generator that asks for one :class:`Climb` after the other and is sent the :class:`Fit` it ended in. Run with
others or alone, it makes the same steps on the same bits; what fails in one is thrown into that one only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar

import torch

from hsmm.components.model import Model
from hsmm.kernels.gpu import launch
from hsmm.native.library import available
from hsmm.sequences import Sequences
from hsmm.training.em import Fit
from hsmm.training.memory import machine_memory
from hsmm.training.objective import Objective
from hsmm.training.trainers import Leg, Trainer
from hsmm.training.units import ObjectiveOfUnits
from hsmm.units import Units

Result = TypeVar("Result")
_LANES = 8  # series of any restarts that the E-step works on side by side
_FITTING_CELLS, _MOST_CELLS = 4_000_000, 40_000_000  # of tables by row: for the caches, for the memory
_AT_ONCE = 4  # of a model's tables by row: made, normalised, counted, and moved by an M-step
_BESIDE, _BESIDE_EACH = 16, 2  # tables of the size of the largest that there are at once, and more for each feature
_ORDER = ("climb", "em", "last", "finish")


@dataclass(frozen=True, eq=False)
class Climb:
    """R models to be climbed with: by a trainer's own steps, by EM, to the end by its own, or by the steps after it."""

    kind: Literal["climb", "em", "last", "finish"]
    trainer: Trainer
    leg: Leg
    model: Model
    objective: Objective

    def run(self) -> Fit | None:
        """Where the climb ends; None where the trainer has no last steps for these models."""
        if self.kind == "finish":
            return self.trainer.finish(self.model, self.objective, self.leg)
        if self.kind == "em":
            return self.leg.em(self.model, self.objective)
        return self.trainer.climb(self.model, self.objective, self.leg)

    @property
    def turn(self) -> tuple[int, int]:
        """Which go first: those that are behind, so that fits do not part. In a local search the shortest legs begin
        it anew."""
        return _ORDER.index(self.kind), -self.leg.max_iter if self.kind == "em" else 0

    @property
    def cells(self) -> int:
        """Numbers in the tables of one model that have more of them where there are more rows."""
        model, k, sequences = self.model, self.model.transition.n_states, self.objective.sequences
        cells = sequences.n_rows * k
        if model.transition.uses_covariates:
            cells += model.table_rows("transition", sequences).rows.n_rows * k * k
        if model.duration is not None and model.duration.uses_covariates:
            cells += model.table_rows("duration", sequences).rows.n_rows * k * model.duration.max_duration
        return cells


Fitting: TypeAlias = Generator[Climb, Fit | None, Result]


def alone(fitting: Fitting[Result]) -> Result:
    """The result of one fit; raises what it raises."""
    found = together([fitting])[0]
    if isinstance(found, Exception):
        raise found
    return found


def together(fittings: Sequence[Fitting[Result]]) -> list[Result | Exception]:
    """The results of several fits, of one that failed what it raised."""
    found: dict[int, Result | Exception] = {}
    waiting: dict[int, Climb] = {}

    def go_on(place: int, step: Callable[[], Climb]) -> None:
        waiting.pop(place, None)
        try:
            waiting[place] = step()
        except StopIteration as stop:
            found[place] = stop.value
        except Exception as error:
            found[place] = error

    for place, fitting in enumerate(fittings):
        go_on(place, fitting.__next__)
    while waiting:
        first = min(climb.turn for climb in waiting.values())
        ready = {place: climb for place, climb in waiting.items() if climb.turn == first}
        for places in _batches(ready):
            for place, fit in zip(places, _climbed([ready[place] for place in places]), strict=True):
                fitting = fittings[place]
                if isinstance(fit, Exception):
                    go_on(place, lambda fitting=fitting, error=fit: fitting.throw(error))  # type: ignore[misc]
                else:
                    go_on(place, lambda fitting=fitting, fit=fit: fitting.send(fit))  # type: ignore[misc]
    return [found[place] for place in range(len(fittings))]


def _batches(ready: dict[int, Climb]) -> Iterator[list[int]]:
    """The places of climbs that can be made as one, no more at once than share the caches of a CPU."""
    alike: dict[Any, list[int]] = {}
    for place, climb in ready.items():
        alike.setdefault(_likeness(climb) if len(ready) > 1 else None, []).append(place)
    for key, places in alike.items():
        batch: list[int] = []
        cells = 0
        for place in places:
            size = ready[place].cells * ready[place].model.emission.n_restarts
            if batch and (key is None or cells + size > _FITTING_CELLS):
                yield batch
                batch, cells = [], 0
            batch.append(place)
            cells += size
        yield batch


def _likeness(climb: Climb) -> Any:
    """What climbs must have in common to be made as one; None of those that are made by themselves."""
    model, objective = climb.model, climb.objective
    packs = (
        climb.trainer.takes_units
        and model.emission.takes_units
        and not model.uses_covariates
        and not model.initial.follows_transition
        and objective.sequences.device.type == "cpu"
        and objective.is_plain
        and objective.watch is None
        and available()
    )
    if not packs:
        return None
    bare = {kind: part.bare() for kind, part in model.components().items()}
    shapes = [tuple(x.shape[1:]) for part in model.components().values() for x in part.parameters.values()]
    leg = climb.leg if climb.leg.limits is None else replace(climb.leg, max_iter=0, limits=())
    return climb.kind, climb.trainer, leg, objective.frozen, repr(replace(model, **bare)), repr(shapes)


def _climbed(climbs: list[Climb]) -> list[Fit | None] | list[Fit | Exception | None]:
    """Where each ends; made by themselves where they cannot be made as one."""
    if len(climbs) > 1:
        try:
            return list(_split(_joined(climbs).run(), climbs))
        except (ArithmeticError, MemoryError, RuntimeError, ValueError):
            pass  # of one that fails the others must not know: each says for itself what is wrong
    return [_by_itself(climb) for climb in climbs]


def _by_itself(climb: Climb) -> Fit | Exception | None:
    try:
        return _chunked(climb)
    except Exception as error:
        return error


def _joined(climbs: list[Climb]) -> Climb:
    first, *others = climbs
    sizes = tuple(climb.model.emission.n_restarts for climb in climbs)
    units = Units(tuple(climb.objective.sequences for climb in climbs), sizes)
    model = first.model.joined(*(climb.model for climb in others))
    leg = first.leg
    if leg.limits is not None:
        limits = [climb.leg.max_iter for climb, size in zip(climbs, sizes, strict=True) for _ in range(size)]
        leg = replace(leg, max_iter=max(limits), limits=tuple(limits))
    return replace(first, leg=leg, model=model, objective=ObjectiveOfUnits(units, frozen=first.objective.frozen))


def _split(fit: Fit | None, climbs: list[Climb]) -> Iterator[Fit | None]:
    sizes = [climb.model.emission.n_restarts for climb in climbs]
    if fit is None:
        yield from itertools.repeat(None, len(climbs))
        return
    for own in torch.arange(sum(sizes)).split(sizes):
        n_iter = fit.n_iter[own]
        yield Fit(
            model=fit.model.take(own),
            log_likelihood=fit.log_likelihood[own],
            objective=fit.objective[own],
            history=fit.history[: int(n_iter.max()) + 1, own],
            n_iter=n_iter,
            converged=fit.converged[own],
            fall=fit.fall[own],
        )


def _chunked(climb: Climb) -> Fit | None:
    """The climb in chunks of restarts: on a CPU enough to fill the lanes, then no more than share the caches; on a GPU
    as many as its free memory should hold."""
    sequences, cells = climb.objective.sequences, climb.cells
    if sequences.values.is_cuda:
        return _in_chunks(climb, max(1, _cells_of_device(sequences) // cells))
    _check_memory(climb)
    filling = -(-_LANES // sequences.n_series)
    size = filling * max(1, round(_FITTING_CELLS / (cells * filling)))
    return _in_chunks(climb, max(1, min(size, _MOST_CELLS // cells)))


def _check_memory(climb: Climb) -> None:
    """Raise ``ValueError`` where what one model has by row needs more than the machine's memory."""
    needed, there = 8 * _AT_ONCE * climb.cells, machine_memory()
    if needed <= there:
        return
    model, sequences = climb.model, climb.objective.sequences
    longest = 1 if model.duration is None else model.duration.max_duration
    raise ValueError(
        f"{sequences.n_rows:,} rows, each with a context of its own, of {model.transition.n_states} states and "
        f"{longest} durations need about {needed / 1e9:.1f} GB of tables; this machine has {there / 1e9:.1f} GB. Round "
        "the context so that rows share its values, or lower max_duration or the number of states."
    )


def _in_chunks(climb: Climb, size: int) -> Fit | None:
    chunks = torch.arange(climb.model.emission.n_restarts, device=climb.objective.sequences.device).split(size)
    fits = [_within_memory(replace(climb, model=climb.model.take(chunk))) for chunk in chunks]
    made = [fit for fit in fits if fit is not None]
    return _appended(made) if len(made) > 1 else fits[0]


def _within_memory(climb: Climb) -> Fit | None:
    """The climb; where a GPU has too little memory for all its restarts, one half of them after the other."""
    n_restarts = climb.model.emission.n_restarts
    try:
        return climb.run()
    except torch.cuda.OutOfMemoryError:
        if n_restarts == 1:
            raise
    torch.cuda.empty_cache()  # here, where no traceback holds the tables any more
    return _in_chunks(climb, -(-n_restarts // 2))


def _cells_of_device(sequences: Sequences) -> int:
    """Numbers in tables by row for which a GPU has room, what the passes and the moments of rows take besides."""
    return launch.free_bytes(sequences.device) // (8 * (_BESIDE + _BESIDE_EACH * sequences.n_features))


def _appended(fits: list[Fit]) -> Fit:
    longest = max(len(fit.history) for fit in fits)
    padded = [
        torch.nn.functional.pad(fit.history, (0, 0, 0, longest - len(fit.history)), value=torch.nan) for fit in fits
    ]
    return Fit(
        fits[0].model.joined(*(fit.model for fit in fits[1:])),
        torch.cat([fit.log_likelihood for fit in fits]),
        torch.cat([fit.objective for fit in fits]),
        torch.cat(padded, 1),
        torch.cat([fit.n_iter for fit in fits]),
        torch.cat([fit.converged for fit in fits]),
        torch.cat([fit.fall for fit in fits]),
    )
