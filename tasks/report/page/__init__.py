"""The report: one HTML page that needs nothing but itself, one idea a file.

plotly is imported where it is used, so that importing the tasks stays quick.
"""
