"""Cases of a law, of which most runs try the first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def costly_beyond(first: int, cases: Iterable[Any]) -> list[Any]:
    """The cases; those beyond the ``first`` so many are marked ``costly``."""
    return [pytest.param(case, marks=pytest.mark.costly) if i >= first else case for i, case in enumerate(cases)]
