"""The most probable sequence of segments."""

from __future__ import annotations

import torch

from hsmm.kernels import reference
from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.inputs import log_tables, longest_first, plan_of, shared_arguments
from hsmm.kernels.results import Decoded
from hsmm.numerics import log_survival
from hsmm.potentials import Potentials


def viterbi(p: Potentials) -> Decoded:
    p = p.detach()
    plan = plan_of(p, paths=True)
    if plan is None:
        return reference.viterbi(p)
    tables = log_tables(p)
    n, k, device = p.n_restarts * p.n_series, p.n_states, p.log_emission.device
    longest = int(p.lengths.max())
    window = longest if plan.has_tail else min(p.n_durations, longest)

    def scratch(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    log_probability = scratch(p.n_restarts, p.n_series)
    states = scratch(p.n_restarts, p.n_rows, dtype=torch.int64)
    survival = {
        name: None if (table := tables[name]) is None else log_survival(table.double())
        for name in ("duration", "residual")
    }
    pairs = longest_first(p)
    arguments = [
        *shared_arguments(p, tables, pairs, open_end=False),
        survival["duration"],
        survival["residual"],
        window,
        scratch(p.n_restarts, p.n_rows, k, dtype=torch.int32),
        scratch(n, window, k),
        scratch(n, k),
        log_probability,
        states,
    ]
    for entry in ("hsmm_best_segments", "hsmm_decode"):
        launch.run(plan, entry, len(pairs), arguments)
    return Decoded(states, log_probability.to(p.log_emission.dtype))
