"""Align and gate: which states are which, which models are sound and better, and which are in force from now on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from hsmm import Estimator
from tasks.config.errors import GateError
from tasks.config.outcome import RunSummary
from tasks.config.progress import say
from tasks.config.sections.promote import Promote
from tasks.config.settings import Settings
from tasks.fitting.bundle import ALL, Bundle, Member
from tasks.fitting.decode import decodable
from tasks.fitting.fit import Fitted, unit_rows
from tasks.fitting.scaling import Scaling
from tasks.fitting.sharing import made_apart, members_of
from tasks.judgement.align import Identity, align, first_identity, successor
from tasks.judgement.champion import Champion, jumped_inputs
from tasks.judgement.gate import Decision, Verdict, compared, examined, overall
from tasks.judgement.kin import Kinship, kin_of, widest_first
from tasks.judgement.rules import RULES, Case
from tasks.source.validate import Validated


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

    def summary(self) -> RunSummary:
        """Verdict, reasons and evidence, for the record; of many units, those that were not promoted."""
        told = {unit: d for unit, d in self.decisions.items() if d.verdict != "PROMOTE" or len(self.decisions) == 1}
        reasons = {unit: d.reasons for unit, d in told.items()}
        evidence = {unit: d.evidence for unit, d in told.items()}
        passed = {unit: d.passed for unit, d in told.items()}
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
                "passed": next(iter(passed.values()), {}) if one else passed,
                "remedies": unmet(self.decisions),
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


def judge(
    fitted: Fitted,
    champion: Champion | None,
    validated: Validated,
    settings: Settings,
    first_id: int = 0,
    found: Mapping[str, Decision] = MappingProxyType({}),
) -> Judged:
    """Decide for every unit between its best candidate and the model in force; states are born from ``first_id`` on.

    ``found`` is what was said of models by themselves where they were fitted.
    """
    say("gate")
    jumped = frozenset(jumped_inputs(champion, validated, settings)["series_id"])
    decisions, identities, proposed = {}, {}, {}
    rows, rules = unit_rows(validated.rows, settings.fit.pool), settings.promote
    kinship = _kinship(champion, fitted.scaling, rows, first_id, rules.min_margin)
    for unit, model in _widest_first(fitted):
        own = rows[unit]
        seen = own.filter("trains")["time"]
        case = case_of(unit, model, fitted.scaling, own, champion, jumped, rules, frozenset(validated.restated))
        decisions[unit] = found[unit] if unit in found else examined(case)
        identity = first_identity(model, first_id)
        if decisions[unit].verdict == "PROMOTE":
            within = own.filter(pl.col("time") >= seen.min())
            model, identity = _identified(model, fitted.scaling, champion, unit, within, first_id)
            if unit != ALL:
                new = identity.ids if case.champion is None else identity.births
                model, identity = kinship.settle(model, identity, {*new}, fitted.scaling, within)
            decisions[unit] = compared(replace(case, model=model, identity=identity), decisions[unit])
            identities[unit] = identity
        if "not_usable" not in decisions[unit].reasons:
            proposed[unit] = Member(model, identity.ids, identity.next_id, None, seen.min(), seen.max())  # type: ignore[arg-type]
    decisions = {unit: decisions[unit] for unit in fitted.units}
    proposed = {unit: proposed[unit] for unit in fitted.units if unit in proposed}
    for unit, group in [*proposed.items()]:
        if (shared := fitted.units[unit].shared) is not None:
            order = identities[unit].order if unit in identities else ()
            proposed |= members_of(shared, group, order or tuple(range(len(group.ids))))
    decisions |= {unit: Decision("REJECT", ["fit_failed"]) for unit in fitted.failed}
    verdict = overall(decisions)
    promoted = {
        unit: member
        for unit, member in proposed.items()
        if decisions[unit if unit in decisions else ALL].verdict == "PROMOTE"
    }
    in_force = _in_force(promoted, fitted.scaling, champion, unit_series(rows))
    held = {unit: d.reasons[0] for unit, d in decisions.items() if d.verdict != "PROMOTE"}
    registered = in_force if promoted and in_force is not None else Bundle(proposed, fitted.scaling)
    return Judged(
        verdict, decisions, identities, registered, in_force, held, None if champion is None else champion.version
    )


def case_of(
    unit: str,
    model: Estimator,
    scaling: Scaling,
    rows: pl.DataFrame,
    champion: Champion | None,
    jumped: frozenset[str],
    wanted: Promote,
    restated: frozenset[str] = frozenset(),
) -> Case:
    """What the gate's rules are asked about: a unit's model, its rows, and the champion's model of it."""
    rival = _rival(champion, unit, scaling)
    own = _series_of(champion, unit)
    return Case(model, scaling, rows, wanted, rival, champions_series=own, jumped=jumped, restated=restated)


judge_task = task(name="gate", cache_policy=NO_CACHE)(judge)


def require_model(judged: Judged, run_id: str) -> Bundle:
    """The models to decode with. Raises ``GateError`` where the gate let none through and none was there before."""
    if judged.in_force is None:
        raise GateError(
            "no candidate passes the gate, and there is no champion for these features; nothing is published. "
            f"{' '.join(unmet(judged.decisions))} The evidence is in gate.json of the run {run_id}."
        )
    return judged.in_force


