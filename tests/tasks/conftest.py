"""Small sources and the settings that read them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tasks.config.settings import Settings

FIRST_DAY = date(2024, 1, 1)


@pytest.fixture
def prices() -> Callable[..., pl.DataFrame]:
    """Daily prices of one symbol: a random walk in logarithms."""

    def build(symbol: str = "A", n_rows: int = 60, seed: int = 0) -> pl.DataFrame:
        walk = np.random.default_rng(seed).normal(size=n_rows).cumsum()
        days = [FIRST_DAY + timedelta(days=i) for i in range(n_rows)]
        return pl.DataFrame({"symbol": symbol, "date": days, "close": np.exp(walk / 50)})

    return build


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    """Settings over a frame written as Parquet; keyword sections are merged into a minimal configuration."""

    def build(frame: pl.DataFrame | None = None, **sections: dict[str, object]) -> Settings:
        path = tmp_path / "source.parquet"
        if frame is not None:
            frame.write_parquet(path)
        source = {"path": str(path), "series": "symbol", "time": "date", **sections.pop("source", {})}
        features = sections.pop("features", {"r": {"op": "log_return", "column": "close"}})
        output = {"states": str(tmp_path / "states"), **sections.pop("output", {})}
        return Settings(name="toy", source=source, features=features, output=output, **sections)  # type: ignore[arg-type]

    return build


@pytest.fixture
def midnight() -> Callable[[int], datetime]:
    """Midnight UTC so many days after the first."""
    return lambda days: datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(days=days)
