"""The page's contents, section by section, as the template prints them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from hsmm.selection import CRITERIA
from hsmm.spelling import counted
from tasks.config.rule_words import rule_sentences
from tasks.judgement.judge import all_codes
from tasks.judgement.rules import RULES
from tasks.report.page.coverage import least_first
from tasks.report.page.data import PageData, length_in_words
from tasks.report.page.evidence import recorded
from tasks.report.page.quality import balance, by_reason, set_aside
from tasks.report.page.signs import KINDS, SILENT, marked
from tasks.report.page.text import NOTHING, count, number, plain, share, short, steps

MOST_ROWS = 60
MOST_CANDIDATES = 50
_UNRECORDED = "not recorded"
_MISSING = {
    "n_gaps": "steps that the source lacks",
    "n_stale": "after a feed had ended",
    "n_without_evidence": "values too wild to be evidence",
}
_OTHER_LAWS = {"transition": "transition", "initial": "first state"}


def head(data: PageData) -> dict[str, Any]:
    """Which model, when, and what became of its series."""
    summary, parts = data.summary, balance(data)
    gate = summary.get("gate")
    n_series = summary.get("n_series")
    return {
        "as_of": data.when(data.overview.newest["as_of"]),
        "verdict": plain(summary["verdict"]) if summary.get("verdict") else _UNRECORDED,
        "gate": plain(gate["verdict"]) if isinstance(gate, dict) and gate.get("verdict") else None,
        "facts": _facts(data),
        "balance": {**{name: count(value) for name, value in parts.items()}, "in": count(sum(parts.values()))},
        "imbalance": None if n_series in (None, sum(parts.values())) else plain(n_series),
        "notes": data.notes,
    }


def _facts(data: PageData) -> list[tuple[str, str]]:
    seen, best = data.overview, data.summary.get("best") or {}
    newest = seen.newest
    law = _law(best) if best else _UNRECORDED
    score = f"{data.criterion} {number(best['score'], 7)}" if best.get("score") is not None else _UNRECORDED
    if data.model is not None and data.model.unit:
        law, score = "one for each series", data.criterion
    span = f"{data.when(seen.first)} to {data.when(seen.last)}"
    return [
        ("Model", f"{data.name}, version {newest['model_version']}"),
        ("Law", law),
        ("Chosen by", score),
        ("Trained on", f"{data.when(newest['train_start'])} to {data.when(newest['train_end'])}"),
        ("Rows known", f"{count(seen.n_rows)}, {span}"),
        ("Out of sample", f"{count(seen.n_unseen)} rows, {share(seen.n_unseen / seen.n_rows)}"),
        ("Rows published last", plain(data.summary.get("n_published", seen.n_newest))),
        ("Made by versions", _span(seen.versions)),
        ("Steps", _steps(data)),
        ("Run key", str(newest["run_key"])[:16]),
        ("MLflow run", plain(data.summary.get("mlflow_run_id"))),
    ]


def _steps(data: PageData) -> str:
    if data.counted:
        return "counted, by number"
    return f"one every {length_in_words(data.step)}" if data.step else "the rows themselves"


def standing(data: PageData) -> dict[str, Any]:
    """The newest row of every series, and what is unusual in it."""
    found, names = marked(data.overview.standing), data.state_names
    rows = [
        {
            "series": short(row["series_id"]),
            "time": data.when(row["time"]),
            "state": row["state"],
            "name": _name(names, row["state"]),
            "previous": _name(names, row["previous"]) if row["changed"] else "",
            "certainty": share(row["certainty"]),
            "elapsed": steps(row["elapsed_mean"]),
            "remaining": plain(row["remaining_p50"] and int(row["remaining_p50"])),
            "p_change_5": share(row["p_change_5"]),
            "log_density": number(row["log_density"]),
            "floor": number(row["floor"]),
            "kinds": [words for kind, words in KINDS.items() if row[kind]]
            + [words for status, words in SILENT.items() if row["status"] == status],
        }
        for row in found.head(MOST_ROWS).iter_rows(named=True)
    ]
    return {
        "rows": rows,
        "n_series": count(found.height),
        "rule": rule_sentences(data.summary.get("rule", {})),
        "n_marked": count(found.filter(pl.col("n_signs") > 0).height),
        "kinds": [(words, count(n)) for kind, words in KINDS.items() if (n := int(found[kind].sum()))],
        "marked": found.filter(pl.col("n_signs") > 0)["series_id"].to_list(),
    }


def alerts(data: PageData) -> dict[str, Any] | None:
    """What ``hsmm alerts`` lists; ``None`` where alerts are not judged yet by these rows."""
    if data.alerts is None:
        return None
    newest_first = data.alerts.sort("as_of", "time", "alert_id", descending=True)
    rows = [
        {
            "series": short(row["series_id"]) or "all",
            "kind": row["kind"],
            "detail": row["detail"],
            "value": _alerts_value(row["kind"], row["value"]),
            "time": data.when(row["time"]),
            "until": "open" if row["released"] is None else data.when(row["released"]),
        }
        for row in newest_first.head(MOST_ROWS).iter_rows(named=True)
    ]
    n_open = data.alerts.filter(pl.col("released").is_null()).height
    return {"rows": rows, "n": data.alerts.height, "n_open": count(n_open)}


def _alerts_value(kind: str, value: float | None) -> str:
    """The probability of a state, or what else was found."""
    return "" if value is None else share(value) if kind in ("state", "change") else number(value)


def ranking(data: PageData) -> dict[str, Any] | None:
    """The candidates of the model that is shown, best first, with their distance from the best."""
    table = _own_candidates(data)
    if table is None or table.is_empty():
        return None
    criterion = data.criterion if data.criterion in table.columns else "bic"
    others = [name for name in CRITERIA if name != criterion and _has_values(table, name)]
    best = table[criterion][0]
    rows = [
        {
            "place": place,
            "n_states": row["n_states"],
            "emission": ", ".join([row["emission"], *_other_laws(row)]),
            "duration": "HMM" if row["duration"] == "none" else row["duration"],
            "score": _score(row[criterion]),
            "behind": "best" if place == 1 else number(_distance(row[criterion], best), 4),
            "others": [_score(row[name]) for name in others],
            "log_likelihood": _score(row["log_likelihood"]),
            "n_parameters": plain(row["n_parameters"]),
            "n_iter": plain(row["n_iter"]),
            "converged": plain(row["converged"]),
            "warnings": row["warnings"] or "",
        }
        for place, row in enumerate(table.head(MOST_CANDIDATES).iter_rows(named=True), start=1)
    ]
    n_warned = table.filter(pl.col("warnings").fill_null("") != "").height
    return {"criterion": criterion, "others": others, "rows": rows, "n": table.height, "n_warned": n_warned}


def _own_candidates(data: PageData) -> pl.DataFrame | None:
    if data.ranking is None or "series_id" not in data.ranking.columns:
        return data.ranking
    series = data.ranking["series_id"].first() if data.model is None else data.model.unit
    return data.ranking.filter(pl.col("series_id").cast(pl.String) == str(series))


def quality(data: PageData) -> dict[str, Any]:
    """What was set aside and what is missing."""
    aside, found = set_aside(data).sort("reason", "series_id"), least_first(data.overview.coverage)
    rows = [
        {
            "series": short(row["series_id"]),
            "first": data.when(row["first"]),
            "last": data.when(row["last"]),
            "n_rows": count(row["n_rows"]),
            "n_missing": count(row["n_missing"]),
            "share": share(row["n_missing"] / row["n_rows"]),
            "n_gaps": count(row["n_gaps"]),
            "n_stale": count(row["n_stale"]),
            "n_wild": count(row["n_wild"]),
            "n_held": count(row["n_held"]),
            "longest": count(row["longest"]),
        }
        for row in found.head(MOST_ROWS).iter_rows(named=True)
    ]
    details = aside.with_columns(pl.col("series_id").map_elements(short, pl.String)).head(MOST_ROWS).rows()
    return {
        "rows": rows,
        "n_series": found.height,
        "n_rows": count(data.overview.n_rows),
        "n_missing": count(int(found["n_missing"].sum())),
        "missing": _missing(found),
        "n_aside": aside.height,
        "reasons": [(reason, count(n)) for reason, n in by_reason(aside).iter_rows()],
        "details": details,
        "wild": [
            (short(one["series_id"]), short(one["feature"]), data.when(_moment(one["time"])), number(one["value"], 4))
            for one in data.summary.get("wild", [])
        ],
        "drift": [{**one, "series_id": short(one["series_id"])} for one in data.summary.get("drift", [])],
    }


def _missing(found: pl.DataFrame) -> list[str]:
    """Why rows have no value that counts, and how many."""
    n, n_missing = {name: int(found[name].sum()) for name in _MISSING}, int(found["n_missing"].sum())
    told = [*((words, n[name]) for name, words in _MISSING.items()), ("empty cells", n_missing - sum(n.values()))]
    return [f"{words}: {count(rows)}" for words, rows in told if rows]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def evidence(data: PageData) -> dict[str, Any]:
    """Identity and gate, as recorded; and the names of the states."""
    names = [
        {
            "state": row["state"],
            "name": short(row["name"] or ""),
            "born": data.when(row["born"]),
            "died": data.when(row["died"]),
        }
        for row in data.names.sort("state", "born").iter_rows(named=True)
    ]
    gate = data.summary.get("gate")
    return {
        "identity": recorded(data.summary.get("identity")),
        "gate": [_measure(key, value) for key, value in recorded(gate)] + because(gate),
        "names": names,
    }


def _measure(key: str, value: str) -> tuple[str, str]:
    """What the gate measured, or whether a rule of it let the model pass."""
    of, _, rest = key.partition(".")
    if of == "passed":
        return rest, {"yes": "passes", "no": "stops it"}.get(value, value)
    return key.removeprefix("evidence."), value


def because(gate: Any) -> list[tuple[str, str]]:
    """What the rules that stopped a model say."""
    reasons = all_codes(gate["reasons"]) if isinstance(gate, dict) and gate.get("reasons") else []
    return [(code, RULES[code].says) for code in reasons if code in RULES]


def _law(named: Mapping[str, Any]) -> str:
    duration = "no durations of their own" if named["duration"] == "none" else f"{named['duration']} duration"
    states = counted(named["n_states"], "state")
    return ", ".join([states, f"{named['emission']} emission", duration, *_other_laws(named)])


def _other_laws(named: Mapping[str, Any]) -> list[str]:
    return [f"{named[key]} {word}" for key, word in _OTHER_LAWS.items() if named.get(key)]


def _name(names: list[str], state: int | None) -> str:
    return NOTHING if state is None else short(names[state]) if 0 <= state < len(names) else f"state {state}"


def _span(versions: list[int]) -> str:
    return NOTHING if not versions else str(versions[0]) if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"


def _has_values(table: pl.DataFrame, name: str) -> bool:
    return name in table.columns and table[name].cast(pl.Float64).fill_nan(None).count() > 0


def _score(value: float | None) -> str:
    return NOTHING if value is None or np.isnan(value) else f"{value:,.1f}".replace("-", "−")  # noqa: RUF001


def _distance(score: float | None, best: float | None) -> float | None:
    return None if score is None or best is None else abs(score - best)
