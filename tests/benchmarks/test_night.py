"""What a further series costs is told apart from what any night costs."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch

from benchmarks import night


def test_a_further_series_costs_what_nights_differ_by() -> None:
    shared = {"load": 1.0, "peak_gb": 0.5, "n_runs": 2, "n_files": 9, "wall": 3.0}
    nights = [
        {**shared, "n_series": n, "cpu": 10 + 0.5 * n, "phases": {"start": 10.0, "fit": 0.4 * n, "gate": 0.1 * n}}
        for n in (10, 30)
    ]
    assert night.table(nights)[-1].endswith("from 10 to 30, each: 0.500 (fit 0.400, gate 0.100)")


@pytest.mark.parametrize(("changed", "alike"), [({}, True), ({"bic": 2.0}, False), ({"mean": 0.5}, False)])
def test_a_series_alone_is_compared_to_the_last_bit(changed: dict[str, float], alike: bool) -> None:
    """In its scores and its numbers, whatever the order of its states."""

    def unit(**own: float) -> Any:
        values = {"bic": 1.0, "mean": 0.3, **own}
        part = SimpleNamespace(parameters={"mean": torch.tensor([[values["mean"], -0.1]], dtype=torch.float64)})
        model = SimpleNamespace(_fitted_model=lambda: SimpleNamespace(components=lambda: {"emission": part}))
        row = dict.fromkeys(night._SCORES, values["bic"])
        return SimpleNamespace(ranking=pl.DataFrame([row]), best=SimpleNamespace(model=model))

    table = unit().ranking.with_columns(parameters=pl.lit(json.dumps({"emission.mean": [-0.1, 0.3]})))
    assert night._alike(unit(**changed), table) is alike
