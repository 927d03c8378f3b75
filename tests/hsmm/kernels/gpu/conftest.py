from __future__ import annotations

import importlib
import os
import shutil

import pytest

from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.inputs import plan_of
from tests.hsmm.kernels.gpu.host import Host


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches go to the build by g++."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    monkeypatch.setattr(launch, "free_bytes", lambda _: 2**40)
    monkeypatch.setattr(launch, "run", Host(*os.environ.get("HSMM_GPU_HOST_FLAGS", "").split()))


# By name: in their package a function stands for its module.
MODULES = [importlib.import_module(f"hsmm.kernels.gpu.{name}") for name in ("causal", "counts", "paths")]


@pytest.fixture
def without_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is computed by teams of threads."""
    for module in MODULES:
        monkeypatch.setattr(module, "plan_of", lambda p, paths: None)  # noqa: ARG005


@pytest.fixture
def chains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """HMMs are computed by the plan that they have, all else by teams of threads."""
    for module in MODULES:
        monkeypatch.setattr(
            module, "plan_of", lambda p, paths: plan_of(p, paths=paths) if p.log_duration is None else None
        )