def unmet(decisions: Mapping[str, Decision]) -> list[str]:
    """What each rule that stopped a model says, a sentence each."""
    return [*{code: _told(code, unit, d) for unit, d in decisions.items() for code in d.reasons}.values()]


def _told(code: str, unit: str, decision: Decision) -> str:
    """What a rule says, of which state and series, and what helps."""
    if code not in RULES:
        return f"{code}."
    state = decision.evidence.get(code)
    where = [*([] if state is None else [f"state {state}"]), *([unit] if unit != ALL else [])]
    whose = f" ({', '.join(where)})" if where else ""
    return f"{code}{whose}: {RULES[code].says}; what may help: {RULES[code].remedy}."


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
    return {
        unit: rows[unit]["series_id"].unique(maintain_order=True).to_list() if unit == ALL else [unit] for unit in rows
    }


def _rival(champion: Champion | None, unit: str, scaling: Scaling) -> tuple[Member, Scaling] | None:
    """The champion's model of this unit, or the one that it has for all; none where it reads other columns."""
    if champion is None or not champion.reads_as(scaling):
        return None
    member = champion.bundle.members.get(unit, champion.bundle.members.get(ALL))
    return None if member is None else (member, champion.bundle.scaling)


def _series_of(champion: Champion | None, unit: str) -> frozenset[str]:
    """The series that the champion's model of a unit was fitted on."""
    if champion is None:
        return frozenset()
    trained = champion.bundle.scaling.trained()
    return frozenset(trained - made_apart(champion.bundle.members) if unit == ALL else {unit})


def _identified(
    model: Estimator, scaling: Scaling, champion: Champion | None, unit: str, rows: pl.DataFrame, first_id: int
) -> tuple[Estimator, Identity]:
    """The model under persistent ids; new ones where the champion's states cannot be compared with its own."""
    rival = _rival(champion, unit, scaling)
    if champion is None or rival is not None:
        return align(model, scaling, rival, rows, first_id)
    before = champion.bundle.members
    if unit != ALL and unit not in before and champion.reads_as(scaling):
        return model, first_identity(model, first_id)
    if unit == ALL and champion.reads_as(scaling) and (longest := _longest(before, rows)) is not None:
        return _after_units(model, scaling, champion, longest, rows, first_id)
    return model, successor(model, [before[unit]] if unit in before else list(before.values()))


def _longest(units: Mapping[str, Member], rows: pl.DataFrame) -> str | None:
    """Of the units with models of their own, that with the most rows."""
    counts = rows.filter(pl.col("series_id").is_in(list(units)))["series_id"].value_counts(sort=True)
    return counts.sort("count", "series_id", descending=[True, False])["series_id"].first()  # type: ignore[return-value]


def _after_units(
    model: Estimator, scaling: Scaling, champion: Champion, longest: str, rows: pl.DataFrame, first_id: int
) -> tuple[Estimator, Identity]:
    """One model after models of their own: its states are those of the unit with most rows, by what both say there."""
    before = champion.bundle.members
    free = max(first_id, *(member.next_id for member in before.values()))
    own = rows.filter(pl.col("series_id") == longest)
    model, identity = align(model, scaling, (before[longest], champion.bundle.scaling), own, free)
    borne = {state for member in before.values() for state in member.ids}
    return model, replace(identity, deaths=tuple(sorted(borne - {*identity.ids})))


def _widest_first(fitted: Fitted) -> list[tuple[str, Estimator]]:
    """The chosen model of each unit, those with more states before others."""
    models = {unit: fits.best.model for unit, fits in fitted.units.items() if fits.best.model is not None}
    return [(unit, models[unit]) for unit in widest_first(models)]


def _kinship(
    champion: Champion | None, scaling: Scaling, rows: Mapping[str, pl.DataFrame], first_id: int, min_margin: float
) -> Kinship:
    """The kinds of states that units share: the champion's where it reads the same columns."""
    if champion is None:
        return Kinship((), first_id, min_margin)
    members = champion.bundle.members
    kin = kin_of(members, champion.bundle.scaling, rows) if champion.reads_as(scaling) else []
    return Kinship(kin, max(first_id, *(member.next_id for member in members.values())), min_margin)


def _in_force(
    promoted: Mapping[str, Member], scaling: Scaling, champion: Champion | None, series: Mapping[str, list[str]]
) -> Bundle | None:
    """The promoted models, and the champion's for all other units; each series on the scale of its model."""
    if champion is None or not champion.reads_as(scaling):
        return Bundle(dict(promoted), scaling) if promoted else None
    if ALL in promoted:
        return Bundle(dict(promoted), scaling.with_absent(champion.bundle.scaling))
    if not promoted:
        return Bundle(champion.in_force().members, champion.bundle.scaling.with_absent(scaling))
    older = dict(champion.in_force().members)
    if series.keys() <= promoted.keys():
        older.pop(ALL, None)
    renewed = pl.Series([name for unit in promoted for name in series[unit]], dtype=pl.String).implode()
    fresh = scaling.statistics.filter(pl.col("series_id").is_in(renewed))
    kept = champion.bundle.scaling.statistics.filter(~pl.col("series_id").is_in(renewed))
    statistics = pl.concat([fresh, kept], how="vertical_relaxed")
    return Bundle({**older, **promoted}, replace(champion.bundle.scaling, statistics=statistics))
