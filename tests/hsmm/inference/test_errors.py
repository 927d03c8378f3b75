"""Tables that do not fit are refused by name; data that cannot be are impossible, not NaN."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from hsmm import inference
from hsmm.kernels import native
from hsmm.potentials import Potentials
from hsmm.types import KernelName
from tests.hsmm.inference.cases import random_potentials

TABLES = ("log_initial", "log_transition", "log_duration", "log_emission", "log_tail", "log_residual")
CAUSAL = ("filtered", "predicted", "log_density", "elapsed", "remaining")
C = torch.contiguous_format
QUERIES = ("log_partition", "posterior", "expected_counts", "viterbi", *CAUSAL)


@pytest.fixture
def p() -> Potentials:
    """Two models, three states, three series in ten rows; every table present."""
    return random_potentials(0, tail=True, residual=True)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "log_emission"])
def test_a_wrong_shape_is_refused(p, name):
    with pytest.raises(ValueError, match=rf"{name} has shape .*; expected \(2, "):
        replace(p, **{name: getattr(p, name)[:1]})
    with pytest.raises(ValueError, match=rf"{name} has shape .*; expected \(2, "):
        replace(p, **{name: getattr(p, name)[:, :2]})
    with pytest.raises(ValueError, match=rf"{name} has shape .*; expected \(2, "):
        replace(p, **{name: getattr(p, name)[..., None]})


@pytest.mark.parametrize("shape", [(10, 3), (2, 10, 3, 1), (0, 10, 3), (2, 10, 0)])
def test_a_wrong_shape_of_emissions_is_refused(p, shape):
    with pytest.raises(ValueError, match="log_emission has shape"):
        replace(p, log_emission=torch.zeros(shape, dtype=torch.float64))


def test_a_table_by_row_needs_every_row(p):
    with pytest.raises(ValueError, match="log_duration has shape"):
        replace(p, log_duration=p.log_duration[:, None].expand(2, 9, 3, 4))
    with pytest.raises(ValueError, match="log_transition has shape"):
        replace(p, log_transition=p.log_transition[:, None].expand(2, 11, 3, 3))


@pytest.mark.parametrize("name", ["log_tail", "log_residual"])
def test_an_hmm_has_no_duration_laws(p, name):
    other = "log_residual" if name == "log_tail" else "log_tail"
    with pytest.raises(ValueError, match=f"{name} needs log_duration"):
        replace(p, log_duration=None, **{other: None})


def test_a_duration_table_has_columns(p):
    with pytest.raises(ValueError, match="log_duration has no columns"):
        replace(p, log_duration=p.log_duration[..., :0], log_residual=None)


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_dtype_is_refused(p, name):
    with pytest.raises(ValueError, match=f"{name} is torch.int64; expected a float32 or float64 tensor"):
        replace(p, **{name: torch.zeros_like(getattr(p, name), dtype=torch.int64)})
    with pytest.raises(ValueError, match=f"{name} is ndarray; expected a float32 or float64 tensor"):
        replace(p, **{name: getattr(p, name).numpy()})


@pytest.mark.parametrize("name", [name for name in TABLES if name != "log_emission"])
def test_mixed_dtypes_and_devices_are_refused(p, name):
    with pytest.raises(ValueError, match=f"{name} is torch.float32 on cpu, but log_emission is"):
        replace(p, **{name: getattr(p, name).float()})
    with pytest.raises(ValueError, match=f"{name} is torch.float64 on meta, but log_emission is .* on cpu"):
        replace(p, **{name: getattr(p, name).to("meta")})


def test_tables_without_numbers_are_refused(p):
    on_meta = {name: table.to("meta") for name, table in p.tables().items()}
    with pytest.raises(ValueError, match=r"log_initial is .* on meta; expected a dense tensor with numbers"):
        replace(p, **on_meta)
    with pytest.raises(ValueError, match=r"log_emission is torch.sparse_coo on cpu; expected a dense tensor"):
        replace(p, log_emission=p.log_emission.to_sparse())


@pytest.mark.parametrize("name", ["log_initial", "log_transition", "log_emission"])
def test_a_table_that_must_be_there_is_asked_for(p, name):
    with pytest.raises(ValueError, match=f"{name} is NoneType; expected a float32 or float64 tensor"):
        replace(p, **{name: None})


def test_everything_lies_on_one_device(p):
    with pytest.raises(ValueError, match="offsets are on meta, the tables on cpu"):
        replace(p, offsets=p.offsets.to("meta"))
    with pytest.raises(ValueError, match=r"left_censored is a torch.bool tensor .* on meta; expected .* on cpu"):
        replace(p, left_censored=torch.ones(3, dtype=torch.bool, device="meta"))


@pytest.mark.parametrize(
    "offsets",
    [
        torch.tensor([0, 4, 4, 10]),
        torch.tensor([0, -3, 10]),
        torch.tensor([0, 0, 10]),
        torch.tensor([0, 10, 10]),
        torch.tensor([0, 2**62, 10]),
        torch.tensor([0, 7, 5, 10]),
        torch.tensor([1, 5, 10]),
        torch.tensor([0, 5, 9]),
        torch.tensor([0, 5, 11]),
        torch.tensor([0]),
        torch.tensor([[0, 10]]),
        torch.tensor([0, 10], dtype=torch.int32),
        torch.tensor([0.0, 10.0]),
        [0, 10],
    ],
)
def test_offsets_that_do_not_rise_to_the_number_of_rows_are_refused(p, offsets):
    with pytest.raises(ValueError, match=r"offsets .* (rise strictly|int64)"):
        replace(p, offsets=offsets)


@pytest.mark.parametrize("name", ["left_censored", "right_censored"])
@pytest.mark.parametrize("flag", [torch.ones(3), torch.ones(2).bool(), torch.ones(1, 3).bool()])
def test_flags_that_do_not_fit_the_series_are_refused(p, name, flag):
    with pytest.raises(ValueError, match=rf"{name} is a .*; expected True, False or .* of shape \(3,\)"):
        replace(p, **{name: flag})


@pytest.mark.parametrize("name", ["left_censored", "right_censored"])
@pytest.mark.parametrize("flag", [None, 1, "yes", [True, False, True]], ids=repr)
def test_flags_are_not_guessed(p, name, flag):
    with pytest.raises(ValueError, match=rf"{name} is .*; expected True, False or a boolean tensor of shape \(3,\)"):
        replace(p, **{name: flag})


def test_no_rows_are_refused(p):
    with pytest.raises(ValueError, match="rise strictly from 0 to the number of rows, 0"):
        replace(p, log_emission=p.log_emission[:, :0], offsets=torch.tensor([0, 0]))


@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded", "shared"])
@pytest.mark.parametrize("query", QUERIES)
def test_any_memory_layout_gives_the_same_bits(p, kernel: KernelName, query, layout):
    def laid_out(table: Tensor) -> Tensor:
        if layout == "transposed":
            return table.transpose(0, -1).contiguous().transpose(0, -1)
        if layout == "strided":
            return torch.stack([torch.full_like(table, math.nan), table], -1)[..., 1]
        if layout == "expanded":
            return table[:1].expand_as(table)
        return torch.cat([torch.full_like(table, math.nan), table])[len(table) :]

    odd = replace(p, **{name: laid_out(table) for name, table in p.tables().items()}, left_censored=True)
    plain = replace(odd, **{name: table.clone(memory_format=C) for name, table in odd.tables().items()})
    found, wanted = (getattr(inference, query)(q, kernel=kernel) for q in (odd, plain))
    for one, other in zip(_tensors(found), _tensors(wanted), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", TABLES)
def test_nan_and_infinity_are_refused(p, kernel: KernelName, name, value, query):
    table = getattr(p, name).clone()
    table[-1, -1] = value
    with pytest.raises(ValueError, match=f"{name} .*(nan|inf)"):
        getattr(inference, query)(replace(p, **{name: table}), kernel=kernel)


@pytest.mark.parametrize("value", [-1.1e300, torch.finfo(torch.float64).min, 1.1e300])
@pytest.mark.parametrize("name", TABLES)
def test_entries_whose_sums_would_overflow_are_refused(p, kernel: KernelName, name, value):
    table = getattr(p, name).clone()
    table[0] = -math.inf
    table[-1, -1] = value
    with pytest.raises(ValueError, match=f"{name} is .*e.30.*between -1e300 and 1e300, or -inf"):
        inference.elapsed(replace(p, **{name: table}), kernel=kernel)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_least_entries_there_may_be_give_no_nan(p, kernel: KernelName, query, dtype):
    least = max(-1e300, torch.finfo(dtype).min)
    tables = {name: table.to(dtype) for name, table in p.tables().items()}
    violent = {name: table.masked_fill(table < table.median(), least) for name, table in tables.items()}
    for result in _tensors(getattr(inference, query)(replace(p, **violent, left_censored=True), kernel=kernel)):
        assert not result.isnan().any()


def test_sampling_refuses_nan(p, kernel: KernelName):
    bad = replace(p, log_emission=torch.full_like(p.log_emission, math.nan))
    with pytest.raises(ValueError, match=r"log_emission .*nan"):
        inference.sample_paths(bad, 2, torch.Generator(), kernel=kernel)


def test_a_tail_above_one_is_refused(p, kernel: KernelName):
    with pytest.raises(ValueError, match="log_tail"):
        inference.log_partition(replace(p, log_tail=-p.log_tail), kernel=kernel)


def test_an_unknown_kernel_is_refused(p):
    with pytest.raises(ValueError, match=r"'fast'.*'reference'"):
        inference.log_partition(p, kernel="fast")


def test_a_kernel_that_was_not_built_is_refused(p, monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    with pytest.raises(ValueError, match="native"):
        inference.log_partition(p, kernel="native")


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("left_censored", [False, True])
@pytest.mark.parametrize("n_durations", [None, 4])
def test_impossible_series_are_minus_infinity_and_leave_the_others_alone(
    kernel: KernelName, left_censored, tail, n_durations
):
    p = random_potentials(
        1, n_durations=n_durations, tail=tail and n_durations is not None, left_censored=left_censored
    )
    emission = p.log_emission.clone()
    emission[:, 7] = -math.inf
    impossible = replace(p, log_emission=emission)
    found, before = inference.posterior(impossible, kernel=kernel), inference.posterior(p, kernel=kernel)
    assert (found.log_likelihood[:, 2] == -math.inf).all()
    assert torch.equal(found.log_likelihood[:, :2], before.log_likelihood[:, :2])
    assert torch.equal(found.state[:, :5], before.state[:, :5])
    assert all(not getattr(found, field.name).isnan().any() for field in fields(found))
    torch.testing.assert_close(found.initial.sum(1), torch.full((2,), 2.0, dtype=torch.float64))

    decoded = inference.viterbi(impossible, kernel=kernel)
    assert (decoded.log_probability[:, 2] == -math.inf).all()
    assert (decoded.states[:, 5:] == -1).all()
    assert (decoded.states[:, :5] >= 0).all()

    density = inference.log_density(impossible, kernel=kernel)
    assert density[:, :7].isfinite().all()
    assert (density[:, 7:] == -math.inf).all()
    for query in ("filtered", "elapsed", "remaining"):
        assert not getattr(inference, query)(impossible, kernel=kernel).isnan().any()


def test_a_series_too_short_for_its_law_is_impossible(kernel: KernelName):
    p = random_potentials(2, right_censored=False)
    duration = p.log_duration.clone()
    duration[..., 0] = -math.inf
    found = inference.posterior(replace(p, log_duration=duration), kernel=kernel)
    assert (found.log_likelihood[:, 1] == -math.inf).all()
    assert found.log_likelihood[:, [0, 2]].isfinite().all()
    assert not found.duration.isnan().any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_paths_of_impossible_series_have_no_states(dtype):
    """Whether a row forbids every state, or a segment may not end where its series does."""
    p = random_potentials(2, right_censored=False, n_durations=2)
    duration, emission = p.log_duration.clone(), p.log_emission.clone()
    duration[..., 0], emission[:, 2] = -math.inf, -math.inf
    impossible = replace(p, log_duration=duration, log_emission=emission)
    single = replace(impossible, **{name: table.to(dtype) for name, table in impossible.tables().items()})
    wanted = inference.log_partition(single).isneginf().repeat_interleave(p.lengths, dim=1)
    paths = inference.sample_paths(single, 3, torch.Generator().manual_seed(0))
    assert torch.equal(paths < 0, wanted.expand_as(paths))
    possible = replace(single, log_duration=p.log_duration.to(dtype), log_emission=p.log_emission.to(dtype))
    assert (inference.sample_paths(possible, 3, torch.Generator().manual_seed(0)) >= 0).all()


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("left_censored", [False, True])
def test_a_state_without_durations_is_never_entered(kernel: KernelName, left_censored, tail):
    p = random_potentials(4, left_censored=left_censored, tail=tail)
    duration, initial, transition = p.log_duration.clone(), p.log_initial.clone(), p.log_transition.clone()
    duration[:, 1] = initial[:, 1] = transition[:, :, 1] = -math.inf
    found = inference.posterior(replace(p, log_duration=duration), kernel=kernel)
    wanted = inference.posterior(replace(p, log_initial=initial, log_transition=transition), kernel=kernel)
    for name in ("log_likelihood", "state", "initial", "transition"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-12, atol=1e-12)


def test_the_gradient_of_impossible_data_is_not_nan(kernel: KernelName):
    p = random_potentials(3)
    emission = p.log_emission.clone()
    emission[:, 7] = -math.inf
    emission.requires_grad_()
    log_likelihood = inference.log_partition(replace(p, log_emission=emission), kernel=kernel)
    log_likelihood[:, :2].sum().backward()
    assert not emission.grad.isnan().any()
    assert not emission.grad[:, 5:].any()


@pytest.mark.parametrize(
    "weight", [torch.ones(1, 3), torch.ones(2, 1), torch.ones(6), torch.ones(2, 3).long(), 3.0], ids=str
)
def test_weights_that_do_not_fit_are_refused(p, kernel, weight):
    with pytest.raises(ValueError, match=r"series_weight .*expected .*\(2, 3\)"):
        inference.expected_counts(p, weight, kernel=kernel)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_are_finite(p, kernel, value):
    with pytest.raises(ValueError, match="series_weight"):
        inference.expected_counts(p, torch.full((2, 3), value).double(), kernel=kernel)


@pytest.mark.parametrize("n", [-1, 1.5, "2"])
def test_a_number_of_paths_is_a_whole_number(p, kernel, n):
    with pytest.raises(ValueError, match="expected a number of paths"):
        inference.sample_paths(p, n, torch.Generator(), kernel=kernel)


def test_a_negative_view_keeps_its_sign(kernel):
    p = random_potentials(0, (1,), n_restarts=1, n_states=1, n_durations=None)
    view = torch.complex(torch.zeros_like(p.log_emission), -p.log_emission).conj().imag
    assert view.is_neg()
    found = inference.log_partition(replace(p, log_emission=view), kernel=kernel)
    assert torch.equal(found, inference.log_partition(p, kernel=kernel))


@pytest.mark.parametrize("name", ["starting", "steps_left", "by_age", "n_rows"])
def test_a_state_of_another_type_is_refused(p, kernel, name):
    state = inference.filter_state(p, kernel=kernel)
    for wrong in (getattr(state, name).to(torch.float32), getattr(state, name).to("meta")):
        with pytest.raises(ValueError, match=f"{name} "):
            inference.filtered(p, after=replace(state, **{name: wrong}), kernel=kernel)


def _tensors(answer: object) -> list[Tensor]:
    return [answer] if isinstance(answer, Tensor) else list(vars(answer).values())


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.7e308])
@pytest.mark.parametrize("hmm", [False, True])
@pytest.mark.parametrize("n_restarts", [1, 3])
def test_tables_said_to_be_checked_are_checked_where_something_came_out_of_it(hmm: bool, n_restarts: int, value: float):
    """Wherever it lies, an entry that is no log-weight either raises or had no part in any answer."""
    generator = torch.Generator().manual_seed(0)
    for seed in range(20):
        p = random_potentials(seed)
        p = replace(p, log_duration=None) if hmm else p
        emission = p.log_emission[:1].expand(n_restarts, -1, -1).clone()
        place = int(torch.randint(emission.numel(), (), generator=generator))
        emission.view(-1)[place] = value
        rest = {n: t[:1].expand(n_restarts, *t.shape[1:]) for n, t in p.tables().items() if n != "log_emission"}
        bad = replace(p, log_emission=emission, **rest)
        try:
            counts = inference.expected_counts(bad, checked=True)
        except ValueError:
            continue
        assert all(x.isfinite().all() for x in (counts.log_likelihood, counts.state, counts.transition))
