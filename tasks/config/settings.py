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
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from tasks.config.columns import STATE_COLUMNS
from tasks.config.durations import Delay, Frequency, Window
from tasks.config.errors import ConfigurationError
from tasks.config.ops import OPS
from tasks.config.secrets import holds_secret
from tasks.config.settings_errors import explain, nearest

_ENVIRONMENT_PREFIX = "HSMM_"
_LAGS = "lags"
_NAME = r"^[a-z][a-z0-9_]{0,62}$"


def _known_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("an IANA time zone such as UTC or America/New_York") from None
    return name


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


Count = Annotated[int, Field(ge=1)]
Place = Annotated[str, Field(min_length=1), AfterValidator(_open_place)]
Timezone = Annotated[str, AfterValidator(_known_timezone)]
StateCounts = Annotated[tuple[Count, ...], BeforeValidator(_as_candidates), AfterValidator(_distinct)]
EmissionName = Literal["gaussian", "student_t"]
DurationName = Literal["categorical", "geometric", "poisson", "negative_binomial", "gamma", "log_normal"]
Emissions = Annotated[tuple[EmissionName, ...], BeforeValidator(_as_candidates), AfterValidator(_distinct)]
Durations = Annotated[tuple[DurationName, ...], BeforeValidator(_as_candidates), AfterValidator(_distinct)]


class Section(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Section):
    """Where the rows are and how their times are to be read."""

    path: Place
    time: str
    series: str | None = None
    timezone: Timezone | None = None
    frequency: Frequency | None = None
    available_after: Delay = "0"
    duplicates: Literal["reject", "keep_last"] = "reject"
    unsorted: Literal["sort", "reject"] = "sort"
    min_rows: Count = 20


class Feature(Section):
    """One declared transform: what the model sees, made from the source's columns."""

    op: str
    column: str | None = None
    columns: tuple[str, str] | None = None
    window: Annotated[int, Field(ge=2)] | None = None
    lag: Count | None = None
    lags: Annotated[tuple[Count, ...], AfterValidator(_distinct)] | None = None
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    high: Annotated[float, Field(allow_inf_nan=False)] | None = None

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

    n_states: StateCounts = (2, 3, 4)
    emission: Emissions = ("gaussian", "student_t")
    duration: Durations = ("geometric", "negative_binomial")
    initial: Literal["free", "uniform"] = "free"
    max_duration: Count = 120
    min_duration: Count = 1

    @model_validator(mode="after")
    def _durations_are_ordered(self) -> Self:
        if self.min_duration > self.max_duration:
            raise ValueError(f"min_duration = {self.min_duration} no larger than max_duration = {self.max_duration}")
        return self


class Fit(Section):
    """How every candidate is fitted."""

    pool: Literal["pooled", "per_series"] = "pooled"
    scale: Literal["series", "pooled", "none"] = "series"
    train_window: Window = "all"
    n_init: Count = 32
    max_iter: Count = 1000
    tol: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-8
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Select(Section):
    """How the best candidate is chosen."""

    criterion: Literal["aic", "bic", "hqc", "icl", "held_out"] = "bic"


class Promote(Section):
    """The gate: what a new model must show before it takes the champion's place. Fixed before anything is fitted."""

    min_improvement: Annotated[float, Field(allow_inf_nan=False)] = -0.01
    holdout: Count = 20
    min_margin: Annotated[float, Field(ge=0, le=1)] = 0.05
    min_share: Annotated[float, Field(ge=0, lt=1)] = 0.01


class Output(Section):
    """Where the state table is kept; its companions lie beside it."""

    states: Place = "out/states"


class Tracking(Section):
    """Where the runs are logged and the models registered."""

    uri: Annotated[str, Field(min_length=1)] = "sqlite:///mlflow.db"


class Settings(BaseSettings):
    """One run's configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")  # type: ignore[assignment]

    name: Annotated[str, Field(pattern=_NAME)]
    source: Source
    features: Annotated[dict[str, Feature], Field(min_length=1)]
    model: Model = Model()
    fit: Fit = Fit()
    select: Select = Select()
    promote: Promote = Promote()
    output: Output = Output()
    tracking: Tracking = Tracking()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what was merged by :func:`read_settings` counts; nothing is read behind its back."""
        return (init_settings,)

    @field_validator("features")
    @classmethod
    def _names_are_free(cls, features: dict[str, Feature]) -> dict[str, Feature]:
        made = [column for name, feature in features.items() for column in feature.made(name)]
        taken = [name for name in made if name in STATE_COLUMNS or name.startswith("raw:") or not name.strip()]
        if taken:
            raise ValueError(f"feature names that the state table does not use itself, unlike {', '.join(taken)}")
        twice = [name for name in made if made.count(name) > 1]
        if twice:
            raise ValueError(f"columns of different names, unlike {twice[0]}, which two features make")
        return features

    @cached_property
    def made_features(self) -> dict[str, Feature]:
        """The columns that the model sees, in their order; a feature of several lags makes one for each."""
        return {column: made for name, f in self.features.items() for column, made in f.made(name).items()}

    @property
    def value_columns(self) -> list[str]:
        """The names of the columns that the model sees."""
        return list(self.made_features)


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
