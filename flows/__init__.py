"""Wiring: which task feeds which, and the command line."""

import os

# Threads that wait for work sleep instead of spinning: on a shared machine that is several times faster.
# It must be said before PyTorch loads its thread pool.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
