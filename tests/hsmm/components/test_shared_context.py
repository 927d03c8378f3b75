"""Rows of one context share their tables: what is learnt and answered is what tables by row teach and answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import hsmm
from hsmm import inference
from hsmm.components.duration import Contextual as ContextualDuration
from hsmm.components.initial import FreeInitial
from hsmm.components.model import Model
from hsmm.components.transition import Contextual, Gated, Transition
from hsmm.sequences import Distinct, Sequences
from hsmm.training import together
from hsmm.training.m_step import maximise

LENGTHS = (60, 45, 33)
N_ROWS = sum(LENGTHS)
RNG = np.random.default_rng(3)
DAY = np.concatenate([(np.arange(n) + shift) % 7 for n, shift in zip(LENGTHS, (0, 0, 3), strict=True)])
CONTEXT = np.stack([DAY == 6, DAY < 2, RNG.normal(size=N_ROWS)], 1).astype(float)
SERIES = Sequences.from_arrays(RNG.normal(size=(N_ROWS, 1)) + 2.0 * (DAY[:, None] > 3), LENGTHS, CONTEXT)


def moves(*, stays: bool) -> list[Transition]:
    coef = RNG.normal(size=(3, 3, 2))
    law = Contextual.from_parameters(RNG.normal(size=(3, 3)), coef, self_transitions=stays, columns=[0, 1])
    if not stays:
        return [law]
    rows = np.where(np.eye(3) > 0, 0.0, 0.5)
    return [law, Gated.from_parameters([-1.0, -2.0, -1.5], coef[0], rows, self_transitions=True, columns=[0, 1])]


def models() -> list[Model]:
    emission = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [1.0], [2.0]], covariance=np.ones((3, 1)))
    initial = FreeInitial.from_parameters([0.2, 0.3, 0.5])
    lasting = ContextualDuration.from_parameters(
        RNG.normal(size=(3, 2)), RNG.normal(size=(3, 2, 2)), max_duration=9, columns=[0, 1]
    )
    chains = [Model(initial, law, None, emission) for law in moves(stays=True)]
    return [*chains, *(Model(initial, law, lasting, emission) for law in moves(stays=False))]


@pytest.mark.parametrize("model", models(), ids=["contextual", "gated", "semi-Markov"])
def test_they_are_the_tables_of_their_rows_and_teach_the_same(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    p = model.potentials(SERIES)
    assert p.log_transition.shape[1] < 10 < N_ROWS
    assert p.log_duration is None or p.log_duration.shape[1] < 10
    counts = inference.expected_counts(p)
    learnt = maximise(model, SERIES, counts)
    monkeypatch.setattr(Model, "table_rows", lambda _, __, rows: Distinct(rows, None))
    own = model.potentials(SERIES)
    assert own.transition_of_row is None
    assert torch.equal(p.by_row().log_transition, own.log_transition)
    assert p.log_duration is None or torch.equal(p.by_row().log_duration, own.log_duration)
    assert torch.equal(inference.log_partition(p), inference.log_partition(own))
    again = maximise(model, SERIES, inference.expected_counts(own))
    for kind, part in again.components().items():
        for name, value in part.parameters.items():
            torch.testing.assert_close(learnt.components()[kind].parameters[name], value, rtol=1e-8, atol=1e-8)


def test_rows_whose_context_is_their_own_have_tables_of_their_own() -> None:
    model = models()[0]
    wider = replace(model, transition=Contextual.from_parameters(np.zeros((3, 3)), np.ones((3, 3, 3))))
    p = wider.potentials(SERIES)
    assert p.transition_of_row is None
    assert p.log_transition.shape[1] == N_ROWS


def test_first_segments_under_way_are_counted_by_series() -> None:
    model = replace(models()[-1], left_censored=True)
    p = model.potentials(SERIES)
    assert p.duration_of_row is None
    assert inference.expected_counts(p).residual.shape[1] == len(LENGTHS)


def test_columns_that_are_not_there_are_said() -> None:
    model = models()[0]
    moved = replace(model, transition=replace(model.transition, columns=[0, 5]))
    with pytest.raises(ValueError, match=r"columns are \[0, 5\], but the context has 3 columns"):
        moved.potentials(SERIES)


def test_tables_that_no_memory_holds_are_refused_with_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "machine_memory", lambda: 40_000)
    X, short = SERIES.values.numpy(), {"n_init": 1, "max_iter": 1, "tol": 1e9}
    hsmm.HMM(3, transition=Contextual(columns=[0, 1]), **short).fit(X, LENGTHS, context=CONTEXT)
    with pytest.raises(ValueError, match=r"138 rows, each with a context of its own, of 3 states and 1 durations need"):
        hsmm.HMM(3, transition=Contextual(), **short).fit(X, LENGTHS, context=CONTEXT)
