"""Whether anything looks ahead, on the user's own source: cut it at random moments, do the work again, compare."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from tasks.config.durations import as_timedelta
from tasks.config.errors import CausalityError, ConfigurationError
from tasks.config.outcome import CausalityReport, LeakReport
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.fitting.bundle import ALL, Bundle
from tasks.fitting.decode import QUANTILES, decodable, decode
from tasks.fitting.scaling import scaling_for
from tasks.judgement.champion import Champion, require_champion
from tasks.source.ingest import copy_known, ingest
from tasks.source.run_key import data_digest
from tasks.source.validate import Validated, validate
from tasks.tables.lines import in_known_order

CAUSAL = (
    *("state", "p_filtered", "elapsed_mean", "remaining_mean", *QUANTILES),
    *("p_change_1", "p_change_5", "p_change_20", "log_density"),
)


@dataclass(frozen=True)
class Leak:
    """Something that later rows changed: ``what`` (a column, or what a fit is given), where, and by how much.

    ``cut`` is the last moment that was left; ``difference`` is None where it is no number.
    """

    what: str
    cut: datetime
    series_id: str | None = None
    time: datetime | None = None
    difference: float | None = None


def check_causality(settings: Settings, n_cuts: int = 20, seed: int = 0) -> CausalityReport:
    """Cut the source at random moments; nothing that was said or learnt before may change, to the last bit.

    The champion decodes each cut source, which tests features and decoding with parameters and scales as they are. What
    a fit at that moment would be given, rows and scales, must be the same from the cut source as from the whole. The
    champion's own parameters must end before its moment, and its scales be those of the rows known then.
    """
    if n_cuts < 1:
        raise ConfigurationError(f"--cuts: found {n_cuts}; expected a whole number >= 1.")
    settings = in_known_order(settings)
    whole = validate(ingest(settings), settings)
    champion = require_champion(settings, whole.as_of)
    decoded = _decoded(champion.in_force(), whole, settings)
    leaks, n_compared = list(_own_leaks(champion, settings)), 0
    moments = _moments(whole, settings, n_cuts, seed)
    for done, cut in enumerate(moments):
        say("check", done, len(moments), settings.source.told(cut))
        known = validate(ingest(settings, cut), settings)
        with tempfile.TemporaryDirectory() as folder:
            copy = copy_known(settings, cut, Path(folder) / "cut")
            remade = validate(ingest(copy, cut), copy)
        leaks += _training_leaks(known, remade, settings, cut)
        if decodable(champion.bundle, remade.rows).is_empty():
            continue
        part = _decoded(champion.in_force(), remade, settings)
        leaks += _column_leaks(decoded, part, cut)
        n_compared += len(part)
    return {
        "model_name": settings.name,
        "model_version": champion.version,
        "is_causal": not leaks,
        "n_cuts": len(moments),
        "n_compared": n_compared,
        "leaks": [_told(leak) for leak in _worst_of_each(leaks)],
    }


def _decoded(bundle: Bundle, validated: Validated, settings: Settings) -> pl.DataFrame:
    return decode(bundle, validated, name=settings.name, version=0, key="", state_names={}).select(
        "series_id", "time", *CAUSAL
    )


def _moments(validated: Validated, settings: Settings, n_cuts: int, seed: int) -> list[datetime]:
    """Moments at which a row became known, all but the last and the earliest tenth, drawn without repetition."""
    times = validated.rows["time"].unique().sort() + as_timedelta(settings.source.available_after)
    inner = times[len(times) // 10 : -1]
    drawn = np.random.default_rng(seed).permutation(len(inner))[:n_cuts]
    return [inner[int(place)] for place in np.sort(drawn)]


def _own_leaks(champion: Champion, settings: Settings) -> Iterator[Leak]:
    """The champion's parameters from rows not known at its moment, or scales that the rows known then do not have."""
    delay = as_timedelta(settings.source.available_after)
    for unit, member in champion.bundle.members.items():
        if member.train_end + delay > champion.as_of:
            yield Leak("train_end", champion.as_of, unit or None, member.train_end)
    own = [unit for unit, member in champion.in_force().members.items() if member.version == champion.version]
    scaling = champion.bundle.scaling
    then = validate(ingest(settings, champion.as_of), settings).rows.filter("trains")
    remade = scaling_for(then, settings).statistics
    pairs = scaling.statistics.join(remade, on="series_id", suffix=":then")
    pairs = pairs.filter(~pl.col("series_id").is_in(pl.Series([*scaling.absent], dtype=pl.String).implode()))
    for row in pairs.filter(pl.lit(ALL in own) | pl.col("series_id").is_in(own)).iter_rows(named=True):
        apart = max(_apart(row[name], row[f"{name}:then"]) for name in remade.columns if name != "series_id")
        if apart > 0:
            yield Leak("champion's scales", champion.as_of, row["series_id"], None, apart)


