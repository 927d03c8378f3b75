"""The state table, printed or exported."""

from __future__ import annotations

from flows.commands.answer import print_json
from flows.commands.options import AsJson, Assignments
from flows.console import print_line


def states(
    config: str,
    *,
    series: str | None = None,
    as_of: str | None = None,
    head: int | None = None,
    export: str | None = None,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Print the state table, or write it as one plain Parquet file.

    Parameters
    ----------
    config
        A TOML configuration.
    series
        Only this series.
    as_of
        As it was known then; by default as it is known now.
    head
        Only so many rows.
    export
        A folder: the rows become one Parquet file there, whole or not at all, and none is printed.
    """
    from tasks.config.settings import read_settings
    from tasks.tables.show import export_rows, known_rows, rows_as_json, rows_as_text

    settings = read_settings(config, set_ or ())
    rows = known_rows(settings, series=series, as_of=as_of, head=head)
    if export is not None:
        path = export_rows(rows, settings, export)
        print_line(f"{len(rows)} rows  {path}")
        print_json({"states_table": settings.output.states, "n_rows": len(rows), "export": path}, json_)
        return
    print_line(rows_as_text(rows))
    print_json({"states_table": settings.output.states, "n_rows": len(rows), "rows": rows_as_json(rows)}, json_)
