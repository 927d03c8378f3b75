"""Which code this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def code_version() -> str:
    """The installed version of this package."""
    try:
        return version("hsmm-flows")
    except PackageNotFoundError:
        return "uninstalled"
