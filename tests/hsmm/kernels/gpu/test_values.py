"""The kernels compute what the reference and the enumeration compute; g++ built them, so that no GPU is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hsmm.kernels import gpu, reference
from hsmm.kernels.gpu import counts, launch
from hsmm.kernels.results import Posterior
from hsmm.potentials import Potentials
from tests import oracle
from tests.fuzz_kernels import in_single, joint_probability
from tests.hsmm.inference.cases import oracle_model, random_potentials, rows_of, selected

pytestmark = pytest.mark.usefixtures("host")

# One build each: states, durations, tail; a lane a sequence, one slice a state, or several.
SHAPES = [(5, None, False), (3, 4, True), (1, 1, True), (16, 20, False), (5, 90, False), (2, 200, True)]
SINGLE, DOUBLE = 1e-5, 1e-10


def a_case(seed: int, shape: tuple[int, int | None, bool], lengths: tuple[int, ...]) -> Potentials:
    """Some series cut off on the left, on the right, on both sides or not at all; missing rows, forbidden states."""
    n_states, n_durations, tail = shape
    rng = np.random.default_rng(seed)
    flags = {} if n_durations is None else {
        side: torch.from_numpy(rng.random(len(lengths)) < 0.5) for side in ("left_censored", "right_censored")
    }  # fmt: skip
    return random_potentials(
        seed,
        lengths,
        n_restarts=int(rng.integers(1, 4)),
        n_states=n_states,
        n_durations=n_durations,
        tail=tail,
        residual=n_durations is not None and bool(rng.random() < 0.5),
        self_transitions=bool(rng.random() < 0.5),
        sparse=bool(rng.random() < 0.5),
        normalised=bool(rng.random() < 0.5),
        **flags,
    )


cases = st.builds(
    a_case,
    st.integers(0, 2**32 - 1),
    st.sampled_from(SHAPES),
    st.lists(st.one_of(st.integers(1, 12), st.integers(60, 300)), min_size=1, max_size=12).map(tuple),
)


def in_kind(p: Potentials, dtype: torch.dtype) -> Potentials:
    return p if dtype == torch.float64 else in_single(p)


def assert_counts(found: Posterior, wanted: Posterior, tolerance: float) -> None:
    for name, value in vars(wanted).items():
        assert torch.allclose(getattr(found, name).double(), value, rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, DOUBLE), pytest.param(torch.float32, SINGLE, marks=pytest.mark.costly)]
)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(p=cases)
def test_expected_counts_are_the_references(p: Potentials, dtype: torch.dtype, tolerance: float):
    weight = torch.linspace(-1.0, 2.0, p.n_restarts * p.n_series, dtype=torch.float64).view(p.n_restarts, -1)
    found = gpu.expected_counts(in_kind(p, dtype), weight.to(dtype))
    assert_counts(found, reference.expected_counts(p, weight), tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, DOUBLE), (torch.float32, SINGLE)])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(p=cases)
def test_decoded_segments_are_as_probable_as_the_references(p: Potentials, dtype: torch.dtype, tolerance: float):
    found, wanted = gpu.viterbi(in_kind(p, dtype)), reference.viterbi(p)
    torch.testing.assert_close(found.log_probability.double(), wanted.log_probability, rtol=tolerance, atol=tolerance)
    possible = wanted.log_probability.isfinite()
    assert torch.equal(found.states >= 0, possible[:, p.series_of_row])
    joint = joint_probability(p, found.states.unsqueeze(0))[0]
    assert (joint >= wanted.log_probability - tolerance * (1 + joint.abs()))[possible].all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, DOUBLE), (torch.float32, SINGLE)])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_plan_counts_and_decodes(shape: tuple[int, int | None, bool], dtype: torch.dtype, tolerance: float):
    """Series of all lengths: what one keeps is never where another's is, and no row is too late for a base."""
    p = a_case(3, shape, (300, 1, 2, 40, *range(5, 31), 150))
    assert_counts(gpu.expected_counts(in_kind(p, dtype)), reference.expected_counts(p), tolerance)
    found, wanted = gpu.viterbi(in_kind(p, dtype)), reference.viterbi(p)
    torch.testing.assert_close(found.log_probability.double(), wanted.log_probability, rtol=tolerance, atol=tolerance)
    if dtype == torch.float64:
        assert (found.states != wanted.states).double().mean() < 1e-3


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_answers_are_those_of_the_enumeration(shape: tuple[int, int | None, bool]):
    p = a_case(7, shape, (4, 1, 5))
    found, decoded = gpu.expected_counts(p), gpu.viterbi(p)
    for restart in range(p.n_restarts):
        for series in range(p.n_series):
            rows = slice(*p.offsets[series : series + 2].tolist())
            wanted = oracle.answers(oracle_model(p, restart, series))
            assert float(found.log_likelihood[restart, series]) == pytest.approx(wanted.log_likelihood, rel=1e-12)
            np.testing.assert_allclose(found.state[restart, rows], wanted.state, atol=1e-12)
            best = float(decoded.log_probability[restart, series])
            assert best == pytest.approx(wanted.best_log_probability, rel=1e-12)
            if wanted.best_paths:
                assert tuple(decoded.states[restart, rows].tolist()) in wanted.best_paths


