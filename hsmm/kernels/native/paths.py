"""The most probable segments."""

from __future__ import annotations

import torch

from hsmm.kernels.native.inputs import Arguments, in_float64, survivals, with_segments
from hsmm.kernels.native.structures import PathsOut
from hsmm.kernels.results import Decoded
from hsmm.potentials import Potentials


def viterbi(p: Potentials) -> Decoded:
    segments = with_segments(in_float64(p.detach()))
    arguments = Arguments(segments, logarithmic=True)
    survival, residual_survival = survivals(segments)
    states = torch.empty(p.n_restarts, p.n_rows, dtype=torch.int64)
    log_probability = torch.empty(p.n_restarts, p.n_series, dtype=torch.float64)
    out = PathsOut(
        survival=arguments.point(survival),
        residual_survival=arguments.point(residual_survival),
        log_probability=arguments.point(log_probability),
        states=arguments.point(states),
    )
    arguments.run("hsmm_viterbi", out)
    return Decoded(states, log_probability.to(p.log_emission.dtype))
