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
# `make sanitize` names a variant here, to have it built under AddressSanitizer and UBSan and nothing else built.
SANITIZED = os.environ.get("HSMM_SANITIZE")
CHECKS = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def variant(name: str, flags: list[str], source: str = "") -> Extension:
    return Extension(
        f"hsmm.native._{name}",
        sources=[str(NATIVE / f"{source or name}.cpp")],
        depends=[str(header) for header in sorted(NATIVE.glob("*.hpp"))],
        language="c++",
        extra_compile_args=[*FLAGS, *flags],
        extra_link_args=["-pthread", *(flag for flag in flags if "sanitize" in flag)],
        optional=not SANITIZED,
    )


def extensions() -> list[Extension]:
    if SANITIZED:
        return [variant("sanitized", [*VARIANTS[SANITIZED], *CHECKS], source=SANITIZED)]
    return [variant(name, flags) for name, flags in VARIANTS.items()]


setup(
    ext_modules=extensions(),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
