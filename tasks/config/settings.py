"""The configuration of a run: typed, frozen, and refused as a whole when one key is wrong.

Later sources win: the TOML file, then environment variables (``HSMM_FIT__N_INIT=64``), then ``--set`` assignments.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tasks.config.columns import STATE_COLUMNS
from tasks.config.components import (
    Durations,
    Emissions,
    Initials,
    SplitsChoice,
    TrainerChoice,
    Transitions,
    label,
    named_columns,
    reads_context,
)
from tasks.config.durations import Delay, Window, parse_frequency
from tasks.config.errors import ConfigurationError
from tasks.config.ops import OPS
from tasks.config.secrets import holds_secret
from tasks.config.settings_errors import explain, nearest

_ENVIRONMENT_PREFIX = "HSMM_"
_LAGS = "lags"
RESAMPLERS = ("first", "last", "mean", "sum", "min", "max")
EPOCHS = ("s", "ms", "us", "ns")
_NAME = r"^[a-z][a-z0-9_]{0,62}$"


def _known_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("an IANA time zone such as UTC or America/New_York") from None
    return name


def _time_format(pattern: str) -> str:
    if pattern not in EPOCHS and ("%" not in pattern or not pattern.isprintable()):
        raise ValueError(f'a pattern such as "%m/%d/%Y" or "%d.%m.%Y %H:%M", or {", ".join(EPOCHS)} since 1970')
    return pattern


def _frequencies(found: str | int | dict[str, str]) -> str | int | dict[str, str]:
    for frequency in found.values() if isinstance(found, dict) else (found,):
        if isinstance(frequency, str):
            parse_frequency(frequency)
    return found


def _in_seconds(section: Any, key: str) -> None:
    """A number of counted steps, as the length of time that stands for it: see docs/decisions/0010-counted-time.md."""
    if isinstance(section, dict) and type(section.get(key)) is int:
        section[key] = f"{section[key]}s"


def _resamplers(found: str | dict[str, str]) -> str | dict[str, str]:
    for how in found.values() if isinstance(found, dict) else (found,):
        if how not in RESAMPLERS:
            raise ValueError(f"one of {', '.join(RESAMPLERS)}, or one for each column that features use")
    return found


def _open_place(place: str) -> str:
    """The place is logged and stands in tables."""
    if holds_secret(place):
        raise ValueError("a place without password or token, which belong in the environment (AWS_ACCESS_KEY_ID, …)")
    return place


def _as_candidates(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError("at least one candidate, none of them twice")
    return values


EVERY_OTHER = "*"  # the series that `source.frequency` does not name

Count = Annotated[int, Field(ge=1)]
TimeFormat = Annotated[str, AfterValidator(_time_format)]
Place = Annotated[str, Field(min_length=1), AfterValidator(_open_place)]
Timezone = Annotated[str, AfterValidator(_known_timezone)]
StateCounts = Annotated[tuple[Count, ...], BeforeValidator(_as_candidates), AfterValidator(_distinct)]
EstimatorName = Literal["hmm", "hsmm"]
Estimators = Annotated[tuple[EstimatorName, ...], BeforeValidator(_as_candidates), AfterValidator(_distinct)]


class Section(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(Section):
    """Where the rows are and how their times are to be read."""

    path: Place
    """A Parquet or CSV file, a glob, a folder of files (hive-partitioned too), or a place such as s3://…"""
    time: str
    """The column that says when a row happened."""
    time_format: TimeFormat | None = None
    """How times are written as text, such as "%d.%m.%Y %H:%M"; or "s", "ms", "us", "ns" for numbers since 1970."""
    series: str | None = None
    """The column that names the series; without one, all rows are one series."""
    timezone: Timezone | None = None
    """The zone of times that are written without one, and in which days are counted."""
    ambiguous: Literal["reject", "earliest", "latest", "infer"] = "reject"
    """Which of two hours a time means that a clock shows twice."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of numbers that are written as text."""
    frequency: Annotated[str | Count | dict[str, str], AfterValidator(_frequencies)] | None = None
    """The calendar: one step, such as "1bd", "1h" or "15m", whose gaps become rows marked MISSING; a whole number
    where `time` counts steps (cycles, trials); or a table of series to their own, "*" being all others. Without it,
    rows are steps.
    """
    off_calendar: Literal["reject", "drop", "snap"] = "reject"
    """What becomes of rows that the calendar has no place for."""
    resample: Annotated[str | dict[str, str], AfterValidator(_resamplers)] | None = None
    """How several rows become one step: first, last, mean, sum, min or max, or a table of columns to these."""
    available_after: Delay = "0"
    """How long after its time a row is known. A close stamped at midnight is not known at midnight."""
    written_at: str | None = None
    """The column that says when a row was written: of several versions, that known at the moment counts."""
    duplicates: Literal["reject", "keep_last"] = "reject"
    """What becomes of several rows of one series and time."""
    unsorted: Literal["sort", "reject"] = "sort"
    """What becomes of rows that are not in order of time."""
    missing_context: Literal["reject", "mark_missing", "last_known"] = "reject"
    """What becomes of a row that has values and lacks a context: its series is set aside, its values count as missing,
    or the last known context of the series is carried forward.
    """
    states: str | None = None
    """A column of known states: their numbers from 0 on, nothing or -1 where they are unknown. They keep their
    numbers.
    """
    min_rows: Count = 20
    """Rows with values that a series needs in its training window."""
    stale_after: Count = 10
    """Steps without a value after which a series is called STALE rather than MISSING."""
    wild_spreads: Annotated[float, Field(gt=1)] = 1e4
    """How far a value may lie from the others, in spreads from the 5 % to the 95 % quantile, before its series is set
    aside.
    """

    @model_validator(mode="before")
    @classmethod
    def _counts_steps_where_its_frequency_is_a_number(cls, given: Any) -> Any:
        if not isinstance(given, dict) or type(given.get("frequency")) is not int:
            return given
        counted = {"time_format": "s", **given}
        _in_seconds(counted, "available_after")
        return counted

    @model_validator(mode="after")
    def _counted_steps_have_no_clock(self) -> Self:
        if self.counts_steps and (self.time_format, self.timezone, self.resample) != ("s", None, None):
            raise ValueError(f"frequency = {self.frequency} without `time_format`, `timezone` and `resample`")
        return self

    @model_validator(mode="after")
    def _resamples_to_steps(self) -> Self:
        if self.resample is not None and (self.frequency is None or EVERY_OTHER not in self.frequencies):
            raise ValueError(f'`resample` together with a `frequency` for every series ("{EVERY_OTHER}": the others)')
        return self

    @property
    def frequencies(self) -> dict[str, str]:
        """The calendar of each series that has one of its own, and of all others under :data:`EVERY_OTHER`."""
        if self.frequency is None:
            return {}
        if isinstance(self.frequency, int):
            return {EVERY_OTHER: f"{self.frequency}s"}
        return self.frequency if isinstance(self.frequency, dict) else {EVERY_OTHER: self.frequency}

    @property
    def counts_steps(self) -> bool:
        """Whether times are whole numbers - cycles, trials - rather than moments."""
        return isinstance(self.frequency, int)


