"""What the library takes and fills, field by field as its headers declare them."""

from __future__ import annotations

from hsmm.native.library import INT, POINTER, structure

Problem = structure(
    "Problem",
    **dict.fromkeys(("n_restarts", "n_series", "n_rows", "n_states", "n_durations"), INT),
    **dict.fromkeys(("initial", "transition", "duration", "residual", "tail_stay", "tail_leave"), POINTER),
    **dict.fromkeys(("initial_bound", "transition_bound", "duration_bound"), POINTER),
    **dict.fromkeys(("residual_bound", "tail_stay_bound", "tail_leave_bound"), POINTER),
    **dict.fromkeys(("emission", "offsets", "left_censored", "right_censored", "fragile", "lanes"), POINTER),
    **dict.fromkeys(("n_groups", "n_threads", "transition_varies", "duration_varies", "residual_varies"), INT),
)
CountsOut = structure(
    "CountsOut",
    **dict.fromkeys(("series_weight", "log_likelihood", "doubtful", "state"), POINTER),
    **dict.fromkeys(("initial", "transition", "duration", "residual", "tail_stay", "tail_leave"), POINTER),
)
LikelihoodOut = structure("LikelihoodOut", **dict.fromkeys(("log_likelihood", "deficit", "lost"), POINTER))
FilterStateOut = structure("FilterStateOut", **dict.fromkeys(("starting", "steps_left", "by_age", "n_rows"), POINTER))
CausalOut = structure(
    "CausalOut",
    **dict.fromkeys(("survival", "residual_survival", "state", "log_density", "remaining", "elapsed"), POINTER),
    **dict.fromkeys(("before", "after"), POINTER),
)
SmoothedOut = structure("SmoothedOut", lag=INT, state=POINTER)
SamplesOut = structure("SamplesOut", n_paths=INT, seeds=POINTER, states=POINTER)
PathsOut = structure("PathsOut", **dict.fromkeys(("log_probability", "states"), POINTER))
