"""Which registered versions are a state table's own: several tables may be filled under one name, each with its ids."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tasks.config.errors import OutputError
from tasks.registry.client import FOLLOWED, TABLE, Version
from tasks.tables.places import is_local
from tasks.tables.storage import open_table


def of_table(versions: dict[int, Version], table: str | None) -> dict[int, Version]:
    """The versions made for a table, and those that they followed, whose ids are theirs.

    Where none was made for it - it is new, or was moved -, those that say of no table that it is theirs; without such,
    and without a ``table``, all.
    """
    *_, widest = narrowing(versions, table)
    return widest


def narrowing(versions: dict[int, Version], table: str | None) -> Iterator[dict[int, Version]]:
    """First the versions made for a table, then :func:`of_table`."""
    own = {} if table is None else {n: v for n, v in versions.items() if is_made_for(v, table)}
    own = own or {number: version for number, version in versions.items() if table and TABLE not in version.tags}
    if not own:
        yield versions
        return
    yield own
    reached, waiting = dict(own), [*own.values()]
    while waiting:
        followed = int(waiting.pop().tags.get(FOLLOWED) or 0)
        if followed in versions and followed not in reached:
            reached[followed] = versions[followed]
            waiting.append(versions[followed])
    yield reached


def is_made_for(version: Version, table: str) -> bool:
    """Whether a version says that it was made for this table."""
    return TABLE in version.tags and _place(version.tags[TABLE]) == _place(table)


def are_of_two(one: Version, other: Version) -> bool:
    """Whether two versions say that they were made for different tables."""
    return TABLE in one.tags and TABLE in other.tags and not is_made_for(one, other.tags[TABLE])


def is_kept_by_another(alias: Version | None, table: str) -> bool:
    """Whether the alias is with a version that was made for another table, and that table is there: it stays with it.

    Two configurations of one name would else move it to and fro, night after night.
    """
    if alias is None or TABLE not in alias.tags or is_made_for(alias, table):
        return False
    try:
        return open_table(alias.tags[TABLE], {}) is not None
    except OutputError:
        return True


def _place(table: str) -> str:
    return os.path.abspath(table) if is_local(table) else table.rstrip("/")
