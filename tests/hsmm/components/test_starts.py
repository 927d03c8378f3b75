"""Where a fit begins: no state excludes the rows of another, and the parts of a mixture lie apart."""

from __future__ import annotations

import numpy as np
import torch

from hsmm.components.emission import Bernoulli, Mixture, Poisson
from hsmm.sequences import Sequences

LABELS = torch.arange(2).repeat_interleave(20)[None]


def test_a_start_finds_nothing_impossible_that_other_states_do() -> None:
    rows = Sequences.from_arrays(LABELS[0].numpy())
    for law in (Bernoulli(), Poisson()):
        assert law.initialise(rows, LABELS, 2).log_potentials(rows).isfinite().all(), law


def test_the_parts_of_a_mixture_begin_along_the_spread_of_their_state() -> None:
    """Whatever the order of the rows: two groups that take turns are told apart."""
    X = np.tile([-5.0, 5.0], 40) + 0.1 * np.random.default_rng(0).normal(size=80)
    law = Mixture("gaussian", n_components=2).initialise(
        Sequences.from_arrays(X), torch.zeros((2, 80), dtype=torch.int64), 1
    )
    means = law.components.parameters["mean"][..., 0]
    assert ((means[:, 0] - means[:, 1]).abs() > 5.0).all()
