"""Where states are kept."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tasks.config.durations import Window
from tasks.config.sections.section import Place, Section, is_database

_TABLE = r"^([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}$"


class Output(Section):
    """Where the state table is kept; its companions lie beside it."""

    states: Place = "out/states"
    """The state table, a Delta table: a folder, or a place such as s3://…"""
    latest: Place | None = None
    """A PostgreSQL database, such as postgresql://user@host/database, that is told the newest row of every series."""
    latest_table: Annotated[str, Field(pattern=_TABLE)] = "hsmm_latest"
    """The table of that database, made where there is none: a name, or schema.name."""

    keep_results: Window = "1y"
    """How long the table of results keeps what a night fitted, counted from the newest: "all" is for ever. `hsmm
    maintain` removes what is older; states, names and registered models stay.
    """

    @model_validator(mode="after")
    def _states_are_files_and_latest_is_a_database(self) -> Self:
        if is_database(self.states):
            raise ValueError(
                "`states` in a folder or an object store; a database is told the newest rows, by `output.latest`"
            )
        if self.latest is not None and not is_database(self.latest):
            raise ValueError("`latest` to be a database such as postgresql://user@host/database")
        if self.latest is None and "latest_table" in self.model_fields_set:
            raise ValueError("`latest_table` together with `latest`, the database that holds it")
        return self
