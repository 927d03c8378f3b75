"""The model in force at a moment: the registry's champion, or for the past the one promoted last before it."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from hsmm import Estimator
from tasks.config.durations import as_timedelta
from tasks.config.errors import (
    GoneError,
    LostChampionError,
    ModelError,
    NoChampionError,
    PublishError,
    TrackingError,
)
from tasks.config.settings import Settings
from tasks.config.whole import appearing
from tasks.fitting.bundle import Bundle, load_bundle
from tasks.fitting.scaling import Scaling
from tasks.judgement.of_table import narrowing
from tasks.registry.client import (
    FOLLOWED,
    LINEAGE,
    ROLLED_BACK,
    Registry,
    Version,
    answering_registry,
    reach_registry,
)
from tasks.registry.local import resolved
from tasks.source.jumps import jumps
from tasks.source.validate import Validated
from tasks.tables.places import is_local

_NOTE = "champion.json"
_MOST_TOLD = 3
_LOST_FOR_GOOD = (
    "the files of {} version {}, the model in force, are gone or damaged ({}), and no copy lies beside the table: "
    "restore them, or go back to the champion before with `hsmm rollback`; where there is none, the next `hsmm run` "
    "then begins with new states."
)
_SERVES = "The copy beside the table serves: restore the files, or let the next promoted night take its place."
_LOST = (
    "tracking.uri: {!r} has lost version {}, which the table says is in force; the copy beside the table serves, "
    "and `hsmm run` registers it again."
)


@dataclass(frozen=True)
class Champion:
    """A promoted version and what it holds."""

    version: int
    as_of: datetime
    bundle: Bundle
    is_of_another: bool = False
    """Whether its rows mean something else: its states are none of this lineage's."""
    note: str = ""
    """What a user should know of where it comes from."""

    def in_force(self) -> Bundle:
        """Its models, each with the version that first held it."""
        members = {
            unit: member if member.version is not None else replace(member, version=self.version)
            for unit, member in self.bundle.members.items()
        }
        return replace(self.bundle, members=members)

    def serves(self, settings: Settings) -> bool:
        """Whether its models read the features and the context of this configuration."""
        scaling = self.bundle.scaling
        same = scaling.columns == settings.value_columns and scaling.context == settings.context_columns
        return same and not self.is_of_another

    def reads_as(self, scaling: Scaling) -> bool:
        """Whether its models see the same columns of rows that mean the same."""
        return not self.is_of_another and self.bundle.scaling.reads_as(scaling)

    def starts(self, settings: Settings) -> dict[str, Estimator]:
        """The fitted estimators by unit, to start this configuration's fits from; none if it reads other columns."""
        members = self.bundle.members if self.serves(settings) else {}
        return {unit: member.model for unit, member in members.items()}


def copied_champion(settings: Settings, as_of: datetime, lineage: str | None = None) -> Champion | None:
    """The copy that nights leave beside the table, if it is not of later data; the registry is not asked."""
    kept = kept_champion(settings)
    return None if kept is None or _as_of(kept.version) > as_of else kept.champion(lineage)


def champion_at(
    registry: Registry | None, settings: Settings, as_of: datetime, key: str | None = None, lineage: str | None = None
) -> Champion | None:
    """The champion that a run at ``as_of`` follows; without a registry, the copy of the last one that was used here.

    The copy serves, too, where the registry has lost the version or its files. Else it is the alias, unless that was
    made with later data or for another table; then the last version promoted by then, so that a backfill follows the
    same line as the nights did. A run that was registered before, under its ``key``, follows what it followed then.
    Versions of the run's ``lineage`` go first; that of another is only followed for its ids.

    Raises ``UnreachableError`` without a registry and without a copy, and ``LostChampionError`` without its files and
    without a copy, before anything is fitted.
    """
    kept = kept_champion(settings)
    if registry is None and kept is None:
        registry = answering_registry(settings.tracking.uri, settings.name)
    copy = None if kept is None or _as_of(kept.version) > as_of else kept
    if registry is None:
        return copied_champion(settings, as_of, lineage)
    versions = {version.number: version for version in registry.versions(settings.name)}
    if copy is not None and copy.version.number > max(versions, default=0):
        return copy.champion(lineage, _LOST.format(registry.uri, copy.version.number))
    alias, table = registry.champion(settings.name), settings.output.states
    chosen = _chosen_of(versions, alias, as_of, key, lineage, table)
    if chosen is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            downloaded = registry.download(settings.name, chosen.number, Path(folder))
            bundle = load_bundle(downloaded)
        except (TrackingError, ModelError) as error:
            if copy is not None and copy.version.number == chosen.number:
                return copy.champion(lineage, f"{error} {_SERVES}")
            if isinstance(error, (GoneError, ModelError)):
                why = str(error).rstrip(".")
                raise LostChampionError(_LOST_FOR_GOOD.format(settings.name, chosen.number, why)) from None
            raise
        _keep(settings, chosen, downloaded)
    return Champion(chosen.number, _as_of(chosen), bundle, not is_of(chosen, lineage))


def jumped_inputs(champion: Champion | None, validated: Validated, settings: Settings) -> pl.DataFrame:
    """What moved further at once, since the champion was made, than it ever did; see :func:`jumps`."""
    since = validated.as_of if champion is None else champion.as_of
    moved_by = since - as_timedelta(settings.source.available_after)
    return jumps(validated.rows, validated.value_columns, moved_by, settings.promote.max_jump)


