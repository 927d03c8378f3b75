from __future__ import annotations

import os
import shutil

import pytest

from hsmm.kernels.gpu import counts, launch, paths
from tests.hsmm.kernels.gpu.host import Host


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches go to the build by g++."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    monkeypatch.setattr(launch, "free_bytes", lambda _: 2**40)
    monkeypatch.setattr(launch, "run", Host(*os.environ.get("HSMM_GPU_HOST_FLAGS", "").split()))


@pytest.fixture
def without_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is computed by teams of threads."""
    for module in (counts, paths):
        monkeypatch.setattr(module, "plan_of", lambda p, paths: None)  # noqa: ARG005
