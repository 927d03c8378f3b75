"""Chains as models of their own: each learnt from what it added alone, or taken out of the sum."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from hsmm.components.emission import Gaussian
from hsmm.components.model import Model
from hsmm.errors import ConvergenceWarning
from hsmm.models.factorial.additive import Additive, Chain
from hsmm.models.factorial.starts import Structure
from hsmm.models.hmm import HMM
from hsmm.models.hsmm import HSMM
from hsmm.models.parameters import RandomState
from hsmm.sequences import Sequences

FLOOR = 1e-6
"""Of the noise's variance, relative to each feature's."""


def learnt_alone(
    structure: Structure, sequences: Sequences, parts: np.ndarray, n_init: int, random_state: RandomState
) -> tuple[Additive, np.ndarray]:
    """Each chain from its own part (N, C, F), the noise from what their sum leaves of the data.

    Also (C, F) what each part holds while its chain is in its first state, which the base includes.
    """
    lengths = sequences.lengths.tolist()
    chains, total, offset = [], np.zeros(parts.shape[::2]), np.zeros(parts.shape[1:])
    for c, k in enumerate(structure.n_states):
        with warnings.catch_warnings():
            # Of how narrow states are: their spread is not used.
            warnings.simplefilter("ignore", ConvergenceWarning)
            alone = _untrained(structure, k, n_init, random_state).fit(parts[:, c], lengths=lengths)
        fitted = alone._fitted_model()
        level = fitted.emission.parameters["mean"]
        offset[c] = level[0, 0].numpy()
        chains.append(Chain(fitted.initial, fitted.transition, fitted.duration, level - level[:, :1]))
        total += level[0].numpy()[alone.predict(parts[:, c], lengths=lengths)]
    left = np.where(sequences.observed.numpy(), sequences.values.numpy() - total, np.nan)
    rest, spread = np.nanmean(left, 0), np.nanvar(left, 0)
    floor = FLOOR * sequences.moments[1].numpy()
    base = torch.from_numpy(rest + offset.sum(0))[None]
    return Additive(tuple(chains), base, torch.from_numpy(np.maximum(spread, floor))[None]), offset


def alone_of(model: Additive, c: int) -> HMM | HSMM:
    """Chain ``c`` as a model of what it adds, with all the noise."""
    chain = model.chains[c]
    spread = model.variance.unsqueeze(1).expand_as(chain.level)
    law = Gaussian(covariance="diag").with_parameters(mean=chain.level, covariance=spread)
    whole = Model(chain.initial, chain.transition, chain.duration, law)
    kind = HMM if chain.duration is None else HSMM
    return kind(chain.n_states, emission=law.name)._adopt_loaded(whole, None)


def shaped(parts: Any, structure: Structure, sequences: Sequences) -> np.ndarray:
    """(N, C, F). Raises ``ValueError`` for any other shape, but for one feature (N, C)."""
    found, n_chains = np.asarray(parts, dtype=np.float64), len(structure.n_states)
    expected = (sequences.n_rows, n_chains, sequences.n_features)
    if sequences.n_features == 1 and found.shape == expected[:2]:
        found = found[..., None]
    if found.shape != expected:
        raise ValueError(f"parts has shape {found.shape}; expected {expected}, what each chain adds to each row of X.")
    return found


def _untrained(structure: Structure, n_states: int, n_init: int, random_state: RandomState) -> HMM | HSMM:
    shared: dict[str, Any] = {
        "emission": Gaussian(covariance="tied"),
        "transition": structure.transition,
        "initial": structure.initial,
        "n_init": n_init,
        "random_state": random_state,
    }
    if structure.duration is None:
        return HMM(n_states, **shared)
    return HSMM(n_states, **shared, duration=structure.duration, max_duration=structure.duration.max_duration)
