"""Sequences of segments: the most probable, and draws from the posterior."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.inputs import log_tables, longest_first, plan_of, shared_arguments, survivals
from hsmm.kernels.gpu.teams import ROWS_OF_TRACE, Launch
from hsmm.kernels.results import Decoded, with_tables_by_row
from hsmm.potentials import Potentials


@with_tables_by_row
def viterbi(p: Potentials) -> Decoded:
    p = p.detach()
    plan = plan_of(p, paths=True)
    if plan is None:
        return _by_teams(p)
    tables = log_tables(p)
    n, k, device = p.n_restarts * p.n_series, p.n_states, p.log_emission.device
    longest = int(p.lengths.max())
    window = longest if plan.has_tail else min(p.n_durations, longest)

    def scratch(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    log_probability = scratch(p.n_restarts, p.n_series)
    states = scratch(p.n_restarts, p.n_rows, dtype=torch.int64)
    pairs = longest_first(p)
    arguments = [
        *shared_arguments(p, tables, pairs, open_end=False),
        *survivals(p),
        window,
        scratch(p.n_restarts, p.n_rows, k, dtype=torch.int32),
        scratch(n, window, k),
        scratch(n, k),
        log_probability,
        states,
    ]
    for entry in ("hsmm_best_segments", "hsmm_decode"):
        launch.run(plan, entry, plan.grid(len(pairs)), arguments)
    return Decoded(states, log_probability.to(p.log_emission.dtype))


def _by_teams(p: Potentials) -> Decoded:
    device = p.log_emission.device
    log_probability = torch.empty(p.n_restarts, p.n_series, dtype=torch.float64, device=device)
    states = torch.empty(p.n_restarts, p.n_rows, dtype=torch.int64, device=device)
    started = torch.empty(p.log_emission.shape, dtype=torch.float64, device=device)
    steps = torch.empty(p.log_emission.shape, dtype=torch.int64, device=device)
    launched = Launch.of_all("best_segments", p, open_end=False)
    launched.run("hsmm_segments", *survivals(p), steps, started, log_probability, states)
    return Decoded(states, log_probability.to(p.log_emission.dtype))


@with_tables_by_row
def sample_paths(p: Potentials, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Each sequence has a seed, and each of its paths random numbers of its own."""
    p, device = p.detach(), p.log_emission.device
    bounds = torch.iinfo(torch.int64)
    place = torch.device("cpu") if generator is None else generator.device
    seeds = torch.randint(bounds.min, bounds.max, (p.n_restarts, p.n_series), generator=generator, device=place)
    states = torch.empty(n, p.n_restarts, p.n_rows, dtype=torch.int64, device=device)
    launched = Launch.of_all("sampling", p, rows=ROWS_OF_TRACE * p.n_states)
    launched.run("hsmm_sample_paths", n, seeds.to(device), states, p.n_restarts * p.n_rows)
    return states
