"""Likely joint paths by a search along time: of the many combinations of states, those few that still explain the rows.

From row to row few chains change, so each combination that is kept is followed by those that differ from it in at most
two chains. What is not reached so is no loss where the chains' moves are rare, and a start for what climbs from there.
"""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import torch
from torch import Tensor

from hsmm.models.factorial.additive import Additive, Chain
from hsmm.sequences import Sequences

_WIDTH = 64  # combinations kept at each row
_WIDEST = 4_000  # changes of one or two chains that are tried from each; beyond, of one


def likely(model: Additive, sequences: Sequences) -> Tensor:
    """(R, N, C) of each of the R models."""
    found = [_of_one(model.take(torch.tensor([r])), sequences) for r in range(len(model.base))]
    return torch.from_numpy(np.stack(found))


def _of_one(model: Additive, sequences: Sequences) -> np.ndarray:
    search = _Search(model, sequences)
    rows = pairwise(sequences.offsets.tolist())
    return np.concatenate([search.path(first, stop) for first, stop in rows])


class _Search:
    """The tables of one model, and every change of one or two chains as an offset of states."""

    def __init__(self, model: Additive, sequences: Sequences) -> None:
        self.n_states = np.array(model.n_states)
        widest = int(self.n_states.max())
        self.level = np.zeros((len(model.chains), widest, sequences.n_features))
        self.first = np.full((len(model.chains), widest), -np.inf)
        self.moves = np.full((len(model.chains), widest, widest), -np.inf)
        for c, chain in enumerate(model.chains):
            k = chain.n_states
            self.level[c, :k] = chain.level[0].numpy()
            self.first[c, :k] = chain.initial.log_potentials()[0].numpy()
            self.moves[c, :k, :k] = _row_by_row(chain)
        self.name = np.random.default_rng(0).standard_normal(len(model.chains))
        self.changes = _changes(self.n_states)
        self.gap = (sequences.values - model.base[0]).numpy()
        self.weight = (sequences.observed / model.variance[0]).numpy()
        self.every = np.arange(len(model.chains))

    def path(self, first: int, stop: int) -> np.ndarray:
        """(n, C) the likeliest of the paths that were kept."""
        states, score = self._begun(first)
        kept, came = [states], []
        for row in range(first + 1, stop):
            states, score, parent = self._next(states, score, row)
            kept.append(states)
            came.append(parent)
        best = int(score.argmax())
        path = [kept[-1][best]]
        for states, parent in zip(kept[-2::-1], came[::-1], strict=True):
            best = int(parent[best])
            path.append(states[best])
        return np.array(path[::-1])

    def _begun(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Combinations at a series' first row, better and better ones, as a change of two chains more reaches them."""
        states = np.zeros((1, len(self.every)), dtype=np.int64)
        for _ in range(len(self.every)):
            states = self._changed(states)
            score = self.first[self.every, states].sum(1) + self._evidence(states, row)
            chosen = self._best(states, score)
            states, score = states[chosen], score[chosen]
        return states, score

    def _next(self, states: np.ndarray, score: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        after = self._changed(states)
        parent = np.repeat(np.arange(len(states)), len(self.changes))
        reached = score[parent] + self.moves[self.every, states[parent], after].sum(1) + self._evidence(after, row)
        chosen = self._best(after, reached)
        return after[chosen], reached[chosen], parent[chosen]

    def _changed(self, states: np.ndarray) -> np.ndarray:
        return ((states[:, None] + self.changes) % self.n_states).reshape(-1, len(self.every))

    def _evidence(self, states: np.ndarray, row: int) -> np.ndarray:
        total = self.level[self.every, states].sum(1)
        return (self.weight[row] * (self.gap[row] - 0.5 * total) * total).sum(-1)

    def _best(self, states: np.ndarray, score: np.ndarray) -> np.ndarray:
        """The indices of the best combinations, each once: a random projection tells them apart."""
        most = 16 * _WIDTH
        chosen = np.argpartition(-score, most)[:most] if len(score) > most else np.arange(len(score))
        order = chosen[np.argsort(-score[chosen], kind="stable")]
        _, first = np.unique(states[order] @ self.name, return_index=True)
        return order[np.sort(first)[:_WIDTH]]


def _row_by_row(chain: Chain) -> np.ndarray:
    """(K, K) log-probabilities of the next row's state; of a chain with durations those with the same mean stays."""
    moves = chain.transition.log_potentials()[0]
    if chain.duration is None:
        return moves.numpy()
    leave = (1.0 / chain.duration.mean()[0]).clamp(max=1.0 - 1e-6)
    return (leave[:, None] * moves.exp() + torch.diag_embed(1.0 - leave)).log().numpy()


def _changes(n_states: np.ndarray) -> np.ndarray:
    """(M, C) what is added to the states, modulo their number: nothing, or a change of one chain or of two."""
    single = [(c, by) for c, k in enumerate(n_states) for by in range(1, k)]
    chosen = [(), *((one,) for one in single)]
    pairs = [(one, two) for one, two in combinations(single, 2) if one[0] != two[0]]
    if len(chosen) + len(pairs) <= _WIDEST:
        chosen += pairs
    table = np.zeros((len(chosen), len(n_states)), dtype=np.int64)
    for row, changes in enumerate(chosen):
        for c, by in changes:
            table[row, c] = by
    return table
