"""What a further series costs is told apart from what any night costs."""

from __future__ import annotations

from benchmarks import night


def test_a_further_series_costs_what_nights_differ_by() -> None:
    shared = {"load": 1.0, "peak_gb": 0.5, "n_runs": 2, "n_files": 9, "wall": 3.0}
    nights = [
        {**shared, "n_series": n, "cpu": 10 + 0.5 * n, "phases": {"start": 10.0, "fit": 0.4 * n, "gate": 0.1 * n}}
        for n in (10, 30)
    ]
    assert night.table(nights)[-1].endswith("from 10 to 30, each: 0.500 (fit 0.400, gate 0.100)")
