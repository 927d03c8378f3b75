"""Which candidate comes first."""

from __future__ import annotations

import math
from typing import Any, Literal

import polars as pl

from hsmm.selection.criteria import CRITERIA
from hsmm.selection.held_out import HeldOut

Rule = Literal["best", "one_standard_error", "paired_standard_error"]
RULES: tuple[Rule, ...] = ("best", "one_standard_error", "paired_standard_error")


def ranked(table: pl.DataFrame, criterion: str) -> pl.DataFrame:
    """Best score first; those without a score last."""
    highest_first = CRITERIA[criterion].best_is == "highest"
    return table.sort(pl.col(criterion).fill_nan(None), descending=highest_first, nulls_last=True, maintain_order=True)


def with_errors(table: pl.DataFrame, held_out: list[HeldOut | None]) -> pl.DataFrame:
    """A ranked table with ``held_out_se``, and ``behind_se`` of each candidate's distance from the first."""
    first = held_out[table["candidate"][0]]
    own, beside = [], []
    for candidate in table["candidate"]:
        scores = held_out[candidate]
        own.append(math.nan if scores is None else scores.standard_error)
        beside.append(math.nan if scores is None or first is None else scores.standard_error_beside(first))
    return table.with_columns(
        pl.Series("held_out_se", own, dtype=pl.Float64), pl.Series("behind_se", beside, dtype=pl.Float64)
    )


def chosen_first(table: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    """The table with the rule's choice at its head: the simplest candidate that is no worse than chance allows.

    Simplest: the fewest free parameters, then the fewest states, then the best score.
    """
    if rule == "best":
        return table
    rows = table.with_row_index("_place")
    best = rows.row(0, named=True)
    allowance = "behind_se" if rule == "paired_standard_error" else "held_out_se"
    near = [row for row in rows.iter_rows(named=True) if _is_near(row, best, allowance)]
    choice = min(near, key=lambda row: (row["n_parameters"], row["n_states"], row["_place"]), default=best)
    return rows.sort(pl.col("_place") != choice["_place"], maintain_order=True).drop("_place")


def _is_near(row: dict[str, Any], best: dict[str, Any], allowance: str) -> bool:
    score = row["held_out"]
    if score is None or math.isnan(score):
        return False
    spread = best["held_out_se"] if allowance == "held_out_se" else row["behind_se"]
    return score >= best["held_out"] - (0.0 if math.isnan(spread) else spread)
