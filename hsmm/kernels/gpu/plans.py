"""Which shape of the kernels computes which tables, by a table alone: no batch decides how its series are computed.

A sequence (restart, series) takes ``n_states * slices`` lanes of a warp; each lane keeps the residuals of one slice of
one state in registers, and a warp works on as many sequences as fit its 32 lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

LANES = 32
_MOST_BYTES = 256  # of one residual array in a lane's registers; there are three, and three rows of transitions
_OTHER_REGISTERS = 50
_REGISTERS = 512  # of a multiprocessor for each thread of a block of 128, were there one block
_MOST_BLOCKS = 4


@dataclass(frozen=True)
class Plan:
    """One compiled shape."""

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

    def macros(self) -> dict[str, str]:
        return {
            "REAL": "float" if self.dtype == torch.float32 else "double",
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
