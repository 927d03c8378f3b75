"""How an estimator looks at a prompt and in a notebook: its options, and once fitted what it has found."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import polars as pl

from hsmm.spelling import counted

_MOST_STATES, _MOST_COLUMNS = 12, 9

_STYLE = {
    "box": "font:13px/1.5 system-ui,sans-serif;max-width:60em;padding:.4em 0",
    "facts": "opacity:.75;margin:.2em 0 .6em",
    "table": "border-collapse:collapse;color:inherit;font:inherit;margin:0;white-space:nowrap",
    "head": "text-align:right;padding:.2em .9em;border-bottom:1px solid rgba(128,128,128,.6);font-weight:600",
    "cell": "text-align:right;padding:.2em .9em;border-bottom:1px solid rgba(128,128,128,.25)",
    "bar": "display:inline-block;height:.6em;margin-right:.6em;background:rgba(66,120,190,.75);vertical-align:middle",
}


@dataclass(frozen=True)
class Shown:
    """``head``: the estimator with the options that differ from their defaults; ``facts`` and one row a state in
    ``table`` once it is fitted."""

    head: str
    facts: Sequence[str] = ()
    table: pl.DataFrame | None = None

    def text(self) -> str:
        """For a terminal: the head alone until there is more to say."""
        if self.table is None:
            return self.head
        rows = [[_words(name) for name in self._columns], *self._cells()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([self.head, ", ".join(self.facts), *lines, *([self._rest] if self._rest else [])])

    def html(self) -> str:
        """For a notebook: small, without script, in the colours that are there, light or dark."""
        parts = [f'<div style="{_STYLE["box"]}"><code>{escape(self.head)}</code>']
        if self.table is not None:
            parts.append(f'<div style="{_STYLE["facts"]}">{escape(" · ".join(self.facts))}</div>')
            parts.append(f'<table style="{_STYLE["table"]}"><thead><tr>')
            parts += [f'<th style="{_STYLE["head"]}">{escape(_words(name))}</th>' for name in self._columns]
            parts.append("</tr></thead><tbody>")
            parts += [self._row(i, cells) for i, cells in enumerate(self._cells())]
            parts.append("</tbody></table>")
            if self._rest:
                parts.append(f'<div style="{_STYLE["facts"]}">{escape(self._rest)}</div>')
        return "".join([*parts, "</div>"])

    def _row(self, state: int, cells: list[str]) -> str:
        assert self.table is not None
        share = self.table["share"][state] if "share" in self._columns else None
        made = []
        for name, cell in zip(self._columns, cells, strict=True):
            bar = ""
            if name == "share" and share is not None:
                bar = f'<span style="{_STYLE["bar"]};width:{4.0 * share:.2f}em"></span>'
            made.append(f'<td style="{_STYLE["cell"]}">{bar}{escape(cell)}</td>')
        return f"<tr>{''.join(made)}</tr>"

    @property
    def _columns(self) -> list[str]:
        assert self.table is not None
        known = [name for name in self.table.columns if self.table[name].null_count() < len(self.table)]
        return known[:_MOST_COLUMNS]

    @property
    def _rest(self) -> str:
        assert self.table is not None
        states, columns = len(self.table) - _MOST_STATES, len(self.table.columns) - len(self._columns)
        hidden = [counted(n, f"more {what}") for n, what in ((states, "state"), (columns, "column")) if n > 0]
        if "share" not in self._columns and columns == 1:
            hidden = hidden[:-1]
        return f"{' and '.join(hidden)}: summary() has all." if hidden else ""

    def _cells(self) -> list[list[str]]:
        assert self.table is not None
        rows = self.table.select(self._columns).head(_MOST_STATES).rows()
        return [[_cell(name, value) for name, value in zip(self._columns, row, strict=True)] for row in rows]


class Displayed:
    """An estimator that shows its options, and once fitted what it has found."""

    log_likelihood_: float
    n_iter_: int
    converged_: bool

    @property
    @abstractmethod
    def n_parameters_(self) -> int: ...
    @abstractmethod
    def summary(self) -> pl.DataFrame: ...
    @abstractmethod
    def __sklearn_is_fitted__(self) -> bool: ...

    def __repr__(self) -> str:
        return self._shown().text()

    def _repr_html_(self) -> str:
        return self._shown().html()

    @abstractmethod
    def _head(self) -> str: ...

    def _shown(self) -> Shown:
        if not self.__sklearn_is_fitted__():
            return Shown(self._head())
        facts = ["known parameters"]
        if hasattr(self, "log_likelihood_"):
            ended = "converged" if self.converged_ else "not converged"
            facts = [f"log-likelihood {self.log_likelihood_:.2f}", f"{self.n_iter_} iterations", ended]
            facts.append(f"{self.n_parameters_} parameters")
        return Shown(self._head(), facts, self.summary())


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "state":
        return str(value)
    return f"{value:.1%}" if name == "share" else f"{value:.4g}"
