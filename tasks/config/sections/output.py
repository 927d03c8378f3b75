"""Where states are kept."""

from __future__ import annotations

from tasks.config.sections.section import Place, Section


class Output(Section):
    """Where the state table is kept; its companions lie beside it."""

    states: Place = "out/states"
    """The state table, a Delta table: a folder, or a place such as s3://…"""
