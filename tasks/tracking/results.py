"""The one table of what a night fitted: a row for every candidate of every model, and how they spread."""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias

import polars as pl

from hsmm import Estimator
from tasks.config.columns import RESULT_COLUMNS
from tasks.config.settings import Settings
from tasks.fitting.bundle import ALL
from tasks.fitting.candidates import NAMED
from tasks.fitting.fit import Fitted
from tasks.judgement.judge import Judged
from tasks.source.validate import Validated
from tasks.tables.storage import DTYPES

Results: TypeAlias = pl.DataFrame
FAILED = "fit_failed"
MOST_NUMBERS = 1000
"""Parameters of a model up to which its row holds them; those of any model are in the registered version."""
_QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
_OWN = ("verdict", "gate_reasons", "state_ids", "parameters")


def results(fitted: Fitted, judged: Judged, validated: Validated, settings: Settings, key: str) -> Results:
    """Each unit's candidates, the chosen first: scores and warnings; and of the chosen, what the gate said, the
    persistent ids of its states (none where it was held) and its parameters (JSON, of scaled features).

    A unit that nothing could be fitted to has a row that says why. Columns are :data:`RESULT_COLUMNS`, and criteria
    of one's own.
    """
    rows = [
        {**_unit(name), "candidate": rank, "chosen": rank == 0, **candidate.row}
        | (_chosen(name, candidate.model, judged) if rank == 0 else {})
        for name, unit in fitted.units.items()
        for rank, candidate in enumerate(unit.candidates)
    ]
    rows += [
        {**_unit(name), "chosen": False, "reasons": FAILED, "warnings": why, **_gate(name, judged)}
        for name, why in fitted.failed.items()
    ]
    table = pl.DataFrame(rows, infer_schema_length=None).with_columns(
        criterion=pl.lit(fitted.criterion),
        score=pl.col(fitted.criterion),
        as_of=pl.lit(validated.as_of),
        model_name=pl.lit(settings.name),
        run_key=pl.lit(key),
    )
    absent = [pl.lit(None).alias(name) for name in RESULT_COLUMNS if name not in table.columns]
    typed = [pl.col(name).cast(DTYPES[kind]) for name, kind in RESULT_COLUMNS.items()]
    return table.with_columns(*absent).select(*typed, pl.exclude(*RESULT_COLUMNS))


def ranking_of(table: pl.DataFrame) -> pl.DataFrame:
    """What a run's results say of its candidates, as :meth:`Fitted.ranking` does."""
    fitted = table.filter(pl.col("candidate").is_not_null()).drop(_OWN)
    if (criterion := str(fitted["criterion"].first())) not in fitted.columns:
        fitted = fitted.with_columns(pl.col("score").alias(criterion))
    return fitted.drop(name for name in ("series_id", *NAMED) if fitted[name].null_count() == len(fitted))


def spread(table: pl.DataFrame) -> dict[str, float]:
    """How the chosen candidates of many units spread, as numbers by name: counts, shares and quantiles."""
    chosen, failed = table.filter("chosen"), table.filter(reasons=FAILED)
    found = {"models": float(len(chosen)), "models.failed": float(len(failed))}
    found["models.converged"] = float(chosen["converged"].sum())
    for column in (*NAMED, "verdict"):
        found |= _counts(column, (table if column == "verdict" else chosen)[column].cast(pl.String))
    for column in ("reasons", "gate_reasons"):
        found |= _counts(column, table[column].str.split(" ").explode())
    for column in dict.fromkeys((str(chosen["criterion"].first()), "score", "log_likelihood", "n_iter")):
        values = chosen[column].cast(pl.Float64).fill_nan(None)
        quantiles = {name: values.quantile(level, "linear") for name, level in _QUANTILES.items()}
        found |= {f"{column}.{name}": value for name, value in quantiles.items() if value is not None}
    return found


def _unit(name: str) -> dict[str, Any]:
    return {"series_id": None if name == ALL else name}


def _chosen(unit: str, fitted: Estimator | None, judged: Judged) -> dict[str, Any]:
    """What was settled of the chosen candidate, in the order of its persistent ids where it has some."""
    member = judged.registered.members.get(unit)
    is_own = member is not None and member.version is None
    model = member.model if member is not None and is_own else fitted
    return {
        **_gate(unit, judged),
        "state_ids": list(member.ids) if member is not None and is_own else None,
        "parameters": None if model is None else _parameters(model),
    }


def _gate(unit: str, judged: Judged) -> dict[str, Any]:
    decision = judged.decisions[unit]
    return {"verdict": decision.verdict, "gate_reasons": " ".join(decision.reasons)}


def _parameters(model: Estimator) -> str | None:
    """Every learnt number by table and name, as JSON; None where they are many."""
    parts = model._fitted_model().components()
    found = {f"{kind}.{name}": value[0] for kind, part in parts.items() for name, value in part.parameters.items()}
    if sum(value.numel() for value in found.values()) > MOST_NUMBERS:
        return None
    return json.dumps({name: value.tolist() for name, value in sorted(found.items())})


def _counts(column: str, values: pl.Series) -> dict[str, float]:
    """How often each value occurs, under a name that the tracking server takes."""
    told = values.drop_nulls().filter(values.drop_nulls() != "").value_counts()
    return {f"{column}.{re.sub(r'[^A-Za-z0-9_. -]+', '-', value)[:80]}": float(n) for value, n in told.iter_rows()}
