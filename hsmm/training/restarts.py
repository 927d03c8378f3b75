"""Many starts, few finishers: successive halving of hopeless restarts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.errors import ImpossibleDataError
from hsmm.sequences import Sequences
from hsmm.training.em import Fit, expectation_maximisation
from hsmm.training.starts import draw_starts, initial_model, longest_dwell

ROUNDS: tuple[tuple[int, float], ...] = ((10, 0.5), (20, 0.5), (40, 0.5), (80, 0.5))
FEWEST = 2
_LANES = 8  # restarts that the E-step works on side by side
_FITTING_CELLS, _MOST_CELLS = 4_000_000, 40_000_000  # of (R, N, K) tables: for the caches, for the memory


@dataclass(frozen=True)
class Restart:
    """How one restart went; ``stopped`` says why it ended."""

    restart: int
    seed: int
    start: str
    iterations: int
    objective: float
    log_likelihood: float
    collapsed: bool
    stopped: str


@dataclass(frozen=True, eq=False)
class BestFit:
    """The best restart (a model with a restart axis of one), its climb, and how all restarts went."""

    model: Model
    log_likelihood: float
    objective: float
    history: Tensor
    n_iter: int
    converged: bool
    collapsed: bool
    fall: float
    restarts: list[Restart]


def fit_restarts(
    structure: Model,
    sequences: Sequences,
    *,
    n_states: int,
    n_init: int,
    max_iter: int,
    tol: float,
    seed: int,
) -> BestFit:
    """Fit ``structure`` from ``n_init`` starts and keep the best that has no collapsed state, if there is one.

    After each of ``ROUNDS`` (iterations, share kept) the worse restarts stop; the rest climb on. Should all of these
    collapse, those that stopped last while sound climb on instead.
    """
    starts = draw_starts(sequences, n_states, n_init, longest_dwell(structure, sequences, n_states), seed)
    model = initial_model(structure, sequences, starts, seed)
    race = _Race(alive=torch.arange(n_init, device=sequences.values.device))

    def climb(model: Model, *, max_iter: int, accelerate: bool) -> Fit:
        chunk = partial(
            expectation_maximisation, sequences=sequences, max_iter=max_iter, tol=tol, accelerate=accelerate
        )
        return _chunked(model, sequences, chunk)

    spent = 0
    for length, share in (*ROUNDS, (max_iter, 0.0)):
        last = len(race.alive) <= FEWEST or spent + length >= max_iter
        race.run(climb(model, max_iter=max_iter - spent if last else length, accelerate=spent > 0), sequences)
        if last:
            break
        spent += length
        model = race.halve(max(FEWEST, int(len(race.alive) * share)))
    race.end()
    while (again := race.second_chance()) is not None:
        race.run(climb(again, max_iter=max_iter - race.most_iterations(), accelerate=True), sequences)
        race.end()
    return race.result(starts.kinds, seed)


@dataclass(eq=False)
class _Race:
    """The restarts still ``alive``, their latest ``fit``, and what is known of those that left.

    ``resting`` are sound models that left early, by round; ``ended`` the fits of those that climbed to their end.
    """

    alive: Tensor
    fit: Fit | None = None
    collapsed: Tensor = field(default_factory=lambda: torch.empty(0))
    rounds: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    iterations: dict[int, int] = field(default_factory=dict)
    fall: dict[int, float] = field(default_factory=dict)
    left: dict[int, tuple[float, float, bool, str]] = field(default_factory=dict)
    resting: list[tuple[Tensor, Model]] = field(default_factory=list)
    ended: list[tuple[Tensor, Fit, Tensor]] = field(default_factory=list)

    def run(self, fit: Fit, sequences: Sequences) -> None:
        self.fit = fit
        self.collapsed = fit.model.emission.collapsed(sequences)
        self.rounds.append((self.alive, fit.history))
        for restart, made, fall in zip(self.alive.tolist(), fit.n_iter.tolist(), fit.fall.tolist(), strict=True):
            self.iterations[restart] = self.iterations.get(restart, 0) + made
            self.fall[restart] = max(self.fall.get(restart, 0.0), fall)

    def halve(self, n_kept: int) -> Model:
        """Let all but the best ``n_kept`` leave; the models that stay."""
        assert self.fit is not None
        order = ranking(self.fit.objective, self.collapsed)
        kept = order[:n_kept].sort().values
        leaving = order[n_kept:]
        for position in leaving.tolist():
            self._leave(position, "halved")
        sound = leaving[~self.collapsed[leaving] & self.fit.objective[leaving].isfinite()]
        if len(sound):
            self.resting.append((self.alive[sound], self.fit.model.take(sound)))
        self.alive = self.alive[kept]
        return self.fit.model.take(kept)

    def end(self) -> None:
        """All that are alive have climbed to their end."""
        assert self.fit is not None
        for position, converged in enumerate(self.fit.converged.tolist()):
            self._leave(position, "converged" if converged else "max_iter")
        self.ended.append((self.alive, self.fit, self.collapsed))

    def second_chance(self) -> Model | None:
        """Where all that climbed to their end have collapsed: those that left last while sound, alive again."""
        if not self.resting or not all(bool(collapsed.all()) for _, _, collapsed in self.ended):
            return None
        self.alive, model = self.resting.pop()
        return model

    def most_iterations(self) -> int:
        return max(self.iterations[restart] for restart in self.alive.tolist())

    def result(self, kinds: list[str], seed: int) -> BestFit:
        collapsed = torch.cat([collapsed for _, _, collapsed in self.ended])
        best = int(ranking(torch.cat([fit.objective for _, fit, _ in self.ended]), collapsed)[0])
        fit, position = [(fit, p) for alive, fit, _ in self.ended for p in range(len(alive))][best]
        winner = int(torch.cat([alive for alive, _, _ in self.ended])[best])
        if fit.objective[position].isneginf():
            raise ImpossibleDataError("every start gives the data probability zero; check for values outside the law.")
        return BestFit(
            model=fit.model.take(torch.tensor([position], device=self.alive.device)),
            log_likelihood=float(fit.log_likelihood[position]),
            objective=float(fit.objective[position]),
            history=self._history(winner),
            n_iter=self.iterations[winner],
            converged=bool(fit.converged[position]),
            collapsed=bool(collapsed[best]),
            fall=self.fall[winner],
            restarts=[Restart(i, seed, kinds[i], self.iterations[i], *self.left[i]) for i in sorted(self.left)],
        )

    def _leave(self, position: int, why: str) -> None:
        assert self.fit is not None
        fit = self.fit
        objective, likelihood = float(fit.objective[position]), float(fit.log_likelihood[position])
        why = "impossible" if objective == -torch.inf else why
        self.left[int(self.alive[position])] = (objective, likelihood, bool(self.collapsed[position]), why)

    def _history(self, restart: int) -> Tensor:
        """The climb of one restart over all rounds; each round begins where the one before ended."""
        columns = [history[:, alive == restart].flatten() for alive, history in self.rounds]
        climbs = [column[~column.isnan()] for column in columns if len(column)]
        return torch.cat([*(climb[:-1] for climb in climbs[:-1]), climbs[-1]])


def ranking(objective: Tensor, collapsed: Tensor) -> Tensor:
    """Restarts from best to worst; one that feeds on a collapsed state comes after all that do not."""
    finite = objective.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
    by_objective = finite.argsort(descending=True, stable=True)
    return by_objective[(collapsed | finite.isneginf())[by_objective].to(torch.int8).argsort(stable=True)]


def _chunked(model: Model, sequences: Sequences, climb: Callable[[Model], Fit]) -> Fit:
    """``climb`` in chunks of restarts: as few as share the caches, but enough for all lanes, if memory allows."""
    cells = sequences.n_rows * model.transition.n_states
    size = max(_FITTING_CELLS // cells // _LANES * _LANES, min(_LANES, _MOST_CELLS // cells), 1)
    chunks = torch.arange(model.emission.n_restarts, device=sequences.values.device).split(size)
    fits = [climb(model.take(chunk)) for chunk in chunks]
    return fits[0] if len(fits) == 1 else _join(fits)


def _join(fits: list[Fit]) -> Fit:
    longest = max(len(fit.history) for fit in fits)
    model = fits[0].model
    for fit in fits[1:]:
        model = model.joined(fit.model)
    padded = [
        torch.nn.functional.pad(fit.history, (0, 0, 0, longest - len(fit.history)), value=torch.nan) for fit in fits
    ]
    return Fit(
        model,
        torch.cat([fit.log_likelihood for fit in fits]),
        torch.cat([fit.objective for fit in fits]),
        torch.cat(padded, 1),
        torch.cat([fit.n_iter for fit in fits]),
        torch.cat([fit.converged for fit in fits]),
        torch.cat([fit.fall for fit in fits]),
    )
