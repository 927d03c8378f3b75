"""A registry that knows less than the table - restored from an older copy, or lost - is brought up to it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tasks.config.settings import Settings
from tasks.fitting.reading import add_reading
from tasks.judgement.champion import Kept, kept_champion
from tasks.registry.client import PREVIOUS, ROLLED_BACK, SERVED_MODEL, Registry
from tasks.registry.requirements import requirements
from tasks.source.ingest import example
from tasks.tables.names import read_names
from tasks.tables.publishes import last_version, summaries


@dataclass(frozen=True)
class Repair:
    """What was done, in sentences; and the first id that a new state may bear, if no model that is followed says so."""

    notes: tuple[str, ...] = ()
    first_id: int = 0


def repaired(registry: Registry, settings: Settings) -> Repair:
    """Register again the champion that the registry has lost, under its number, from the copy beside the table.

    Numbers that the table has rows of are never given to other versions, nor ids to other states. Twice changes
    nothing.
    """
    name, states = settings.name, settings.output.states
    there = max((version.number for version in registry.versions(name)), default=0)
    last = last_version(states, name)
    if there >= last:
        return Repair(first_id=_after_rolled_back(registry, settings))
    found = f"tracking.uri: {registry.uri!r} knows {name} up to version {there or 'none'}, the table up to {last}"
    kept = kept_champion(settings)
    if kept is not None and kept.version.number > there:
        made, first_id = _registered_again(registry, settings, kept, there), 0
        done = f"version {made} was registered again from the copy beside the table"
    else:
        made, first_id = there, max(read_names(states, name), default=-1) + 1
        done = "no copy of a later one lies beside the table: numbers and ids go on after it"
    if made < last:
        registry.pass_over(name, last)
    return Repair((f"{found}; {done}.",), first_id)


def _after_rolled_back(registry: Registry, settings: Settings) -> int:
    """An id greater than those that versions gave to rows before they were rolled back."""
    versions = registry.versions(settings.name)
    back = {version.number for version in versions if version.tags.get(ROLLED_BACK) == "true"}
    if not back:
        return 0
    told = summaries(settings.output.states, settings.name)
    states = [said["states"] for said in told if said.get("model_version") in back and "states" in said]
    return max((state for one in states for state in (*one["alive"], *one["died"])), default=-1) + 1


def _registered_again(registry: Registry, settings: Settings, kept: Kept, there: int) -> int:
    """The number that the copy bears again, which is greater than those that are ``there``."""
    name = settings.name
    if there < kept.version.number - 1:
        registry.pass_over(name, kept.version.number - 1)
    known = {str(version.number) for version in registry.versions(name)}
    tags = {tag: said for tag, said in kept.version.tags.items() if tag != PREVIOUS or said in known}
    run = registry.start_run(f"{name} version {kept.version.number}, registered again", tags)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(shutil.copytree(kept.folder, Path(folder) / "bundle"))
        add_reading(settings, bundle)
        columns = [*kept.bundle.scaling.columns, *kept.bundle.scaling.context]
        told = f"Registered again, as it was version {kept.version.number} that was lost."
        made = registry.register_model(
            run, name, bundle, SERVED_MODEL, columns, requirements(), tags, told, example(settings)
        )
    registry.end_run(run)
    registry.move_champion(name, made)
    return made
