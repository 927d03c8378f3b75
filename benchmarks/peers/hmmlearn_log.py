"""hmmlearn with its default, recursions in log space."""

from __future__ import annotations

from benchmarks.peers import hmmlearn


class Adapter(hmmlearn.Adapter):
    implementation = "log"
