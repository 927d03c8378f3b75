"""Names of series that only look different: blanks at their ends, signs that are not seen, a number's zeros."""

from __future__ import annotations

import re
import unicodedata

import polars as pl

_OF_A_NUMBER = re.compile(r"0*(\d+?)(?:\.0+)?")


def spelled(name: str, *, loosely: bool = False) -> str:
    """What a name is to the eye: without blanks at its ends, signs that are not seen, and the ``.0`` of a whole number.

    ``loosely``, capitals and leading zeros make no difference either.
    """
    seen = "".join(sign for sign in unicodedata.normalize("NFC", name) if unicodedata.category(sign) != "Cf")
    seen = " ".join(seen.split())
    number = _OF_A_NUMBER.fullmatch(seen)
    if number is None:
        return seen.casefold() if loosely else seen
    return number[1] if loosely else seen.split(".")[0]


def alike_series(rows: pl.DataFrame) -> pl.DataFrame:
    """Series (series_id, detail) that look like another of the source; one that is plainly written is left."""
    by_look: dict[str, list[str]] = {}
    for name in rows["series_id"].unique(maintain_order=True).to_list():
        by_look.setdefault(spelled(name), []).append(name)
    told = [
        (name, f"found the name {name!r} beside {others[0]!r}, which looks the same; expected one spelling of a series")
        for look, names in by_look.items()
        for name in names
        if name != look and (others := [other for other in names if other != name])
    ]
    return pl.DataFrame(told, schema={"series_id": pl.String, "detail": pl.String}, orient="row")
