"""Structured mean field (Ghahramani & Jordan 1997): each chain's exact posterior given what is expected of the others.

One sweep asks the engine once for each chain, whose states keep all their dependence in time; only what chains know of
each other is lost. A sweep never lowers the bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hsmm import inference
from hsmm.inference import Posterior
from hsmm.models.factorial.additive import Additive, Expected
from hsmm.sequences import Sequences


def expected(
    model: Additive, sequences: Sequences, states: Sequence[Tensor] | None = None, *, sweeps: int, tol: float
) -> Expected:
    """Counts after at most ``sweeps`` over the chains, which end where none gains ``tol`` nats a row.

    It begins with the posteriors ``states`` (R, N, K_c) of an earlier call; without, chains add nothing at first, and
    the first explains what it can.
    """
    means = _means(model, sequences, states)
    total, before = model.base.unsqueeze(1) + sum(means), None
    counts: dict[int, Posterior] = {}
    divergence: dict[int, Tensor] = {}
    for _ in range(max(sweeps, 1)):
        for c, chain in enumerate(model.chains):
            rest = total - means[c]
            evidence = model.log_evidence(chain.level, sequences, rest)
            found = inference.expected_counts(chain.potentials(evidence, sequences.offsets))
            means[c] = found.state @ chain.level
            total, counts[c] = rest + means[c], found
            divergence[c] = (found.state * evidence).sum((-1, -2)) - found.log_likelihood.sum(-1)
        bound = _log_density(model, sequences, total, counts) - sum(divergence.values())
        if before is not None and bool((bound - before <= tol * sequences.n_rows).all()):
            break
        before = bound
    gram, cross = _moments(sequences, [found.state for found in counts.values()])
    return Expected(tuple(counts.values()), bound, gram, cross)


def _means(model: Additive, sequences: Sequences, states: Sequence[Tensor] | None) -> list[Tensor]:
    """(R, N, F) what each chain is expected to add."""
    if states is not None:
        return [own @ chain.level for own, chain in zip(states, model.chains, strict=True)]
    nothing = model.base.new_zeros(len(model.base), sequences.n_rows, sequences.n_features)
    return [nothing] * len(model.chains)


def _log_density(model: Additive, sequences: Sequences, total: Tensor, counts: Mapping[int, Posterior]) -> Tensor:
    """(R,) what is expected of the log-density: that of the mean, less what the chains spread about theirs."""
    spread = torch.zeros_like(total)
    for c, chain in enumerate(model.chains):
        state = counts[c].state
        spread += state @ chain.level.square() - (state @ chain.level).square()
    lost = 0.5 * (spread / model.variance.unsqueeze(1) * sequences.observed).sum((-1, -2))
    return model.log_density(sequences, total).sum(-1) - lost


def _moments(sequences: Sequences, states: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Gram and cross products of independent chains."""
    one = torch.ones_like(states[0][..., :1])
    features = torch.cat([one, *states], -1)
    seen = sequences.observed.to(features.dtype).T
    weighted = features.unsqueeze(1) * seen.unsqueeze(-1)
    gram = weighted.mT @ features.unsqueeze(1)
    cross = (weighted.mT @ sequences.values.T.unsqueeze(-1)).squeeze(-1)
    first = 1
    for own in states:
        block = slice(first, first + own.shape[-1])
        gram[..., block, block] = torch.diag_embed(weighted[..., block].sum(-2))
        first = block.stop
    return gram, cross
