"""One absurd value is a bad row, not a broken fit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import hsmm
from hsmm.errors import ConvergenceWarning, DataWarning, DurationWallWarning


def _two_regimes(n_rows: int = 120) -> np.ndarray:
    rng = np.random.default_rng(0)
    level = np.where(np.arange(n_rows) // 15 % 2, 4.0, 0.0)
    return level + rng.normal(size=n_rows)


@pytest.mark.parametrize("size", [1e6, -1e9])
@pytest.mark.parametrize("emission", ["gaussian", "student_t"])
@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM], ids=["HMM", "HSMM"])
def test_a_million_standard_deviations_do_not_break_a_fit(estimator, emission, size):
    x = _two_regimes()
    x[40] = size * x.std()
    model = estimator(3, emission=emission, n_init=3, max_iter=40, tol=1e-6)
    with warnings.catch_warnings():
        for harmless in (ConvergenceWarning, DataWarning, DurationWallWarning):
            warnings.simplefilter("ignore", harmless)
        model.fit(x, lengths=[70, 50])
    history = model.history_
    assert np.isfinite(history).all()
    assert (np.diff(history) >= -1e-8 * np.abs(history[:-1])).all()
    assert np.isfinite(model.log_likelihood_)
    assert model.score(x, [70, 50]) == pytest.approx(model.log_likelihood_, rel=1e-9)
    for answer in (model.predict_proba(x, [70, 50]), model.filter_proba(x, [70, 50])):
        np.testing.assert_allclose(answer.sum(1), 1.0, atol=1e-9)
    assert np.isfinite(model.log_density(x, [70, 50])).all()


@pytest.mark.parametrize("emission", ["gaussian", "student_t"])
def test_an_outlier_in_new_data_is_improbable_and_no_more(emission):
    x = _two_regimes()
    model = hsmm.HSMM(2, emission=emission, max_duration=30, n_init=3, tol=1e-6, random_state=0).fit(x)
    odd = x.copy()
    odd[60] = 1e6
    ordinary = np.delete(np.arange(len(x)), 60)
    assert -np.inf < model.score(odd) < model.score(x)
    assert (model.predict(odd) == model.predict(x))[ordinary].mean() > 0.9
    np.testing.assert_array_equal(model.filter_proba(odd)[:60], model.filter_proba(x)[:60])
