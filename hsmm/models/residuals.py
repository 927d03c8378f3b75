"""How far rows lie from what was expected of them."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtri_exp
from torch import Tensor

from hsmm.components.emission.tails import Tails

_LOG_HALF = float(np.log(0.5))


def normal_residuals(tails: Tails, share: Tensor | float) -> np.ndarray:
    """Φ⁻¹ of P(Y < y) + share · P(Y = y), from the nearer end."""
    share = torch.as_tensor(share, dtype=torch.float64)
    low = torch.logaddexp(tails.below, tails.at + share.log()).numpy()
    high = torch.logaddexp(tails.above, tails.at + torch.log1p(-share)).numpy()
    return np.where(low < _LOG_HALF, ndtri_exp(np.minimum(low, 0.0)), -ndtri_exp(np.minimum(high, 0.0)))
