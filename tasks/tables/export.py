"""Rows as one plain file."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tasks.config.errors import OutputError
from tasks.config.whole import appearing
from tasks.tables.storage import first_line


def export_rows(rows: pl.DataFrame, path: Path) -> None:
    """Write rows as one plain file, CSV if its name says so and else Parquet, whole or not at all."""
    try:
        with appearing(path) as made:
            if path.suffix.lower() == ".csv":
                rows.write_csv(made)
            else:
                rows.write_parquet(made, compression="zstd")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise OutputError(f"--export: {str(path)!r} cannot be written: {first_line(error)}.") from error