def told_jumps(jumped: pl.DataFrame) -> list[str]:
    """A sentence for each of the first of them."""
    return [
        f"{feature} of {series} moved {times:.3g} times as far at {time:%Y-%m-%dT%H:%M:%SZ} as ever before the "
        "champion was made: look whether the source is what it was."
        for series, feature, time, times in jumped.head(_MOST_TOLD).iter_rows()
    ] + ([f"So did {len(jumped) - _MOST_TOLD} more."] if len(jumped) > _MOST_TOLD else [])


def keep_champion(registry: Registry, settings: Settings, as_of: datetime, lineage: str) -> None:
    """Keep the champion of the next night here, for the case that the registry is away then."""
    with suppress(ModelError, TrackingError):
        champion_at(registry, settings, as_of, None, lineage)


def check_followed(
    registry: Registry, settings: Settings, as_of: datetime, key: str, followed: int | None, lineage: str
) -> None:
    """Raises ``PublishError`` if a run would now follow another champion than it did when it began.

    Its states would bear ids that are not compared with those of the model in force.
    """
    versions = {version.number: version for version in registry.versions(settings.name)}
    alias, table = registry.champion(settings.name), settings.output.states
    chosen = _chosen_of(versions, alias, as_of, key, lineage, table)
    now = None if chosen is None else chosen.number
    if now != followed:
        raise PublishError(
            f"the champion of {settings.name} was version {followed or 'none'} when this run began and is {now} now; "
            "nothing is published: run it again."
        )


def require_champion(settings: Settings, as_of: datetime, lineage: str | None = None) -> Champion:
    """:func:`champion_at`; raises ``NoChampionError`` where there is none."""
    champion = champion_at(reach_registry(settings.tracking.uri, settings.name), settings, as_of, None, lineage)
    if champion is None or not champion.serves(settings):
        raise NoChampionError(
            f"{settings.name} has no champion for these features as of {settings.source.told(as_of)} at "
            f"{resolved(settings.tracking.uri)} (tracking.uri); expected one: run `hsmm run` first."
        )
    return champion


def is_of(version: Version, lineage: str | None) -> bool:
    """Whether a version was fitted on rows that mean this; one that does not say may have been."""
    return lineage is None or version.tags.get(LINEAGE, lineage) == lineage


def _chosen_of(
    versions: dict[int, Version], alias: int | None, as_of: datetime, key: str | None, lineage: str | None, table: str
) -> Version | None:
    """The table's own before those that they followed: the alias may be with a version of another table."""
    found = (_chosen(part, alias, as_of, key, lineage) for part in narrowing(versions, table))
    return next((version for version in found if version is not None), None)


def _chosen(
    versions: dict[int, Version], alias: int | None, as_of: datetime, key: str | None, lineage: str | None
) -> Version | None:
    of_lineage = {number: version for number, version in versions.items() if is_of(version, lineage)}
    if of_lineage != versions and (found := _chosen(of_lineage, alias, as_of, key, None)) is not None:
        return found
    own = next((v for v in versions.values() if key is not None and v.tags.get("run_key") == key), None)
    if own is not None and FOLLOWED in own.tags:
        return versions.get(int(own.tags[FOLLOWED] or 0))
    if alias in versions and "as_of" in versions[alias].tags and _as_of(versions[alias]) <= as_of:
        return versions[alias]
    return in_force_of(versions, as_of, None)


def in_force_of(versions: dict[int, Version], as_of: datetime, lineage: str | None) -> Version | None:
    """Of a lineage, the version that was promoted last by ``as_of`` and not rolled back."""
    promoted = [v for v in versions.values() if v.tags.get("verdict") == "PROMOTE" and is_of(v, lineage)]
    earlier = [v for v in promoted if v.tags.get(ROLLED_BACK) != "true" and _as_of(v) <= as_of]
    return max(earlier, key=lambda version: (_as_of(version), version.number), default=None)


def _as_of(version: Version) -> datetime:
    return datetime.fromisoformat(version.tags["as_of"])


def _folder(settings: Settings) -> Path:
    states = settings.output.states
    return Path(f"{states.rstrip('/') if is_local(states) else f'out/{settings.name}'}_champion")


def _keep(settings: Settings, chosen: Version, downloaded: Path) -> None:
    """A copy on this machine, replaced as a whole, for nights on which the registry, or what it held, is away."""
    folder = _folder(settings)
    note = {"version": chosen.number, "as_of": chosen.tags["as_of"], "tags": chosen.tags}
    if _note(folder) == note:
        return
    with appearing(folder) as made:
        shutil.copytree(downloaded, made)
        (made / _NOTE).write_text(json.dumps(note))


@dataclass(frozen=True)
class Kept:
    """The copy of the champion that was used here last."""

    version: Version
    folder: Path
    bundle: Bundle

    def champion(self, lineage: str | None, note: str = "") -> Champion:
        """It, as a run of a lineage follows it."""
        return Champion(self.version.number, _as_of(self.version), self.bundle, not is_of(self.version, lineage), note)


def kept_champion(settings: Settings) -> Kept | None:
    """The copy that lies beside the table, if it is whole."""
    folder = _folder(settings)
    note = _note(folder)
    if note is None:
        return None
    try:
        return Kept(Version(int(note["version"]), dict(note["tags"])), folder, load_bundle(folder))
    except ModelError:
        return None


def _note(folder: Path) -> dict[str, Any] | None:
    try:
        note = json.loads((folder / _NOTE).read_text())
        return note if note.keys() == {"version", "as_of", "tags"} else None
    except (OSError, ValueError, AttributeError):
        return None
