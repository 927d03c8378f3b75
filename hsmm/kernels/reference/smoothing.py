"""Fixed-lag smoothing."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.kernels.reference.chain import Chain
from hsmm.kernels.results import with_tables_by_row
from hsmm.numerics import log_matrix_vector, logsumexp, ordered_sum
from hsmm.potentials import Potentials
from hsmm.types import StateSeries


@with_tables_by_row
def smoothed(p: Potentials, lag: int) -> StateSeries:
    """P(z_n | y up to ``lag`` rows later, or up to the series' last row). Memory O(N·K·D)."""
    chain = Chain(p)
    filtered = p.log_emission.new_empty(p.n_restarts, p.n_rows, p.n_states, p.n_durations)
    relative = torch.empty_like(p.log_emission)
    for step in chain.forward():
        filtered[:, step.rows] = step.filtered
        density = torch.where(step.log_density.isneginf(), 0.0, step.log_density)
        relative[:, step.rows] = p.log_emission[:, step.rows] - density.unsqueeze(-1)
    value = torch.zeros_like(filtered)
    for _ in range(min(lag, chain.n_steps - 1)):
        value = _one_row_more(chain, relative, value)
    joint = filtered + value
    total = logsumexp(joint.flatten(-2))[..., None, None]
    return ordered_sum((joint - torch.where(total.isneginf(), 0.0, total)).exp())


def _one_row_more(chain: Chain, relative: Tensor, value: Tensor) -> Tensor:
    """(R, N, K, D) value of the rows after n up to one more, given that of the rows after n + 1; 0 at last rows."""
    p = chain.p
    rows = torch.arange(p.n_rows, device=value.device)
    following = (rows + 1).clamp(max=p.n_rows - 1)
    continued = (relative.unsqueeze(-1) + value)[:, following]
    starting = logsumexp(chain.duration_at(following) + continued)
    after_end = log_matrix_vector(chain.transition_into(rows + 1), starting)
    longer = chain.recede(continued, after_end)
    longer[:, p.offsets[1:] - 1] = 0.0
    return longer
