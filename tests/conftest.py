"""What tests of several packages share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from hsmm.components.register import KINDS
from hsmm.kernels import native
from hsmm.selection import CRITERIA
from hsmm.types import KernelName

hypothesis.settings.register_profile("laws", deadline=None)
hypothesis.settings.load_profile("laws")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked ``costly`` is left out, unless the variable HSMM_EVERY_LAW is set."""
    left = [] if os.environ.get("HSMM_EVERY_LAW") else [item for item in items if item.get_closest_marker("costly")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


@pytest.fixture(params=["reference", "native"])
def kernel(request: pytest.FixtureRequest) -> KernelName:
    """Each kernel that this machine can run."""
    if request.param == "native" and not native.available():
        pytest.skip("no native kernel was built")
    return request.param


@pytest.fixture(autouse=True)
def _registers_as_before() -> Iterator[None]:
    """What a test enrols is known to no other."""
    registers = [CRITERIA, *(kind.families for kind in KINDS.values())]
    before = [dict(register) for register in registers]
    yield
    for register, known in zip(registers, before, strict=True):
        register.clear()
        register.update(known)
