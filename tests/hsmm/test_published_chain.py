"""Published fits whose chains are more than a free table: stationary starts, moves that follow covariates."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import hsmm
from tests.hsmm.test_published import REFERENCE, needs_reference


def table(file: str) -> pl.DataFrame:
    return pl.read_csv(Path(REFERENCE or "") / file)


@needs_reference
@pytest.mark.parametrize(
    ("initial", "published", "tolerance"), [("stationary", -508.63592, 1e-4), ("free", -508.31, 2e-3)]
)
def test_federal_funds_rate_of_two_levels(initial: str, published: float, tolerance: float) -> None:
    rate = table("econ_fedfunds_quarterly.csv")["fedfunds"].to_numpy()
    model = hsmm.HMM(2, emission=hsmm.emissions.Gaussian(covariance="tied"), initial=initial).fit(rate)
    assert model.log_likelihood_ == pytest.approx(published, abs=tolerance)


@needs_reference
def test_reaction_times_whose_moves_follow_the_pay_off_of_the_row_before() -> None:
    data = table("cls_speed_accuracy_depmix.csv")
    before = data["Pacc"].shift(1, fill_value=0.0).to_numpy()
    model = hsmm.HMM(2, transition="contextual").fit(data["rt"].to_numpy(), context=before)
    assert model.log_likelihood_ == pytest.approx(-44.1995, abs=1e-3)
