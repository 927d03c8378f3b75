"""The lines of rows that a table holds under a name, each of one meaning; see :mod:`tasks.tables.lineage`."""

from __future__ import annotations

from typing import Any

from tasks.config.components import goes_by_place
from tasks.config.errors import LineageError
from tasks.config.meaning import digest, meaning, told_changes
from tasks.config.settings import Settings
from tasks.tables.publishes import summaries

NOTHING_FITTED = "Nothing was fitted."


def known_lines(settings: Settings) -> list[dict[str, Any]]:
    """What publishes said of the meaning of their rows, newest first."""
    return [dict(said) for said in summaries(settings.output.states, settings.name) if "lineage" in said]


def check_meaning(settings: Settings, *, new: bool) -> None:
    """Raises ``LineageError`` where rows mean something else than those that are published, and ``new`` does not say
    that this is wanted. The source is not asked.
    """
    known = next(iter(known_lines(settings)), None)
    if known is not None and not new:
        refuse_another_meaning(known, settings)


def in_known_order(settings: Settings) -> Settings:
    """The same with its features and its context in the order in which they were published, as models know them, for
    that is no part of what they mean; where laws go to features by place, as they are.
    """
    own = digest(meaning(settings))
    known = next((said["means"] for said in known_lines(settings) if is_of(said, own)), None)
    if known is None or any(map(goes_by_place, settings.model.emission)):
        return settings
    return settings.ordered([*known["features"]], [*known["context"]])


def refuse_another_meaning(known: dict[str, Any], settings: Settings) -> None:
    """Raises ``LineageError`` if the configuration means something else than what is ``known`` of a publish."""
    means = meaning(settings)
    if is_of(known, digest(means)):
        return
    changes = told_changes(known["means"], means)
    raise another_line(f"found another meaning of rows than is published: {changes}", settings)


def is_of(known: dict[str, Any], meant: str) -> bool:
    """Whether a publish is of rows that mean this."""
    return bool(known["lineage"].split(":")[0] == meant)


def another_line(found: str, settings: Settings) -> LineageError:
    """That rows are not those of the line which is there, and what can be done."""
    return LineageError(
        f"{found}; expected what {settings.output.states!r} holds for {settings.name!r}. Undo it; or choose another "
        "`name`, or another `output.states`; or begin a new line of rows in this table with `--new-lineage`. "
        f"{NOTHING_FITTED}"
    )
