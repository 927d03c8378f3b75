"""Which libraries are measured, on which works, and how each is installed."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """``adapter`` is the file here, ``distribution`` the package's name; ``requires`` is what pip installs.

    ``rows`` cuts the series of a work short where a peer would take minutes; its seconds are then extrapolated in
    proportion. ``batched`` peers fit all restarts of a work at once. ``by_hand`` says why pip alone cannot install it.
    """

    name: str
    adapter: str
    distribution: str
    works: str
    requires: tuple[str, ...] = ()
    rows: dict[str, int] = {}  # noqa: RUF012 - never changed
    batched: bool = False
    by_hand: str = ""


_TORCH = ("torch==2.13.0", "numpy==2.4.6")

PEERS = (
    Peer("hmmlearn", "hmmlearn", "hmmlearn", "abc", ("hmmlearn==0.3.3",)),
    Peer("hmmlearn (log)", "hmmlearn_log", "hmmlearn", "abc", ("hmmlearn==0.3.3",)),
    Peer("dynamax", "dynamax", "dynamax", "abc", ("dynamax==1.0.3",)),
    Peer("nemos", "nemos", "nemos", "abc", ("nemos==0.2.8",)),
    Peer("pomegranate", "pomegranate", "pomegranate", "abc", ("pomegranate==1.1.2", *_TORCH), {"b": 10_000}),
    Peer("gaussian-hsmm", "gaussian_hsmm", "gaussian-hsmm", "de", ("gaussian-hsmm==0.1.0",), {"e": 500}),
    Peer("chadhmm", "chadhmm", "chadhmm", "de", ("chadhmm==0.3.10", *_TORCH), {"e": 2_000}),
    Peer("pyro (gradient)", "pyro", "pyro-ppl", "abc", ("pyro-ppl==1.9.2", *_TORCH)),
    Peer("nhsmm (gradient)", "nhsmm", "nhsmm", "de", ("nhsmm==0.0.4a0", "matplotlib", *_TORCH), {"e": 200}),
    Peer(
        "flash-semicrf (gradient)",
        "flash_semicrf",
        "flash-semicrf",
        "def",
        ("flash-semicrf==0.2.0", *_TORCH),
        {"d": 250, "e": 300, "f": 250},
        batched=True,
    ),
    Peer("pyhsmm", "pyhsmm", "pyhsmm", "de", by_hand="its set-up downloads from an address that is gone; see README"),
)
