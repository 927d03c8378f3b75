"""Alerts of nights: series that were set aside, inputs that are no longer what they were, a gate that held."""

from __future__ import annotations

import json
from datetime import datetime

import polars as pl

from tasks.alerts.sequence import BACKFILL
from tasks.config.outcome import RunSummary
from tasks.config.settings import Settings
from tasks.tables.findings import read_drift, read_quarantine
from tasks.tables.runs import read_runs

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


def night_alerts(publishes: pl.DataFrame, settings: Settings, said: RunSummary | None = None) -> pl.DataFrame:
    """Every alert that the nights' own notes imply: one for as long as a cause goes on, night after night.

    It began on the night ``as_of`` and was ``released`` on the first night that published, or noted such causes,
    without it: one that came to no such end says nothing of it. Nights of a backfill are none. Where runs of one moment
    differ, as one that a wrong option had refused and the one after it, that one counts which has ``said`` how it went.
    """
    also, ended = settings.alerts.also, {*publishes.filter(pl.col("occasion") != BACKFILL)["as_of"]}
    filled = publishes.filter(pl.col("occasion") == BACKFILL)["run_key"].implode()
    seen = [pl.DataFrame(schema=_SCHEMA)]
    if "quarantine" in also:
        seen.append(_set_aside(settings))
    if "drift" in also:
        seen.append(_drifted(settings))
    if "held" in also:
        seen.append(_held(publishes))
    told = pl.concat([part.select(pl.col(name).cast(kind) for name, kind in _SCHEMA.items()) for part in seen])
    own = told.filter(~pl.col("run_key").is_in(filled)).unique([*_EPISODE, "as_of"], keep="last", maintain_order=True)
    judged = publishes.filter(pl.col("gate").is_not_null())["as_of"].to_list()
    nights = {kind: ended | {*own.filter(kind=kind)["as_of"]} for kind in ("quarantine", "drift")} | {"held": {*judged}}
    episodes = pl.concat([_episodes(own.filter(kind=kind), sorted(told)) for kind, told in nights.items()])
    return episodes if said is None else _mended(episodes, told, said)


def _mended(episodes: pl.DataFrame, told: pl.DataFrame, said: RunSummary) -> pl.DataFrame:
    """The same, those over that still went on at the moment of a run which did not find their cause."""
    now, there = datetime.fromisoformat(said["as_of"]), told.filter(run_key=said["run_key"]).select(_EPISODE).unique()
    marked = episodes.join(there.with_columns(there=pl.lit(value=True)), on=_EPISODE, how="left", maintain_order="left")
    is_mended = pl.col("kind").is_in(["quarantine", "drift"]) & pl.col("there").is_null() & (pl.col("as_of") <= now)
    until = pl.when(is_mended).then(pl.lit(now, pl.Datetime("us", "UTC")))
    return marked.with_columns(pl.coalesce("released", until).alias("released")).drop("there")


def nights_of(publishes: pl.DataFrame, settings: Settings) -> list[datetime]:
    """The moments of all runs but those of backfills, in order."""
    filled = {*publishes.filter(pl.col("occasion") == BACKFILL)["as_of"]}
    told = {*read_runs(settings.output.states, settings.name)["as_of"]} - filled
    return sorted(told | {*read_quarantine(settings.output.states, settings.name)["as_of"]} - filled)


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
    bounds = pl.format("{} of {} is {}", "reason", "feature", pl.col("value").round_sig_figs(4))
    expected = pl.format(
        "; windows before allow {} to {}", pl.col("least").round_sig_figs(4), pl.col("most").round_sig_figs(4)
    )
    return rows.select(
        pl.lit("drift").alias("kind"),
        pl.concat_str("reason", "feature", separator=" ").alias("rule"),
        "series_id",
        pl.col("as_of").alias("time"),
        "as_of",
        pl.concat_str(bounds, expected).alias("detail"),
        "value",
        pl.lit(None, pl.Int32).alias("model_version"),
        "run_key",
    )


def _held(publishes: pl.DataFrame) -> pl.DataFrame:
    held = publishes.filter(pl.col("gate").is_not_null() & (pl.col("gate") != "PROMOTE"))
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


def _episodes(seen: pl.DataFrame, nights: list[datetime]) -> pl.DataFrame:
    """The first night of each unbroken run of nights with the same cause, and the night after its last."""
    number = {night: place for place, night in enumerate(nights)}
    counted = seen.filter(pl.col("as_of").is_in(nights)).with_columns(
        pl.col("as_of").replace_strict(number, return_dtype=pl.Int64).alias("night")
    )
    counted = counted.sort(*_EPISODE, "night")
    begins = ((pl.col("night") - pl.col("night").shift()) != 1).fill_null(value=True).over(_EPISODE)
    numbered = counted.with_columns(begins.cum_sum().over(_EPISODE).alias("episode"))
    told = numbered.group_by(*_EPISODE, "episode", maintain_order=True).agg(
        pl.col("time", "as_of", "detail", "value", "model_version", "run_key").first(), pl.col("night").last()
    )
    after = pl.col("night") + 1
    there = pl.Series(nights, dtype=pl.Datetime("us", "UTC"))
    until = pl.lit(there.implode()).first().list.get(after, null_on_oob=True) if nights else pl.lit(None)
    return told.with_columns(until.cast(pl.Datetime("us", "UTC")).alias("released")).drop("night", "episode")
