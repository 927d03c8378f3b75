"""The C++ kernels against the reference: odd shapes, lanes, threads, builds, swings that defeat scaled arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hsmm.kernels import native, reference
from hsmm.kernels.native import counts as native_counts
from hsmm.kernels.protocol import Kernel
from hsmm.native import library
from hsmm.potentials import Potentials

pytestmark = pytest.mark.skipif(not native.available(), reason="no native kernel was built")

CAUSAL = ("filtered", "log_density", "elapsed", "remaining")
BUILDS = [name for name in ("_portable", "_avx2", "_avx512") if native.available() and library.runs(name)]


@st.composite
def models(draw: st.DrawFn) -> Potentials:
    n_restarts, n_states, n_durations = (draw(st.integers(1, top)) for top in (3, 6, 12))
    lengths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=11))
    p = potentials(draw(st.integers(0, 2**31)), lengths, n_restarts, n_states, n_durations)
    p = with_rows(p, transition=draw(st.booleans()), duration=draw(st.booleans()))
    kind = draw(st.sampled_from(["hmm", "segments", "tail"]))
    if kind == "hmm":
        return replace(p, log_duration=None, log_tail=None, log_residual=None)
    flags = st.one_of(
        st.booleans(), st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)).map(torch.tensor)
    )
    p = replace(p, left_censored=draw(flags), right_censored=draw(flags))
    p = p if draw(st.booleans()) else replace(p, log_residual=None)
    return p if kind == "tail" else replace(p, log_tail=None)


def potentials(
    seed: int, lengths: list[int], n_restarts: int = 2, n_states: int = 3, n_durations: int = 5
) -> Potentials:
    """Every table there can be; a tenth of the rows is missing, a twentieth of the emissions forbidden."""
    generator = torch.Generator().manual_seed(seed)

    def law(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).log_softmax(-1)

    def chance(probability: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) < probability

    r, n, k, d = n_restarts, sum(lengths), n_states, n_durations
    emission = 2 * torch.randn(r, n, k, generator=generator, dtype=torch.float64)
    emission = emission.masked_fill(chance(0.05, r, n, k), -torch.inf).masked_fill(chance(0.1, n)[:, None], 0.0)
    duration = law(r, k, d)
    duration[..., 1:] = duration[..., 1:].masked_fill(chance(0.2, r, k, d - 1), -torch.inf)
    stay = torch.rand(r, k, generator=generator, dtype=torch.float64).clamp(0.05, 0.95).log()
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return Potentials(law(r, k), law(r, k, k), duration, emission, offsets, stay, log_residual=law(r, k, d))


def with_rows(p: Potentials, *, transition: bool = True, duration: bool = True, seed: int = 0) -> Potentials:
    """These tables drawn anew for every row, with the same entries forbidden."""
    generator = torch.Generator().manual_seed(seed)

    def by_row(table: Tensor) -> Tensor:
        steps = torch.randn(p.n_rows, *table.shape[1:], generator=generator, dtype=torch.float64)
        return (table[:, None] + steps).log_softmax(-1)

    assert p.log_duration is not None
    return replace(
        p,
        log_transition=by_row(p.log_transition) if transition else p.log_transition,
        log_duration=by_row(p.log_duration) if duration else p.log_duration,
    )


def answers(kernel: Kernel, p: Potentials) -> Iterator[tuple[str, Tensor]]:
    known = kernel.causal(p, CAUSAL)
    yield "log_partition", kernel.log_partition(p)
    yield "viterbi.log_probability", kernel.viterbi(p).log_probability
    yield from ((f"expected_counts.{name}", value) for name, value in vars(kernel.expected_counts(p)).items())
    yield from ((name, known[name]) for name in CAUSAL)


def assert_agree(p: Potentials, tolerance: float = 1e-10, wanted: Potentials | None = None) -> None:
    expected = dict(answers(reference, p if wanted is None else wanted))
    for name, found in answers(native, p):
        torch.testing.assert_close(
            found.double(), expected[name], rtol=tolerance, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )


def as_float32(p: Potentials) -> Potentials:
    return replace(p, **{name: table.float() for name, table in p.tables().items()})


def as_float64(p: Potentials) -> Potentials:
    return replace(p, **{name: table.double() for name, table in p.tables().items()})


def refuse(*_: object) -> None:
    raise AssertionError("the reference was asked")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(models())
def test_it_agrees_with_the_reference(p):
    assert_agree(p)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(models())
def test_float32_is_float64_but_for_rounding(p):
    p = as_float32(p)
    assert_agree(p, 5e-5, as_float64(p))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(models(), st.integers(0, 2**31))
def test_a_series_weighs_what_its_weight_says(p, seed):
    weight = torch.rand(p.n_restarts, p.n_series, generator=torch.Generator().manual_seed(seed)).double()
    found, wanted = (vars(kernel.expected_counts(p, weight)) for kernel in (native, reference))
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n_restarts", [1, 2, 17])
@pytest.mark.parametrize("hmm", [False, True])
@pytest.mark.parametrize("by_row", [False, True])
def test_neighbouring_lanes_change_no_bit(dtype, n_restarts, hmm, by_row):
    lengths = [9, 1, 30, 12, 12, 2, 200, 7, 21, 12, 3, 5, 4, 8, 40, 33, 6]
    p = potentials(0, lengths, n_restarts)
    p = with_rows(p) if by_row else p
    p = replace(p, log_duration=None, log_tail=None, log_residual=None) if hmm else replace(p, left_censored=True)
    p = p if dtype == torch.float64 else as_float32(p)
    together = native.expected_counts(p)
    causal, paths = native.causal(p, ["filtered"]), native.viterbi(p)
    for r in range(0, n_restarts, 8):
        for s in range(p.n_series):
            rows = slice(int(p.offsets[s]), int(p.offsets[s + 1]))
            tables = {name: table[r : r + 1] for name, table in p.tables().items()}
            has_rows = ["log_emission", *(name for name, table in tables.items() if table.ndim == 4)]
            tables |= {name: tables[name][:, rows] for name in has_rows}
            one = replace(p, **tables, offsets=torch.tensor([0, lengths[s]]))
            alone = native.expected_counts(one)
            assert torch.equal(alone.log_likelihood[0, 0], together.log_likelihood[r, s])
            assert torch.equal(alone.state[0], together.state[r, rows])
            if by_row:
                assert torch.equal(alone.transition[0], together.transition[r, rows])
                assert hmm or torch.equal(alone.duration[0], together.duration[r, rows])
            assert torch.equal(native.causal(one, ["filtered"])["filtered"][0], causal["filtered"][r, rows])
            assert torch.equal(native.viterbi(one).states[0], paths.states[r, rows])


@pytest.mark.parametrize("n_threads", [2, 3, 5])
def test_counts_have_the_same_bits_on_any_number_of_threads(n_threads, monkeypatch):
    p = potentials(1, [1 + 7 * s % 50 for s in range(100)], n_restarts=3)
    one_thread = dict(answers(native, p))
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    for name, value in answers(native, p):
        assert torch.equal(value, one_thread[name]), name


@pytest.mark.parametrize("build", BUILDS)
def test_every_build_gives_the_same_answers(build, monkeypatch):
    chosen = library.open_build(build)
    monkeypatch.setattr(library, "load", lambda: chosen)
    p = potentials(2, [5, 17, 1, 64, 17, 3], n_restarts=3)
    for q in (p, with_rows(p)):
        assert_agree(q)
        assert_agree(as_float32(q), 5e-5, as_float64(as_float32(q)))


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("n_durations", [1, 2, 50])
def test_series_of_one_row_and_durations_longer_than_a_series(n_durations, tail):
    p = potentials(3, [1, 3, 1], n_durations=n_durations)
    for left in (False, True):
        for right in (False, True):
            q = replace(p, left_censored=left, right_censored=right)
            assert_agree(q if tail else replace(q, log_tail=None))


def test_ten_thousand_short_series():
    p = potentials(4, [5] * 10_000, n_restarts=1)
    found, wanted = native.expected_counts(p), reference.expected_counts(p)
    assert torch.equal(found.log_likelihood.isneginf(), wanted.log_likelihood.isneginf())
    for name, value in vars(found).items():
        torch.testing.assert_close(value, getattr(wanted, name), rtol=1e-9, atol=1e-9, msg=name)


def swinging(swing: float, n_steps: int, dtype: torch.dtype) -> Potentials:
    """Two models of the whole series, no way between them: the data favour one by ``swing`` nats, then the other."""
    emission = torch.zeros(1, 2 * n_steps, 2, dtype=dtype)
    emission[0, :n_steps, 0] = emission[0, n_steps:, 1] = -swing / n_steps
    return Potentials(
        log_initial=torch.tensor([[0.5, 0.5]], dtype=dtype).log(),
        log_transition=torch.eye(2, dtype=dtype)[None].log(),
        log_duration=None,
        log_emission=emission,
        offsets=torch.tensor([0, 2 * n_steps]),
    )


@pytest.mark.parametrize("as_segments", [False, True])
@pytest.mark.parametrize("n_steps", [1, 10, 100])
@pytest.mark.parametrize(("swing", "dtype"), [(120.0, torch.float32), (800.0, torch.float64), (5e3, torch.float32)])
def test_a_swing_beyond_the_range_of_the_type_loses_nothing(swing, dtype, n_steps, as_segments):
    p = swinging(swing, n_steps, dtype)
    if as_segments:
        law = torch.tensor([0.7, 0.3], dtype=dtype).log().expand(1, 2, 2)
        p = replace(p, log_duration=law)
    tolerance = 1e-10 if dtype == torch.float64 else 5e-4
    assert_agree(p, tolerance, as_float64(p))
    assert native.expected_counts(p).initial.sum().item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_only_way_may_be_too_improbable_for_the_type(dtype, by_row):
    p = potentials(5, [6, 40], n_restarts=1, n_states=2, n_durations=4)
    p = replace(p, log_duration=torch.tensor([[[-2e3, -torch.inf, -torch.inf, -2e3]] * 2], dtype=torch.float64))
    p = replace(p, log_tail=None, log_residual=None, log_emission=p.log_emission.clamp(min=-50.0))
    p = replace(p, log_duration=p.log_duration[:, None].repeat(1, p.n_rows, 1, 1)) if by_row else p
    p = p if dtype == torch.float64 else as_float32(p)
    assert_agree(p, 1e-9 if dtype == torch.float64 else 5e-4, as_float64(p))


@pytest.mark.parametrize("name", ["log_transition", "log_duration"])
@pytest.mark.parametrize("entry", [-900.0, 40.0, 800.0])
def test_one_row_out_of_range_concerns_no_other_series(name, entry):
    """The row of one series is huge or tiny: its answers are right, and those of the others keep their bits."""
    p = with_rows(potentials(9, [7, 12, 5, 30], n_restarts=2))
    table = getattr(p, name).clone()
    table[:, 9] += entry
    odd = replace(p, **{name: table})
    assert_agree(odd, 1e-9)
    found, before = native.expected_counts(odd), native.expected_counts(p)
    others = [0, 2, 3]
    assert torch.equal(native.log_partition(odd)[:, others], native.log_partition(p)[:, others])
    assert torch.equal(found.log_likelihood[:, others], before.log_likelihood[:, others])
    for counts in ("state", "transition", "duration"):
        a, b = getattr(found, counts), getattr(before, counts)
        assert torch.equal(torch.cat([a[:, :7], a[:, 19:]], 1), torch.cat([b[:, :7], b[:, 19:]], 1)), counts


@pytest.mark.parametrize(("cost", "misfit", "dtype"), [(90.0, 85.0, torch.float32), (712.0, 705.0, torch.float64)])
@pytest.mark.parametrize("hmm", [False, True])
def test_what_rounds_to_zero_may_be_worth_a_thousandth(hmm, cost, misfit, dtype):
    """To leave state 0 costs more nats than the type holds, in one row of a table; to stay costs almost as many."""
    rarely = torch.tensor([[0.0, -cost], [-1.0, -1.0]], dtype=dtype)
    p = Potentials(
        log_initial=torch.tensor([[0.0, -torch.inf]], dtype=dtype),
        log_transition=rarely.expand(1, 2, 2, 2) if hmm else torch.zeros(1, 2, 2, 2, dtype=dtype),
        log_duration=None if hmm else rarely.flip(-1).expand(1, 2, 2, 2),
        log_emission=torch.tensor([[[0.0, 0.0], [-misfit, 0.0]]], dtype=dtype),
        offsets=torch.tensor([0, 2]),
    )
    assert_agree(p, 1e-10 if dtype == torch.float64 else 5e-5, as_float64(p))


def test_what_rounds_to_zero_may_grow_again_where_rows_give_out_more_than_they_get():
    transition = torch.full((1, 41, 2, 2), -torch.inf, dtype=torch.float64)
    transition[..., 0, 0], transition[..., 1, 1] = 0.0, 20.0
    transition[:, 0, 0, 1] = -712.0
    p = Potentials(
        log_initial=torch.tensor([[0.0, -torch.inf]], dtype=torch.float64),
        log_transition=transition,
        log_duration=None,
        log_emission=torch.zeros(1, 41, 2, dtype=torch.float64),
        offsets=torch.tensor([0, 41]),
    )
    assert native.log_partition(p).item() == pytest.approx(39 * 20 - 712)


@pytest.mark.parametrize("entry", [torch.nan, 800.0])
@pytest.mark.parametrize("hmm", [False, True])
def test_the_transitions_of_a_last_row_are_not_read(hmm, entry):
    p = with_rows(potentials(10, [7, 1, 12, 30], n_restarts=2))
    p = replace(p, log_duration=None, log_tail=None, log_residual=None) if hmm else p
    table = p.log_transition.clone()
    table[:, p.offsets[1:] - 1] = entry
    wanted = dict(answers(native, p))
    for name, found in answers(native, replace(p, log_transition=table)):
        assert torch.equal(found, wanted[name]), name


@pytest.mark.parametrize("hmm", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_ordinary_tables_by_row_need_no_logarithms(hmm, dtype, monkeypatch):
    monkeypatch.setattr(native_counts, "in_logarithms", refuse)
    p = with_rows(potentials(11, [300, 20, 150], n_states=4, n_durations=60))
    p.log_emission[p.log_emission.isneginf()] = -5.0
    p = replace(p, log_duration=None, log_tail=None, log_residual=None) if hmm else p
    p = p if dtype == torch.float64 else as_float32(p)
    assert native.log_partition(p).isfinite().all()
    assert native.expected_counts(p).log_likelihood.isfinite().all()


@pytest.mark.parametrize("hmm", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_impossible_series_counts_nothing_and_harms_no_other(hmm, dtype):
    lengths = [4, 9, 6]
    p = potentials(6, lengths, n_restarts=1)
    p.log_emission[p.log_emission.isneginf()] = -3.0
    p.log_emission[0, 7] = -torch.inf
    p = replace(p, log_duration=None, log_tail=None, log_residual=None) if hmm else p
    p = p if dtype == torch.float64 else as_float32(p)
    found = native.expected_counts(p)
    assert found.log_likelihood.isneginf().tolist() == [[False, True, False]]
    assert not any(value.isnan().any() for value in vars(found).values())
    assert found.state[0, 4:13].eq(0).all()
    assert found.initial.sum().item() == pytest.approx(2.0, abs=1e-4)
    assert native.viterbi(p).states[0, 4:13].eq(-1).all()
    assert native.causal(p, ["log_density"])["log_density"][0, 7:13].isneginf().all()


@pytest.mark.parametrize("hmm", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_counts_of_rows_do_not_depend_on_what_their_memory_held(hmm, dtype, monkeypatch):
    """In scaled arithmetic, in logarithms, in a series' last row and where a series is impossible."""
    p = with_rows(potentials(12, [7, 1, 12, 30], n_restarts=2))
    p.log_emission[0, 9] = -torch.inf
    p = replace(p, log_duration=None, log_tail=None, log_residual=None) if hmm else p
    p = p if dtype == torch.float64 else as_float32(p)
    wanted, tolerance = vars(reference.expected_counts(as_float64(p))), 1e-10 if dtype == torch.float64 else 5e-4
    monkeypatch.setattr(native_counts, "np", SimpleNamespace(zeros=np.zeros, empty=lambda n: np.full(n, np.nan)))

    def assert_counted() -> None:
        for name, found in vars(native.expected_counts(p)).items():
            torch.testing.assert_close(found.double(), wanted[name], rtol=tolerance, atol=tolerance)

    assert_counted()
    monkeypatch.setattr(native_counts._Sums, "add_scaled", lambda *_: torch.arange(p.n_restarts * p.n_series))
    assert_counted()


def test_the_likelihood_is_the_same_with_and_without_counts():
    p = potentials(7, [30, 4, 200], n_restarts=3)
    torch.testing.assert_close(
        native.log_partition(p), native.expected_counts(p).log_likelihood, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("hmm", [False, True])
def test_ordinary_data_never_need_the_reference(hmm, monkeypatch):
    for function in ("log_partition", "expected_counts", "causal", "viterbi"):
        monkeypatch.setattr(reference, function, refuse)
    p = potentials(8, [3000, 20, 1500], n_states=4, n_durations=60)
    p.log_emission[p.log_emission.isneginf()] = -30.0
    p = replace(p, log_duration=None, log_tail=None, log_residual=None) if hmm else p
    for _, value in answers(native, p):
        assert value.isfinite().all()
