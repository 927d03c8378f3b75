"""Lanes and threads do at once what g++ does one after another: in which order must not matter."""

from __future__ import annotations

import pytest
import torch

from hsmm.kernels import gpu
from hsmm.kernels.gpu import launch
from tests.fuzz_kernels import random_case
from tests.hsmm.kernels.gpu.host import Host
from tests.hsmm.kernels.gpu.test_teams import everything
from tests.hsmm.kernels.gpu.test_values import SHAPES, a_case, in_kind


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_another_order_of_the_lanes_gives_the_same_bits(shape, monkeypatch: pytest.MonkeyPatch):
    p = in_kind(a_case(13, shape, (70, 3, 300, 12, 1, 40)), torch.float32)
    in_order, path = gpu.expected_counts(p), gpu.viterbi(p)
    monkeypatch.setattr(launch, "run", Host("-DSHUFFLED"))
    shuffled, shuffled_path = gpu.expected_counts(p), gpu.viterbi(p)
    for name, value in [*vars(in_order).items(), *vars(path).items()]:
        other = getattr(shuffled, name, None)
        assert torch.equal(value, other if other is not None else getattr(shuffled_path, name)), name


@pytest.mark.usefixtures("host", "without_plans")
@pytest.mark.parametrize("seed", [1, 4, 8, 11])
def test_another_order_of_the_threads_gives_the_same_bits(seed: int, monkeypatch: pytest.MonkeyPatch):
    p = random_case(seed).p
    in_order = dict(everything(p))
    monkeypatch.setattr(launch, "run", Host("-DSHUFFLED"))
    for name, value in everything(p):
        assert torch.equal(value, in_order[name]), name
