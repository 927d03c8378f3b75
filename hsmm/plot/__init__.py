"""Pictures of fitted models: each function draws into ``ax``, or into a new figure, and returns its Axes.

Matplotlib is imported when something is drawn.
"""

from hsmm.plot.candidates import ranking
from hsmm.plot.laws import dwell, transitions
from hsmm.plot.residuals import pseudo_residuals
from hsmm.plot.series import posteriors, states

__all__ = ["dwell", "posteriors", "pseudo_residuals", "ranking", "states", "transitions"]
