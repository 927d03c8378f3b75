"""Laws made of other laws, whose parameters they hold under a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hsmm.components.emission.base import EMISSIONS, Emission


def resolved(choice: Any, inside: str) -> Emission:
    """A family without parameters, from its name or an object. Raises ``ValueError`` for anything else."""
    if isinstance(choice, Emission):
        return choice.bare()
    if not isinstance(choice, str) or choice not in EMISSIONS:
        raise ValueError(
            f"{choice!r} stands in a {inside}; expected one of {', '.join(EMISSIONS)}, or an object of hsmm.emissions."
        )
    try:
        return EMISSIONS[choice]()
    except TypeError as error:
        raise ValueError(f"{choice!r} needs arguments ({error}); give the {inside} an object.") from None


def prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same under longer names."""
    return {f"{prefix}.{name}": value for name, value in values.items()}


def own(prefix: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those under this prefix, by the names they have without it."""
    return {name.removeprefix(f"{prefix}."): v for name, v in values.items() if name.startswith(f"{prefix}.")}
