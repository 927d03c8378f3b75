"""Exact inference: the product of all chains is one hidden Markov model, of ΠK states."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.factorial.members import MOST_STATES
from hsmm.inference import Posterior
from hsmm.models.factorial.additive import Additive, Expected
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences


def check(model: Additive, instead: str) -> None:
    """Raise ``ValueError`` where the product is too large, or no Markov chain."""
    if not model.is_markov:
        raise ValueError(f"chains with durations have no exact inference here; {instead}.")
    if (n_states := math.prod(model.n_states)) > MOST_STATES:
        raise ValueError(
            f"{len(model.chains)} chains make {n_states:,} states together; exact inference takes at most "
            f"{MOST_STATES}. Instead, {instead}."
        )


def potentials(model: Additive, sequences: Sequences, rest: Tensor | None = None) -> Potentials:
    """The tables of the product, whose states are numbered with the last chain's changing fastest.

    ``rest`` (R, N, F) is what is there besides these chains, in place of the base. A single chain may have durations.
    """
    rest = model.base.unsqueeze(1) if rest is None else rest
    alone = model.log_density(sequences, rest).unsqueeze(-1)
    if len(model.chains) == 1:
        chain = model.chains[0]
        return chain.potentials(model.log_evidence(chain.level, sequences, rest) + alone, sequences.offsets)
    initial, moves, level = (_none(model, *shape) for shape in ((1,), (1, 1), (1, model.base.shape[1])))
    for chain in model.chains:
        initial = (initial.unsqueeze(-1) + chain.initial.log_potentials().unsqueeze(1)).flatten(1)
        own = chain.transition.log_potentials()
        moves = (moves[:, :, None, :, None] + own[:, None, :, None, :]).flatten(3, 4).flatten(1, 2)
        level = (level.unsqueeze(2) + chain.level.unsqueeze(1)).flatten(1, 2)
    return Potentials(initial, moves, None, model.log_evidence(level, sequences, rest) + alone, sequences.offsets)


def expected(model: Additive, sequences: Sequences) -> Expected:
    """Counts and log-likelihood of each of the R models."""
    joint = inference.expected_counts(potentials(model, sequences))
    hot = _members(model)
    counts = tuple(_of_chain(joint, own) for own in hot)
    features = torch.cat([torch.ones(len(hot[0]), 1, dtype=torch.float64), *hot], -1)
    weight = sequences.observed.double().T @ joint.state
    gram = features.T @ (weight.unsqueeze(-1) * features)
    cross = (sequences.values.T @ joint.state) @ features
    return Expected(counts, joint.log_likelihood.sum(-1), gram, cross)


def filtered(model: Additive, sequences: Sequences) -> list[Tensor]:
    """For each chain (R, N, K) P(state | rows up to here)."""
    joint = inference.filtered(potentials(model, sequences))
    return [joint @ own for own in _members(model)]


def viterbi(model: Additive, sequences: Sequences) -> Tensor:
    """(N, C) the likeliest paths of the first model."""
    joint = inference.viterbi(potentials(model.take(torch.tensor([0])), sequences)).states[0]
    return torch.stack(torch.unravel_index(joint, model.n_states), -1)


def _members(model: Additive) -> list[Tensor]:
    """For each chain (ΠK, K) which of its states a state of the product holds."""
    index = torch.cartesian_prod(*(torch.arange(k) for k in model.n_states)).view(-1, len(model.chains))
    return [torch.nn.functional.one_hot(index[:, c], k).double() for c, k in enumerate(model.n_states)]


def _of_chain(joint: Posterior, hot: Tensor) -> Posterior:
    """What the product's counts say of the chain whose state is ``hot`` (ΠK, K) in each of its states."""
    return Posterior(
        log_likelihood=joint.log_likelihood,
        state=joint.state @ hot,
        initial=joint.initial @ hot,
        transition=hot.T @ joint.transition @ hot,
        duration=joint.duration,
        residual=joint.residual,
        tail_stay=joint.tail_stay,
        tail_leave=joint.tail_leave,
    )


def _none(model: Additive, *shape: int) -> Tensor:
    return model.base.new_zeros(len(model.base), *shape)
