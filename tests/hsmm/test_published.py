"""Published and independently computed likelihoods, reached from default settings."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import hsmm
from tests.costly import costly_beyond

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
REFERENCE = os.environ.get("HSMM_REFERENCE_DATA") or None
needs_reference = pytest.mark.skipif(REFERENCE is None, reason="HSMM_REFERENCE_DATA names no folder")


def fitted(X: np.ndarray, n_states: int, lengths: list[int] | None = None, **options: object) -> hsmm.HMM:
    return hsmm.HMM(n_states, n_init=32, **options).fit(X, lengths)


def test_the_tutorial_of_three_gaussian_levels() -> None:
    generator = torch.Generator().manual_seed(1)
    initial = torch.tensor([0.5, 0.3, 0.2])
    transition = torch.tensor([[0.80, 0.15, 0.05], [0.10, 0.80, 0.10], [0.05, 0.15, 0.80]])
    mean = torch.tensor([0.0, 5.0, 10.0])
    values = []
    for _ in range(30):
        law = initial
        for _ in range(120):
            state = int(torch.multinomial(law, 1, generator=generator))
            values.append(mean[state] + 0.7 * torch.randn(1, generator=generator))
            law = transition[state]
    model = fitted(torch.cat(values).numpy(), 3, [120] * 30)
    assert model.log_likelihood_ == pytest.approx(-6081.3388, abs=1e-3)


@pytest.mark.parametrize(("n_states", "published"), [(2, -7131.654), (3, -6900.738), (4, -6852.485)])
def test_daily_returns_of_a_share_index(n_states: int, published: float) -> None:
    prices = pl.read_parquet(EXAMPLES / "markets.parquet").filter(pl.col("symbol") == "SP500").sort("date")
    returns = 100.0 * np.diff(np.log(prices["close"].to_numpy()))
    assert fitted(returns, n_states).log_likelihood_ == pytest.approx(published, abs=1e-3)


@needs_reference
@pytest.mark.parametrize(
    ("file", "column", "n_states", "published", "tolerance"),
    [
        ("cls_speed_accuracy_depmix.csv", "rt", 2, -88.73, 5e-3),
        ("cls_speed_accuracy_depmix.csv", "rt", 3, -58.3855, 1e-3),
        ("cls_old_faithful_geyser.csv", "waiting", 2, -1092.3995, 1e-3),
    ],
)
def test_textbook_series(file: str, column: str, n_states: int, published: float, tolerance: float) -> None:
    values = pl.read_csv(Path(REFERENCE or "") / file)[column].to_numpy()
    assert fitted(values, n_states).log_likelihood_ == pytest.approx(published, abs=tolerance)


FEATURES = {"Hu": ["Humidity"], "Tem": ["Temperature"], "T": ["Temperature"], "HURatio": ["HumidityRatio"]}


def occupancy_rows() -> list[dict[str, str]]:
    if REFERENCE is None:
        return []
    with (Path(REFERENCE) / "published_occupancy_hmm.csv").open() as file:
        return list(csv.DictReader(file))


def occupancy_changes(minutes: int, features: list[str]) -> np.ndarray:
    """First differences of the means over windows of so many minutes, counted from the first row."""
    table = pl.read_csv(Path(REFERENCE or "") / "iot_occupancy_train_1min.csv", try_parse_dates=True)
    start = table["date"][0]
    window = ((table["date"] - start).dt.total_seconds() // (60 * minutes)).alias("window")
    means = table.with_columns(window).group_by("window").agg(pl.col(features).mean()).sort("window")
    return np.diff(means.select(features).to_numpy(), axis=0)


@needs_reference
def test_all_published_occupancy_fits_are_here() -> None:
    assert len(occupancy_rows()) == 32


@needs_reference
@pytest.mark.filterwarnings("ignore:the best restart has a state of floored variance")
@pytest.mark.parametrize("seed", costly_beyond(1, range(5)))
@pytest.mark.parametrize("row", occupancy_rows(), ids=lambda row: f"{row['avg_min']}min {row['set']} {row['model']}")
def test_room_climate(row: dict[str, str], seed: int) -> None:
    """From default starts; where the light is one of the columns, which is constant at night, higher than published."""
    parts = row["model"].split("_")
    features = [name for part in parts for name in FEATURES.get(part, [part])]
    X = occupancy_changes(int(row["avg_min"]), features)
    model = hsmm.HMM(2, emission=hsmm.emissions.Gaussian(covariance="diag"), random_state=seed).fit(X)
    if row["ours_best_logLik"]:
        assert model.log_likelihood_ == pytest.approx(float(row["ours_best_logLik"]), abs=1e-3)
    assert model.log_likelihood_ > float(row["logLik"]) - 6e-3
