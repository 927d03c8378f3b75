"""Builds the C++ kernels; everything else is in pyproject.toml."""

import os
import platform
from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("hsmm/native")
# Fused multiplications are written out where they are wanted: see fma in lanes.hpp.
FLAGS = ["-std=c++17", "-O3", "-g0", "-ffp-contract=off", "-pthread", "-Wno-psabi"]
VARIANTS = {"portable": []}
if platform.machine() in ("x86_64", "AMD64"):
    VARIANTS |= {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mavx512dq", "-mfma"]}


def variant(name: str, flags: list[str]) -> Extension:
    return Extension(
        f"hsmm.native._{name}",
        sources=[str(NATIVE / f"{name}.cpp")],
        depends=[str(header) for header in sorted(NATIVE.glob("*.hpp"))],
        language="c++",
        extra_compile_args=[*FLAGS, *flags],
        extra_link_args=["-pthread"],
        optional=True,
    )


setup(
    ext_modules=[variant(name, flags) for name, flags in VARIANTS.items()],
    options={"build_ext": {"parallel": os.cpu_count()}},
)
