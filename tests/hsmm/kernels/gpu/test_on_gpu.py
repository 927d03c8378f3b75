"""On a GPU, values are the reference's and bits those of every series alone."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu_gate

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def test_values_and_bits():
    assert not list(gpu_gate.faults())
