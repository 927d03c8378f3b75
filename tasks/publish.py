"""Publish once: what the table lacks, under this run's ``as_of``, in one commit that carries the run key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import AllQuarantinedError
from tasks.settings import Settings
from tasks.storage import append_names, append_quarantine, publish_states, unpublished
from tasks.validate import Validated

Verdict = Literal["PUBLISHED", "ALREADY_PUBLISHED"]


@dataclass(frozen=True)
class Published:
    """Whether rows were written, and how many."""

    verdict: Verdict
    n_rows: int


def publish(
    decoded: pl.DataFrame, validated: Validated, settings: Settings, key: str, summary: Mapping[str, Any]
) -> Published:
    """Write the rows not yet published for this model. The state table comes last: its commit is the publish."""
    states = settings.output.states
    if unpublished(states, decoded, settings.name).is_empty():
        return Published("ALREADY_PUBLISHED", 0)
    names = dict(decoded.select("state", "state_name").unique().sort("state").iter_rows())
    append_names(states, names, settings.name, validated.as_of, key)
    append_quarantine(states, quarantine_rows(validated, settings, key), key)
    n_rows = publish_states(states, decoded, settings.name, key, {**summary, "verdict": "PUBLISHED"})
    return Published("PUBLISHED" if n_rows else "ALREADY_PUBLISHED", n_rows)


publish_task = task(name="publish", cache_policy=NO_CACHE)(publish)


def require_series(validated: Validated, settings: Settings, key: str) -> None:
    """Raises ``AllQuarantinedError`` if no series is left; the reasons are in the quarantine table by then."""
    if not validated.rows.is_empty():
        return
    quarantined = quarantine_rows(validated, settings, key)
    append_quarantine(settings.output.states, quarantined, key)
    reasons = "; ".join(
        f"{series or '(no name)'}: {reason}, {detail}"
        for series, reason, detail in quarantined.select("series_id", "reason", "detail").head(3).iter_rows()
    )
    more = "" if len(quarantined) <= 3 else f"; and {len(quarantined) - 3} more"
    raise AllQuarantinedError(f"all {len(quarantined)} series are quarantined, none is left to fit: {reasons}{more}.")


def quarantine_rows(validated: Validated, settings: Settings, key: str) -> pl.DataFrame:
    """The quarantine table's rows of this run."""
    return validated.quarantine.with_columns(
        as_of=pl.lit(validated.as_of), model_name=pl.lit(settings.name), run_key=pl.lit(key)
    )
