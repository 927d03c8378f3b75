"""Random potentials of any size, for measurements of the recursions alone."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.potentials import Potentials


def random_tables(
    n_states: int,
    max_duration: int,
    n_steps: int,
    *,
    n_series: int = 1,
    n_restarts: int = 1,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Potentials:
    """Normalised tables, emissions like those of overlapping states; ``max_duration`` 0 is an HMM."""
    generator = torch.Generator(device).manual_seed(0)

    def law(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype, device=device).log_softmax(-1)

    r, k, d = n_restarts, n_states, max_duration
    return Potentials(
        log_initial=law(r, k),
        log_transition=law(r, k, k),
        log_duration=law(r, k, d) if d else None,
        log_emission=torch.randn(r, n_series * n_steps, k, generator=generator, dtype=dtype, device=device),
        offsets=torch.arange(n_series + 1, device=device) * n_steps,
    )


def n_cells(p: Potentials) -> int:
    """T·(K·D + K²) of all models together; an HMM has D = 0."""
    d = 0 if p.log_duration is None else p.n_durations
    return p.n_restarts * p.n_rows * p.n_states * (d + p.n_states)
