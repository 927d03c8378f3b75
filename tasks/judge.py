"""Align and gate: which states are which, which models are sound and better, and which are in force from now on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.align import Identity, align
from tasks.bundle import Bundle, Member
from tasks.champion import Champion
from tasks.decode import decodable
from tasks.errors import GateError
from tasks.fit import Fitted, unit_rows
from tasks.gate import Decision, Verdict, decide, overall
from tasks.progress import say
from tasks.scaling import Scaling
from tasks.settings import Settings
from tasks.validate import Validated


@dataclass(frozen=True)
class Judged:
    """The outcome of align and gate.

    Attributes
    ----------
    verdict
        PROMOTE if a unit has a better model.
    decisions, identities
        By unit: what the gate said, and who its states are.
    registered
        What this run's version holds: where it is promoted, the models in force; else the candidates, for the record.
    in_force
        What this run decodes with; None where no unit has a model.
    held
        By unit: why an older model is still in force.
    champion
        The version that the candidates were measured against.
    """

    verdict: Verdict
    decisions: dict[str, Decision]
    identities: dict[str, Identity]
    registered: Bundle
    in_force: Bundle | None
    held: dict[str, str]
    champion: int | None

    def summary(self) -> dict[str, Any]:
        """Verdict, reasons and evidence, for the record; of many units, those that were not promoted."""
        told = {unit: d for unit, d in self.decisions.items() if d.verdict != "PROMOTE" or len(self.decisions) == 1}
        reasons = {unit: d.reasons for unit, d in told.items()}
        evidence = {unit: d.evidence for unit, d in told.items()}
        one = len(self.decisions) == 1
        identity = {
            unit: {"ids": list(i.ids), "margin": i.margin, "births": list(i.births), "deaths": list(i.deaths)}
            for unit, i in self.identities.items()
            if one or i.births or i.deaths
        }
        return {
            "gate": {
                "verdict": self.verdict,
                "reasons": next(iter(reasons.values()), []) if one else reasons,
                "evidence": next(iter(evidence.values()), {}) if one else evidence,
            },
            "identity": next(iter(identity.values()), {}) if one else identity,
            "states": {"alive": self._alive(), "died": sorted(self._lost() - set(self._alive()))},
        }

    def _alive(self) -> list[int]:
        members = {} if self.in_force is None else self.in_force.members
        return sorted({identity for member in members.values() for identity in member.ids})

    def _lost(self) -> set[int]:
        promoted = [unit for unit, decision in self.decisions.items() if decision.verdict == "PROMOTE"]
        return {identity for unit in promoted for identity in self.identities[unit].deaths}


def judge(fitted: Fitted, champion: Champion | None, validated: Validated, settings: Settings) -> Judged:
    """Decide for every unit between its best candidate and the model in force."""
    say("gate")
    decisions, identities, proposed = {}, {}, {}
    rows = unit_rows(validated.rows, settings.fit.pool)
    for unit, fits in fitted.units.items():
        rival = _rival(champion, unit)
        seen = rows[unit].filter(pl.col("time") >= fitted.train_start)
        model, identity = align(fits.best.model, fitted.scaling, rival, seen)
        candidate = replace(fits.best, model=model)
        decisions[unit] = decide(candidate, rival, identity, fitted.scaling, rows[unit], settings.promote)
        identities[unit] = identity
        proposed[unit] = Member(model, identity.ids, identity.next_id, None, fitted.train_start, fitted.train_end)
    decisions |= {unit: Decision("REJECT", ["fit_failed"], {}) for unit in fitted.failed}
    verdict = overall(decisions)
    promoted = {unit: member for unit, member in proposed.items() if decisions[unit].verdict == "PROMOTE"}
    in_force = _in_force(promoted, fitted.scaling, champion, unit_series(rows))
    held = {unit: d.reasons[0] for unit, d in decisions.items() if d.verdict != "PROMOTE"}
    registered = in_force if promoted and in_force is not None else Bundle(proposed, fitted.scaling)
    return Judged(
        verdict, decisions, identities, registered, in_force, held, None if champion is None else champion.version
    )


judge_task = task(name="gate", cache_policy=NO_CACHE)(judge)


def require_model(judged: Judged) -> Bundle:
    """The models to decode with. Raises ``GateError`` where the gate let none through and none was there before."""
    if judged.in_force is None:
        reasons = sorted({code for decision in judged.decisions.values() for code in decision.reasons})
        raise GateError(
            f"no candidate passes the gate ({', '.join(reasons)}) and there is no champion; nothing is published. "
            "See the run's gate.json; more data, other candidates or more iterations may help."
        )
    return judged.in_force


def with_unserved(validated: Validated, in_force: Bundle, decisions: Mapping[str, Decision]) -> Validated:
    """The series that no model in force can decode are set aside too."""
    served = decodable(in_force, validated.rows)["series_id"].unique().implode()
    left = validated.rows.filter(~pl.col("series_id").is_in(served))["series_id"].unique(maintain_order=True).to_list()
    if not left:
        return validated
    why = [(series, *_unserved(decisions.get(series))) for series in left]
    aside = pl.DataFrame(why, schema=validated.quarantine.schema, orient="row")
    kept = validated.rows.filter(pl.col("series_id").is_in(served))
    return replace(validated, rows=kept, quarantine=pl.concat([validated.quarantine, aside]).sort("series_id"))


def _unserved(decision: Decision | None) -> tuple[str, str]:
    if decision is None:
        return "no_scale", "the model in force has no scale for it; expected one when a new model is promoted"
    return "no_model", f"its candidates did not pass the gate ({', '.join(decision.reasons)}) and it has no champion"


def all_codes(reasons: Any) -> list[str]:
    """The distinct reasons of a version: those of its only unit, or of each."""
    if isinstance(reasons, Mapping):
        return sorted({code for codes in reasons.values() for code in codes})
    return [str(code) for code in reasons]


def unit_series(rows: Mapping[str, pl.DataFrame]) -> dict[str, list[str]]:
    """The series of each unit."""
    return {unit: part["series_id"].unique(maintain_order=True).to_list() for unit, part in rows.items()}


def _rival(champion: Champion | None, unit: str) -> tuple[Member, Scaling] | None:
    if champion is None or unit not in champion.bundle.members:
        return None
    return champion.bundle.members[unit], champion.bundle.scaling


def _in_force(
    promoted: Mapping[str, Member], scaling: Scaling, champion: Champion | None, series: Mapping[str, list[str]]
) -> Bundle | None:
    """The promoted models, and the champion's for all other units; each series on the scale of its model."""
    if champion is None:
        return Bundle(dict(promoted), scaling) if promoted else None
    older = champion.in_force().members
    renewed = pl.Series([name for unit in promoted for name in series[unit]], dtype=pl.String).implode()
    fresh = scaling.statistics.filter(pl.col("series_id").is_in(renewed))
    kept = champion.bundle.scaling.statistics.filter(~pl.col("series_id").is_in(renewed))
    statistics = pl.concat([fresh, kept], how="vertical_relaxed") if promoted else champion.bundle.scaling.statistics
    return Bundle({**older, **promoted}, Scaling(champion.bundle.scaling.columns, statistics))
