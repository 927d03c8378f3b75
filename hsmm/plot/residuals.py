"""Whether rows lie where the model expected them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from hsmm.models.base import Estimator
from hsmm.plot.series import column_of
from hsmm.plot.style import MUTED, PALETTE, axes_or_new, bare_edges

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pseudo_residuals(
    model: Estimator,
    X: Any,
    lengths: Any = None,
    *,
    context: Any = None,
    groups: Any = None,
    feature: int | str = 0,
    random_state: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Quantiles of a feature's pseudo-residuals against those of the standard normal law.

    Under a model that fits, the points follow the line; the grey band holds each of them with probability 0.95.
    """
    column = column_of(model, feature)
    ax = axes_or_new(ax, 4.2, 4.2)
    found = model.pseudo_residuals(X, lengths, context=context, groups=groups, ties="random", random_state=random_state)
    residuals = np.sort(np.asarray(found)[:, column])
    residuals = residuals[np.isfinite(residuals)]
    rank = np.arange(1, len(residuals) + 1)
    expected = special.ndtri((rank - 0.5) / len(residuals))
    band = [special.ndtri(special.betaincinv(rank, len(residuals) - rank + 1, share)) for share in (0.025, 0.975)]
    ax.fill_between(expected, *band, color=MUTED, alpha=0.25, linewidth=0)
    ax.plot(expected, expected, color=MUTED, linewidth=1.0)
    ax.plot(expected, residuals, ".", color=PALETTE[0], markersize=3.5)
    ax.set_xlabel("standard normal quantile")
    ax.set_ylabel(f"pseudo-residual of {model.feature_labels[column]}")
    bare_edges(ax)
    return ax
