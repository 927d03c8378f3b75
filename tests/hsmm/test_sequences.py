"""Sequences pack what they are given, lose nothing, and refuse what is not numbers."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hsmm
from hsmm import Sequences
from hsmm.errors import DataWarning

VALUES = np.array([[1.0, np.nan], [2.0, 5.0], [np.nan, np.nan], [4.0, 7.0], [0.5, -1.0]])
LENGTHS = [2, 3]


def packed() -> Sequences:
    return Sequences.from_arrays(VALUES, LENGTHS)


@pytest.mark.parametrize(
    "same",
    [
        VALUES.tolist(),
        torch.from_numpy(VALUES),
        pl.DataFrame(VALUES, schema=["a", "b"]),
        np.asfortranarray(VALUES),
        np.where(np.isnan(VALUES), None, VALUES),
        VALUES.astype(np.float32),
        np.ma.array(np.nan_to_num(VALUES, nan=99.0), mask=np.isnan(VALUES)),
    ],
    ids=["list", "torch", "polars", "fortran", "objects", "float32", "masked"],
)
def test_every_container_gives_the_same_rows(same: object) -> None:
    found, expected = Sequences.from_arrays(same, LENGTHS), packed()
    torch.testing.assert_close(found.values, expected.values, rtol=0.0, atol=0.0)
    assert torch.equal(found.observed, expected.observed)
    assert found.offsets.tolist() == [0, 2, 5]
    assert found.values.dtype == torch.float64


def test_one_dimension_is_one_feature() -> None:
    found = Sequences.from_arrays([1, 2, 3])
    assert (found.n_rows, found.n_features, found.n_series) == (3, 1, 1)


def test_the_input_is_copied() -> None:
    values = VALUES.copy()
    made = Sequences.from_arrays(values, LENGTHS)
    values[:] = 9.0
    assert torch.equal(made.values, packed().values)


def test_what_is_missing_is_known() -> None:
    made = packed()
    assert made.n_observed_rows == 4
    assert not made.is_complete
    rows = torch.cat([pattern.rows for pattern in made.patterns]).sort().values
    assert rows.tolist() == [0, 1, 3, 4]
    for pattern in made.patterns:
        assert made.observed[pattern.rows][:, pattern.features].all()
        assert not made.observed[pattern.rows][:, pattern.missing].any()


def test_moments_are_those_of_the_observed_cells() -> None:
    mean, variance = packed().moments
    assert mean.numpy() == pytest.approx(np.nanmean(VALUES, 0))
    assert variance.numpy() == pytest.approx(np.nanvar(VALUES, 0))


@given(st.floats(-1e12, 1e12), st.integers(2, 400))
@settings(deadline=None, max_examples=60)
def test_a_constant_has_no_variance_at_all(value: float, n_rows: int) -> None:
    assert Sequences.from_arrays(np.full(n_rows, value)).moments[1].tolist() == [0.0]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_the_order_of_series_is_forgotten_in_canonical_order(lengths: list[int], random) -> None:
    values = torch.randn((sum(lengths), 2), generator=torch.Generator().manual_seed(sum(lengths)))
    given_order = Sequences.from_arrays(values, lengths)
    shuffled = random.sample(range(len(lengths)), len(lengths))
    one, other = given_order.in_canonical_order(), given_order.series(shuffled).in_canonical_order()
    assert torch.equal(one.values, other.values)
    assert torch.equal(one.offsets, other.offsets)


def test_series_are_taken_in_the_order_asked() -> None:
    turned = packed().series([1, 0])
    assert turned.offsets.tolist() == [0, 3, 5]
    assert torch.equal(turned.values, packed().values[[2, 3, 4, 0, 1]])


def test_a_head_is_the_first_rows_of_each_series() -> None:
    head = packed().head(torch.tensor([1, 2]))
    assert head.offsets.tolist() == [0, 1, 3]
    assert torch.equal(head.observed, packed().observed[[0, 2, 3]])


def test_an_extension_is_the_series_and_missing_rows() -> None:
    longer = packed().extended(2)
    assert longer.lengths.tolist() == [4, 5]
    assert not longer.observed[[2, 3, 7, 8]].any()
    assert torch.equal(longer.head(torch.tensor(LENGTHS)).values, packed().values)


def test_dates_in_a_frame_are_not_taken_for_numbers() -> None:
    dated = pl.DataFrame({"date": [date(2024, 1, day) for day in (1, 2, 3)], "close": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=r"columns \['date'\]; give the numeric columns"):
        Sequences.from_arrays(dated)
    assert Sequences.from_arrays(dated.select("close")).n_rows == 3


def test_covariates_travel_with_their_rows() -> None:
    made = Sequences.from_arrays(VALUES, LENGTHS, covariates=np.arange(5.0))
    assert made.series([1]).covariates.flatten().tolist() == [2.0, 3.0, 4.0]
    with pytest.raises(ValueError, match="steps ahead none"):
        made.extended(1)


@pytest.mark.parametrize(
    ("X", "lengths", "message"),
    [
        (["a", "b"], None, "expected numbers"),
        (np.array(["1", "2"], dtype=object), None, "not numbers"),
        (pl.DataFrame({"a": ["1", "2"]}), None, "not numbers"),
        (np.array([1j, 2j]), None, "complex.*expected numbers"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), None, "expected numbers"),
        (np.zeros((2, 2, 2)), None, r"\(2, 2, 2\).*n_samples, n_features"),
        (np.zeros((0, 2)), None, "at least one"),
        ([[1.0, 2.0], [np.inf, 0.0]], None, "1 infinite.*row 1, column 0.*NaN"),
        ([1.0, 1e200], None, "1e\\+200.*rescale"),
        ([np.nan, np.nan], None, "2 cells.*missing.*at least one"),
        (VALUES, [2, 2], "sum to 4.*5 rows"),
        (VALUES, [5, 0], "hold 0.*at least one row"),
        (VALUES, [6, -1], "hold -1.*at least one row"),
        (VALUES, 5, "list of whole numbers"),
        (VALUES, [2.0, 3.0], "list of whole numbers"),
        (VALUES, [], "list of whole numbers"),
        (VALUES, [[2, 3]], "list of whole numbers"),
        (VALUES, [1, 0, 1, 0, 1], "one for each row.*states="),
        (VALUES, [1.0, 1.0, 1.0, 1.0, 1.0], "one for each row.*target"),
        (VALUES, list("abcba"), "one for each row.*groups="),
    ],
)
def test_what_cannot_be_a_series_is_refused(X: object, lengths: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sequences.from_arrays(X, lengths)


@pytest.mark.parametrize(
    ("covariates", "message"),
    [([1.0], "1 rows but X has 5"), ([1, 2, np.nan, 4, 5], "missing at row 2"), ([1, 2, np.inf, 4, 5], "infinite")],
)
def test_covariates_must_be_there_for_every_row(covariates: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sequences.from_arrays(VALUES, LENGTHS, covariates)


def test_odd_data_are_accepted_with_a_warning() -> None:
    with pytest.warns(DataWarning, match=r"columns \[1\].*constant"):
        Sequences.from_arrays([[1.0, 0.1], [2.0, 0.1], [4.0, 0.1]]).warn_of_odd_data()
    with pytest.warns(DataWarning, match="1 series have a single row"):
        Sequences.from_arrays([1.0, 2.0, 4.0], [1, 2]).warn_of_odd_data()


def test_nothing_and_sparse_data_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"X is None; expected numbers"):
        Sequences.from_arrays(None)
    with pytest.raises(ValueError, match=r"X is a sparse matrix; .*X\.toarray\(\)"):
        Sequences.from_arrays(scipy.sparse.eye_array(3))


def test_lazy_and_ragged_data_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="collect it first"):
        Sequences.from_arrays(pl.LazyFrame({"x": [1.0]}))
    with pytest.raises(ValueError, match="sizes as lengths"):
        Sequences.from_arrays([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("part", [[1.0, 2.0, 3.0], (1.0, 2.0, 3.0)], ids=["lists", "tuples"])
def test_lists_that_may_be_series_or_rows_are_no_table(part: Any) -> None:
    with pytest.raises(ValueError, match=r"X is a list of 2 lists, which may be series or rows.*concatenate.*stack"):
        Sequences.from_arrays([part] * 2)
    with pytest.raises(ValueError, match="context is a list of 2 lists"):
        Sequences.from_arrays([1.0] * 2, covariates=[part] * 2)
    assert Sequences.from_arrays([part] * 3).n_rows == 3
    assert Sequences.from_arrays(np.stack([part] * 2)).n_rows == 2


def test_numbers_of_sixteen_bits_are_read() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(
            Sequences.from_arrays(torch.tensor([1.0, 0.5], dtype=dtype)).values[:, 0], torch.tensor([1.0, 0.5]).double()
        )


@pytest.mark.parametrize(
    "series", [[np.zeros(3), np.ones(3)], (torch.zeros(2), torch.ones(2)), [pl.Series([1.0]), pl.Series([2.0])]]
)
def test_a_list_of_series_is_not_taken_for_a_matrix(series: object) -> None:
    with pytest.raises(ValueError, match="give their sizes as lengths"):
        Sequences.from_arrays(series)


def test_what_varies_too_little_to_be_squared_is_refused() -> None:
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=50), 1e-120 * rng.normal(size=50)]
    with pytest.raises(ValueError, match=r"column 1 of X varies by no more than .* underflows"):
        hsmm.HMM(2).fit(X)
    with pytest.raises(ValueError, match="underflows"):
        hsmm.GLMHMM(2, "Gaussian").fit(X[:, :1], X[:, 1])
    assert np.isfinite(hsmm.HMM(2, n_init=2).fit(X[:, 0]).score(1e-120 * X[:, 0]))


def test_units_of_features_move_a_likelihood_by_their_logarithm() -> None:
    X = np.random.default_rng(0).normal(size=100)
    plain = hsmm.HMM(2, n_init=2).fit(X).log_likelihood_
    assert hsmm.HMM(2, n_init=2).fit(1e-90 * X).log_likelihood_ == pytest.approx(
        plain + 9000.0 * np.log(10.0), abs=1e-3
    )


def test_all_missing_data_are_refused_where_they_should_teach() -> None:
    with pytest.raises(ValueError, match="all 2 cells of X are missing"):
        hsmm.HMM(1).fit([np.nan, np.nan])


def test_series_that_are_on_a_device_stay_the_same_object_there() -> None:
    rows = Sequences.from_arrays(np.arange(6.0), [2, 4])
    assert rows.to(torch.device("cpu")) is rows
