"""Seconds of one repetition, as the difference between many and few: what happens once cancels."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

ENOUGH = 0.3  # seconds that a difference should take, so that the clock and other processes matter little
SLOW = 2.0  # seconds of one repetition that needs no probe


@dataclass
class Timing:
    """``seconds(n)`` measures n repetitions; ``few`` and ``many`` are the two numbers that are compared."""

    seconds: Callable[[int], float]
    few: int
    many: int
    samples: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def calibrated(cls, seconds: Callable[[int], float], *, most: int = 1000, enough: float = ENOUGH) -> Timing:
        """Choose how many repetitions make a difference long enough; two runs, the first to warm up."""
        seconds(1)
        once = seconds(1)
        probe = min(3, most)
        each = (seconds(probe) - once) / (probe - 1) if once < SLOW else once
        many = 1 + int(min(max(enough / max(each, 1e-6), 1), most - 1))
        return cls(seconds, 1, many)

    def sample(self) -> None:
        self.samples.append((self.seconds(self.few), self.seconds(self.many)))

    @property
    def cost(self) -> float:
        """Seconds that the next sample will take, about."""
        few, many = self.samples[-1]
        return few + many

    @property
    def each(self) -> list[float]:
        """Seconds of one repetition, one a sample."""
        return [(many - few) / (self.many - self.few) for few, many in self.samples]

    @property
    def median(self) -> float:
        return statistics.median(self.each)

    @property
    def least(self) -> float:
        """From the fastest runs of both kinds, which need not be of one sample."""
        few, many = (min(column) for column in zip(*self.samples, strict=True))
        return (many - few) / (self.many - self.few)


def interleave(timings: Sequence[Timing], *, repeats: int, budget: float) -> None:
    """Sample all in turn, so that what slows the machine slows all; each for about ``budget`` seconds at most.

    Each is sampled at least twice, unless one sample alone is beyond the budget.
    """
    spent = [0.0] * len(timings)
    for repeat in range(repeats):
        for i, timing in enumerate(timings):
            if repeat and spent[i] + timing.cost > budget * (2 if repeat == 1 else 1):
                continue
            timing.sample()
            spent[i] += timing.cost
