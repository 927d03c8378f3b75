"""Compiles the kernels of a plan for a device, once, and launches them on torch's stream."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hsmm.kernels.gpu.plans import Grid, Shape

_CACHE_BYTES = 64 << 20

Argument = Tensor | int | None


@functools.cache
def complaint() -> str | None:
    """Why the kernels cannot run on this machine, and what to do; None if they can."""
    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA: install one that was"
    try:
        torch.cuda.init()
    except RuntimeError as error:
        return f"PyTorch can use no GPU here ({_first_sentence(error)})"
    try:
        image = _probe(_architecture(torch.device("cuda")))
    except ImportError:
        return "cuda-core is not installed: pip install 'hsmm-flows[gpu]'"
    except Exception as error:
        reason = _first_sentence(error)
        return f"NVIDIA's run-time compiler is missing or fails ({reason}): pip install 'hsmm-flows[gpu]' brings one"
    try:
        image.get_kernel("probe")
    except Exception as error:
        return f"the GPU's driver takes no kernels that are compiled here ({_first_sentence(error)}): update it"
    return None


def _probe(architecture: str) -> Any:
    """The image of a kernel that does nothing."""
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(arch=architecture)
    return Program('extern "C" __global__ void probe() {}', "c++", options).compile("cubin")


def _first_sentence(error: Exception) -> str:
    return (str(error).split("\n")[0].split(". ")[0] or type(error).__name__).rstrip(".")


def _architecture(device: torch.device) -> str:
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def source(shape: Shape) -> str:
    """All of its kernels as one text, which is what a cache of images can be keyed by."""
    folder = Path(__file__).with_name("source")
    text = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in shape.sources)
    return re.sub(r'^#(pragma once|include ".*")$', "", text, flags=re.MULTILINE)


def run(shape: Shape, entry: str, grid: Grid, arguments: Sequence[Argument]) -> None:
    """Launch one kernel: tensors go by address, whole numbers as 64 bits."""
    device = next(x.device for x in arguments if isinstance(x, Tensor))
    _launch(shape, entry, grid, [plain(x) for x in arguments], device)


def free_bytes(device: torch.device) -> int:
    """Of the device's memory, what is free or kept by PyTorch for reuse."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def plain(x: Argument) -> int:
    return x.data_ptr() if isinstance(x, Tensor) else x or 0


def _launch(shape: Shape, entry: str, grid: Grid, arguments: list[int], device: torch.device) -> None:
    from cuda.core import LaunchConfig, Stream, launch

    with torch.cuda.device(device):
        stream = Stream.from_handle(torch.cuda.current_stream(device).cuda_stream)
        config = LaunchConfig(grid=grid.blocks, block=grid.threads, shmem_size=grid.shared_bytes)
        launch(stream, config, _kernel(shape, entry, device), *arguments)


@functools.cache
def _kernel(shape: Shape, entry: str, device: torch.device) -> Any:
    return _image(shape, device).get_kernel(entry)


@functools.cache
def _image(shape: Shape, device: torch.device) -> Any:
    from cuda.core import Device
    from cuda.core.utils import FileStreamProgramCache

    Device(torch.cuda.current_device() if device.index is None else device.index).set_current()
    with FileStreamProgramCache(_cache_folder(), max_size_bytes=_CACHE_BYTES) as cache:
        return compiled(shape, _architecture(device), cache=cache)


def _cache_folder() -> Path:
    """Of compiled images, the least recently used of which make room for new ones."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hsmm"


def compiled(shape: Shape, architecture: str, *, logs: Any = None, cache: Any = None) -> Any:
    """The image of a shape; needs neither a GPU nor a driver."""
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(
        arch=architecture,
        std="c++17",
        define_macro=list(shape.macros().items()),
        ptxas_options=None if logs is None else ["-v"],
    )
    return Program(source(shape), "c++", options).compile("cubin", logs=logs, cache=cache)
