"""The report: one HTML page that needs nothing but itself, one idea a file.

Its plots are drawn by uPlot, whose script, style and licence are in ``vendor``.
"""
