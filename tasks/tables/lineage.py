"""A change of what rows mean begins a new line of them, which is never woven into the old one, and never unasked.

A lineage is named by the digest of what its rows mean, and a number where the source is another and no key says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

import polars as pl

from tasks.config.meaning import digest, meaning
from tasks.config.reasons import REASONS
from tasks.config.settings import Settings
from tasks.source.sample import FEWEST, compared, of_other_series
from tasks.source.spelling import spelled
from tasks.source.validate import Validated
from tasks.tables.lines import another_line, is_of, known_lines, refuse_another_meaning
from tasks.tables.samples import read_sample
from tasks.tables.states import published_times

_HALF = 0.5
_ENOUGH = 10
_MOST_TOLD = 3
_MOST_NOTED = 20


def lineage(settings: Settings, validated: Validated, *, new: bool = False) -> tuple[str, Validated]:
    """The lineage of this run's rows; and the rows without the series whose published times are no longer theirs, or
    whose values are those that were another's.

    Raises ``LineageError`` where rows mean something else than those that are published and ``new`` does not say that
    this is wanted; that of most of the series other times are published, or other values, counts as that, too, and so
    does a source that has none of the series which are published of its time.
    """
    own, known = digest(meaning(settings)), known_lines(settings)
    if not known:
        return own, validated
    newest = known[0]
    if not is_of(newest, own):
        if not new:
            refuse_another_meaning(newest, settings)
        return next((said["lineage"] for said in known if is_of(said, own)), own), validated
    there = published_times(settings.output.states, settings.name, newest["lineage"])
    moved, n_looked_at = _moved(there, validated)
    renamed = _renamed(there, validated)
    found = _named_otherwise(renamed, validated) or _of_others(there, validated)
    found = found or (_elsewhen(moved) if len(moved) > _HALF * n_looked_at else None)
    sample = read_sample(settings, newest["lineage"])
    others = compared(sample, validated)
    found = found or _of_other_values(others)
    if found is not None and not new:
        raise another_line(found, settings)
    if found is None and not (new and len(renamed)):
        other = others.filter("is_other")
        swapped = of_other_series(sample, validated, other["series_id"])
        aside = set_aside(set_aside(validated, moved, "other_times"), renamed, "other_name")
        aside = set_aside(aside, swapped, "other_series")
        restated = other.join(swapped, on="series_id", how="anti", maintain_order="left")
        return newest["lineage"], replace(aside, restated=dict(restated.select("series_id", "detail").iter_rows()))
    return f"{own}:{len({said['lineage'] for said in known}) + 1}", validated


def lineage_notes(settings: Settings, line: str, validated: Validated, *, new: bool) -> list[str]:
    """What a user should know whose rows of ``line`` will be published, and who asked for a ``new`` one."""
    known = known_lines(settings)
    goes_on = bool(known) and known[0]["lineage"] == line
    other = _told(validated.restated) if goes_on else []
    if not new or (known and not goes_on):
        return other
    why = "nothing has changed what rows mean" if known else f"nothing is published for {settings.name!r} yet"
    return [f"--new-lineage: {why}; the rows go on in the line that is there." if known else f"--new-lineage: {why}."]


def out_of_sight(settings: Settings, line: str) -> list[str]:
    """What a user should know of a run that has no row to publish, if another line is what readers see."""
    known = known_lines(settings)
    if not known or known[0]["lineage"] == line:
        return []
    return ["--new-lineage: every row of this line is there; readers see the other until this one has a new row."]


def _named_otherwise(renamed: pl.DataFrame, validated: Validated) -> str | None:
    if len(renamed) <= _HALF * validated.rows["series_id"].n_unique():
        return None
    return f"the source has other names for the series that are published ({renamed['detail'][0]})"


def _of_others(known: pl.DataFrame, validated: Validated) -> str | None:
    """That no series is the source's of those that were published of its time, though it has others."""
    times = validated.rows["time"]
    published = known.filter(pl.col("time").is_between(times.min(), times.max()))["series_id"].unique().sort()
    own = pl.concat([validated.rows["series_id"], validated.quarantine["series_id"]]).unique().sort()
    if published.is_empty() or published.is_in(own.implode()).any():
        return None
    return (
        f"the source has none of the {len(published)} series that are published of its time ({_first(published)}), "
        f"but {_first(own)}: it looks like another source"
    )


def _first(names: pl.Series) -> str:
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(map(repr, names.head(_MOST_TOLD))) + more


def _elsewhen(moved: pl.DataFrame) -> str:
    return "the source no longer has the times that are published ({}: {})".format(*moved.row(0))


def _of_other_values(others: pl.DataFrame) -> str | None:
    differ = others.filter("is_other")
    if len(differ) <= _HALF * int((others["n"] >= FEWEST).sum()):
        return None
    first = differ.select("series_id", "detail").head(_MOST_TOLD)
    told = "; ".join(f"{series}: {detail}" for series, detail in first.iter_rows())
    return (
        f"the source has other values than those that are published for {len(differ)} of {len(others)} series "
        f"({told}): it looks like another source, or its history is in another unit"
    )


def _told(restated: Mapping[str, str]) -> list[str]:
    more = len(restated) - _MOST_NOTED
    return [
        f"{series} has other values than were published: {detail}; look whether it is the series that it was."
        for series, detail in islice(restated.items(), _MOST_NOTED)
    ] + ([f"So have {more} more."] if more > 0 else [])


def _moved(known: pl.DataFrame, validated: Validated) -> tuple[pl.DataFrame, int]:
    """Series (series_id, detail) most of whose published times the source does not have; how many were looked at."""
    rows = validated.rows.select("series_id", "time").with_columns(found=pl.lit(value=True))
    spans = rows.group_by("series_id").agg(pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
    within = known.join(spans, on="series_id").filter(pl.col("time").is_between("first", "last"))
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


def _renamed(known: pl.DataFrame, validated: Validated) -> pl.DataFrame:
    """Series (series_id, detail) that are new and written like one that is published and no longer there."""
    published = {*known["series_id"]}
    there = {*validated.rows["series_id"], *validated.quarantine["series_id"]}
    gone = {spelled(name, loosely=True): name for name in sorted(published - there)}
    told = [
        (name, f"found {name!r}, and no longer {gone[look]!r}, which is published; expected one spelling of a series")
        for name in sorted({*validated.rows["series_id"]} - published)
        if (look := spelled(name, loosely=True)) in gone
    ]
    return pl.DataFrame(told, schema={"series_id": pl.String, "detail": pl.String}, orient="row")


def set_aside(validated: Validated, moved: pl.DataFrame, reason: str) -> Validated:
    """The rows without these series (series_id, detail), which are noted with the reason."""
    if moved.is_empty():
        return validated
    assert reason in REASONS
    aside = moved.select("series_id", pl.lit(reason).alias("reason"), "detail")
    return replace(
        validated,
        rows=validated.rows.join(aside, on="series_id", how="anti", maintain_order="left"),
        quarantine=pl.concat([validated.quarantine, aside]).sort("series_id"),
    )
