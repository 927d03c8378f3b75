"""What commands leave, and what they find."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Outcome:
    """What one command left: exit status and what it said."""

    status: int
    out: str
    err: str

    @property
    def last_json(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])


def environment(workplace: Path) -> dict[str, str]:
    """Variables for a command in a process of its own, whatever is set outside; Prefect lives in the workplace."""
    found = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "HSMM_"))}
    return found | {"PYTHONPATH": str(_ROOT), "PREFECT_HOME": str(workplace / "prefect"), "OMP_NUM_THREADS": "1"}
