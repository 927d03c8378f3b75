"""Statistics come from the training window, and densities go back to the features' own units."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tasks.fitting.scaling import OTHERS, Scaling, fit_scaling


@pytest.fixture
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "series_id": ["A"] * 50 + ["B"] * 50,
            "x": np.r_[rng.normal(5, 2, 50), rng.normal(-3, 0.1, 50)],
            "y": rng.normal(size=100),
        }
    ).with_columns(y=pl.when(pl.int_range(pl.len()) % 7 != 0).then("y"))


def test_each_series_is_standardised_by_its_own_training_rows(rows: pl.DataFrame) -> None:
    training = rows.group_by("series_id", maintain_order=True).head(30)
    scaled = fit_scaling(training, ["x", "y"], "series").apply(training)
    for part in (scaled[:30], scaled[30:]):
        assert np.nanmean(part, axis=0) == pytest.approx(0, abs=1e-12)
        assert np.nanstd(part, axis=0) == pytest.approx(1, abs=1e-12)


def test_rows_after_the_training_window_move_no_statistic(rows: pl.DataFrame) -> None:
    training = rows.group_by("series_id", maintain_order=True).head(30)
    changed = rows.with_columns(x=pl.when(pl.int_range(pl.len()).over("series_id") < 30).then("x").otherwise(99.0))
    scaling = fit_scaling(training, ["x", "y"], "series")
    assert np.array_equal(scaling.apply(rows)[:30], scaling.apply(changed)[:30], equal_nan=True)


def test_no_scaling_changes_nothing_and_pooled_is_one_for_all(rows: pl.DataFrame) -> None:
    assert np.array_equal(
        fit_scaling(rows, ["x", "y"], "none").apply(rows), rows.select("x", "y").to_numpy(), equal_nan=True
    )
    pooled = fit_scaling(rows, ["x", "y"], "pooled")
    assert pooled.statistics.drop("series_id").n_unique() == 1


@pytest.mark.parametrize("kind", ["series", "pooled", "none"])
def test_the_log_volume_restores_the_density_of_a_normal_variable(rows: pl.DataFrame, kind: str) -> None:
    scaling = fit_scaling(rows, ["x"], kind)  # type: ignore[arg-type]
    scaled = scaling.apply(rows)[:, 0]
    mean, scale = scaling.statistics[0, "mean:x"], scaling.statistics[0, "scale:x"]
    own_units = -0.5 * ((rows["x"][0] - mean) / scale) ** 2 - np.log(scale)
    assert -0.5 * scaled[0] ** 2 - scaling.log_volume(rows)[0] == pytest.approx(own_units)


def test_a_missing_value_has_no_volume(rows: pl.DataFrame) -> None:
    scaling = fit_scaling(rows, ["x", "y"], "series")
    only_x = fit_scaling(rows, ["x"], "series")
    assert rows["y"][0] is None
    assert scaling.log_volume(rows)[0] == pytest.approx(only_x.log_volume(rows)[0])


def test_a_series_without_statistics_is_refused(rows: pl.DataFrame) -> None:
    scaling = fit_scaling(rows.filter(pl.col("series_id") == "A"), ["x"], "series")
    with pytest.raises(ValueError, match="'B' was not in training"):
        scaling.apply(rows)


def test_what_a_series_lacks_is_that_of_others_whatever_the_order_of_rows(rows: pl.DataFrame) -> None:
    own = pl.DataFrame({"series_id": ["B", "A"], "mean:x": [1.0, 2.0], "scale:x": [2.0, None]})
    others = pl.DataFrame({"series_id": [OTHERS], "mean:x": [7.0], "scale:x": [4.0]})
    mixed = pl.concat([rows, rows.with_columns(series_id=pl.lit("C"))]).sample(fraction=1.0, shuffle=True, seed=0)
    mean = mixed["series_id"].replace_strict({"A": 2.0, "B": 1.0, "C": 7.0})
    scale = mixed["series_id"].replace_strict({"A": 4.0, "B": 2.0, "C": 4.0})
    found = Scaling(["x"], pl.concat([own, others])).apply(mixed)[:, 0]
    assert np.array_equal(found, ((mixed["x"] - mean) / scale).to_numpy())
    with pytest.raises(ValueError, match="'A' was not in training"):
        Scaling(["x"], own).apply(rows)
