"""Chains that run side by side, seen as one chain whose states are what all of them are in together."""
