"""State paths: the most probable one, and draws from their posterior."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.kernels.native.inputs import Arguments, in_float64, in_logarithms, side_by_side, with_segments
from hsmm.kernels.results import Decoded
from hsmm.native.interface import PathsOut, SamplesOut
from hsmm.potentials import Potentials


def viterbi(p: Potentials) -> Decoded:
    segments = with_segments(in_float64(p.detach()))
    arguments = Arguments(segments, side_by_side(segments), logarithmic=True)
    states = torch.empty(p.n_restarts, p.n_rows, dtype=torch.int64)
    log_probability = torch.empty(p.n_restarts, p.n_series, dtype=torch.float64)
    out = PathsOut(log_probability=arguments.point(log_probability), states=arguments.point(states))
    arguments.run("hsmm_viterbi", out)
    return Decoded(states, log_probability.to(p.log_emission.dtype))


def sample_paths(p: Potentials, n: int, generator: torch.Generator | None = None) -> Tensor:
    arguments = in_logarithms(p.detach())
    bounds = torch.iinfo(torch.int64)
    seeds = torch.randint(bounds.min, bounds.max, (p.n_restarts, p.n_series), generator=generator)
    states = torch.empty(n, p.n_restarts, p.n_rows, dtype=torch.int64)
    arguments.run("hsmm_sample_paths", SamplesOut(n, arguments.point(seeds), arguments.point(states)))
    return states
