"""Laws made of other laws, whose parameters they hold under a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same under longer names."""
    return {f"{prefix}.{name}": value for name, value in values.items()}


def own(prefix: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those under this prefix, by the names they have without it."""
    return {name.removeprefix(f"{prefix}."): v for name, v in values.items() if name.startswith(f"{prefix}.")}
