"""Seconds of one repetition, as the difference between many and few: what happens once cancels."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
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


def interleave(
    timings: Mapping[str, Timing], *, repeats: int, budget: float, may_fail: type[Exception] = OSError
) -> dict[str, str]:
    """Sample all in turn, so that what slows the machine slows all; each for about ``budget`` seconds at most.

    Each is sampled at least twice, unless two samples take more than twice the budget. Returns what failed, and how.
    """
    spent = dict.fromkeys(timings, 0.0)
    faults: dict[str, str] = {}
    for repeat in range(repeats):
        for name, timing in timings.items():
            limit = 2 * budget if repeat == 1 else budget
            if name in faults or (repeat and spent[name] + timing.cost > limit):
                continue
            try:
                timing.sample()
                spent[name] += timing.cost
            except may_fail as error:
                faults[name] = str(error)
    return faults
