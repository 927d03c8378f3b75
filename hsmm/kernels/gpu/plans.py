"""Which shape of the kernels computes which tables, by a table alone: no batch decides how its series are computed.

A sequence (restart, series) takes ``n_states * slices`` lanes of a warp; each lane keeps the residuals of one slice of
one state in registers, and a warp works on as many sequences as fit its 32 lanes.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import torch

LANES = 32
_MOST_BYTES = 256  # of one residual array in a lane's registers; there are three, and three rows of transitions
_OTHER_REGISTERS = 50
_REGISTERS = 512  # of a multiprocessor for each thread of a block of 128, were there one block
_MOST_BLOCKS = 4
_THREADS = 128
_REAL = {torch.float32: "float", torch.float64: "double"}


@dataclass(frozen=True)
class Grid:
    """How many threads work, and what memory each of their blocks has near."""

    blocks: int
    threads: int
    shared_bytes: int = 0


class Shape(Hashable, Protocol):
    """What is compiled as one image."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Files, in the order in which they include one another."""
        ...

    def macros(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class Plan:
    """Sequences side by side in the lanes of a warp, with all they need in registers."""

    n_states: int
    n_durations: int
    dtype: torch.dtype
    has_tail: bool
    slices: int
    paths: bool
    """Whether it finds the most probable segments, or sums over all of them."""
    blocks: int
    """Blocks of 128 threads that a multiprocessor should hold: what bounds the registers of a thread."""

    @property
    def sources(self) -> tuple[str, ...]:
        return "lanes.hpp", "layout.hpp", "problem.hpp", "forward.hpp", "backward.hpp", "viterbi.hpp", "entries.hpp"

    @property
    def lanes(self) -> int:
        """Lanes a sequence takes."""
        return self.n_states * self.slices

    @property
    def sequences(self) -> int:
        """Sequences a warp works on."""
        return LANES // self.lanes

    @property
    def residuals(self) -> int:
        """Residuals a lane keeps."""
        return -(-self.n_durations // self.slices)

    @property
    def columns(self) -> int:
        """Numbers a state and row that the forward pass leaves for the backward pass."""
        return 2 + self.has_tail

    def grid(self, n_slots: int) -> Grid:
        """For ``n_slots`` sequences."""
        n_threads = -(-n_slots // self.sequences) * LANES
        return Grid(-(-n_threads // _THREADS), _THREADS)

    def macros(self) -> dict[str, str]:
        return {
            "REAL": _REAL[self.dtype],
            "STATES": str(self.n_states),
            "DURATIONS": str(self.n_durations),
            "SLICES": str(self.slices),
            "TAIL": str(int(self.has_tail)),
            "BLOCKS": str(self.blocks),
            "PATHS_WANTED": str(int(self.paths)),
        }


def plan_for(n_states: int, n_durations: int, dtype: torch.dtype, *, has_tail: bool, paths: bool) -> Plan | None:
    """The plan of these tables; None where their ring does not fit the registers of a warp."""
    slices = -(-n_durations * dtype.itemsize // _MOST_BYTES)
    if n_states * slices > LANES:
        return None
    registers = 3 * (-(-n_durations // slices) + n_states) * dtype.itemsize // 4 + _OTHER_REGISTERS
    blocks = max(2, min(_MOST_BLOCKS, _REGISTERS // registers))
    return Plan(n_states, n_durations, dtype, has_tail, slices, paths, blocks)


_SHARED_BYTES = 48 << 10  # what a block has without asking for more
_CELLS_A_WARP = 512
_MOST_WARPS = 16


@dataclass(frozen=True)
class Team:
    """A block of threads on each sequence, in log space: tables of any size, by row or not."""

    dtype: torch.dtype
    what: str
    """The file of what is computed: "causal", "log_backward", "best_segments" or "sampling"."""

    @property
    def sources(self) -> tuple[str, ...]:
        return "team.hpp", "sequence.hpp", "entry.hpp", "log_forward.hpp", f"{self.what}.hpp"

    def macros(self) -> dict[str, str]:
        return {"REAL": _REAL[self.dtype]}

    def grid(self, n_blocks: int, n_states: int, n_durations: int) -> Grid:
        """The shape alone says who adds what, so that no batch changes a bit."""
        warps = n_states * max(n_states, n_durations) // _CELLS_A_WARP
        warps = max(1, min(warps, n_states, _MOST_WARPS))
        numbers = 2 * n_states * n_durations + 16 * n_states
        return Grid(n_blocks, LANES * warps, min(8 * numbers, _SHARED_BYTES))
