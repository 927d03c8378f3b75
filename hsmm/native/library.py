"""The compiled library: which build fits this processor, and how its functions are called."""

from __future__ import annotations

import ctypes
import functools
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

_BUILDS = ("_portable", "_avx2", "_avx512")  # by hsmm_instruction_set()
POINTER = ctypes.c_void_p
INT = ctypes.c_int64


def structure(name: str, **members: type) -> type[ctypes.Structure]:
    """A C structure of these members, in this order."""
    return type(name, (ctypes.Structure,), {"_fields_": list(members.items())})


@functools.cache
def load() -> ctypes.CDLL | None:
    """The fastest build that is installed and that this processor can run; None if there is none.

    The environment variable ``HSMM_NATIVE_BUILD`` names another; ``ImportError`` if it cannot be loaded.
    """
    if name := os.environ.get("HSMM_NATIVE_BUILD"):
        return _the_build(name)
    return next((open_build(name) for name in reversed(_BUILDS) if runs(name)), None)


def _the_build(name: str) -> ctypes.CDLL:
    library = open_build(name)
    if library is None:
        raise ImportError(f"HSMM_NATIVE_BUILD is {name!r}, which cannot be loaded; build it first, or unset it.")
    return library


def runs(name: str) -> bool:
    """Whether a build is installed and fits this processor; the portable one is asked."""
    portable = open_build("_portable")
    if portable is None or open_build(name) is None:
        return False
    return _BUILDS.index(name) <= portable.hsmm_instruction_set()


@functools.cache
def open_build(name: str) -> ctypes.CDLL | None:
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(name + suffix)
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            except OSError:
                return None
    return None


def available() -> bool:
    """Whether a compiled kernel was found and loaded."""
    return load() is not None


def lane_width(bytes_per_number: int) -> int:
    """How many sequences the library works on at once."""
    return int(_loaded().hsmm_lanes(bytes_per_number))


def call(function: str, *structures: ctypes.Structure) -> None:
    if getattr(_loaded(), function)(*map(ctypes.byref, structures)):
        raise MemoryError(f"{function}: no memory for its work space.")


def _loaded() -> ctypes.CDLL:
    library = load()
    assert library is not None, "callers ask `available` first"
    return library
