"""The scaling curves as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsmm.plot.style import MUTED, PALETTE
from tasks.report.figures.style import STYLE, headline, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {"T": "steps T", "K": "states K (HMM)", "D": "longest duration D", "restarts": "restarts fitted together"}
_TOLD_SHARE = 0.02
LINE_OF_TYPE = {"float64": "-", "float32": "--"}


def draw(
    curves: list[dict[str, Any]], per_cell: list[dict[str, Any]], threads: list[dict[str, Any]], path: Path
) -> Path:
    """Six panels: the E-step against T, K, D, restarts and threads, and nanoseconds a cell against the bound."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = new_figure(11, 6.5)
        headline(figure, "Time of one E-step (forward, backward and all counts), on one thread unless said")
        panels = figure.subplots(2, 3)
        for panel, axis in zip(panels.flat, LABELS, strict=False):
            _curves(panel, [curve for curve in curves if curve["axis"] == axis], axis)
        _threads(panels[1, 1], threads)
        _cells(panels[1, 2], per_cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    return path


def draw_nights(nights: list[dict[str, Any]], beside: dict[str, Any] | None, path: Path) -> Path:
    """CPU seconds of whole nights by phase, and their peak of memory, against the number of series."""
    import matplotlib as mpl

    sizes = [night["n_series"] for night in nights]
    last = nights[-1]["phases"]
    phases = [name for name in last if last[name] >= _TOLD_SHARE * nights[-1]["cpu"]]
    with mpl.rc_context(STYLE):
        figure = new_figure(9, 3.8)
        headline(figure, f"Whole nights with a model for each series of {nights[-1]['n_rows']} rows")
        seconds, memory = figure.subplots(1, 2)
        for colour, name in zip(PALETTE, phases, strict=False):
            seconds.plot(sizes, [n["phases"].get(name, 0.0) for n in nights], "o-", ms=3, color=colour, label=name)
        seconds.plot(sizes, [night["cpu"] for night in nights], "o-", ms=3, color="black", label="all")
        if beside is not None:
            loop = [beside["each"] * size for size in sizes]
            seconds.plot(sizes, loop, "--", color=MUTED, label="a loop over hmmlearn's HMMs")
        seconds.set(xlabel="series", ylabel="CPU seconds", xlim=(0, None), ylim=(0, None))
        seconds.legend(fontsize=7)
        memory.plot(sizes, [night["peak_gb"] for night in nights], "o-", ms=3, color=PALETTE[0])
        memory.set(xlabel="series", ylabel="peak of memory, GB", xlim=(0, None), ylim=(0, None))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    return path


def _curves(panel: Axes, curves: list[dict[str, Any]], axis: str) -> None:
    by_restart = axis == "restarts"
    titles = list(dict.fromkeys(curve["title"] for curve in curves))
    for curve in curves:
        values = [point["value"] for point in curve["points"]]
        seconds = [point["seconds"] * 1e3 / (point["value"] if by_restart else 1) for point in curve["points"]]
        label = curve["title"] if curve["type"] == "float64" else None
        colour = PALETTE[titles.index(curve["title"])]
        panel.plot(values, seconds, LINE_OF_TYPE[curve["type"]], marker="o", ms=3, color=colour, label=label)
    panel.set(xscale="log", yscale="log", xlabel=LABELS[axis], ylabel="ms a restart" if by_restart else "ms")
    if axis == "K":
        panel.set_xticks(values, [str(value) for value in values])
        panel.minorticks_off()
    panel.set_title(f"against {LABELS[axis]}")
    panel.plot([], [], "--", color=MUTED, label="dashed: float32")
    panel.legend(fontsize=7)


def _threads(panel: Axes, threads: list[dict[str, Any]]) -> None:
    names = [str(row["threads"]) for row in threads]
    panel.bar(names, [threads[0]["seconds"] / row["seconds"] for row in threads], color=PALETTE[0], width=0.5)
    panel.plot(
        names, [row["threads"] for row in threads], "o", mfc="none", color=MUTED, label="as many times as threads"
    )
    panel.set(xlabel="threads", ylabel="times as fast", title="against threads (64 series, K=5 D=100)")
    panel.legend(fontsize=7, loc="upper left")


def _cells(panel: Axes, rows: list[dict[str, Any]]) -> None:
    """Shapes from top to bottom; filled marks are float64, hollow ones float32."""
    rows = [row for row in rows if row["max_duration"]]
    shapes = list(dict.fromkeys(_shape(row) for row in rows))
    for name, face in (("float64", None), ("float32", "none")):
        chosen = [row for row in rows if row["type"] == name]
        places = [shapes.index(_shape(row)) for row in chosen]
        measured = [row["nanoseconds"]["both passes"] for row in chosen]
        panel.plot(measured, places, "o", color=PALETTE[0], mfc=face, label=name)
        if all(row["bound"] for row in chosen):
            bounds = [row["bound"] for row in chosen]
            panel.plot(bounds, places, "d", color=PALETTE[5], mfc=face, label=f"{name} bound")
    panel.set_yticks(range(len(shapes)), shapes, fontsize=8)
    panel.set_ylim(len(shapes) - 0.5, -1.6)
    panel.set(xscale="log", xlabel="ns a cell, both passes", title="against the bound of stores")
    panel.grid(axis="y", lw=0.4)
    panel.legend(fontsize=7, loc="upper center", ncols=2)


def _shape(row: dict[str, Any]) -> str:
    return f"K={row['n_states']}\nD={row['max_duration']}\n{row['n_series']} series"