class Feature(Section):
    """One declared transform: what the model sees, made from the source's columns."""

    op: str
    """The transform; see the table of transforms."""
    column: str | None = None
    """The column it reads."""
    columns: tuple[str, str] | None = None
    """The two columns it reads, where it compares."""
    window: Annotated[int, Field(ge=2)] | None = None
    """Rows it looks back on, this one among them."""
    lag: Count | None = None
    """Rows before this one."""
    lags: Annotated[tuple[Count, ...], AfterValidator(_distinct)] | None = None
    """Several of these: one column each."""
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Rows after which a weight has halved."""
    low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The least value that is let through."""
    high: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The greatest value that is let through."""

    @field_validator("op")
    @classmethod
    def _is_known(cls, op: str) -> str:
        if op not in (*OPS, _LAGS):
            raise ValueError(nearest(op, (*OPS, _LAGS)))
        return op

    @model_validator(mode="after")
    def _has_what_its_op_needs(self) -> Self:
        op = OPS["lag" if self.op == _LAGS else self.op]
        needs: set[str] = {"lags"} if self.op == _LAGS else set(op.needs)
        needs |= {0: set[str](), 1: {"column"}, 2: {"columns"}}[op.n_columns]
        given = {key for key in type(self).model_fields if key != "op" and getattr(self, key) is not None}
        if not needs <= given <= needs | op.one_of or (op.one_of and not given & op.one_of):
            words = [f"`{key}`" for key in sorted(needs)]
            words += [" or ".join(f"`{key}`" for key in sorted(op.one_of, reverse=True))] if op.one_of else []
            raise ValueError(f'op = "{self.op}" with {" and ".join(words) or "nothing else"}, and no other key')
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low = {self.low:g} below high = {self.high:g}")
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """The source columns it reads."""
        return self.columns or ((self.column,) if self.column is not None else ())

    @property
    def unit(self) -> str:
        """What its numbers are counted in."""
        return OPS[self.op].unit.format(*self.inputs)

    def made(self, name: str) -> dict[str, Feature]:
        """The columns that are made of it: one, or of ``lags`` one for each."""
        if self.lags is None:
            return {name: self}
        single = self.model_copy(update={"op": "lag", "lags": None})
        return {f"{name}_{lag}": single.model_copy(update={"lag": lag}) for lag in self.lags}


class Model(Section):
    """The candidates: every combination of these lists is fitted."""

    estimator: Estimators = ("hsmm",)
    """Whether states have durations of their own, or may change at every step."""
    n_states: StateCounts = (2, 3, 4)
    """Numbers of states."""
    emission: Emissions = ("gaussian", "student_t")
    """Laws of the features given the state."""
    duration: Durations = ("geometric", "negative_binomial")
    """Laws of how long a state lasts."""
    transition: Transitions = ("dense",)
    """Laws of the next state."""
    initial: Initials = ("free",)
    """Laws of the first state."""
    max_duration: Count = 120
    """The longest duration with a probability of its own, in steps; laws with a tail go on beyond it."""
    min_duration: Count = 1
    """No segment is shorter, but for the first and the last of a series where these are cut off."""
    left_censored: bool = False
    """Whether series begin in the midst of a segment."""
    right_censored: bool = True
    """Whether the last segment may go on after the end of its series."""

    @model_validator(mode="after")
    def _durations_are_ordered(self) -> Self:
        if self.min_duration > self.max_duration:
            raise ValueError(f"min_duration = {self.min_duration} no larger than max_duration = {self.max_duration}")
        return self

    @model_validator(mode="after")
    def _durations_are_of_a_semi_markov_model(self) -> Self:
        of_durations = ("duration", "max_duration", "min_duration", "left_censored", "right_censored")
        given = [key for key in of_durations if key in self.model_fields_set]
        if self.estimator == ("hmm",) and given:
            raise ValueError(f'estimator = "hsmm" with `{given[0]}`, which an HMM does not have')
        return self


class Fit(Section):
    """How every candidate is fitted."""

    pool: Literal["pooled", "per_series"] = "pooled"
    """One model of all series together, or one for each."""
    scale: Literal["series", "pooled", "none"] = "series"
    """Whose mean and spread features are standardised by. Only those that every candidate describes by a location and
    a scale are; counts, categories and positive quantities never.
    """
    train_window: Window = "all"
    """How far back the training rows reach, such as "10y" or "90d"; "all" is all."""
    n_init: Count = 32
    """Restarts of every candidate."""
    max_iter: Count = 1000
    """Iterations after which a fit stops that has not converged."""
    tol: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-8
    """A fit has converged when an iteration gains less than this, in nats per row."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The same seed and rows give the same model."""
    trainer: TrainerChoice = "em"
    """How parameters are learnt."""
    frozen: tuple[str, ...] = ()
    """Tables, or parts such as "emission.mean", that a refit takes from the champion unchanged. A first fit learns
    them.
    """
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where fits are computed; "auto" is the CPU."""


class Select(Section):
    """How the best candidate is chosen."""

    criterion: str = "bic"
    """What candidates are ranked by."""
    rule: str = "best"
    """Which of those near the best is chosen, on held-out rows: the best, or the simplest within a standard error."""
    splits: SplitsChoice = "last_share"
    """Which rows are held out, where the criterion asks for some."""

    @field_validator("criterion", "rule")
    @classmethod
    def _is_known(cls, name: str, info: ValidationInfo) -> str:
        from hsmm.selection import CRITERIA, RULES

        known = CRITERIA if info.field_name == "criterion" else RULES
        if name not in known:
            raise ValueError(nearest(name, known))
        return name

    @model_validator(mode="after")
    def _has_scores_on_held_out_rows(self) -> Self:
        from hsmm.selection import CRITERIA

        given = [key for key in ("rule", "splits") if key in self.model_fields_set]
        if given and not CRITERIA[self.criterion].on_held_out:
            raise ValueError(f'criterion = "held_out" with `{given[0]}`, which needs scores on held-out rows')
        return self


class Promote(Section):
    """The gate: what a new model must show before it takes the champion's place. Fixed before anything is fitted."""

    min_improvement: Annotated[float, Field(allow_inf_nan=False)] = -0.01
    """Nats per row, on rows that neither was fitted on, by which the new model must predict better; below zero, it may
    be that much worse.
    """
    holdout: Count = 20
    """Newest rows of each series that nothing is fitted on, at most a tenth of it."""
    min_margin: Annotated[float, Field(ge=0, le=1)] = 0.05
    """How clearly every state must be recognised in the champion, 0 to 1."""
    min_share: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """The share of the rows that its rarest state must hold."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.8
    """The share of the champion's series that it must have been fitted on."""
    allow_collapsed: bool = False
    """Whether a state may live on ties or a constant, such as a sensor's zeros at night."""


