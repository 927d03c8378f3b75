"""How a night's work is divided, and who does it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.config.sections.section import Count, Section

_SCHEMES = ("tcp://", "tls://")


class Run(Section):
    """How a night's work is divided, and who does it; the rows that it publishes do not depend on that."""

    shard_series: Count = 500
    """With a model for each series, how many of them make a shard: they are fitted, decoded and published together, and
    a night that was stopped goes on after the last finished shard. A night of no more is one piece.
    """
    runner: Literal["sequential", "process", "dask", "ray"] | None = None
    """Who fits shards: the run itself, one after the other; processes of this machine, the workers of a Dask scheduler,
    or Ray's on this machine beside each other. Without one, processes, where there are several shards and several
    cores, and the run itself where a GPU fits them.
    """
    address: Annotated[str, Field(pattern=r"^[a-z]+://[^\s/@]+:\d{1,5}$")] | None = None
    """Where Dask's scheduler answers, tcp://host:port or tls://…; without one, workers are started on this machine."""
    workers: Count | None = None
    """How many workers are started on this machine; without a number, one for each core."""

    @field_validator("runner", mode="before")
    @classmethod
    def _is_no_thread(cls, runner: Any) -> Any:
        if runner == "thread":
            raise ValueError(
                '"process", "dask", "ray" or "sequential": a fit listens to its warnings, and threads of one process '
                "would hear each other's"
            )
        return runner

    @model_validator(mode="after")
    def _has_a_runner(self) -> Self:
        if self.address is not None and not (self.runner == "dask" and self.address.startswith(_SCHEMES)):
            raise ValueError('`address` such as tcp://host:port together with `runner = "dask"`')
        if self.workers is not None and (self.runner == "sequential" or self.address is not None):
            raise ValueError("`workers` without `address`, and with a `runner` that starts them on this machine")
        return self
