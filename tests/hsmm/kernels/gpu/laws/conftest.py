"""The laws of every kernel, for teams of threads and for the plan of HMMs; g++ built them."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from hsmm.kernels import gpu
from hsmm.types import KernelName

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two thirds of the cases, always the same, are costly: they show what others show."""
    for item in items:
        if item.path.parent == _HERE and zlib.crc32(item.name.encode()) % 3:
            item.add_marker("costly")


@pytest.fixture
def kernel(host: None, chains_alone: None, monkeypatch: pytest.MonkeyPatch) -> KernelName:  # noqa: ARG001
    monkeypatch.setattr(gpu, "supports", lambda p, query: True)  # noqa: ARG005
    return "gpu"
