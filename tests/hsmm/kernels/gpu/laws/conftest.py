"""The laws of every kernel, for teams of threads and for the plan of HMMs; g++ built them."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from hsmm.kernels import gpu
from hsmm.types import KernelName

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A third of the cases, always the same; all of them where the variable HSMM_EVERY_LAW is set."""
    if os.environ.get("HSMM_EVERY_LAW"):
        return
    left = [item for item in items if item.path.parent == _HERE and zlib.crc32(item.name.encode()) % 3]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


@pytest.fixture
def kernel(host: None, chains_alone: None, monkeypatch: pytest.MonkeyPatch) -> KernelName:  # noqa: ARG001
    monkeypatch.setattr(gpu, "supports", lambda p, query: True)  # noqa: ARG005
    return "gpu"
