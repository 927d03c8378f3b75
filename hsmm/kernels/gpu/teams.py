"""Tables of any size, by row or not, as a team of threads for each sequence takes them: in logarithms."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.inputs import log_tables, longest_first, shared_arguments
from hsmm.kernels.gpu.launch import Argument
from hsmm.kernels.gpu.plans import Grid, Team
from hsmm.potentials import Potentials

ROWS_OF_TRACE = 5  # numbers a state and row that a forward pass leaves for what comes after it
_MOST_BLOCKS = 8192  # at once; a block takes one sequence after the other
_LEAST_BLOCKS = 64
_SHARE = 0.25  # of the free memory, for what blocks keep by themselves


@dataclass(frozen=True, eq=False)
class Launch:
    """Sequences ``pairs`` (P,), restart * S + series, to be worked on by a kernel of the file ``what``.

    ``rows`` is how many numbers a block keeps for each row of a series, ``open_end`` how an HMM's last step is to be
    taken, which is all the same.
    """

    what: str
    p: Potentials
    pairs: Tensor
    rows: int = 0
    open_end: bool = True
    team: Team = field(init=False)
    grid: Grid = field(init=False)
    arguments: list[Argument] = field(init=False)

    def __post_init__(self) -> None:
        p, k, d = self.p, self.p.n_states, self.p.n_durations
        far_size = 2 * k * d + 16 * k + self.rows * int(p.lengths.max())
        affordable = _SHARE * launch.free_bytes(p.log_emission.device) / (8 * far_size)
        n_blocks = min(len(self.pairs), max(_LEAST_BLOCKS, min(int(affordable), _MOST_BLOCKS)))
        team = Team(p.log_emission.dtype, self.what)
        grid = team.grid(n_blocks, k, d)
        far = torch.empty(n_blocks, far_size, dtype=torch.float64, device=p.log_emission.device)
        object.__setattr__(self, "team", team)
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "arguments", self._tables(n_blocks, grid.shared_bytes // 8, far))

    @classmethod
    def of_all(cls, what: str, p: Potentials, *, rows: int = 0, open_end: bool = True) -> Launch:
        return cls(what, p, longest_first(p), rows, open_end)

    def run(self, entry: str, *arguments: Argument) -> None:
        launch.run(self.team, entry, self.grid, [*self.arguments, *arguments])

    def _tables(self, n_blocks: int, near_size: int, far: Tensor) -> list[Argument]:
        p = self.p
        *shared, residual_by_series = shared_arguments(p, log_tables(p), self.pairs, open_end=self.open_end)
        return [
            *shared,
            p.n_states,
            p.n_durations,
            int(p.log_transition.ndim == 4),
            int(p.log_duration is not None and p.log_duration.ndim == 4),
            residual_by_series,
            n_blocks,
            near_size,
            far,
            far.shape[1],
        ]
