"""Candidates fitted and kept, their scales, their bundles, and the rows they decode."""
