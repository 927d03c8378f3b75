"""What tests of several packages share."""

from __future__ import annotations

import pytest

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from hsmm.kernels import native
from hsmm.types import KernelName


@pytest.fixture(params=["reference", "native"])
def kernel(request: pytest.FixtureRequest) -> KernelName:
    """Each kernel that this machine can run."""
    if request.param == "native" and not native.available():
        pytest.skip("no native kernel was built")
    return request.param
