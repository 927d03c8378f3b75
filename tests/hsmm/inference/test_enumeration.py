"""Every answer equals the sum over all segmentations, to 1e-10."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from hsmm import inference
from hsmm.potentials import Potentials
from hsmm.types import KernelName
from tests import oracle
from tests.hsmm.inference.cases import oracle_model, random_potentials, require_support

CENSORINGS = ("none", "left", "right", "both", "by_series")
LENGTHS = ((4, 1, 5), (5, 2, 4), (3, 5, 1))


@dataclass(frozen=True)
class Case:
    """A batch of two models and three series: six random cases."""

    seed: int
    censoring: str = "right"
    self_transitions: bool = False
    time_varying: bool = False
    sparse: bool = False
    tail: bool = False
    hmm: bool = False

    def __str__(self) -> str:
        options = ("self_transitions", "time_varying", "sparse", "tail", "hmm")
        return "-".join([str(self.seed), self.censoring, *(name for name in options if getattr(self, name))])


CASES = [Case(seed, *options) for seed, options in enumerate(itertools.product(CENSORINGS, *[[False, True]] * 4))] + [
    Case(100 + seed, time_varying=time_varying, sparse=sparse, hmm=True)
    for seed, (time_varying, sparse) in enumerate(itertools.product([False, True], repeat=2))
]


@functools.cache
def potentials(case: Case) -> Potentials:
    left, right = {
        "none": (False, False),
        "left": (True, False),
        "right": (False, True),
        "both": (True, True),
        "by_series": (torch.tensor([True, True, False]), torch.tensor([True, False, False])),
    }[case.censoring]
    return random_potentials(
        case.seed,
        LENGTHS[case.seed % 3],
        n_states=2 if case.seed % 5 == 0 else 3,
        n_durations=None if case.hmm else 1 + case.seed // 4 % 4,
        tail=case.tail,
        residual=case.seed % 2 == 1 and not case.hmm,
        self_transitions=case.self_transitions,
        time_varying=case.time_varying,
        sparse=case.sparse,
        normalised=case.seed % 3 > 0,
        left_censored=left,
        right_censored=right,
    )


@functools.cache
def expected(case: Case) -> list[list[oracle.Answers]]:
    p = potentials(case)
    return [[oracle.answers(oracle_model(p, r, s)) for s in range(p.n_series)] for r in range(p.n_restarts)]


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest, kernel: KernelName) -> Case:
    require_support(kernel, potentials(request.param))
    return request.param


def test_posterior(case: Case, kernel: KernelName):
    p = potentials(case)
    found = inference.posterior(p, kernel=kernel)
    per_series = np.array([[answer.log_likelihood for answer in row] for row in expected(case)])
    _assert_equal("log_partition", inference.log_partition(p, kernel=kernel), per_series)
    _assert_equal("log_likelihood", found.log_likelihood, per_series)
    for r, row in enumerate(expected(case)):
        possible = [answer for answer in row if np.isfinite(answer.log_likelihood)]
        for name in ("initial", "residual", "tail_stay", "tail_leave"):
            _assert_equal(name, getattr(found, name)[r], sum(getattr(answer, name) for answer in possible))
        for name in ("transition", "duration"):
            total = sum(getattr(answer, name).sum(0) for answer in possible)
            _assert_equal(name, getattr(found, name)[r], total)
        for s, answer in enumerate(row):
            if np.isfinite(answer.log_likelihood):
                _assert_equal("state", found.state[r, _rows(p, s)], answer.state)


def test_counts_of_a_row(case: Case, kernel: KernelName):
    p = potentials(case)
    found = inference.expected_counts(p, kernel=kernel)
    for name in ("transition", "duration"):
        table, counts = getattr(p, f"log_{name}"), getattr(found, name)
        assert table is None or counts.shape == table.shape
        if table is None or table.ndim == 3:
            continue
        for (r, row), s in itertools.product(enumerate(expected(case)), range(p.n_series)):
            if np.isfinite(row[s].log_likelihood):
                _assert_equal(name, counts[r, _rows(p, s)], getattr(row[s], name))
            else:
                assert not counts[r, _rows(p, s)].any()


def test_viterbi(case: Case, kernel: KernelName):
    p = potentials(case)
    found = inference.viterbi(p, kernel=kernel)
    for r, row in enumerate(expected(case)):
        for s, answer in enumerate(row):
            _assert_equal("score", found.log_probability[r, s], np.array(answer.best_log_probability))
            path = tuple(found.states[r, _rows(p, s)].tolist())
            assert path in (answer.best_paths or {(-1,) * len(path)})


def test_causal_answers(case: Case, kernel: KernelName):
    p = potentials(case)
    found = {
        name: getattr(inference, name)(p, kernel=kernel) for name in ("filtered", "log_density", "elapsed", "remaining")
    }
    for r, row in enumerate(expected(case)):
        for s, answer in enumerate(row):
            possible = torch.from_numpy(np.isfinite(answer.log_density))
            _assert_equal("log_density", found["log_density"][r, _rows(p, s)], answer.log_density)
            for name in ("filtered", "elapsed", "remaining"):
                rows = found[name][r, _rows(p, s)]
                assert not rows.isnan().any(), name
                _assert_equal(name, rows[possible], getattr(answer, name)[possible.numpy()])


def test_there_are_enough_cases():
    p = [potentials(case) for case in CASES]
    assert sum(q.n_restarts * q.n_series for q in p) >= 200
    answers = [answer for case in CASES for row in expected(case) for answer in row]
    impossible = [not np.isfinite(answer.log_likelihood) for answer in answers]
    unique = [len(answer.best_paths) == 1 for answer in answers]
    assert 0 < sum(impossible) < 0.3 * len(answers)
    assert sum(unique) > 0.7 * len(answers)


def _rows(p: Potentials, series: int) -> slice:
    return slice(*p.offsets[series : series + 2].tolist())


def _assert_equal(name: str, found: torch.Tensor, wanted: np.ndarray | float) -> None:
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10, atol=1e-10, err_msg=name)
