"""The laws of every kernel, for teams of threads and for the plan of HMMs; g++ built them."""

from __future__ import annotations

import pytest

from hsmm.kernels import gpu
from hsmm.types import KernelName


@pytest.fixture
def kernel(host: None, chains_alone: None, monkeypatch: pytest.MonkeyPatch) -> KernelName:  # noqa: ARG001
    monkeypatch.setattr(gpu, "supports", lambda p, query: True)  # noqa: ARG005
    return "gpu"
