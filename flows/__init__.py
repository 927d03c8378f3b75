"""Wiring: which task feeds which, and the command line."""
