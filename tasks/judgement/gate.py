"""The gate before promotion: conditions written down before the fit, and closed where one cannot be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tasks.judgement.rules import RULES, Case, Stop

Verdict = Literal["PROMOTE", "HOLD", "REJECT"]


@dataclass(frozen=True)
class Decision:
    """What the gate says of one unit's best candidate.

    REJECT: the model is unsound. HOLD: it may be sound, but does not earn the champion's place. ``reasons`` are the
    codes of the rules that stopped it, ``evidence`` the numbers they rest on, ``passed`` says of every rule that was
    asked whether it let the model pass.
    """

    verdict: Verdict
    reasons: list[str]
    evidence: dict[str, float | bool | None] = field(default_factory=dict)
    passed: dict[str, bool] = field(default_factory=dict)


def examined(case: Case) -> Decision:
    """Whether a model is sound by itself: REJECT, or PROMOTE as far as that goes."""
    sound = _asked(case, "REJECT")
    finite = "not_finite" not in sound.reasons
    return replace(sound, evidence={**sound.evidence, "held_out": case.held_out if finite else None})


def compared(case: Case, sound: Decision) -> Decision:
    """Whether a sound model earns the champion's place, added to what was found of it by itself."""
    if case.champion is None:
        return sound
    beside = _asked(case, "HOLD")
    return Decision(beside.verdict, beside.reasons, sound.evidence | beside.evidence, sound.passed | beside.passed)


def overall(decisions: Mapping[str, Decision]) -> Verdict:
    """PROMOTE if any unit has a better model; HOLD if none has, but some could."""
    verdicts = {decision.verdict for decision in decisions.values()}
    return "PROMOTE" if "PROMOTE" in verdicts else "HOLD" if "HOLD" in verdicts else "REJECT"


def _asked(case: Case, stops: Stop) -> Decision:
    evidence: dict[str, float | bool | None] = {}
    passed: dict[str, bool] = {}
    for code, rule in RULES.items():
        if rule.stops != stops:
            continue
        finding = rule.judge(case)
        evidence |= finding.evidence
        passed[code] = finding.passes
        if rule.is_last and not finding.passes:
            break
    reasons = [code for code, passes in passed.items() if not passes]
    return Decision(stops if reasons else "PROMOTE", reasons, evidence, passed)
