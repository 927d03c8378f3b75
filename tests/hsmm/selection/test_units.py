"""A model for each of many units is the model of each alone."""

from __future__ import annotations

import numpy as np
import pytest

import hsmm
from hsmm.selection import select_units
from tests.costly import costly_beyond
from tests.hsmm.selection.planted import levels

CANDIDATES = [hsmm.HSMM(k, max_duration=20, n_init=3, max_iter=60, tol=1e-6) for k in (1, 2, 3)]
LENGTHS = {"b": 90, "a": 70, "c": 2, "d": 81}


def rows() -> tuple[np.ndarray, np.ndarray]:
    X = np.concatenate([levels(2, n, seed=seed) for seed, n in enumerate(LENGTHS.values())])
    return X, np.repeat(list(LENGTHS), list(LENGTHS.values()))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("at_once", costly_beyond(1, [2, 100]))
def test_each_unit_is_selected_as_if_alone(at_once: int) -> None:
    X, units = rows()
    found = select_units(X, CANDIDATES, units, at_once=at_once)
    assert found.failed == {}
    for unit in LENGTHS:
        alone = hsmm.select_model(X[units == unit], CANDIDATES)
        own = found.table.filter(unit=unit)
        for name in ("candidate", "bic", "icl", "log_likelihood", "n_iter", "stability"):
            assert own[name].to_list() == alone.table[name].to_list(), name
        assert own.row(0, named=True)["reasons"] == alone.table["reasons"][0]
        assert found.models[unit].n_states == alone.best.n_states
        means = found.parameters()["emission.mean"]
        np.testing.assert_array_equal(means[unit], alone.best._fitted_model().emission.parameters["mean"][0])


def test_only_the_chosen_are_tested() -> None:
    X, units = rows()
    kept = units != "c"
    table = select_units(X[kept], CANDIDATES[1:], units[kept]).table
    assert not table.filter(rank=1)["reasons"].str.contains("two_states_alike").any()
    chosen = [hsmm.HSMM(3, max_duration=20, n_init=3, max_iter=60, tol=1e-6)]
    alike = select_units(X[kept], chosen, units[kept]).table
    assert alike["reasons"].str.contains("two_states_alike").all()


def test_a_unit_too_short_for_every_candidate_is_named() -> None:
    X, units = rows()
    found = select_units(X, CANDIDATES[2:], units)
    assert list(found.failed) == ["c"]
    assert "3 states" in found.failed["c"]
    assert set(found.models) == {"a", "b", "d"}


def test_progress_counts_the_units() -> None:
    X, units = rows()
    seen: list[tuple[int, int, str]] = []
    select_units(X[:160], CANDIDATES[:1], units[:160], at_once=1, progress=lambda *said: seen.append(said))
    assert seen == [(0, 2, "units"), (1, 2, "units"), (2, 2, "units")]


def test_units_that_do_not_fit_the_rows_are_refused() -> None:
    X, units = rows()
    with pytest.raises(ValueError, match="'b' do not stand together"):
        select_units(X, CANDIDATES, np.where(units == "c", "b", units))
    with pytest.raises(ValueError, match="one name for each row"):
        select_units(X, CANDIDATES, units[1:])
    with pytest.raises(ValueError, match="at_once is 0"):
        select_units(X, CANDIDATES, units, at_once=0)
