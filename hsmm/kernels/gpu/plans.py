"""Which shape of the kernels computes which tables, by a table alone: no batch decides how its series are computed.

A sequence (restart, series) takes ``n_states * slices`` lanes of a warp; each lane keeps the residuals of one slice of
one state in registers, and a warp works on as many sequences as fit its 32 lanes. A sequence of an HMM of few states
takes one lane. All other tables are a team's.
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
_THREADS_OF_CHAIN = 64  # more would need more memory near than a block has
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
    """Blocks of threads that a multiprocessor should hold: what bounds the registers of a thread."""
    chunk: int = 0
    """Rows that an HMM's sequence has near at a time; 0 where several lanes work on a sequence."""
    causal: bool = False
    """Whether it finds what is known of an HMM's rows from those before them, in log space."""

    @property
    def sources(self) -> tuple[str, ...]:
        if self.chunk:
            passes = f"chain_{'causal' if self.causal else 'paths' if self.paths else 'sums'}.hpp"
            return "lanes.hpp", "tables.hpp", "chain.hpp", "parameters.hpp", passes
        body = "layout.hpp", "problem.hpp", "forward.hpp", "backward.hpp", "viterbi.hpp"
        return "lanes.hpp", "tables.hpp", *body, "parameters.hpp", "entries.hpp"

    @property
    def lanes(self) -> int:
        """Lanes a sequence takes, and as many counts of each duration it has."""
        return self.n_states * self.slices

    @property
    def sequences(self) -> int:
        """Sequences a warp works on."""
        return LANES if self.chunk else LANES // self.lanes

    @property
    def residuals(self) -> int:
        """Residuals a lane keeps."""
        return -(-self.n_durations // self.slices)

    def trace(self, n_rows: int) -> int:
        """Numbers a state that the forward pass leaves for the backward pass, of each restart."""
        return n_rows // self.chunk + 1 if self.chunk else n_rows * (2 + self.has_tail)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return _THREADS_OF_CHAIN if self.chunk else _THREADS

    def grid(self, n_slots: int) -> Grid:
        """For ``n_slots`` sequences."""
        n_threads = -(-n_slots // self.sequences) * LANES
        return Grid(-(-n_threads // self.threads), self.threads)

    def macros(self) -> dict[str, str]:
        return {
            "REAL": _REAL[self.dtype],
            "STATES": str(self.n_states),
            "DURATIONS": str(self.n_durations),
            "SLICES": str(self.slices),
            "TAIL": str(int(self.has_tail)),
            "BLOCKS": str(self.blocks),
            "PATHS_WANTED": str(int(self.paths)),
            "CHUNK": str(self.chunk),
            "THREADS": str(self.threads),
        }


_CHUNK_BYTES = 256  # which a sequence has near at a time, twice: one or two times what a warp reads at once
_LONGEST_CHUNK = 24
_MOST_STATES_OF_CHAIN = 8


def plan_for(
    n_states: int, n_durations: int, dtype: torch.dtype, *, has_tail: bool, paths: bool, is_chain: bool = False
) -> Plan | None:
    """The plan of these tables; None where their ring does not fit the registers of a warp.

    ``is_chain`` says that they are an HMM's.
    """
    if is_chain and n_states <= _MOST_STATES_OF_CHAIN and n_states**2 * dtype.itemsize <= _MOST_BYTES:
        chunk = min(_LONGEST_CHUNK, _CHUNK_BYTES // (n_states * dtype.itemsize))
        registers = (2 * n_states + 6) * n_states * dtype.itemsize // 4 + _OTHER_REGISTERS
        blocks = _THREADS // _THREADS_OF_CHAIN * max(2, min(_MOST_BLOCKS, _REGISTERS // registers))
        return Plan(n_states, 1, dtype, has_tail=False, slices=1, paths=paths, blocks=blocks, chunk=chunk)
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
