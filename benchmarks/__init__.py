"""Measurements of the library and of its peers: ``python -m benchmarks.run --suite cpu [--peers]``."""
