"""Rows that share tables: the law of rows with tables of their own, computed as if there were no rows of tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hsmm import inference
from hsmm.kernels import native
from hsmm.kernels.native import counts as native_counts
from hsmm.potentials import Potentials
from tests.hsmm.inference.cases import random_potentials, selected, sharing

LENGTHS = (12, 4, 7, 12, 5)
N_ROWS = sum(LENGTHS)
COUNTS = ("initial", "transition", "duration", "residual", "tail_stay", "tail_leave", "state", "log_likelihood")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def tables(seed: int, *, n_restarts: int = 2, n_durations: int | None = 7, alike: bool = False) -> Potentials:
    p = random_potentials(
        seed,
        LENGTHS,
        n_restarts=n_restarts,
        n_durations=n_durations,
        tail=seed % 2 == 1 and n_durations is not None,
        time_varying=True,
        left_censored=torch.tensor([True, False, True, False, False]) if n_durations else False,
        right_censored=torch.tensor([True, True, False, False, True]) if n_durations else True,
    )
    return sharing(p, 5, torch.Generator().manual_seed(seed), alike=alike)


def in_type(p: Potentials, dtype: torch.dtype) -> Potentials:
    return replace(p, **{name: table.to(dtype) for name, table in p.tables().items()})


def close(found: Tensor, wanted: Tensor, dtype: torch.dtype, name: str = "") -> None:
    loose = 2e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(found.double(), wanted.double(), rtol=loose, atol=loose, msg=lambda text: name + text)


@DTYPES
@pytest.mark.parametrize("n_durations", [None, 7])
@pytest.mark.parametrize("alike", [False, True])
def test_they_count_what_rows_of_their_own_count(n_durations: int | None, alike: bool, dtype: torch.dtype) -> None:
    """In lanes of one order, in sequences apart, and with more restarts than lanes."""
    for n_restarts, kernel in ((1, "auto"), (9, "auto"), (2, "reference")):
        p = in_type(tables(n_restarts, n_restarts=n_restarts, n_durations=n_durations, alike=alike), dtype)
        weight = torch.rand(n_restarts, len(LENGTHS), dtype=dtype)
        own = inference.expected_counts(in_type(p.by_row(), torch.float64), weight.double(), kernel="reference")
        found, wanted = inference.expected_counts(p, weight, kernel=kernel), own.by_table(p)
        for name in COUNTS:
            close(getattr(found, name), getattr(wanted, name), dtype, f"{name}: ")
        assert found.transition.shape == p.log_transition.shape
        close(inference.log_partition(p, kernel=kernel), own.log_likelihood, dtype)


@pytest.mark.skipif(not native.available(), reason="no native kernel was built")
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("n_durations", [None, 7])
def test_a_model_has_the_same_counts_alone_and_among_others_and_by_logarithms(
    n_durations: int | None, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = tables(9, n_restarts=9, n_durations=n_durations, alike=alike)
    among = native.expected_counts(p)
    for restart in (0, 7):
        alone = native.expected_counts(p.take(torch.tensor([restart])))
        for name in COUNTS:
            assert torch.equal(getattr(alone, name)[0], getattr(among, name)[restart]), name
    one = native.expected_counts(selected(p, [3], [2]))
    assert torch.equal(one.log_likelihood[0, 0], among.log_likelihood[3, 2])
    every = torch.arange(p.n_restarts * p.n_series)
    monkeypatch.setattr(native_counts._Sums, "add_scaled", lambda *_: every)
    by_logarithms = native.expected_counts(p)
    for name in COUNTS:
        close(getattr(by_logarithms, name), getattr(among, name), torch.float64, name)


@pytest.mark.skipif(not native.available(), reason="no native kernel was built")
def test_a_neighbour_that_began_before_its_rows_changes_no_count() -> None:
    p = random_potentials(1, LENGTHS, n_restarts=9, left_censored=torch.tensor([True, False, True, False, False]))
    among = native.expected_counts(p)
    for restart in range(9):
        alone = native.expected_counts(p.take(torch.tensor([restart])))
        for name in ("initial", "duration", "residual"):
            assert torch.equal(getattr(alone, name)[0], getattr(among, name)[restart]), name


@pytest.mark.skipif(not native.available(), reason="no native kernel was built")
def test_a_table_that_may_lose_mass_casts_doubt_on_the_series_that_read_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    p = tables(4, n_restarts=1)
    first = p.series_of_row == 0
    p.duration_of_row.copy_(torch.where(first, 4, p.duration_of_row.clamp(max=3)))
    p.log_duration[0, 4, 0, 0] = 300.0
    asked: list[Tensor] = []
    logarithms = native_counts.in_logarithms
    monkeypatch.setattr(native_counts, "in_logarithms", lambda p, pairs: (asked.append(pairs), logarithms(p, pairs))[1])
    found, wanted = native.expected_counts(p), inference.expected_counts(p, kernel="reference")
    assert [pairs.tolist() for pairs in asked] == [[0]]
    for name in COUNTS:
        close(getattr(found, name), getattr(wanted, name), torch.float64, name)
    close(native.log_partition(p), wanted.log_likelihood, torch.float64)


def test_the_slope_in_a_table_is_what_was_counted_of_it() -> None:
    p = tables(6)
    p = replace(p, log_duration=p.log_duration.requires_grad_(), log_transition=p.log_transition.requires_grad_())
    inference.log_partition(p).sum().backward()
    counts = inference.expected_counts(p)
    close(p.log_transition.grad, counts.transition, torch.float64)
    # the law of a left-censored first segment follows the table of its first row
    differs = ((p.log_duration.grad - counts.duration).abs() > 1e-6).flatten(2).any(-1).any(0)
    assert differs.nonzero().flatten().tolist() == sorted({int(p.duration_of_row[p.offsets[s]]) for s in (0, 2)})


def test_the_same_segments_and_causal_answers() -> None:
    p = tables(7)
    own = p.by_row()
    assert torch.equal(inference.viterbi(p).states, inference.viterbi(own).states)
    for name in ("filtered", "elapsed", "remaining", "log_density"):
        assert torch.equal(inference.causal(p, [name])[name], inference.causal(own, [name])[name]), name
    assert torch.equal(inference.smoothed(p, 2), inference.smoothed(own, 2))
    draws = [inference.sample_paths(q, 3, torch.Generator().manual_seed(1)) for q in (p, own)]
    assert torch.equal(*draws)
    states = [inference.simulate_states(q, 30, torch.Generator().manual_seed(2)) for q in (p, own)]
    assert torch.equal(*states)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition_of_row": torch.full((N_ROWS,), 5)}, "holds 5 to 5; expected numbers of the 5 tables"),
        ({"transition_of_row": torch.full((N_ROWS,), -1)}, "holds -1 to -1"),
        ({"transition_of_row": torch.zeros(N_ROWS)}, r"is torch.float32 of shape \(40,\)"),
        ({"duration_of_row": torch.zeros(3, dtype=torch.int64)}, r"of shape \(3,\) on cpu; expected int64 of shape"),
        ({"log_duration": None}, "duration_of_row needs log_duration"),
    ],
)
def test_what_is_no_table_of_a_row_is_said(change: dict[str, Tensor | None], message: str) -> None:
    p = replace(tables(8), log_residual=None)
    with pytest.raises(ValueError, match=message):
        replace(p, **change)


@pytest.mark.skipif(not native.available(), reason="no native kernel was built")
@DTYPES
@pytest.mark.parametrize("n_restarts", [1, 9])
def test_a_sequence_has_the_bits_that_tables_of_its_own_rows_give_it(n_restarts: int, dtype: torch.dtype) -> None:
    p = in_type(tables(5, n_restarts=n_restarts), dtype)
    assert torch.equal(native.log_partition(p), native.log_partition(p.by_row()))
    found, own = native.expected_counts(p), native.expected_counts(p.by_row())
    assert torch.equal(found.log_likelihood, own.log_likelihood)
    assert torch.equal(found.state, own.state)


@pytest.mark.skipif(not native.available(), reason="no native kernel was built")
@pytest.mark.parametrize("n_durations", [None, 4])
def test_rows_beyond_those_that_single_precision_sums_at_once_are_counted_once(n_durations: int | None) -> None:
    p = random_potentials(2, (300, 140), n_durations=n_durations, time_varying=True)
    p = sharing(p, 5, torch.Generator().manual_seed(0))
    found, wanted = native.expected_counts(in_type(p, torch.float32)), native.expected_counts(p)
    for name in ("transition", "duration"):
        close(getattr(found, name), getattr(wanted, name), torch.float32, name)
