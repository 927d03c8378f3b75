"""A batch changes no bit of an answer, and the future none of a causal one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hsmm import inference
from hsmm.potentials import Potentials
from hsmm.types import KernelName
from tests.hsmm.inference.cases import random_potentials, require_support, rows_of, selected

# The reference and what is built for tests of the GPU are slow, and have no lanes to fill.
LENGTHS: dict[KernelName, tuple[int, ...]] = {
    "native": (17, 3, 40, 1, 8, 23, 17, 2, 5, 31, 12),
    "reference": (7, 3, 11, 1, 7),
    "gpu": (7, 3, 11, 1, 7),
}
MODELS = {
    "stationary": {},
    "tail": {"tail": True},
    "wide": {"n_states": 7, "n_durations": 37, "tail": True},
    "time_varying": {"time_varying": True, "tail": True},
    "residual": {"residual": True, "left_censored": True},
    "time_varying_hmm": {"n_durations": None, "time_varying": True},
    "sparse": {"sparse": True, "tail": True, "left_censored": True},
    "ending": {"right_censored": False, "self_transitions": True, "n_durations": 9},
    "hmm": {"n_durations": None},
}
CAUSAL = ("filtered", "predicted", "log_density", "elapsed", "remaining")


@pytest.fixture(params=MODELS, ids=str)
def batch(request: pytest.FixtureRequest, kernel: KernelName) -> Potentials:
    p = random_potentials(0, LENGTHS[kernel], n_restarts=5, **MODELS[request.param])
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
    p = random_potentials(1, LENGTHS[kernel], n_restarts=2, tail=True)
    together = dict(_answers(p, kernel))
    crowd = [s % p.n_series for s in range(40 * p.n_series)]
    _assert_same_bits(p, [0, 1, 0, 1, 1], crowd, together, kernel)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_with_any_number_of_threads(batch: Potentials, kernel: KernelName, dtype):
    if kernel == "reference" and dtype == torch.float32:
        pytest.skip("the reference does the same operations in either type")
    p = replace(batch, **{name: table.to(dtype) for name, table in batch.tables().items()})
    before, answers = torch.get_num_threads(), []
    try:
        for n_threads in (1, 4) if kernel == "reference" else (1, 2, 4):
            torch.set_num_threads(n_threads)
            answers.append({**dict(_answers(p, kernel)), **dict(_sums(p, kernel))})
    finally:
        torch.set_num_threads(before)
    for found in answers[1:]:
        for name, wanted in answers[0].items():
            assert torch.equal(found[name], wanted), name


def test_likelihoods_and_their_gradients_in_float32(kernel: KernelName):
    """The batch changes no bit in single precision either, nor of the slopes of one series."""
    p = random_potentials(2, LENGTHS[kernel], n_restarts=3, tail=True, left_censored=True)
    p = replace(p, **{name: table.float() for name, table in p.tables().items()})
    together = dict(_answers(p, kernel))
    for s in range(p.n_series):
        _assert_same_bits(p, [s % 3], [s], together, kernel)
    slopes = _emission_slopes(p, kernel)
    for s in (0, 3, 4):
        one = selected(p, [1], [s])
        assert torch.equal(_emission_slopes(one, kernel)[0], slopes[1, rows_of(p, [s])])


def test_every_count_is_repeatable(batch: Potentials, kernel: KernelName):
    first, second = (vars(inference.expected_counts(batch, kernel=kernel)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("n_rows", [1, 2, 9])
def test_what_comes_later_changes_nothing_causal(batch: Potentials, kernel: KernelName, n_rows):
    series = list(range(batch.n_series))
    kept = [min(n_rows, length) for length in batch.lengths.tolist()]
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
    counts = inference.expected_counts(p, kernel=kernel)
    yield from ((name, getattr(counts, name)) for name in ("transition", "duration") if getattr(counts, name).ndim == 4)
    yield "log_likelihood", posterior.log_likelihood
    yield "state", posterior.state
    yield "viterbi", decoded.states
    yield "score", decoded.log_probability
    for query in CAUSAL:
        yield query, getattr(inference, query)(p, kernel=kernel)


def _sums(p: Potentials, kernel: KernelName) -> Iterator[tuple[str, Tensor]]:
    """What is added up over series, drawn at random, or differentiated."""
    weight = torch.linspace(-1, 2, p.n_restarts * p.n_series, dtype=p.log_emission.dtype)
    counts = inference.expected_counts(p, weight.view(p.n_restarts, p.n_series), kernel=kernel)
    yield from ((f"weighted {name}", value) for name, value in vars(counts).items())
    yield from ((f"summed {name}", value) for name, value in vars(inference.posterior(p, kernel=kernel)).items())
    yield "slopes", _emission_slopes(p, kernel)
    yield "paths", inference.sample_paths(p, 3, torch.Generator().manual_seed(0))


def _emission_slopes(p: Potentials, kernel: KernelName) -> Tensor:
    emission = p.log_emission.clone().requires_grad_()
    inference.log_partition(replace(p, log_emission=emission), kernel=kernel).sum().backward()
    assert emission.grad is not None
    return emission.grad


def _assert_same_bits(
    p: Potentials, restarts: list[int], series: list[int], together: dict[str, Tensor], kernel: KernelName
) -> None:
    rows = rows_of(p, series)
    for name, found in _answers(selected(p, restarts, series), kernel):
        by_series = name in ("log_partition", "log_likelihood", "score")
        wanted = together[name][restarts][:, series if by_series else rows]
        assert torch.equal(found, wanted), f"{name} of restarts {restarts}, series {series[:5]}"
