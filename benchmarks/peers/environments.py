"""Virtual environments of the peers, one a distribution, below one folder."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

from benchmarks.peers.table import Peer

FOLDER = Path(os.environ.get("HSMM_BENCH_ENVS", ".bench"))
SECONDS_TO_INSTALL = 480


def interpreter(peer: Peer) -> str | None:
    """The Python that has this peer: its own environment's or else this one; None where it is nowhere."""
    own = _python(peer)
    if own.exists():
        return str(own)
    return sys.executable if any(metadata.distributions(name=peer.distribution)) else None


def install(peer: Peer) -> str:
    """Make a peer's environment; what went wrong, or nothing."""
    if _python(peer).exists():
        return ""
    if peer.by_hand:
        return peer.by_hand
    folder = _python(peer).parents[1]
    venv.create(folder, with_pip=True)
    command = [str(_python(peer)), "-m", "pip", "install", "-q", "--disable-pip-version-check", *peer.requires]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_INSTALL, check=False)
        fault = "" if done.returncode == 0 else _last_line(done.stderr)
    except subprocess.TimeoutExpired:
        fault = f"pip took more than {SECONDS_TO_INSTALL} s"
    if fault:
        _python(peer).unlink()
    return fault


def _python(peer: Peer) -> Path:
    return FOLDER.absolute() / peer.distribution / "bin" / "python"


def _last_line(text: str) -> str:
    errors = [line for line in text.splitlines() if line.lower().startswith("error")]
    return (errors or text.splitlines() or ["pip failed"])[-1][:200]
