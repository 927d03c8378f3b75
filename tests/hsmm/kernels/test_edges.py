"""Where scaled arithmetic is weakest and shapes are oddest: every function still gives the reference's answer."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hsmm import inference
from hsmm.kernels import native
from hsmm.potentials import Potentials
from tests.fuzz_kernels import Bound, answers, check_paths, in_double, in_single
from tests.hsmm.inference.cases import random_potentials

pytestmark = pytest.mark.skipif(not native.available(), reason="no native kernel was built")

LAWS = {
    "hmm": {"n_durations": None, "self_transitions": True},
    "segments": {"n_durations": 6},
    "tail": {"n_durations": 3, "tail": True, "left_censored": True},
    "self_transitions": {"n_durations": 4, "self_transitions": True},
    "ending": {"n_durations": 6, "right_censored": False, "left_censored": True},
    "time_varying": {"n_durations": 3, "time_varying": True},
}
SWINGS = {
    "float32 -120": (120.0, torch.float32),
    "float32 -2000": (2e3, torch.float32),
    "float64 -800": (800.0, torch.float64),
    "float64 -20000": (2e4, torch.float64),
}


@pytest.fixture(params=LAWS, ids=str)
def law(request: pytest.FixtureRequest) -> dict:
    return LAWS[request.param]


def assert_exact(p: Potentials) -> None:
    """Every function of the kernel in use equals the reference in float64 and gives no NaN."""
    exact = in_double(p)
    bound = Bound(exact, single=p.log_emission.dtype == torch.float32)
    wanted = dict(answers(exact, None, "reference"))
    for name, found in answers(p, None, "auto"):
        assert not found.isnan().any(), name
        bound.compare(name, found, wanted[name])
    check_paths(p, exact, bound)


@pytest.mark.parametrize("n_steps", [1, 9])
@pytest.mark.parametrize("swing", SWINGS.values(), ids=SWINGS)
def test_what_was_all_but_ruled_out_comes_back(law, swing, n_steps):
    """State 0 is ruled out by so many nats, then preferred by as many: the probability it kept decides."""
    nats, dtype = swing
    p = random_potentials(0, (3 * n_steps + 2, 4 * n_steps), n_restarts=1, **law)
    emission = p.log_emission.clone()
    for start in p.offsets[:-1].tolist():
        emission[:, start : start + n_steps, 0] -= nats / n_steps
        emission[:, start + n_steps : start + 3 * n_steps, 1:] -= nats / n_steps
    p = replace(p, log_emission=emission)
    if p.log_transition.ndim == 3:
        p = replace(p, log_transition=p.log_transition - nats / 40 * (1 - torch.eye(3, dtype=torch.float64)))
    assert_exact(p if dtype == torch.float64 else in_single(p))


THERE_AND_BACK = {
    "hmm": {"n_durations": None, "self_transitions": True},
    "segments": {"n_durations": 3, "self_transitions": True},
    "tail": {"n_durations": 3, "self_transitions": True, "tail": True},
    "left-censored": {"n_durations": 4, "self_transitions": True, "left_censored": True},
    "left-censored tail": {"n_durations": 3, "self_transitions": True, "tail": True, "left_censored": True},
    "only the tail": {"n_durations": 1, "tail": True, "self_transitions": True},
}


@pytest.mark.parametrize("options", THERE_AND_BACK.values(), ids=THERE_AND_BACK)
@pytest.mark.parametrize(("nats", "dtype"), [(600.0, torch.float64), (800.0, torch.float64), (60.0, torch.float32)])
@pytest.mark.parametrize("right_censored", [False, True])
def test_what_would_tell_of_a_loss_may_be_out_of_range_as_well(options, nats, dtype, right_censored):
    """No way leads between two states. Twice rows speak for 1, so that 0 is lost; four times for 0, so that it
    deserves more; and twice for 1, so that, coming back, 0 is lost as well before the four are seen."""
    p = random_potentials(6, (8,), n_restarts=1, n_states=2, right_censored=right_censored, **options)
    emission = torch.zeros(1, 8, 2, dtype=torch.float64)
    emission[:, [0, 1, 6, 7], 0] = -nats
    emission[:, 2:6, 1] = -1.1 * nats
    apart = torch.eye(2, dtype=torch.float64).log().unsqueeze(0)
    p = replace(p, log_emission=emission, log_transition=apart)
    assert_exact(p if dtype == torch.float64 else in_single(p))


@pytest.mark.parametrize("table", ["log_initial", "log_transition", "log_duration", "log_residual"])
@pytest.mark.parametrize(("nats", "dtype"), [(800.0, torch.float64), (120.0, torch.float32)])
def test_an_entry_that_rounds_to_zero_matters_though_no_row_is_violent(table, nats, dtype):
    """State 0 suits every row better by 20 nats, and the one way there has an entry too small for the type."""
    n_rows = int(nats / 10)
    emission = torch.zeros(1, n_rows, 2, dtype=torch.float64)
    emission[..., 1] = -20.0
    law = torch.full((1, 2, n_rows), -math.log(n_rows), dtype=torch.float64)
    law[:, 0, :-1] = -math.inf
    tables = {
        "log_initial": torch.zeros(1, 2, dtype=torch.float64),
        "log_transition": torch.eye(2, dtype=torch.float64).log().unsqueeze(0),
        "log_duration": law,
        "log_residual": law.clone(),
    }
    if table == "log_transition":
        tables["log_initial"][0, 0] = -math.inf
        tables[table][0, 1, 0] = -nats
    elif table == "log_initial":
        tables[table][0, 0] = -nats
    else:
        tables[table][0, 0, -1] = -nats
    p = Potentials(
        **tables, log_emission=emission, offsets=torch.tensor([0, n_rows]), left_censored=table == "log_residual"
    )
    assert_exact(p if dtype == torch.float64 else in_single(p))
    if table in ("log_initial", "log_transition"):
        hmm = replace(p, log_duration=None, log_residual=None)
        assert_exact(hmm if dtype == torch.float64 else in_single(hmm))


def test_the_example_in_which_float32_lost_five_nats():
    """Two models of the whole series, and no way between them; the data change their mind by 120 nats."""
    emission = torch.zeros(1, 40, 2)
    emission[0, :20, 0] = emission[0, 20:, 1] = -6.0
    half, apart = torch.tensor([[0.5, 0.5]]).log(), torch.eye(2)[None].log()
    p = Potentials(half, apart, None, emission, torch.tensor([0, 40]))
    counts = inference.expected_counts(p)
    assert inference.log_partition(p).item() == pytest.approx(-120.0, rel=1e-6)
    torch.testing.assert_close(counts.initial, torch.tensor([[0.5, 0.5]]))
    assert_exact(p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_state_that_no_row_allows(law, dtype):
    p = random_potentials(1, (9, 14, 1), **law)
    emission = p.log_emission.clone()
    emission[:, :, 1] = -math.inf
    emission[:, 3:5, 0] = -math.inf
    emission[1, 12] = -math.inf
    p = replace(p, log_emission=emission)
    assert_exact(p if dtype == torch.float64 else in_single(p))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_series_of_which_nothing_was_seen(law, dtype):
    p = random_potentials(2, (9, 14, 1), **law)
    p = replace(p, log_emission=torch.zeros_like(p.log_emission))
    assert_exact(p if dtype == torch.float64 else in_single(p))
    if p.right_censored is True:
        assert inference.log_partition(p).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_outliers_of_any_size(law, dtype):
    """A row at 1e6 standard deviations, and one at 1e12, lies far under every state, under each unlike the others."""
    p = random_potentials(3, (9, 14, 1), **law)
    emission = p.log_emission.clone()
    emission[:, 4] *= 5e11
    emission[:, 15] *= 5e23
    p = replace(p, log_emission=-emission.abs())
    p = p if dtype == torch.float64 else in_single(p)
    for name, value in answers(p, None, "auto"):
        assert not value.isnan().any(), name
        assert not value.isposinf().any(), name
    found, wanted = inference.log_partition(p).double(), inference.log_partition(in_double(p), kernel="reference")
    torch.testing.assert_close(found, wanted, rtol=1e-12 if dtype == torch.float64 else 1e-5, atol=0)


SHAPES = {
    "one row": ((1,), {}),
    "rows of one": ((1,) * 9, {}),
    "one state": ((7, 20, 1), {"n_states": 1}),
    "one state, one step": ((7, 20, 1), {"n_states": 1, "n_durations": 1}),
    "one step": ((7, 20, 1), {"n_durations": 1, "self_transitions": True}),
    "one step, then the tail": ((7, 20, 1), {"n_durations": 1, "tail": True}),
    "durations beyond every series": ((3, 5, 1, 2), {"n_durations": 40}),
    "durations beyond every series, and a tail": ((3, 5, 1, 2), {"n_durations": 40, "tail": True}),
    "two thousand durations": ((15, 1), {"n_durations": 2000, "tail": True}),
    "sixty-four states": ((40, 3), {"n_states": 64, "n_durations": None}),
    "sixty-four states of segments": ((12, 3), {"n_states": 64, "n_durations": 5}),
}


@pytest.mark.parametrize("left_censored", [False, True])
@pytest.mark.parametrize(("lengths", "options"), SHAPES.values(), ids=SHAPES)
def test_shapes_at_the_edge(lengths, options, left_censored):
    p = random_potentials(4, lengths, left_censored=left_censored, **options)
    assert_exact(p)
    assert_exact(in_single(p))


def test_ten_thousand_series_of_five_rows(law):
    p = random_potentials(5, (5,) * 10_000, n_restarts=1, n_states=2, **law)
    assert_exact(p)


MEASURE = r"""
import re, torch
from hsmm import inference
from tests.hsmm.inference.cases import random_potentials

def peak() -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])

p = random_potentials(0, (300_000,), n_restarts=1, n_durations=50)
before = peak()
assert inference.expected_counts(p).log_likelihood.isfinite().all()
assert inference.viterbi(p).log_probability.isfinite().all()
assert inference.filtered(p).isfinite().all()
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_many_rows_need_memory_for_rows_not_for_rows_times_durations():
    """A table of rows, states and durations would hold 360 MB; 7 MB are the states' own."""
    found = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 120
