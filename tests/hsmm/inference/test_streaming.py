"""A pass may stop after any row and go on, and a lag of n rows sees n rows ahead."""

from __future__ import annotations

import itertools

import pytest
import torch

from hsmm import inference
from hsmm.potentials import Potentials
from hsmm.types import KernelName
from tests.hsmm.inference.cases import heads, random_potentials, rows_of, tails

LENGTHS = (17, 9, 30, 12)
MODELS = {
    "stationary": {},
    "tail": {"tail": True},
    "one_duration": {"tail": True, "n_durations": 1},
    "time_varying": {"time_varying": True, "tail": True},
    "residual": {"residual": True, "left_censored": True, "tail": True},
    "equilibrium": {"left_censored": True},
    "hmm": {"n_durations": None},
}
QUERIES = ("filtered", "predicted", "log_density", "remaining", "elapsed")


@pytest.fixture(params=MODELS, ids=str)
def p(request: pytest.FixtureRequest) -> Potentials:
    return random_potentials(3, LENGTHS, n_restarts=2, **MODELS[request.param])


@pytest.mark.parametrize("cuts", [(1, 1, 1, 1), (4, 2, 29, 7), (16, 8, 3, 11)], ids=str)
def test_pieces_have_the_bits_of_the_whole(p: Potentials, kernel: KernelName, cuts):
    state = inference.filter_state(heads(p, cuts), kernel=kernel)
    rest, later = tails(p, cuts)
    for query in QUERIES:
        if query == "elapsed" and p.log_duration is not None and p.log_duration.ndim == 4:
            continue
        found = getattr(inference, query)(rest, after=state, kernel=kernel)
        assert torch.equal(found, getattr(inference, query)(p, kernel=kernel)[:, later]), query


def test_a_state_after_many_pieces_is_the_state_after_one(p: Potentials, kernel: KernelName):
    whole = inference.filter_state(p, kernel=kernel)
    state = inference.filter_state(heads(p, (3, 3, 3, 3)), kernel=kernel)
    middle, _ = tails(heads(p, (8, 8, 8, 8)), (3, 3, 3, 3))
    end, _ = tails(p, (8, 8, 8, 8))
    for piece in (middle, end):
        state = inference.filter_state(piece, after=state, kernel=kernel)
    for name in ("starting", "steps_left", "n_rows"):
        assert torch.equal(getattr(state, name), getattr(whole, name)), name


def test_kernels_take_each_others_states(p: Potentials):
    cuts = (4, 2, 29, 7)
    rest, _ = tails(p, cuts)
    for first, second in itertools.permutations(("reference", "native")):
        state = inference.filter_state(heads(p, cuts), kernel=first)
        wanted = inference.filtered(rest, after=inference.filter_state(heads(p, cuts), kernel=second), kernel=second)
        torch.testing.assert_close(inference.filtered(rest, after=state, kernel=second), wanted, rtol=0, atol=1e-10)


def test_a_state_of_other_series_is_refused(kernel: KernelName):
    p = random_potentials(3, LENGTHS)
    state = inference.filter_state(p, kernel=kernel)
    with pytest.raises(ValueError, match="the state's starting has shape"):
        inference.filtered(random_potentials(3, (5,)), after=state, kernel=kernel)


def test_ages_before_a_state_need_a_stationary_duration_table(kernel: KernelName):
    p = random_potentials(3, LENGTHS, time_varying=True)
    state = inference.filter_state(p, kernel=kernel)
    with pytest.raises(ValueError, match="changes with time"):
        inference.elapsed(p, after=state, kernel=kernel)


@pytest.mark.parametrize("lag", [0, 1, 5, 100])
def test_a_lag_sees_as_many_rows_ahead(p: Potentials, kernel: KernelName, lag):
    found = inference.smoothed(p, lag, kernel=kernel)
    for n in (1, 4, 9):
        seen = [min(n + lag, length) for length in LENGTHS]
        wanted = inference.posterior(heads(p, seen), kernel="reference").state
        rows = torch.tensor(seen).cumsum(0) - torch.tensor(seen) + n - 1
        torch.testing.assert_close(found[:, p.offsets[:-1] + n - 1], wanted[:, rows], rtol=0, atol=1e-9)


def test_without_a_lag_it_is_the_filter(p: Potentials, kernel: KernelName):
    torch.testing.assert_close(
        inference.smoothed(p, 0, kernel=kernel), inference.filtered(p, kernel=kernel), rtol=0, atol=1e-12
    )


def test_the_future_beyond_the_lag_changes_no_bit(p: Potentials, kernel: KernelName):
    lag, n_rows = 3, [12, 9, 12, 12]
    short = heads(p, n_rows)
    rows = rows_of(p, list(range(4)), [n - lag for n in n_rows])
    within = rows_of(short, list(range(4)), [n - lag for n in n_rows])
    whole, cut = inference.smoothed(p, lag, kernel=kernel), inference.smoothed(short, lag, kernel=kernel)
    assert torch.equal(whole[:, rows], cut[:, within])


def test_a_negative_lag_is_refused(kernel: KernelName):
    with pytest.raises(ValueError, match="lag is -1"):
        inference.smoothed(random_potentials(3, LENGTHS), -1, kernel=kernel)
