"""What the rule for states does, in words."""

from __future__ import annotations

from tasks.config.outcome import Performance, RuleStatement


def rule_sentences(said: RuleStatement) -> list[str]:
    """In rows simulated from the model, on the data's own, and where there are some on rows of known states."""
    told = []
    if "simulated" in said:
        told.append(f"simulated, as if the model were true: {_performance(said['simulated'])}")
    if "hindsight" in said:
        seen = (
            f"{said['hindsight']['n_rows']} rows of the data, {_share(said['hindsight_in_sample'])} of them in sample"
        )
        told.append(f"on {seen}, against the path in hindsight: {_performance(said['hindsight'])}")
    if "measured" in said:
        seen = f"{said['measured']['n_rows']} rows of known states, {_share(said['in_sample'])} of them in sample"
        told.append(f"on {seen}: {_performance(said['measured'])}")
    return told


def _share(part: float) -> str:
    return f"{100 * part:.0f} %"


def _performance(said: Performance) -> str:
    false = f"{said['false_per_1000'] or 0:.2g} false alarms in 1,000 rows"
    if said["delay_mean"] is None:
        return f"none of {said['n_stays']} stays noted; {false}"
    delay = f"stays noted after {said['delay_mean']:.1f} rows, 90 % within {said['delay_p90']:.0f}"
    return f"{delay}, {_share(said['missed'] or 0.0)} missed; {false}"
