"""Alerts of nights: series that were set aside, inputs that are no longer what they were, a gate that held."""

from __future__ import annotations

import json
from datetime import datetime

import polars as pl

from tasks.alerts.inputs import in_words
from tasks.alerts.sequence import BACKFILL
from tasks.config.outcome import Finding, RunSummary
from tasks.config.settings import Settings
from tasks.tables.findings import read_drift, read_quarantine, runs_of
from tasks.tables.runs import read_runs
from tasks.tables.silence import Silence

_SCHEMA = {
    "kind": pl.String(),
    "rule": pl.String(),
    "series_id": pl.String(),
    "time": pl.Datetime("us", "UTC"),
    "as_of": pl.Datetime("us", "UTC"),
    "detail": pl.String(),
    "value": pl.Float64(),
    "model_version": pl.Int32(),
    "run_key": pl.String(),
}
_EPISODE = ["kind", "rule", "series_id"]
_FOUND = ["quarantine", "drift"]
_REFUSED: Finding = "refused"


def night_alerts(
    publishes: pl.DataFrame, settings: Settings, known: pl.DataFrame, said: RunSummary | None = None
) -> pl.DataFrame:
    """Every alert that the nights' own notes imply: one for as long as a cause goes on, night after night.

    It began on the night ``as_of`` and was ``released`` on the first night that published, or noted such causes,
    without it: one that came to no such end says nothing of it, nor does one that was refused because every series was
    set aside, whose causes are over with any later run that is not. Nights of a backfill are none. Where runs of one
    moment differ, as one that a wrong option had refused and the one after it, that one counts which has ``said`` how
    it went: what it did not find is over, what it did find ``goes_on``. A cause that is found after the end of its
    ``known`` alert is another.
    """
    also, filled = settings.alerts.also, _filled(publishes, settings)
    refused = runs_of(settings.output.states, _REFUSED)
    nightly = publishes.filter(pl.col("occasion") != BACKFILL)
    seen = [pl.DataFrame(schema=_SCHEMA)]
    if "quarantine" in also:
        seen.append(_set_aside(settings))
    if "drift" in also:
        seen.append(_drifted(settings))
    if "held" in also:
        seen.append(_held(nightly))
    told = pl.concat([part.select(pl.col(name).cast(kind) for name, kind in _SCHEMA.items()) for part in seen])
    own = told.filter(~pl.col("run_key").is_in([*filled]))
    own = own.unique([*_EPISODE, "as_of"], keep="last", maintain_order=True)
    worked = own.filter(~pl.col("run_key").is_in([*refused]))
    nights = {kind: {*nightly["as_of"]} | {*worked.filter(kind=kind)["as_of"]} for kind in _FOUND}
    nights["held"] = {*nightly.drop_nulls("gate")["as_of"]}
    ends = known.filter(pl.col("kind").is_in([*nights])).select(*_EPISODE, end="released").drop_nulls("end")
    episodes = pl.concat([_episodes(own.filter(kind=kind), sorted(there), ends) for kind, there in nights.items()])
    return _as_said(episodes, told, said, refused).drop("last", "last_key")


def _as_said(episodes: pl.DataFrame, told: pl.DataFrame, said: RunSummary | None, refused: set[str]) -> pl.DataFrame:
    """The episodes of causes that a run looks for, ended where they still went on at its moment and it did not find
    them; ``goes_on`` are those that it found.
    """
    if said is None:
        return episodes.with_columns(goes_on=pl.lit(value=False))
    now = datetime.fromisoformat(said["as_of"])
    there = told.filter(run_key=said["run_key"]).select(_EPISODE).unique().with_columns(goes_on=pl.lit(value=True))
    marked = episodes.join(there, on=_EPISODE, how="left", maintain_order="left").with_columns(
        (pl.col("goes_on").fill_null(value=False) & pl.lit(now).is_between("as_of", "last")).alias("goes_on")
    )
    is_past = (pl.col("last") <= now) | pl.col("last_key").is_in([*refused])
    is_mended = pl.col("kind").is_in(_FOUND) & ~pl.col("goes_on") & is_past
    until = pl.when(is_mended).then(pl.max_horizontal("as_of", pl.lit(now, pl.Datetime("us", "UTC"))))
    return marked.with_columns(pl.coalesce("released", until).alias("released"))


def feeds_silent(silence: Silence) -> pl.DataFrame:
    """The alert that no series has had a new row for long."""
    told = {
        "kind": "stale",
        "rule": "feeds",
        "series_id": "",
        "time": silence.as_of,
        "as_of": silence.as_of,
        "detail": silence.told(),
        "value": None,
        "model_version": silence.model_version,
        "run_key": silence.run_key,
    }
    return pl.DataFrame([told], schema=_SCHEMA)


