"""Builds the C++ kernels; everything else is in pyproject.toml."""

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("hsmm/kernels/native")
VECTOR_FLAGS = {"portable": ["-DHSMM_VECTOR_BYTES=16"]}
if platform.machine() in ("x86_64", "AMD64"):
    VECTOR_FLAGS |= {
        "avx2": ["-DHSMM_VECTOR_BYTES=32", "-mavx2", "-mfma"],
        "avx512": ["-DHSMM_VECTOR_BYTES=64", "-mavx512f", "-mavx512dq", "-mfma"],
    }


class BuildVariants(build_ext):
    """Gives each variant of the same sources its own object files."""

    def build_extension(self, extension: Extension) -> None:
        shared = self.build_temp
        self.build_temp = str(Path(shared) / extension.name)
        try:
            super().build_extension(extension)
        finally:
            self.build_temp = shared


def variant(name: str, flags: list[str]) -> Extension:
    return Extension(
        f"hsmm.kernels.native._{name}",
        sources=[str(NATIVE / "kernels.cpp")],
        depends=[str(header) for header in sorted(NATIVE.glob("*.hpp"))],
        language="c++",
        # Fused multiplications are written out: see fma in lanes.hpp.
        extra_compile_args=["-std=c++17", "-O3", "-g0", "-ffp-contract=off", "-pthread", "-Wno-psabi", *flags],
        extra_link_args=["-pthread"],
        optional=True,
    )


setup(
    ext_modules=[variant(name, flags) for name, flags in VECTOR_FLAGS.items()],
    cmdclass={"build_ext": BuildVariants},
)
