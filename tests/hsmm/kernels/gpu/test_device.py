"""What a machine lacks to fit on a GPU is said in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch

from hsmm import HMM
from hsmm.kernels import gpu
from hsmm.kernels.gpu import launch
from hsmm.models.devices import device_name


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str | None]:
    """PyTorch as it is where there is a GPU; returns the question, asked anew."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: (9, 0))
    return launch.complaint.__wrapped__


class Image:
    """A compiled image whose driver refuses it."""

    def get_kernel(self, name: str) -> None:
        raise RuntimeError(f"CUDA_ERROR_UNSUPPORTED_PTX_VERSION: {name}")


def raising(error: Exception) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise error

    return call


def test_a_pytorch_without_cuda(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA" in str(launch.complaint.__wrapped__())


def test_no_gpu_or_an_old_driver(with_gpu, monkeypatch: pytest.MonkeyPatch):
    error = RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update it")
    monkeypatch.setattr(torch.cuda, "init", raising(error))
    assert (
        with_gpu() == "PyTorch can use no GPU here (The NVIDIA driver on your system is too old (found version 11040))"
    )


def test_no_launcher(with_gpu, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    assert with_gpu() == "cuda-core is not installed: pip install 'hsmm-flows[gpu]'"


def test_no_compiler(with_gpu, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch, "_probe", raising(OSError("libnvrtc.so.13: no such file")))
    assert "compiler is missing or fails (libnvrtc.so.13: no such file)" in with_gpu()


def test_a_driver_that_refuses_the_image(with_gpu, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch, "_probe", lambda _: Image())
    assert "driver takes no kernels" in with_gpu()


def test_an_estimator_says_so_before_it_fits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "complaint", lambda: "there is none")
    with pytest.raises(ValueError, match="device is 'cuda', but there is none; or choose 'auto' or 'cpu'"):
        HMM(2, device="cuda").check_options()


def test_the_device_of_a_fit_has_a_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the {device.type} device")
    assert [device_name(choice) for choice in ("auto", "cpu", "cuda")] == ["cpu", "cpu", "the cuda device"]
