"""What all drawings share: colours, fonts, the legend of states."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hsmm.plot.style import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "legend.frameon": False,
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def headline(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=13)


def state_legend(figure: Figure, names: Mapping[int, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour(k), label=textwrap.shorten(name, 24)) for k, name in names.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(names), 4))
