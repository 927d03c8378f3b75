"""The gate's rules, each a function under its name, which is the code that a model it stops is marked with.

A rule says in its first line what it finds wrong. Whoever reads of it - ``gate.json``, the tracking server, the page -
reads :data:`RULES`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

import hsmm
from hsmm import Estimator
from hsmm.selection import WALL_SHARE, state_shares, wall_share
from tasks.config.sections.promote import Promote
from tasks.fitting.bundle import Member
from tasks.fitting.scaling import Scaling
from tasks.judgement.align import Identity

_MOST_NATS = 1e6
_CANARY_ROWS = 50

Stop = Literal["REJECT", "HOLD"]


@dataclass(frozen=True)
class Case:
    """A fitted model, the rows of its unit, and what it is measured against.

    Attributes
    ----------
    wanted
        The thresholds of the configuration.
    champion
        The model in force and how it sees rows; None where there is none.
    identity
        Who its states are; None until it is known to be sound.
    champions_series
        The series that the champion's model was fitted on.
    jumped
        The series of which a feature moved, since the champion was made, further at once than it ever did.
    restated
        The series whose history is another than the champion has learnt from: of several, the others are compared.
    """

    model: Estimator
    scaling: Scaling
    rows: pl.DataFrame
    wanted: Promote
    champion: tuple[Member, Scaling] | None = None
    identity: Identity | None = None
    champions_series: frozenset[str] = frozenset()
    jumped: frozenset[str] = frozenset()
    restated: frozenset[str] = frozenset()

    @cached_property
    def training(self) -> dict[str, Any]:
        """The rows that it was fitted on, as it sees them."""
        return self.scaling.given(self.rows.filter("trains"), self.model)

    @cached_property
    def sequences(self) -> hsmm.Sequences:
        """The same, packed."""
        return hsmm.Sequences.from_arrays(self.training["X"], self.training["lengths"], self.training["context"])

    @cached_property
    def held_out(self) -> float | None:
        """Nats per row of the rows with values after its training; None where there is none."""
        known = self.scaling.known(self.rows)
        own_end = pl.col("time").filter(pl.col("trains")).max().over("series_id")
        later = known.select(pl.col("time") > own_end).to_series().fill_null(value=False).to_numpy()
        new = later & ~np.isnan(self.scaling.apply(known)).all(1)
        return _bounded(self.scaling.log_density(self.model, known)[new]).mean().item() if new.any() else None

    @cached_property
    def improvement(self) -> tuple[float | None, int]:
        """Nats per row by which it predicts rows better than the champion that neither was fitted on; their number."""
        assert self.champion is not None
        member, scales = self.champion
        known = self.scaling.known(scales.known(self.rows))
        as_learnt = known.filter(~pl.col("series_id").is_in(list(self.restated)))
        known = known if as_learnt.is_empty() else as_learnt
        own_end = pl.col("time").filter(pl.col("trains")).max().over("series_id")
        later = pl.col("time") > pl.max_horizontal(own_end, pl.lit(member.train_end))
        both = ~np.isnan(self.scaling.apply(known)) & ~np.isnan(scales.apply(known))
        new = known.select(later).to_series().to_numpy() & both.any(1)
        if not new.any():
            return None, 0
        now, before = self.scaling.log_density(self.model, known), scales.log_density(member.model, known)
        return _gain(now[new], before[new]), int(new.sum())


@dataclass(frozen=True)
class Finding:
    """Whether the model passes a rule, and the numbers that this rests on."""

    passes: bool
    evidence: Mapping[str, float | bool | None] = field(default_factory=dict)


Judge: TypeAlias = Callable[[Case], Finding]


@dataclass(frozen=True)
class Rule:
    """What a rule says of a model that it stops.

    - ``stops``: REJECT, the model is unsound by itself; HOLD, it does not earn the champion's place
    - ``remedy``: what may be changed for such a model to pass, if it should
    - ``is_last``: nothing more can be asked of a model that it stops
    """

    judge: Judge
    stops: Stop
    says: str
    remedy: str
    is_last: bool = False


RULES: dict[str, Rule] = {}
"""By code, in the order in which they are asked."""


def rule(stops: Stop, remedy: str, *, is_last: bool = False) -> Callable[[Judge], Judge]:
    """A decorator that makes a function of a :class:`Case` a rule under the function's name.

    Those that HOLD are asked where there is a champion, of models that no other rule rejects.
    """

    def enrolled(judge: Judge) -> Judge:
        says = (judge.__doc__ or "").strip().split("\n")[0].rstrip(".")
        if not says:
            raise ValueError(
                f"the gate's rule {judge.__name__!r} does not say what it finds wrong; give it a docstring."
            )
        RULES[judge.__name__] = Rule(judge, stops, says, remedy, is_last)
        return judge

    return enrolled


@rule("REJECT", "other candidates, or rows without extremes", is_last=True)
def not_finite(case: Case) -> Finding:
    """A parameter, or the density of a training row, is no finite number."""
    parts = case.model._fitted_model().components().values()
    tables = [table.numpy() for part in parts for table in part.parameters.values()]
    finite = math.isfinite(case.model.log_likelihood_) and all(bool(np.isfinite(table).all()) for table in tables)
    finite = finite and bool(np.isfinite(case.model.log_density(**case.training)).all())
    return Finding(finite, {"finite": finite})


@rule("REJECT", "room for files where it was fitted")
def not_usable(case: Case) -> Finding:
    """Saved and loaded, it decodes rows to other bits."""
    usable = is_usable(case.model, case.scaling, case.rows.filter("trains"))
    return Finding(usable, {"usable": usable})


@rule("REJECT", "a larger `fit.max_iter` or `fit.tol`")
def not_converged(case: Case) -> Finding:
    """Its fit made all its iterations and still gained."""
    converged = bool(case.model.converged_)
    return Finding(converged, {"converged": converged})


@rule(
    "REJECT",
    "`promote.allow_collapsed = true` if the ties are real (a sensor that shows zero at night), or fewer states",
)
def collapsed_state(case: Case) -> Finding:
    """A state's spread lies at its floor: it lives on tied or constant values."""
    collapsed = np.flatnonzero(np.asarray(case.model.emission_.collapsed(case.sequences)).reshape(-1))
    found = {"collapsed": len(collapsed) > 0, "collapsed_state": int(collapsed[0]) if len(collapsed) else None}
    return Finding(case.wanted.allow_collapsed or not len(collapsed), found)


