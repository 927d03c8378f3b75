"""How a night's work is divided."""

from __future__ import annotations

from tasks.config.sections.section import Count, Section


class Run(Section):
    """How a night's work is divided; the rows that it publishes do not depend on it."""

    shard_series: Count = 500
    """With a model for each series, how many of them make a shard: they are fitted, decoded and published together, and
    a night that was stopped goes on after the last finished shard. A night of no more is one piece.
    """