class Output(Section):
    """Where the state table is kept; its companions lie beside it."""

    states: Place = "out/states"
    """The state table, a Delta table: a folder, or a place such as s3://…"""


class Tracking(Section):
    """Where the runs are logged and the models registered."""

    uri: Annotated[str, Field(min_length=1)] = "sqlite:///mlflow.db"
    """The tracking server: a SQLite file or the address of an MLflow server."""


class Settings(Section):
    """One run's configuration."""

    name: Annotated[str, Field(pattern=_NAME)]
    """What model and table rows are called: small letters, digits and underscores."""
    source: Source
    features: Annotated[dict[str, Feature], Field(min_length=1)]
    """The columns that the model sees, by name."""
    context: dict[str, Feature] = {}
    """Columns that laws may depend on, by name; declared as features are."""
    model: Model = Model()
    fit: Fit = Fit()
    select: Select = Select()
    promote: Promote = Promote()
    output: Output = Output()
    tracking: Tracking = Tracking()

    @field_validator("features", "context")
    @classmethod
    def _names_are_free(cls, features: dict[str, Feature]) -> dict[str, Feature]:
        made = list(_made(features))
        taken = [name for name in made if name in STATE_COLUMNS or name.startswith("raw:") or not name.strip()]
        if taken:
            raise ValueError(f"feature names that the state table does not use itself, unlike {', '.join(taken)}")
        if len(made) < sum(len(feature.made(name)) for name, feature in features.items()):
            every = [column for name, feature in features.items() for column in feature.made(name)]
            twice = sorted({column for column in every if every.count(column) > 1})
            raise ValueError(f"columns of different names, unlike {', '.join(twice)}, which two entries make")
        return features

    @model_validator(mode="before")
    @classmethod
    def _windows_are_counted_as_steps_are(cls, given: Any) -> Any:
        source, fit = (given.get(key) for key in ("source", "fit"))
        if isinstance(source, dict) and type(source.get("frequency")) is int and isinstance(fit, dict):
            fit = dict(fit)
            _in_seconds(fit, "train_window")
            return {**given, "fit": fit}
        return given

    @model_validator(mode="after")
    def _counted_steps_have_no_calendar(self) -> Self:
        for feature in (*self.features.values(), *self.context.values()):
            if self.source.counts_steps and feature.op in ("day_of_week", "hour"):
                raise ValueError(f'op = "{feature.op}" with times that have one, not with counted steps')
        return self

    @model_validator(mode="after")
    def _moves_know_their_context(self) -> Self:
        movers = [label(c) for c in self.model.transition if reads_context("transition", c)]
        if movers and self.source.missing_context == "mark_missing":
            raise ValueError(
                f'source.missing_context = "last_known" or "reject" with `model.transition` {movers[0]}, which reads '
                "the context of every row, of those without values too"
            )
        return self

    @model_validator(mode="after")
    def _columns_are_there(self) -> Self:
        if both := set(self.made_features) & set(self.made_context):
            raise ValueError(f"features and context of different names, unlike {min(both)}")
        for key in ("emission", "transition"):
            for choice in getattr(self.model, key):
                self._check_columns(key, choice)
        return self

    def _check_columns(self, key: str, choice: Any) -> None:
        for which, known in (("features", self.value_columns), ("context", self.context_columns)):
            for name in named_columns(choice, which):
                if name not in known:
                    there = nearest(name, known) if known else f"declare {name!r} in a table `[{which}]`"
                    raise ValueError(f"`model.{key}` {label(choice)} with columns of {which}: {there}")

    @cached_property
    def made_features(self) -> dict[str, Feature]:
        """The columns that the model sees, in their order; a feature of several lags makes one for each."""
        return _made(self.features)

    @cached_property
    def made_context(self) -> dict[str, Feature]:
        """The columns that the model's laws may depend on, made as features are."""
        return _made(self.context)

    @property
    def source_columns(self) -> dict[str, str]:
        """The columns of the source that hold values, and the key of the configuration that names each first."""
        labels = {} if self.source.states is None else {self.source.states: "source.states"}
        context = {column: "context" for feature in self.made_context.values() for column in feature.inputs}
        return labels | context | {c: "features" for feature in self.made_features.values() for c in feature.inputs}

    @property
    def value_columns(self) -> list[str]:
        """The names of the columns that the model sees."""
        return list(self.made_features)

    @property
    def context_columns(self) -> list[str]:
        """The names of the columns of the context."""
        return list(self.made_context)