@rule("REJECT", "a smaller `promote.min_share`, or fewer states")
def dead_state(case: Case) -> Finding:
    """A state holds a smaller share of the rows than `promote.min_share`."""
    smallest = float(state_shares(case.model._fitted_model(), case.sequences).min())
    return Finding(smallest >= case.wanted.min_share, {"smallest_share": smallest})


@rule("REJECT", "a larger `model.max_duration`, or a law of durations that has a tail")
def duration_wall(case: Case) -> Finding:
    """States would last longer than `model.max_duration` allows."""
    wall = wall_share(case.model._fitted_model(), case.sequences)
    return Finding(wall <= WALL_SHARE, {"wall": wall})


@rule("HOLD", "a smaller `promote.min_margin`")
def states_not_matched(case: Case) -> Finding:
    """Which state is which of the champion's is less clear than `promote.min_margin` asks."""
    assert case.identity is not None
    return Finding(case.identity.margin >= case.wanted.min_margin, {"margin": case.identity.margin})


@rule("HOLD", "a larger `promote.holdout`, or later rows")
def no_rows_to_compare_on(case: Case) -> Finding:
    """There is no row that neither it nor the champion was fitted on."""
    return Finding(case.improvement[0] is not None, {"n_held_out": case.improvement[1]})


@rule("HOLD", "a smaller `promote.min_coverage`, if the series are gone for good")
def series_not_covered(case: Case) -> Finding:
    """It was fitted on a smaller share of the champion's series than `promote.min_coverage` asks."""
    seen = {*case.rows.filter("trains")["series_id"].unique().to_list()}
    covered = len(seen & case.champions_series) / max(1, len(case.champions_series))
    return Finding(not case.champions_series or covered >= case.wanted.min_coverage, {"coverage": covered})


@rule(
    "HOLD",
    "another source, if a split or a unit is to blame; else a larger `promote.max_jump`, or `promote.max_jumped`",
)
def inputs_jumped(case: Case) -> Finding:
    """More series than `promote.max_jumped` allows moved further at once than `promote.max_jump` times ever before."""
    of_unit = case.rows["series_id"].unique()
    share = int(of_unit.is_in(list(case.jumped)).sum()) / max(1, len(of_unit))
    return Finding(share <= case.wanted.max_jumped, {"jumped": share})


@rule("HOLD", "a smaller `promote.min_improvement`")
def no_improvement(case: Case) -> Finding:
    """It predicts those rows worse than the champion, by more than `promote.min_improvement` lets pass."""
    gain, _ = case.improvement
    return Finding(gain is None or gain >= case.wanted.min_improvement, {"improvement": gain})


def is_usable(model: Estimator, scaling: Scaling, rows: pl.DataFrame) -> bool:
    """Whether a model decodes the last of these rows to the same bits once it has been saved and loaded."""
    seen = ~np.isnan(scaling.apply(rows)).all(1)
    given = scaling.given(rows.filter(pl.Series(seen)).tail(_CANARY_ROWS), model) | {"lengths": None}
    with tempfile.TemporaryDirectory() as folder:
        try:
            loaded: Any = hsmm.load(model.save(Path(folder) / "model"))
            return bool(np.array_equal(loaded.filter_proba(**given), model.filter_proba(**given)))
        except (OSError, ValueError):
            return False


def _gain(log_densities: np.ndarray, before: np.ndarray) -> float:
    """Nats per row; rows that both find impossible tell them apart no more than rows they agree on."""
    return float((_bounded(log_densities) - _bounded(before)).mean())


def _bounded(log_densities: np.ndarray) -> np.ndarray:
    return np.nan_to_num(log_densities, nan=-_MOST_NATS, posinf=_MOST_NATS, neginf=-_MOST_NATS)