def _apart(now: float | None, then: float | None) -> float:
    if now is None or then is None:
        return 0.0 if now is then else np.inf
    return abs(now - then)


def _training_leaks(known: Validated, remade: Validated, settings: Settings, cut: datetime) -> Iterator[Leak]:
    """What a fit at this moment would be given."""
    if data_digest(known) != data_digest(remade) or not known.rows["trains"].equals(remade.rows["trains"]):
        yield Leak("training rows", cut)
        return
    scales = [scaling_for(v.rows.filter("trains"), settings) for v in (known, remade)]
    if not scales[0].statistics.equals(scales[1].statistics):
        yield Leak("scales", cut)


def _column_leaks(whole: pl.DataFrame, part: pl.DataFrame, cut: datetime) -> Iterator[Leak]:
    """The causal columns whose bits differ, each where it differs most."""
    both = part.join(whole, on=["series_id", "time"], how="inner", suffix=":whole", maintain_order="left")
    for column in CAUSAL:
        now, then = _numbers(both, column), _numbers(both, f"{column}:whole")
        wide = max(now.shape[1], then.shape[1])
        now, then = (np.pad(x, ((0, 0), (0, wide - x.shape[1])), constant_values=np.nan) for x in (now, then))
        changed = (now.view(np.int64) != then.view(np.int64)).any(1)
        if changed.any():
            apart = np.nan_to_num(np.abs(now - then), nan=np.inf).max(1)
            row = int(np.where(changed, apart, -1.0).argmax())
            yield Leak(column, cut, both["series_id"][row], both["time"][row], float(apart[row]))


def _numbers(rows: pl.DataFrame, column: str) -> np.ndarray:
    """(n_rows, n) the numbers of a column, NaN for missing ones and behind lists that are shorter than others."""
    values = rows[column]
    if not isinstance(values.dtype, pl.List):
        return values.cast(pl.Float64).fill_null(np.nan).to_numpy().reshape(-1, 1).copy()
    longest = int(values.list.len().fill_null(0).to_numpy().max(initial=1))
    padded = [values.list.get(place, null_on_oob=True).cast(pl.Float64).fill_null(np.nan) for place in range(longest)]
    return np.ascontiguousarray(np.column_stack([one.to_numpy() for one in padded]))


def _worst_of_each(leaks: list[Leak]) -> list[Leak]:
    worst: dict[str, Leak] = {}
    for leak in leaks:
        if leak.what not in worst or (leak.difference or 0.0) > (worst[leak.what].difference or 0.0):
            worst[leak.what] = leak
    return list(worst.values())


def _told(leak: Leak) -> LeakReport:
    return {
        "what": leak.what,
        "cut": leak.cut.isoformat(),
        "series_id": leak.series_id,
        "time": None if leak.time is None else leak.time.isoformat(),
        "difference": leak.difference,
    }


def require_causal(said: CausalityReport) -> None:
    """Raises ``CausalityError`` where the check found a leak."""
    if not said["is_causal"]:
        found = ", ".join(leak["what"] for leak in said["leaks"])
        raise CausalityError(f"{said['model_name']} version {said['model_version']} looks ahead in: {found}.")
