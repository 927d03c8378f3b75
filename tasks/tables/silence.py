"""Whether a feed that was alive when it was last published has had no new row since: of that, no row can tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tasks.config.settings import Settings
from tasks.tables.publishes import nights_made

_A_DAY = timedelta(days=1)
_RECENT = 10


@dataclass(frozen=True)
class Silence:
    """Of which moment the newest rows are, when they were published, and by which run and version."""

    as_of: datetime
    made: datetime
    run_key: str
    model_version: int | None

    def told(self) -> str:
        """What was found, in words."""
        days = (clock() - self.made).days
        newest = f"{self.as_of:%Y-%m-%dT%H:%M:%SZ}"
        return f"no series has had a new row for {days} days: the newest were known at {newest}"


def clock() -> datetime:
    """Now."""
    return datetime.now(UTC)


def silence(settings: Settings) -> Silence | None:
    """That every series has gone without a new row for longer than ``source.stale_after`` steps, a day, and two of the
    usual times between publishes; None where one came since, or where the source was history when it was published.

    This is the one thing that is said of a table by the clock: it changes no row and no key.
    """
    nights = nights_made(settings.output.states, settings.name, _RECENT)
    if not nights or settings.source.counts_steps:
        return None
    (made, newest), *_ = nights
    long = max(settings.source.stale_after * timedelta(seconds=newest.get("step", 0.0)), _A_DAY)
    moments = [moment for moment, _ in nights]
    between = [later - earlier for later, earlier in pairwise(moments)]
    usual = sorted(between)[len(between) // 2] if between else timedelta(0)
    as_of = datetime.fromisoformat(newest["as_of"])
    if "step" not in newest or made - as_of > long or clock() - made <= max(long, 2 * usual):
        return None
    return Silence(as_of, made, newest["run_key"], newest.get("model_version"))


def told_silence(settings: Settings, as_of: datetime | None = None) -> list[str]:
    """What a user should know whose source, read up to ``as_of``, has no news."""
    found = silence(settings)
    if found is None or (as_of is not None and as_of > found.as_of):
        return []
    return [f"{found.told()}; look whether the source is filled. `--as-of` of today calls series STALE that are."]
