"""The state table, printed or exported."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answer import print_json
from flows.commands.options import AsJson, Assignments, Config
from flows.console import print_line


def states(
    config: Config,
    *,
    series: str | None = None,
    as_of: str | None = None,
    latest: Annotated[bool, Parameter(negative="")] = False,
    columns: str | None = None,
    head: int | None = None,
    export: str | None = None,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Print the state table or some of it, or write it as one file.

    Parameters
    ----------
    series
        Only this series.
    as_of
        As it was known then; by default as it is known now.
    latest
        Only the newest row of each series, and its age: the steps since its last value.
    columns
        Only these, in this order, such as series_id,time,state_name.
    head
        Only so many rows.
    export
        A file.csv or file.parquet, or a folder for a Parquet file of the configuration's name: the rows stand there,
        whole or not at all, and none is printed.
    """
    from tasks.config.settings import read_outline
    from tasks.tables.show import asked_columns, export_rows, exported, known_rows, rows_as_json, rows_as_text
    from tasks.tables.silence import told_silence

    settings = read_outline(config, set_ or ())
    counted = settings.source.counts_steps
    asked, path = asked_columns(columns, latest=latest), None if export is None else exported(settings, export)
    rows = known_rows(settings, series=series, as_of=as_of, head=head, latest=latest)
    rows = rows if asked is None else rows.select(asked)
    said = {"states_table": settings.output.states, "n_rows": len(rows)}
    if path is not None:
        export_rows(rows, path, counted=counted)
        print_line(f"{len(rows)} rows  {path}")
        print_json({**said, "export": str(path)}, json_)
        return
    notes = told_silence(settings) if latest and as_of is None else []
    print_line("\n".join([rows_as_text(rows, asked, counted=counted), *notes]))
    print_json({**said, "rows": rows_as_json(rows, counted=counted), **({"notes": notes} if latest else {})}, json_)