def nights_of(publishes: pl.DataFrame, settings: Settings) -> list[datetime]:
    """The moments of all runs but those of backfills and those that were refused, in order."""
    states = settings.output.states
    filled = _filled(publishes, settings) | runs_of(states, _REFUSED)
    told = [read_runs(states, settings.name), read_quarantine(states, settings.name)]
    return sorted({moment for part in told for moment in part.filter(~pl.col("run_key").is_in([*filled]))["as_of"]})


def _filled(publishes: pl.DataFrame, settings: Settings) -> set[str]:
    """The keys of the runs of backfills, those that published nothing among them."""
    published = publishes.filter(pl.col("occasion") == BACKFILL)["run_key"]
    return {*published} | runs_of(settings.output.states, BACKFILL)


def _set_aside(settings: Settings) -> pl.DataFrame:
    rows = read_quarantine(settings.output.states, settings.name)
    return rows.select(
        pl.lit("quarantine").alias("kind"),
        pl.col("reason").alias("rule"),
        "series_id",
        pl.col("as_of").alias("time"),
        "as_of",
        "detail",
        pl.lit(None, pl.Float64).alias("value"),
        pl.lit(None, pl.Int32).alias("model_version"),
        "run_key",
    )


def _drifted(settings: Settings) -> pl.DataFrame:
    rows = read_drift(settings.output.states, settings.name)
    return rows.select(
        pl.lit("drift").alias("kind"),
        pl.concat_str("reason", "feature", separator=" ").alias("rule"),
        "series_id",
        pl.col("as_of").alias("time"),
        "as_of",
        in_words(),
        "value",
        pl.lit(None, pl.Int32).alias("model_version"),
        "run_key",
    )


def _held(publishes: pl.DataFrame) -> pl.DataFrame:
    judged = publishes.drop_nulls("gate").unique("as_of", keep="last", maintain_order=True)
    held = judged.filter(pl.col("gate") != "PROMOTE")
    why = [", ".join(_codes(json.loads(reasons))) for reasons in held["reasons"]]
    return held.select(
        pl.lit("held").alias("kind"),
        pl.lit("held").alias("rule"),
        pl.lit("").alias("series_id"),
        pl.col("as_of").alias("time"),
        "as_of",
        pl.Series(
            "detail", [f"{verdict}: {codes}" for verdict, codes in zip(held["gate"], why, strict=True)], pl.String
        ),
        pl.lit(None, pl.Float64).alias("value"),
        "model_version",
        "run_key",
    )


def _codes(reasons: list[str] | dict[str, list[str]]) -> list[str]:
    return sorted({code for codes in reasons.values() for code in codes}) if isinstance(reasons, dict) else reasons


def _episodes(seen: pl.DataFrame, nights: list[datetime], ends: pl.DataFrame) -> pl.DataFrame:
    """The first night of each unbroken run of nights with the same cause, its ``last``, and the night after that.

    Causes that were found between two of the ``nights`` stand half a night after the first.

    An end that is known of such a cause (``ends``) breaks it, too.
    """
    moments = pl.Series(nights, dtype=pl.Datetime("us", "UTC"))
    before = moments.search_sorted(seen["as_of"], side="left")
    counted = seen.with_columns(night=before - pl.Series(0.5 * ~seen["as_of"].is_in(moments.implode())))
    counted = counted.sort("as_of").join_asof(
        ends.sort("end"),
        left_on="as_of",
        right_on="end",
        by=_EPISODE,
        allow_exact_matches=False,
        check_sortedness=False,
    )
    counted = counted.sort(*_EPISODE, "night")
    follows = (pl.col("night").ceil() - pl.col("night").shift().floor()) <= 1
    is_broken = (pl.col("end") >= pl.col("as_of").shift()).fill_null(value=False)
    begins = (~(follows & ~is_broken)).fill_null(value=True).over(_EPISODE)
    numbered = counted.with_columns(begins.cum_sum().over(_EPISODE).alias("episode"))
    told = numbered.group_by(*_EPISODE, "episode", maintain_order=True).agg(
        pl.col("time", "as_of", "detail", "value", "model_version", "run_key").first(),
        pl.col("night").last(),
        pl.col("as_of").last().alias("last"),
        pl.col("run_key").last().alias("last_key"),
    )
    after = pl.col("night").floor().cast(pl.Int64) + 1
    until = pl.lit(moments.implode()).first().list.get(after, null_on_oob=True) if nights else pl.lit(None)
    return told.with_columns(until.cast(pl.Datetime("us", "UTC")).alias("released")).drop("night", "episode")
