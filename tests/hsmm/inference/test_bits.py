"""A batch changes no bit of an answer, and the future none of a causal one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hsmm import inference
from hsmm.potentials import Potentials
from hsmm.types import KernelName
from tests.hsmm.inference.cases import random_potentials, require_support, rows_of, selected

LENGTHS = (17, 3, 40, 1, 8, 23, 17, 2, 5, 31, 12)
MODELS = {
    "stationary": {},
    "tail": {"tail": True},
    "wide": {"n_states": 7, "n_durations": 37, "tail": True},
    "time_varying": {"time_varying": True, "tail": True},
    "residual": {"residual": True, "left_censored": True},
    "sparse": {"sparse": True, "tail": True, "left_censored": True},
    "ending": {"right_censored": False, "self_transitions": True, "n_durations": 9},
    "hmm": {"n_durations": None},
}
CAUSAL = ("filtered", "log_density", "elapsed", "remaining")


@pytest.fixture(params=MODELS, ids=str)
def batch(request: pytest.FixtureRequest, kernel: KernelName) -> Potentials:
    p = random_potentials(0, LENGTHS, n_restarts=5, **MODELS[request.param])
    require_support(kernel, p)
    return p


def test_alone_or_together(batch: Potentials, kernel: KernelName):
    together = dict(_answers(batch, kernel))
    for s in range(batch.n_series):
        _assert_same_bits(batch, [s % batch.n_restarts], [s], together, kernel)


def test_in_any_order(batch: Potentials, kernel: KernelName):
    generator = torch.Generator().manual_seed(0)
    restarts = torch.randperm(batch.n_restarts, generator=generator).tolist()
    series = torch.randperm(batch.n_series, generator=generator).tolist()
    together = dict(_answers(batch, kernel))
    _assert_same_bits(batch, restarts, series, together, kernel)
    _assert_same_bits(batch, restarts[:3], series[:4], together, kernel)


def test_among_many(kernel: KernelName):
    p = random_potentials(1, LENGTHS, n_restarts=2, tail=True)
    together = dict(_answers(p, kernel))
    crowd = [s % p.n_series for s in range(40 * p.n_series)]
    _assert_same_bits(p, [0, 1, 0, 1, 1], crowd, together, kernel)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_with_any_number_of_threads(batch: Potentials, kernel: KernelName, n_threads):
    before, wanted = torch.get_num_threads(), dict(_answers(batch, kernel))
    torch.set_num_threads(n_threads)
    try:
        found = dict(_answers(batch, kernel))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_every_count_is_repeatable(batch: Potentials, kernel: KernelName):
    first, second = (vars(inference.expected_counts(batch, kernel=kernel)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("n_rows", [1, 2, 9])
def test_what_comes_later_changes_nothing_causal(batch: Potentials, kernel: KernelName, n_rows):
    series = list(range(batch.n_series))
    kept = [min(n_rows, length) for length in LENGTHS]
    restarts = list(range(batch.n_restarts))
    cut = selected(batch, restarts, series, kept)
    rows = rows_of(batch, series, kept)
    for query in CAUSAL:
        found, wanted = (getattr(inference, query)(p, kernel=kernel) for p in (cut, batch))
        assert torch.equal(found, wanted[:, rows]), query


def _answers(p: Potentials, kernel: KernelName) -> Iterator[tuple[str, Tensor]]:
    """Everything that belongs to one series or row under one model."""
    yield "log_partition", inference.log_partition(p, kernel=kernel)
    posterior, decoded = inference.posterior(p, kernel=kernel), inference.viterbi(p, kernel=kernel)
    yield "log_likelihood", posterior.log_likelihood
    yield "state", posterior.state
    yield "viterbi", decoded.states
    yield "score", decoded.log_probability
    for query in CAUSAL:
        yield query, getattr(inference, query)(p, kernel=kernel)


def _assert_same_bits(
    p: Potentials, restarts: list[int], series: list[int], together: dict[str, Tensor], kernel: KernelName
) -> None:
    rows = rows_of(p, series)
    for name, found in _answers(selected(p, restarts, series), kernel):
        by_series = name in ("log_partition", "log_likelihood", "score")
        wanted = together[name][restarts][:, series if by_series else rows]
        assert torch.equal(found, wanted), f"{name} of restarts {restarts}, series {series[:5]}"
