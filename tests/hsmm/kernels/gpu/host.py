"""The kernels' source built by g++, a warp's lanes side by side, and run on tensors of the CPU."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.plans import Grid, Shape

FLAGS = (
    "-std=c++20",
    "-O0",  # it is built more often than it runs
    "-shared",
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Werror",
    "-x",
    "c++",
    "-",
)


class Host:
    """Stands for :func:`hsmm.kernels.gpu.launch.run`; ``flags`` are more of g++'s."""

    def __init__(self, *flags: str) -> None:
        self.flags = flags

    def __call__(self, shape: Shape, entry: str, grid: Grid, arguments: Sequence[launch.Argument]) -> None:  # noqa: ARG002
        getattr(_library(shape, self.flags), entry)(*(ctypes.c_int64(launch.plain(x)) for x in arguments))


@functools.cache
def _library(shape: Shape, flags: tuple[str, ...]) -> ctypes.CDLL:
    macros = [f"-D{name}={value}" for name, value in shape.macros().items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.so"
        command = ["g++", *FLAGS, *macros, *flags, "-o", str(path)]
        subprocess.run(command, input=launch.source(shape), text=True, check=True)
        return ctypes.CDLL(str(path))
