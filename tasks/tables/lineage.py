"""A change of what rows mean begins a new line of them, which is never woven into the old one, and never unasked.

A lineage is named by the digest of what its rows mean, and a number where the times of the source have changed and no
key says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from tasks.config.errors import LineageError
from tasks.config.meaning import digest, meaning
from tasks.config.settings import Settings
from tasks.source.spelling import spelled
from tasks.source.validate import Validated
from tasks.tables.publishes import summaries
from tasks.tables.states import published_times

NOTHING_FITTED = "Nothing was fitted"
_HALF = 0.5
_ENOUGH = 10


def lineage(settings: Settings, validated: Validated, *, new: bool = False) -> tuple[str, Validated]:
    """The lineage of this run's rows; and the rows without the series whose published times are no longer theirs.

    Raises ``LineageError`` where rows mean something else than those that are published and ``new`` does not say that
    this is wanted; for most of the series, other times count as that, too.
    """
    means, known = meaning(settings), _known(settings)
    own = digest(means)
    if not known:
        return own, validated
    newest = known[0]
    if newest["lineage"].split(":")[0] != own:
        if not new:
            raise LineageError(f"{_changes(newest['means'], means)}; {_choices(settings)}")
        return next((said["lineage"] for said in known if said["lineage"].split(":")[0] == own), own), validated
    moved, n_compared = _moved(settings, validated, newest["lineage"])
    renamed = _renamed(settings, validated, newest["lineage"])
    if len(renamed) > _HALF * validated.rows["series_id"].n_unique() and not new:
        first = renamed.row(0, named=True)
        raise LineageError(
            f"the source has other names for the series that are published ({first['detail']}); {_choices(settings)}"
        )
    if len(moved) <= _HALF * n_compared and not (new and len(renamed)):
        return newest["lineage"], _without(_without(validated, moved, "other_times"), renamed, "other_name")
    if not new:
        first = moved.row(0, named=True)
        raise LineageError(
            f"the source no longer has the times that are published ({first['series_id']}: {first['detail']}); "
            f"{_choices(settings)}"
        )
    return f"{own}:{len({said['lineage'] for said in known}) + 1}", validated


def lineage_notes(settings: Settings, line: str, *, new: bool) -> list[str]:
    """What a user should know who asked for a ``new`` lineage, and where rows of ``line`` will be published."""
    if not new:
        return []
    known = _known(settings)
    if known and known[0]["lineage"] != line:
        return []
    why = "nothing has changed what rows mean" if known else f"nothing is published for {settings.name!r} yet"
    return [f"--new-lineage: {why}; the rows go on in the line that is there." if known else f"--new-lineage: {why}."]


def out_of_sight(settings: Settings, line: str) -> list[str]:
    """What a user should know of a run that has no row to publish, if another line is what readers see."""
    known = _known(settings)
    if not known or known[0]["lineage"] == line:
        return []
    return ["--new-lineage: every row of this line is there; readers see the other until this one has a new row."]


def _known(settings: Settings) -> list[dict[str, Any]]:
    """What publishes said of the meaning of their rows, newest first."""
    return [dict(said) for said in summaries(settings.output.states, settings.name) if "lineage" in said]


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    changed = [key for key in now if before.get(key) != now[key]]
    return "found another meaning of rows than is published: " + ", ".join(
        f"`{key}`" if key in ("features", "context") else f"`{key}` was {before.get(key)!r} and is {now[key]!r}"
        for key in changed
    )


def _choices(settings: Settings) -> str:
    return (
        f"expected what {settings.output.states!r} holds for {settings.name!r}. Undo it; or choose another `name`, or "
        "another `output.states`; or begin a new line of rows in this table with `--new-lineage`. "
        f"{NOTHING_FITTED}"
    )


def _moved(settings: Settings, validated: Validated, lineage: str) -> tuple[pl.DataFrame, int]:
    """Series (series_id, detail) most of whose published times the source does not have; how many were looked at."""
    there = published_times(settings.output.states, settings.name, lineage)
    rows = validated.rows.select("series_id", "time").with_columns(found=pl.lit(value=True))
    spans = rows.group_by("series_id").agg(pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
    within = there.join(spans, on="series_id").filter(pl.col("time").is_between("first", "last"))
    told = (
        within.join(rows, on=["series_id", "time"], how="left")
        .sort("series_id", "time")
        .group_by("series_id", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            pl.col("found").null_count().alias("lost"),
            pl.col("time").filter(pl.col("found").is_null()).first().dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("time"),
        )
        .filter(pl.col("n") >= _ENOUGH)
    )
    detail = pl.format("{} of {} published times are not in the source, the first {}", "lost", "n", "time")
    return told.filter(pl.col("lost") > _HALF * pl.col("n")).select("series_id", detail.alias("detail")), len(told)


def _renamed(settings: Settings, validated: Validated, lineage: str) -> pl.DataFrame:
    """Series (series_id, detail) that are new and written like one that is published and no longer there."""
    published = {*published_times(settings.output.states, settings.name, lineage)["series_id"]}
    there = {*validated.rows["series_id"], *validated.quarantine["series_id"]}
    gone = {spelled(name, loosely=True): name for name in sorted(published - there)}
    told = [
        (name, f"found {name!r}, and no longer {gone[look]!r}, which is published; expected one spelling of a series")
        for name in sorted({*validated.rows["series_id"]} - published)
        if (look := spelled(name, loosely=True)) in gone
    ]
    return pl.DataFrame(told, schema={"series_id": pl.String, "detail": pl.String}, orient="row")


def _without(validated: Validated, moved: pl.DataFrame, reason: str) -> Validated:
    if moved.is_empty():
        return validated
    aside = moved.select("series_id", pl.lit(reason).alias("reason"), "detail")
    return replace(
        validated,
        rows=validated.rows.join(aside, on="series_id", how="anti", maintain_order="left"),
        quarantine=pl.concat([validated.quarantine, aside]).sort("series_id"),
    )
