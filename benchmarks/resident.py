"""Memory of this process, from the kernel's own account. The standard library only.

``getrusage`` will not do: a child begins with the peak of the parent it was forked from.
"""

from __future__ import annotations

from pathlib import Path

STATUS = Path("/proc/self/status")


def peak() -> float:
    """Megabytes this process had in memory at its largest."""
    return _megabytes("VmHWM")


def forget_peak() -> float:
    """Make the present size the peak; what it is, in megabytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _megabytes("VmRSS")


def _megabytes(field: str) -> float:
    kilobytes = next(line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(kilobytes) * 1024 / 1e6
