"""Series that go on by a model which reads their own past: what comes is drawn, row after row, and read in turn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.model import Model
from hsmm.inference.simulation import draw, draw_duration, moves_at
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences

_MOST_CELLS = 5_000_000  # of tables by row that are held at once


def reads_itself(model: Model) -> bool:
    """Whether what is to come depends on values that are to come before it."""
    return model.context is not None and model.context.source != "context"


def check_alone(model: Model) -> None:
    """Raise ``ValueError`` where emissions read the rows before besides, which a single drawn row does not have."""
    if model.emission.n_before:
        raise ValueError(
            f"a {model.emission.name} emission and an encoder of the series itself both read the rows before; forecast "
            "one step and sample with one of the two alone."
        )


def foretold(model: Model, sequences: Sequences, horizon: int, n_paths: int, seed: int) -> Tensor:
    """(S, horizon, K) p(state at each of the last ``horizon`` rows of a series | the rows before these).

    A mean over ``n_paths`` continuations: at each step the law of the state given the rows so far is exact, a row is
    drawn from it and read with the others. A series has the same numbers whatever others there are.
    """
    bounds = sequences.offsets.tolist()
    series = [_rows(sequences, start, stop) for start, stop in pairwise(bounds)]
    return torch.stack([_foretold(model, one, horizon, n_paths, seed) for one in series])


def sampled(model: Model, unseen: Sequences, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(N, F) values of one series, drawn for the missing rows ``unseen``, and the states (N,) that made them."""
    values, states = torch.zeros_like(unseen.values), torch.empty(unseen.n_rows, dtype=torch.int64)
    observed, state, end = torch.zeros_like(unseen.observed), 0, 0
    for row in range(unseen.n_rows):
        seen = replace(unseen, values=values, observed=observed)
        near = _rows(model.beside(_rows(seen, 0, row + 1)), max(row - 1, 0), row + 1)
        if row == end:
            p = replace(model, context=None).potentials(near)
            state = draw(_following(model, near, p, row, state), generator)
            end = row + draw_duration(p, near.n_rows - 1, state, generator, unseen.n_rows)
        states[row] = state
        values[row] = model.emission.sample(states[row : row + 1], generator, _read(near)[-1:])[0]
        observed[row] = True
    return values, states


def _following(model: Model, near: Sequences, p: Potentials, row: int, state: int) -> Tensor:
    """(K,) the law of the state that begins at the last of the ``near`` rows."""
    if row == 0:
        law = model.initial.log_potentials(near) if model.initial.uses_covariates else p.log_initial
        return law.flatten(0, -2)[0].exp()
    return moves_at(p, 0)[state].exp()


def _foretold(model: Model, series: Sequences, horizon: int, n_paths: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values, observed = series.values[None], series.observed[None]
    found = []
    for row in range(series.n_rows - horizon, series.n_rows):
        laws, read = _laws(model, series, values[:, : row + 1], observed[:, : row + 1])
        found.append(laws.mean(0))
        if row == series.n_rows - horizon:
            laws, read, values, observed = (
                x.expand(n_paths, *x.shape[1:]).clone() for x in (laws, read, values, observed)
            )
        states = torch.multinomial(laws, 1, generator=generator)[:, 0]
        values[:, row] = model.emission.sample(states, generator, read)
        observed[:, row] = True
    return torch.stack(found)


def _laws(model: Model, series: Sequences, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """p(state at the last row | the rows before) of each path (P, K), and what is read there (P, W)."""
    n_paths, n_rows, _ = values.shape
    laws, read = [], []
    for chosen in torch.arange(n_paths).split(max(1, _MOST_CELLS // (n_rows * model.transition.n_states**2))):
        beside = None if series.covariates is None else series.covariates[:n_rows].repeat(len(chosen), 1)
        offsets = n_rows * torch.arange(len(chosen) + 1)
        rows = Sequences(values[chosen].flatten(0, 1), observed[chosen].flatten(0, 1), offsets, beside)
        assert model.context is not None
        rows, last = replace(rows, encoded=model.context.features(rows, together=True)), offsets[1:] - 1
        laws.append(inference.filtered(replace(model, context=None).potentials(rows))[0, last])
        read.append(_read(rows)[last])
    return torch.cat(laws), torch.cat(read)


def _read(rows: Sequences) -> Tensor:
    """(N, W) what the encoder made of each row."""
    assert rows.encoded is not None
    return rows.encoded[0]


def _rows(sequences: Sequences, start: int, stop: int) -> Sequences:
    """These rows, of one series."""
    beside = None if sequences.covariates is None else sequences.covariates[start:stop]
    encoded = None if sequences.encoded is None else sequences.encoded[:, start:stop]
    cells = sequences.values[start:stop], sequences.observed[start:stop]
    return Sequences(*cells, torch.tensor([0, stop - start]), beside, encoded=encoded)
