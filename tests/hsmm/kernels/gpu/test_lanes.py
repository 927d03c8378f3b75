"""Lanes and threads do at once what g++ does one after another: in which order must not matter."""

from __future__ import annotations

import pytest
import torch

from hsmm.kernels.gpu import launch
from hsmm.potentials import Potentials
from tests.costly import costly_beyond
from tests.fuzz_kernels import random_case
from tests.hsmm.kernels.gpu.host import Host
from tests.hsmm.kernels.gpu.test_teams import everything
from tests.hsmm.kernels.gpu.test_values import SHAPES, a_case, in_kind

pytestmark = pytest.mark.usefixtures("host")


@pytest.mark.parametrize("shape", costly_beyond(0, SHAPES[:2]))
def test_another_order_of_the_lanes_gives_the_same_bits(shape, monkeypatch: pytest.MonkeyPatch):
    assert_same_in_another_order(in_kind(a_case(13, shape, (70, 3, 300, 12, 1, 40)), torch.float32), monkeypatch)


@pytest.mark.usefixtures("without_plans")
@pytest.mark.parametrize("seed", costly_beyond(2, [1, 4, 8, 11]))
def test_another_order_of_the_threads_gives_the_same_bits(seed: int, monkeypatch: pytest.MonkeyPatch):
    assert_same_in_another_order(random_case(seed).p, monkeypatch)


def assert_same_in_another_order(p: Potentials, monkeypatch: pytest.MonkeyPatch) -> None:
    in_order = dict(everything(p))
    monkeypatch.setattr(launch, "run", Host("-DSHUFFLED"))
    for name, value in everything(p):
        assert torch.equal(value, in_order[name]), name
