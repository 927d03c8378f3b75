"""What the library takes and fills, field by field as its headers declare them."""

from __future__ import annotations

from hsmm.native.library import INT, POINTER, structure

Problem = structure(
    "Problem",
    **dict.fromkeys(("n_restarts", "n_series", "n_rows", "n_states", "n_durations"), INT),
    **dict.fromkeys(("initial", "transition", "duration", "residual", "tail_stay", "tail_leave"), POINTER),
    **dict.fromkeys(("emission", "offsets", "left_censored", "right_censored", "fragile", "lanes"), POINTER),
    **dict.fromkeys(("n_groups", "n_threads"), INT),
)
CountsOut = structure(
    "CountsOut",
    **dict.fromkeys(("series_weight", "log_likelihood", "doubtful", "state"), POINTER),
    **dict.fromkeys(("initial", "transition", "duration", "residual", "tail_stay", "tail_leave"), POINTER),
)
LikelihoodOut = structure("LikelihoodOut", **dict.fromkeys(("log_likelihood", "deficit", "lost"), POINTER))
CausalOut = structure(
    "CausalOut",
    **dict.fromkeys(("survival", "residual_survival", "state", "log_density"), POINTER),
    **dict.fromkeys(("remaining", "elapsed", "doubtful"), POINTER),
)
PathsOut = structure(
    "PathsOut",
    **dict.fromkeys(("survival", "residual_survival", "log_probability", "states"), POINTER),
)
