"""A run in a line, for whoever lists runs."""

from __future__ import annotations

from tasks.config.outcome import GateOutcome, RunSummary

TRACKING_AWAY = "the tracking server does not answer"


def told_in_a_line(summary: RunSummary) -> str:
    """Verdict, rows and series; what the gate said; what was set aside or has ended."""
    n_series, n_aside = summary["n_series"], summary["n_quarantined"]
    rows = f"{summary['n_published']} rows of {n_series - n_aside} series"
    parts = [f"{summary['verdict']}: {rows} as of {str(summary['as_of'])[:16]}"]
    if gate := summary.get("gate"):
        parts.append(f"gate {told_gate(gate)}")
    if n_aside:
        parts.append(f"{n_aside} of {n_series} series set aside")
    if summary.get("n_stale"):
        parts.append(f"{summary['n_stale']} stale")
    return "; ".join(parts)


def told_gate(gate: GateOutcome) -> str:
    """The gate's verdict and the codes of the rules that led to it."""
    reasons = gate["reasons"]
    codes = sorted({code for of_unit in reasons.values() for code in of_unit}) if isinstance(reasons, dict) else reasons
    return f"{gate['verdict']}: {', '.join(codes)}" if codes else str(gate["verdict"])
