"""What the signatures of inference, kernels and potentials say of shapes is so, wherever one calls another."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest
import torch

from hsmm import inference
from hsmm.potentials import Potentials
from hsmm.types import KernelName
from tests.hsmm.inference.cases import random_potentials, require_support
from tests.shapes import annotates_shapes, call

_CHECKED = ("hsmm.inference", "hsmm.kernels", "hsmm.potentials")
KINDS: dict[str, dict[str, Any]] = {
    "hmm": {"n_durations": None},
    "tail, cut on the left": {"tail": True, "left_censored": True},
    "by row": {"time_varying": True, "residual": True, "left_censored": True},
    "a series without a last segment": {"right_censored": torch.tensor([True, False, True])},
}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every annotated function is checked as it is called; the names of those that were."""
    names: set[str] = set()

    def checked(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def checking(*arguments: Any, **options: Any) -> Any:
            names.add(f"{function.__module__}.{function.__qualname__}")
            return call(function, *arguments, **options)

        return checking

    wrapped: dict[FunctionType, Callable[..., Any]] = {}
    modules = [module for name, module in sys.modules.items() if name.startswith(_CHECKED)]
    for owner in (*modules, Potentials):
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if function.__module__.startswith(_CHECKED) and not name.startswith("__") and annotates_shapes(function):
                monkeypatch.setattr(owner, name, wrapped.setdefault(function, checked(function)))
    return names


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_what_they_are_made_of_have_the_stated_shapes(
    kind: str, kernel: KernelName, called: set[str]
) -> None:
    p = random_potentials(3, **KINDS[kind])
    require_support(kernel, p)
    for query in ("log_partition", "posterior", "expected_counts", "viterbi", "filtered", "elapsed", "remaining"):
        getattr(inference, query)(p, kernel=kernel)
    inference.log_density(p, kernel=kernel)
    inference.sample_paths(p, 4, torch.Generator().manual_seed(0), kernel=kernel)
    p.take(torch.tensor([1]))
    assert called >= {"hsmm.inference.engine.posterior", f"hsmm.kernels.{kernel}.counts.expected_counts"}