@pytest.fixture
def doubted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sequences each pass could not vouch for."""
    found: list[int] = []
    add_scaled = counts.Sums.add_scaled

    def counting(sums: counts.Sums, p: Potentials, weight: Tensor, pairs: Tensor) -> Tensor:
        doubtful = add_scaled(sums, p, weight, pairs)
        found.append(len(doubtful))
        return doubtful

    monkeypatch.setattr(counts.Sums, "add_scaled", counting)
    return found


@pytest.mark.parametrize(("misfit", "rows"), [(30.0, [0, 1, 2, 3]), (120.0, [0]), (30.0, [0, 1, 2, 3, 20, 21, 22, 23])])
def test_what_scaled_arithmetic_loses_is_found_and_computed_again(misfit: float, rows: list[int], doubted: list[int]):
    """Of two states that are never left, the better in all fits some rows so badly that float32 forgets it."""
    emission = torch.zeros(1, 24, 2, dtype=torch.float64)
    emission[0, rows, 0] -= misfit
    emission[0, 5:17, 1] -= 25.0
    even = torch.full((1, 2), 0.5, dtype=torch.float64).log()
    stays = torch.eye(2, dtype=torch.float64).log()[None]
    p = Potentials(even, stays, None, emission, torch.tensor([0, 24]))
    assert_counts(gpu.expected_counts(in_single(p)), reference.expected_counts(p), SINGLE)
    assert doubted == [1, 0]


def never_left(emission: Tensor, tail: bool) -> Potentials:
    """Two states, each of which keeps what it begins with, by transitions or by a tail without end."""
    even, nothing = torch.full((1, 2), 0.5, dtype=torch.float64).log(), torch.zeros(1, 2, dtype=torch.float64)
    stays = torch.eye(2, dtype=torch.float64).log()[None]
    offsets = torch.tensor([0, emission.shape[1]])
    if tail:
        return Potentials(even, stays.flip(-1), nothing.unsqueeze(-1), emission, offsets, log_tail=nothing)
    return Potentials(even, stays, None, emission, offsets)


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize(("dtype", "nats"), [(torch.float32, 1.0), (torch.float64, 7.5)])
def test_a_row_that_a_state_cannot_explain_does_not_hide_what_it_explains_later(
    dtype: torch.dtype, nats: float, tail: bool, doubted: list[int]
):
    """A state leads, fails at a row by more than numbers can hold, and is ahead again at the end."""
    emission = torch.zeros(1, 24, 2, dtype=torch.float64)
    emission[0, :4, 1] -= 9.0 * nats
    emission[0, 4, 0] -= 110.0 * nats
    emission[0, 5:17, 1] -= 7.0 * nats
    p = never_left(emission, tail)
    assert_counts(gpu.expected_counts(in_kind(p, dtype)), reference.expected_counts(p), SINGLE)
    assert doubted[0] == 1


@pytest.mark.parametrize("tail", [False, True])
def test_a_bad_end_does_not_hide_what_was_lost_before(tail: bool, doubted: list[int]):
    emission = torch.zeros(1, 24, 2, dtype=torch.float64)
    emission[0, [0, 1, 2, 3, 20, 21, 22, 23], 0] -= 30.0
    emission[0, 5:17, 1] -= 25.0
    p = never_left(emission, tail)
    assert_counts(gpu.expected_counts(in_single(p)), reference.expected_counts(p), SINGLE)
    assert doubted == [1, 0]


def test_a_long_segment_through_bad_rows_does_not_hide_what_was_lost_before(doubted: list[int]):
    """One segment of either state from the first row to the last, after which there is nowhere to go."""
    emission = torch.zeros(1, 24, 2, dtype=torch.float64)
    emission[0, [0, 1, 2, 3, 20, 21, 22, 23], 0] -= 30.0
    emission[0, 5:17, 1] -= 25.0
    even = torch.full((1, 2), 0.5, dtype=torch.float64).log()
    lasts = torch.full((1, 2, 24), -torch.inf, dtype=torch.float64)
    lasts[..., -1] = 0.0
    nowhere = torch.full((1, 2, 2), -torch.inf, dtype=torch.float64)
    p = Potentials(even, nowhere, lasts, emission, torch.tensor([0, 24]), right_censored=False)
    assert_counts(gpu.expected_counts(in_single(p)), reference.expected_counts(p), SINGLE)
    assert doubted == [1, 0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_gentle_data_need_one_pass(shape: tuple[int, int | None, bool], dtype: torch.dtype, doubted: list[int]):
    n_states, n_durations, tail = shape
    cut = torch.tensor([True, False, True, n_durations is None])
    p = random_potentials(
        2,
        (300, 40, 12, 7),
        n_states=n_states,
        n_durations=n_durations,
        tail=tail,
        left_censored=cut,
        right_censored=True,
    )
    gpu.expected_counts(in_kind(p, dtype))
    assert doubted == [0]


def test_impossible_series_are_found_and_count_nothing():
    p = random_potentials(5, (6, 9, 4), n_states=3, n_durations=4)
    p.log_emission[1, 8] = -torch.inf
    assert_counts(gpu.expected_counts(p), reference.expected_counts(p), DOUBLE)
    assert gpu.expected_counts(p).log_likelihood[1, 1] == -torch.inf
    assert (gpu.viterbi(p).states[1, 6:15] == -1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_a_series_has_the_same_bits_in_any_batch(shape: tuple[int, int | None, bool], dtype: torch.dtype):
    lengths = (300, 3, 64, 65, 129, 1, 300, 256, 257, 40, 7, 2, 90, *range(4, 30))
    p = in_kind(a_case(11, shape, lengths), dtype)
    whole, path = gpu.expected_counts(p), gpu.viterbi(p)
    for series in range(p.n_series):
        part, rows = selected(p, [0], [series]), rows_of(p, [series])
        alone, path_alone = gpu.expected_counts(part), gpu.viterbi(part)
        assert torch.equal(alone.log_likelihood[0, 0], whole.log_likelihood[0, series])
        assert torch.equal(alone.state[0], whole.state[0, rows])
        assert torch.equal(path_alone.states[0], path.states[0, rows])
        assert torch.equal(path_alone.log_probability[0, 0], path.log_probability[0, series])


def test_restarts_have_the_same_bits_alone():
    p = random_potentials(12, (30, 5, 80, 41), n_restarts=3, n_states=3, n_durations=4, tail=True)
    whole, alone = gpu.expected_counts(p), gpu.expected_counts(p.take(torch.tensor([1])))
    for name, value in vars(alone).items():
        assert torch.equal(value[0], getattr(whole, name)[1]), name


def n_sequences(to: tuple[Any, ...]) -> int:
    """Of a launch: the first whole number that the kernels take."""
    return next(x for x in to[3] if isinstance(x, int))


def test_too_little_memory_for_all_restarts_is_enough_for_some(monkeypatch: pytest.MonkeyPatch):
    p = random_potentials(12, (30, 5, 80, 41), n_restarts=3, n_states=3, n_durations=4, tail=True)
    weight = torch.linspace(0.5, 2.0, 12, dtype=torch.float64).view(3, 4)
    whole = gpu.expected_counts(p, weight)
    launched: list[int] = []
    run = launch.run
    monkeypatch.setattr(launch, "free_bytes", lambda _: 30_000)
    monkeypatch.setattr(launch, "run", lambda *to: (launched.append(n_sequences(to)), run(*to)))
    for name, value in vars(gpu.expected_counts(p, weight)).items():
        assert torch.equal(value, getattr(whole, name)), name
    assert max(launched) < p.n_restarts * p.n_series


def test_a_pass_waits_for_the_device_twice():
    """Whether a sequence is doubtful, and which: what else is decided on the way would keep the device waiting."""
    p = random_potentials(12, (30, 5), n_restarts=3, n_states=3, n_durations=4, tail=True)
    waits = Waits()
    with waits:
        gpu.expected_counts(p)
    assert waits.n <= 2


class Waits(TorchDispatchMode):
    """Counts the operations whose result the host reads."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        self.n += any(isinstance(x, Tensor) and x.dtype == torch.bool for x in args[1:2] if "index" in str(function))
        return function(*args, **(kwargs or {}))
