"""Where series have owners, each has what its model says of it alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hsmm import inference
from hsmm.native.library import available
from hsmm.potentials import Potentials
from tests.hsmm.inference.cases import random_potentials

pytestmark = pytest.mark.skipif(not available(), reason="only the native kernel knows owners")
LENGTHS = (17, 3, 40, 1, 8, 23, 17, 2, 5)
MODELS = {
    "tail": {"tail": True},
    "wide": {"n_states": 7, "n_durations": 37},
    "censored": {"left_censored": True, "tail": True},
    "ending": {"right_censored": False, "self_transitions": True, "n_durations": 9},
    "sparse": {"sparse": True, "tail": True, "left_censored": True},
    "hmm": {"n_durations": None},
}


def owned(p: Potentials, owners: list[int]) -> Potentials:
    """Each series of its owner only."""
    rows = torch.tensor(owners).repeat_interleave(p.lengths)
    return replace(p, log_emission=p.log_emission[rows, torch.arange(p.n_rows)][None], owners=torch.tensor(owners))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("swing", [0.0, 2000.0])
def test_series_of_owners_have_the_bits_of_each_model_alone(kind: str, swing: float) -> None:
    """Also where they have to be computed again in log space."""
    p = random_potentials(0, LENGTHS, n_restarts=4, **MODELS[kind])  # type: ignore[arg-type]
    p = replace(p, log_emission=p.log_emission - swing * (torch.rand_like(p.log_emission) > 0.97))
    owners = [0, 0, 1, 2, 2, 2, 3, 3, 1]
    q = owned(p, owners)
    whole, scored = inference.expected_counts(q), inference.log_partition(q)
    names = [name for name in vars(whole) if name not in ("log_likelihood", "state")]
    for model in range(4):
        mine = [series for series, owner in enumerate(owners) if owner == model]
        rows = torch.cat([torch.arange(*p.offsets[s : s + 2].tolist()) for s in mine])
        flags = p.left_censored if isinstance(p.left_censored, bool) else p.left_censored[mine]
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), p.lengths[mine].cumsum(0)])
        tables = {name: table[[model]] for name, table in p.tables().items()}
        tables["log_emission"] = p.log_emission[[model]][:, rows]
        one = replace(p, **tables, offsets=offsets, left_censored=flags)
        alone = inference.expected_counts(one)
        for name in names:
            assert torch.equal(getattr(whole, name)[[model]], getattr(alone, name)), name
        assert torch.equal(whole.state[:, rows], alone.state)
        assert torch.equal(whole.log_likelihood[:, mine], alone.log_likelihood)
        assert torch.equal(scored[:, mine], inference.log_partition(one))


def test_owners_that_are_none_of_the_models_are_refused() -> None:
    p = owned(random_potentials(0, (4, 5), n_restarts=2), [0, 1])
    with pytest.raises(ValueError, match="owners"):
        replace(p, owners=torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="owners"):
        replace(p, owners=torch.tensor([0]))
    with pytest.raises(ValueError, match="log_emission has 2 tables"):
        replace(p, log_emission=p.log_emission.expand(2, -1, -1))


def test_what_knows_no_owners_says_so() -> None:
    p = owned(random_potentials(0, (4, 5), n_restarts=2), [0, 1])
    with pytest.raises(ValueError, match="viterbi"):
        inference.viterbi(p)
    with pytest.raises(ValueError, match="reference"):
        inference.log_partition(p, kernel="reference")
