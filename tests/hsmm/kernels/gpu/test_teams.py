"""Teams of threads compute, of tables of any size, what the reference computes; g++ built them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hsmm.kernels import gpu, reference
from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.inputs import plan_of
from hsmm.kernels.protocol import Kernel
from hsmm.kernels.results import CausalName
from hsmm.potentials import Potentials
from tests.costly import costly_beyond
from tests.fuzz_kernels import Bound, in_double, random_case
from tests.hsmm.inference.cases import random_potentials
from tests.hsmm.inference.test_owners import LENGTHS, MODELS, owned

pytestmark = pytest.mark.usefixtures("host")

CAUSAL: tuple[CausalName, ...] = ("filtered", "predicted", "log_density", "elapsed", "remaining", "filter_state")
WAYS = ["plans", "teams"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """As tables are given to kernels, or all of them to teams."""
    if request.param == "teams":
        request.getfixturevalue("without_plans")
    return request.param


def everything(p: Potentials, weight: Tensor | None = None, kernel: Kernel = gpu) -> Iterator[tuple[str, Tensor]]:
    yield "log_partition", kernel.log_partition(p)
    for name, value in vars(kernel.expected_counts(p, weight)).items():
        yield f"expected_counts.{name}", value
    known = kernel.causal(p, CAUSAL)
    yield from ((name, known[name]) for name in CAUSAL[:-1])
    for name in ("starting", "steps_left", "by_age"):
        yield name, getattr(known.filter_state, name).exp()
    yield "smoothed", kernel.smoothed(p, 2)
    yield "viterbi.log_probability", kernel.viterbi(p).log_probability


@pytest.mark.parametrize("seed", costly_beyond(5, range(16)))
def test_answers_are_the_references(seed: int):
    """Any number of states and durations, laws by row, violent data; what has a plan is computed by it."""
    case = random_case(seed)
    exact = in_double(case.p)
    bound = Bound(exact, single=case.p.log_emission.dtype == torch.float32)
    weight = None if case.weight is None else case.weight.double()
    wanted = dict(everything(exact, weight, reference))
    for name, found in everything(case.p, case.weight):
        assert not found.isnan().any(), name
        bound.compare(name, found, wanted[name])


def test_a_table_too_large_for_what_is_near_is_kept_in_what_is_far():
    p = random_potentials(3, (40, 3), n_states=2, n_durations=4000, tail=True, left_censored=True)
    assert plan_of(p, paths=False) is None
    wanted = dict(everything(p, kernel=reference))
    bound = Bound(p, single=False)
    for name, found in everything(p):
        bound.compare(name, found, wanted[name])


def test_a_block_takes_one_sequence_after_the_other(monkeypatch: pytest.MonkeyPatch):
    """However many there are at once: no number of one is left for the next."""
    p = random_potentials(5, (9, 4, 30, 1, 12), n_states=3, n_durations=6, tail=True, left_censored=True)
    p = replace(p, log_residual=None, log_duration=p.log_duration[:, None].expand(-1, p.n_rows, -1, -1).contiguous())
    wanted, paths = dict(everything(p)), gpu.sample_paths(p, 3, torch.Generator().manual_seed(0))
    monkeypatch.setattr("hsmm.kernels.gpu.teams._LEAST_BLOCKS", 1)
    monkeypatch.setattr(launch, "free_bytes", lambda _: 20_000)
    blocks: list[int] = []
    run = launch.run
    monkeypatch.setattr(launch, "run", lambda *to: (blocks.append(to[2].blocks), run(*to)))
    for name, value in everything(p):
        assert torch.equal(value, wanted[name]), name
    assert torch.equal(gpu.sample_paths(p, 3, torch.Generator().manual_seed(0)), paths)
    assert max(blocks) < p.n_restarts * p.n_series


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("swing", [0.0, 2000.0])
def test_series_of_owners_have_the_bits_of_each_model_alone(kind: str, swing: float, way: str):  # noqa: ARG001
    """Also where they have to be computed again in log space."""
    p = random_potentials(0, LENGTHS, n_restarts=4, **MODELS[kind])  # type: ignore[arg-type]
    p = replace(p, log_emission=p.log_emission - swing * (torch.rand_like(p.log_emission) > 0.97))
    owners = [0, 0, 1, 2, 2, 2, 3, 3, 1]
    q = owned(p, owners)
    whole, scored = gpu.expected_counts(q), gpu.log_partition(q)
    for model in range(4):
        mine = [series for series, owner in enumerate(owners) if owner == model]
        rows = torch.cat([torch.arange(*p.offsets[s : s + 2].tolist()) for s in mine])
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), p.lengths[mine].cumsum(0)])
        tables = {name: table[[model]] for name, table in p.tables().items()}
        one = replace(p, **tables | {"log_emission": p.log_emission[[model]][:, rows]}, offsets=offsets)
        alone = gpu.expected_counts(one)
        for name, value in vars(alone).items():
            found = getattr(whole, name)
            part = {"log_likelihood": mine, "state": rows}.get(name)
            assert torch.equal(found[[model]] if part is None else found[:, part], value), name
        assert torch.equal(scored[:, mine], gpu.log_partition(one))


def test_paths_of_a_seed_are_the_same_and_each_its_own():
    p = random_potentials(5, (30, 1, 12), n_states=3, n_durations=6)
    first, again, other = (gpu.sample_paths(p, 4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(gpu.sample_paths(p, 2, torch.Generator().manual_seed(1)), first[:2])
