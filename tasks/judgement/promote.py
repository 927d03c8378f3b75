"""Promotion and rollback: the alias ``champion`` moves only to a version that passed its gate and proves usable."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.errors import (
    AnotherTableError,
    GoneError,
    ModelError,
    NoVersionError,
    PromotionError,
    TrackingError,
)
from tasks.config.outcome import Promotion, RunSummary
from tasks.config.patience import PATIENTLY
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.config.telling import TRACKING_AWAY
from tasks.fitting.bundle import check_canary, load_bundle
from tasks.judgement.champion import in_force_of, is_of
from tasks.judgement.judge import all_codes
from tasks.judgement.of_table import are_of_two, is_kept_by_another, is_made_for, of_table
from tasks.judgement.repair import Repair, repaired
from tasks.registry.client import FOLLOWED, LINEAGE, PREVIOUS, ROLLED_BACK, TABLE, Registry, Version, reach_registry
from tasks.tables.names import read_name_rows, rewrite_names
from tasks.tables.publishes import newest_summary

_MOST_NAMED = 5
_UNSETTLED = f"{TRACKING_AWAY}: whether the champion is the newest that passed was not looked up"


def promote(
    registry: Registry,
    name: str,
    version: int | None = None,
    *,
    table: str | None = None,
    only_newer: bool = False,
) -> Promotion:
    """Make a version (by default the table's newest) the champion; what the gate said of it, and which one was before.

    Raises ``PromotionError`` where the gate did not say PROMOTE, the registered files cannot be loaded and decode their
    canary, or it was made for another ``table`` than this (by default the champion's). With ``only_newer`` the alias
    stays where its version was made with later data, where it was rolled back from this one, and where it is not the
    one that this was judged against.
    """
    say("promote")
    chosen = _version(registry, name, version, table)
    before = registry.champion(name)
    said: Promotion = {
        "model_name": name,
        "model_version": chosen.number,
        "verdict": chosen.tags.get("verdict"),
        "previous": before,
    }
    if before == chosen.number:
        return said
    if not only_newer:
        _refuse_another_table(registry, name, chosen, before, table)
    if said["verdict"] != "PROMOTE":
        reasons = ", ".join(all_codes(json.loads(chosen.tags.get("reasons", "[]")))) or "it was never judged"
        raise PromotionError(
            f"version {chosen.number} of {name} was not promoted ({said['verdict'] or 'no verdict'}: {reasons}); "
            "the champion stays."
        )
    if not only_newer and before is not None:
        champion = _version(registry, name, before)
        if not are_of_two(chosen, champion):
            _refuse_another_lineage(chosen, champion, name)
    if only_newer and (_is_rolled_back(chosen) or _is_behind(chosen, registry, name, before)):
        return said
    check_usable(registry, name, chosen.number)
    if _is_rolled_back(chosen):
        registry.tag_version(name, chosen.number, {ROLLED_BACK: "false"})
    registry.set_champion(name, chosen.number)
    return said


promote_task = task(name="promote", cache_policy=NO_CACHE)(promote)


def promote_newest(registry: Registry, name: str, table: str | None = None) -> Promotion:
    """Make the newest version of a table that passed its gate the champion, unless a newer one is, it was rolled back,
    or the alias stays with another table.

    Doing it twice changes nothing, and a night that the gate held is no error.
    """
    versions = {version.number: version for version in registry.versions(name)}
    own = of_table(versions, table)
    passed = [v for v in own.values() if v.tags.get("verdict") == "PROMOTE" and not _is_rolled_back(v)]
    newest = max(passed, key=lambda version: (_as_of(version), version.number), default=None)
    alias = versions.get(registry.champion(name) or 0)
    if newest is not None and not (table and is_kept_by_another(alias, table)):
        promote(registry, name, newest.number, only_newer=True)
    return {"model_name": name, "model_version": registry.champion(name)}


promote_newest_task = task(name="promote", cache_policy=NO_CACHE, **PATIENTLY)(promote_newest)


def settle(settings: Settings, summary: RunSummary, registry: Registry | None = None) -> None:
    """What follows a publish: deaths (and lives after a rollback) are noted, the alias moves. Twice changes nothing.

    A version that the registry has lost is not promoted, nor is one for another table than the champion's: not by a
    backfill, and by a night only where that table is gone.
    """
    gate, version = summary.get("gate"), summary.get("model_version")
    follow(settings, summary, registry)
    if gate is None or gate["verdict"] != "PROMOTE" or version is None:
        return
    rewrite_names(settings.output.states, settings.name, died=_news_of_deaths(settings, summary))
    reached = registry or reach_registry(settings.tracking.uri, settings.name)
    known = {} if reached is None else {one.number: one for one in reached.versions(settings.name)}
    if reached is None or version not in known:
        return
    alias = known.get(reached.champion(settings.name) or 0)
    if summary["occasion"] == "backfill" and alias is not None and are_of_two(known[version], alias):
        return
    if is_kept_by_another(alias, settings.output.states):
        return
    promote(reached, settings.name, version, only_newer=True)


settle_task = task(name="settle", cache_policy=NO_CACHE, **PATIENTLY)(settle)


def follow(settings: Settings, published: RunSummary, registry: Registry | None = None) -> None:
    """Where a lineage was gone back to, the alias goes with it: to the version of it that was in force before."""
    reached, line = registry or reach_registry(settings.tracking.uri, settings.name), published.get("lineage")
    newest = newest_summary(settings.output.states, settings.name) or {}
    if reached is None or line is None or newest.get("lineage") != line:
        return
    versions = {version.number: version for version in reached.versions(settings.name)}
    alias = versions.get(reached.champion(settings.name) or 0)
    made = published.get("model_version") if "gate" in published else None
    before = {number: one for number, one in of_table(versions, settings.output.states).items() if number != made}
    own = in_force_of(before, datetime.fromisoformat(published["as_of"]), line)
    if is_kept_by_another(alias, settings.output.states):
        return
    if alias is not None and own is not None and not is_of(alias, line):
        reached.move_champion(settings.name, own.number)


follow_task = task(name="follow", cache_policy=NO_CACHE, **PATIENTLY)(follow)


def told_kept_elsewhere(registry: Registry | None, settings: Settings) -> list[str]:
    """What a user should know whose model will not bear the alias, since another table of the same name has it."""
    if registry is None:
        return []
    versions = {version.number: version for version in registry.versions(settings.name)}
    alias, states = versions.get(registry.champion(settings.name) or 0), settings.output.states
    if alias is None or not is_kept_by_another(alias, states):
        return []
    return [
        f"two tables are filled under the name {settings.name!r}: the alias `champion` stays with "
        f"{alias.tags[TABLE]!r}, and {states!r} follows versions of its own. Choose another `name` for one of them, or "
        "let `hsmm promote` of this configuration take the alias."
    ]


def settle_again(settings: Settings, published: RunSummary, key: str) -> Repair:
    """:func:`settle` what was published under this key, and close the runs that were stopped before they could."""
    registry = reach_registry(settings.tracking.uri, settings.name)
    if registry is None:
        return Repair((_UNSETTLED,))
    repair = repaired(registry, settings)
    settle(settings, published, registry)
    registry.close_stopped(key)
    return repair


def settle_newest(settings: Settings, registry: Registry | None) -> Repair:
    """Settle the newest publish, where the run that made it was stopped before it could, or tracking was away.

    Before that, a registry that has lost what was published is repaired.
    """
    if registry is None:
        return Repair((_UNSETTLED,))
    repair = repaired(registry, settings)
    with suppress(ModelError, TrackingError):  # that night said so; this one follows the champion that can be used
        settle(settings, newest_summary(settings.output.states, settings.name) or {}, registry)
    return repair


def rollback(registry: Registry, name: str, table: str | None = None) -> Promotion:
    """Make the champion before this one the champion again, the last one of the ``table`` (by default the champion's)
    whose files are there.

    Where none is, and the files of this one are gone too, no version is the champion any more. Where another table took
    the alias from this one, it comes back; where this one never had it, it stays, and the table goes back to what it
    followed before. Raises ``PromotionError`` where there is none to go back to.
    """
    alias = registry.champion(name)
    if alias is None:
        raise PromotionError(
            f"{name} has no champion at {registry.place} (tracking.uri), and so nothing to roll back; if it has one "
            "elsewhere, say where: `--set tracking.uri=…`."
        )
    champion = _version(registry, name, alias)
    beside = table is not None and is_kept_by_another(champion, table) and not _had_by(registry, name, alias, table)
    now = _followed_by(registry, name, table) if beside else alias
    table, tag = table or champion.tags.get(TABLE), FOLLOWED if beside else PREVIOUS
    passed, previous = [now], _before(registry, name, now, table, tag)
    while previous is not None and _is_lost(registry, name, previous):
        passed, previous = [*passed, previous], _before(registry, name, previous, table, tag)
    if previous is None and not _is_lost(registry, name, now):
        more = "" if len(passed) == 1 else f" (the files of {', '.join(map(str, passed[1:]))} are gone)"
        raise PromotionError(
            f"version {now} of {name} was the first champion of its lineage{more}; there is none to go back to. To go "
            "back to rows that mean something else, undo the change of the configuration and run it with "
            "`--new-lineage`."
        )
    for version in passed:
        registry.tag_version(name, version, {ROLLED_BACK: "true"})
    if previous is None and not beside:
        registry.drop_champion(name)
    elif previous is not None and not beside:
        registry.move_champion(name, previous)
    return {"model_name": name, "model_version": previous, "verdict": "ROLLED_BACK", "previous": now}


def _had_by(registry: Registry, name: str, alias: int, table: str) -> bool:
    """Whether a version that was made for the table was the champion before the present one."""
    versions = {version.number: version for version in registry.versions(name)}
    while alias in versions and not is_made_for(versions[alias], table):
        alias = int(versions[alias].tags.get(PREVIOUS) or 0)
    return alias in versions


def _followed_by(registry: Registry, name: str, table: str | None) -> int:
    """The version in force of a table that does not have the alias."""
    own = {v.number: v for v in registry.versions(name) if table is not None and is_made_for(v, table)}
    found = in_force_of(own, datetime.max.replace(tzinfo=UTC), None)
    if found is None:
        raise PromotionError(
            f"no version of {name} is in force for the table {table!r}; there is nothing to roll back."
        )
    return found.number


def _before(registry: Registry, name: str, number: int, table: str | None, tag: str) -> int | None:
    """The champion of the same lineage and table before this one, as a ``tag`` of each version says."""
    line = _version(registry, name, number).tags.get(LINEAGE)
    versions = {version.number: version for version in registry.versions(name)}
    own = of_table(versions, table)
    own |= {other: version for other, version in versions.items() if TABLE not in version.tags}
    own = {other: version for other, version in own.items() if is_of(version, line)}
    previous = int(_version(registry, name, number).tags.get(tag) or 0)
    while previous and previous not in own:
        previous = int(_version(registry, name, previous).tags.get(tag) or 0)
    return previous or None


def _is_lost(registry: Registry, name: str, number: int) -> bool:
    """Whether a version's files are gone, or decode something else than they did."""
    try:
        check_usable(registry, name, number)
    except (GoneError, ModelError):
        return True
    return False


rollback_task = task(name="rollback", cache_policy=NO_CACHE)(rollback)


def check_usable(registry: Registry, name: str, version: int) -> None:
    """Raises ``ModelError`` unless the registered files load and decode their canary to the same probabilities."""
    with tempfile.TemporaryDirectory() as folder:
        downloaded = registry.download(name, version, Path(folder))
        check_canary(load_bundle(downloaded), downloaded)


def _version(registry: Registry, name: str, number: int | None, table: str | None = None) -> Version:
    versions = registry.versions(name)
    if not versions:
        raise PromotionError(
            f"there is no registered model {name!r} at {registry.place} (tracking.uri); run its configuration first, "
            "or, if it is elsewhere, say where: `--set tracking.uri=…`."
        )
    own = [version for version in versions if table is not None and is_made_for(version, table)] or versions
    found = own[-1] if number is None else next((v for v in versions if v.number == number), None)
    if found is None:
        there = [str(version.number) for version in versions[-_MOST_NAMED:]]
        expected = f"one of {', '.join(there)}" if len(there) > 1 else there[0]
        raise NoVersionError(f"--version: {name} has no version {number}; expected {expected}.")
    return found


def _news_of_deaths(settings: Settings, summary: RunSummary) -> dict[int, datetime | None]:
    """When a state died, or None where it is alive after all."""
    as_of, told = datetime.fromisoformat(summary["as_of"]), summary.get("states", {})
    known = dict(read_name_rows(settings.output.states, settings.name).select("state", "died").iter_rows())
    dead: dict[int, datetime | None] = {state: as_of for state in told.get("died", ()) if state in known}
    return dead | {state: None for state in told.get("alive", ()) if (known.get(state) or as_of) < as_of}


def _refuse_another_lineage(chosen: Version, champion: Version, name: str) -> None:
    if not is_of(chosen, champion.tags.get(LINEAGE)):
        raise PromotionError(
            f"version {chosen.number} of {name} was fitted on rows that mean something else than those of the "
            "champion; run its configuration with `--new-lineage`: then table, alias and page change together."
        )


def _refuse_another_table(
    registry: Registry, name: str, chosen: Version, champion: int | None, table: str | None
) -> None:
    versions = {version.number: version for version in registry.versions(name)}
    table = table or (versions[champion].tags.get(TABLE) if champion in versions else None)
    own = of_table(versions, table)
    if chosen.number in own or TABLE not in chosen.tags:
        return
    passed = [str(number) for number, version in own.items() if version.tags.get("verdict") == "PROMOTE"]
    raise AnotherTableError(
        f"version {chosen.number} of {name} was made for the table {chosen.tags[TABLE]!r}, whose "
        f"states are not those of {table!r}; expected one that was made for {table!r}: "
        f"{', '.join(passed[-_MOST_NAMED:]) or 'none passed its gate, `hsmm run` makes one'}."
    )


def _is_behind(version: Version, registry: Registry, name: str, champion: int | None) -> bool:
    """Whether it is older than the champion, or was overtaken by it; what was made for another table overtakes none."""
    beside = champion is not None and are_of_two(version, _version(registry, name, champion))
    return _is_older(version, registry, name, champion) or (not beside and _is_overtaken(version, champion))


def _is_rolled_back(version: Version) -> bool:
    return version.tags.get(ROLLED_BACK) == "true"


def _is_overtaken(version: Version, champion: int | None) -> bool:
    return FOLLOWED in version.tags and int(version.tags[FOLLOWED] or 0) != (champion or 0)


def _is_older(version: Version, registry: Registry, name: str, champion: int | None) -> bool:
    return champion is not None and _as_of(_version(registry, name, champion)) > _as_of(version)


def _as_of(version: Version) -> datetime:
    return datetime.fromisoformat(version.tags["as_of"])
