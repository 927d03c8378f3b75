"""What must be installed where a registered model is served."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_SERVING = ("hsmm-flows", "mlflow", "torch", "numpy", "polars", "safetensors")


def requirements() -> list[str]:
    """The packages, at the versions that are installed here."""
    found = []
    for package in _SERVING:
        try:
            found.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return found
