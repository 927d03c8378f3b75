"""Where runs are logged."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.config.sections.section import Section


class Tracking(Section):
    """Where the runs are logged and the models registered."""

    uri: Annotated[str, Field(min_length=1)] = "sqlite:///mlflow.db"
    """The tracking server: a SQLite file or the address of an MLflow server."""
    nested_up_to: Annotated[int, Field(ge=0)] = 20
    """Models of a night up to which each candidate of each has a nested run of its own. Of more, the night's run holds
    how they spread; every candidate is in its table of results.
    """
