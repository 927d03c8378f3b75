"""Whoever loads a registered model gives it the source's own rows, and has the states of the table."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tasks.config.errors import SourceError
from tasks.config.settings import Settings
from tasks.source.ingest import example

pytestmark = pytest.mark.filterwarnings("ignore:.*AnyType:UserWarning")  # mlflow's, of any model with a context


@pytest.fixture
def place(place_at, toy):
    """Two series with a gap and rows out of order, of whom a model of changes was published."""
    here = place_at("here")
    here.config.write_text(here.config.read_text().replace('op = "identity"', 'op = "diff"'))
    walks = [toy.levels(toy.sojourns(160, seed=seed), seed=seed).cumsum() for seed in (1, 2)]
    frames = [toy.frame(walk, symbol=name) for walk, name in zip(walks, ("007", "8"), strict=True)]
    rows = pl.concat(frames).filter(pl.int_range(pl.len()) % 37 != 5)
    rows.sample(fraction=1.0, shuffle=True, seed=0).write_parquet(here.source)
    here.night()
    return here


def served(place, rows: pl.DataFrame):
    from tasks.registry.served_model import Regimes

    model = Regimes()
    model.load_context(SimpleNamespace(artifacts={"bundle": str(place.folder / "versions" / "1")}))
    return model.predict(None, rows.to_pandas())


def test_raw_rows_have_the_states_of_the_table(place) -> None:
    rows = pl.read_parquet(place.source)
    found = served(place, rows)
    said = rows.select("symbol", "date").with_columns(
        pl.Series("state", found["state"].to_list()), pl.Series("p", found["p_filtered"].to_list())
    )
    keyed = said.with_columns(pl.col("date").cast(pl.Datetime("us", "UTC")).alias("time"), series_id="symbol")
    table = place.table().join(keyed, on=["series_id", "time"], how="inner", suffix="_served")
    assert len(table) == len(rows)
    assert table["state"].cast(pl.Int64).equals(table["state_served"].rename("state"))
    assert np.allclose(np.array(table["p_filtered"].to_list()), np.array(table["p"].to_list()), atol=1e-12)


@pytest.mark.parametrize(
    ("strange", "words"),
    [
        (lambda rows: rows.filter(symbol="8").with_columns(symbol=pl.lit("stranger")), "'stranger'.*no scale"),
        (lambda rows: pl.concat([rows, rows.head(1)]), "1 time with several rows"),
        (lambda rows: rows.with_columns(x=pl.lit("dear")), "expected numbers"),
    ],
)
def test_rows_that_it_cannot_answer_are_said_to_be_such(place, strange, words: str) -> None:
    with pytest.raises((ValueError, SourceError), match=words):
        served(place, strange(pl.read_parquet(place.source)))


def test_numbers_that_stand_as_text_are_taken_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("day;x\n2024-01-01;1,5\n2024-01-02;n.v.\n")
    source = {"path": str(tmp_path / "own.csv"), "time": "day", "decimal": ","}
    features = {"x": {"op": "identity", "column": "x"}}
    rows = example(Settings(name="own", source=source, features=features))  # type: ignore[arg-type]
    assert rows.select("x", "day").rows() == [(1.5, "2024-01-01"), (None, "2024-01-02")]


def test_what_it_takes_and_an_example_of_it_are_the_sources_columns(place) -> None:
    from mlflow.types import DataType

    from tasks.registry.signature import as_pandas, signature

    rows = example(place.settings())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = signature([], rows)
    types = dict(zip(made.inputs.input_names(), made.inputs.input_types(), strict=True))
    assert types == {"x": DataType.double, "date": DataType.datetime, "symbol": DataType.string}
    assert len(served(place, pl.from_pandas(as_pandas(rows)))) == len(rows)