def _made(features: Mapping[str, Feature]) -> dict[str, Feature]:
    return {column: made for name, feature in features.items() for column, made in feature.made(name).items()}


def read_settings(path: str | Path, assignments: Sequence[str] = ()) -> Settings:
    """Read a TOML configuration, let the environment and ``assignments`` override it, and check it.

    Raises ``ConfigurationError`` naming every wrong key, what was found and what was expected.
    """
    merged = _read_toml(Path(path))
    for dotted, text in (*_environment_assignments(os.environ), *map(_split_assignment, assignments)):
        _assign(merged, dotted, _parse_value(text))
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise ConfigurationError(explain(error, Settings, str(path))) from None


def check_name(name: str) -> str:
    """A model's name, if it could be one."""
    if not re.fullmatch(_NAME, name):
        raise ConfigurationError(f"found {name!r}; expected a model's name: `name` in its configuration.")
    return name


def read_tracking(assignments: Sequence[str] = ()) -> Tracking:
    """Where runs are logged, for commands that name a model and no configuration: environment, then ``assignments``."""
    merged: dict[str, Any] = {}
    for dotted, text in (*_environment_assignments(os.environ), *map(_split_assignment, assignments)):
        _assign(merged, dotted, _parse_value(text))
    try:
        return Tracking(**merged.get("tracking", {}))
    except (ValidationError, TypeError):
        raise ConfigurationError("tracking: expected tracking.uri, a text such as sqlite:///mlflow.db.") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: found no such file; expected a TOML configuration.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as a TOML configuration: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}.") from None


def _environment_assignments(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables such as HSMM_FIT__N_INIT; other variables that begin with HSMM_ are not configuration."""
    keys = {
        key: key.removeprefix(_ENVIRONMENT_PREFIX).lower() for key in environment if key.startswith(_ENVIRONMENT_PREFIX)
    }
    return [
        (key.replace("__", "."), environment[variable])
        for variable, key in sorted(keys.items())
        if "__" in key or key in Settings.model_fields
    ]


def _split_assignment(assignment: str) -> tuple[str, str]:
    dotted, equals, text = assignment.partition("=")
    if not equals or not dotted.strip():
        raise ConfigurationError(f"--set: found {assignment!r}; expected section.key=value, such as fit.n_init=64.")
    if holds_secret(text):  # Prefect keeps what a run was called with
        variable = f"{_ENVIRONMENT_PREFIX}{dotted.strip().upper().replace('.', '__')}"
        raise ConfigurationError(f"--set: found a password in {dotted.strip()}; expected it in {variable}.")
    return dotted.strip(), text.strip()


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(f"{dotted}: `{section}` holds a value; expected a section of the configuration.")
    tree[key] = value
