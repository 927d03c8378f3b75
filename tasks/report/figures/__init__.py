"""Drawings, one idea a file: each a function from tables to a matplotlib figure.

matplotlib is imported where it is used, so that importing the tasks stays quick. No window, no current figure.
"""
