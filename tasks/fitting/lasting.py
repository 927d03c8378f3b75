"""Which model says how long states will last: a fitted law knows no doubt, and after few stays is too sure."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsmm import HMM, HSMM, Estimator
from hsmm.models.predictive import ENOUGH


def seen_stays(model: Estimator) -> np.ndarray | None:
    """(K,) how often each state was seen to end; None where that is not known, or states never end."""
    found: Any = getattr(model, "exits_", None)
    return None if found is None or len(found) < 2 else found


def lasting(model: Estimator) -> Estimator:
    """The model itself, or where few stays of a state were seen to end the one that allows for that."""
    stays = seen_stays(model)
    if stays is None or stays.min() >= ENOUGH or not isinstance(model, HMM | HSMM) or not model.can_predict_durations:
        return model
    return model.with_predictive_durations()
