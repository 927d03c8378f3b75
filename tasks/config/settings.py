"""The configuration of a run: typed, frozen, and refused as a whole when one key is wrong.

Later sources win: the TOML file, then environment variables (``HSMM_FIT__N_INIT=64``), then ``--set`` assignments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from tasks.config.columns import STATE_COLUMNS
from tasks.config.components import OUTLINE, is_outline, label, named_columns, reads_context
from tasks.config.errors import ConfigurationError
from tasks.config.overrides import override, read_toml
from tasks.config.sections.alerts import Alerts
from tasks.config.sections.feature import Feature, all_made, changed_levels
from tasks.config.sections.fit import Fit
from tasks.config.sections.model import Model
from tasks.config.sections.output import Output
from tasks.config.sections.promote import Promote
from tasks.config.sections.run import Run
from tasks.config.sections.section import Section
from tasks.config.sections.select import Select
from tasks.config.sections.source import EPOCHS, EVERY_OTHER, RESAMPLERS, Source, in_seconds
from tasks.config.sections.tracking import Tracking
from tasks.config.settings_errors import Origins, explain, nearest

__all__ = [
    "EPOCHS",
    "EVERY_OTHER",
    "RESAMPLERS",
    "Alerts",
    "Feature",
    "Fit",
    "Model",
    "Output",
    "Promote",
    "Run",
    "Section",
    "Select",
    "Settings",
    "Source",
    "Tracking",
    "check_name",
    "read_outline",
    "read_settings",
    "read_tracking",
]

_NAME = r"^[a-z][a-z0-9_]{0,62}$"


class Settings(Section):
    """One run's configuration."""

    name: Annotated[str, Field(pattern=_NAME)]
    """What model and table rows are called: small letters, digits and underscores."""
    source: Source
    features: Annotated[dict[str, Feature], Field(min_length=1)]
    """The columns that the model sees, by name."""
    context: dict[str, Feature] = Field(default_factory=dict)
    """Columns that laws may depend on, by name; declared as features are."""
    model: Model = Model()
    fit: Fit = Fit()
    select: Select = Select()
    promote: Promote = Promote()
    run: Run = Run()
    output: Output = Output()
    alerts: Alerts = Alerts()
    tracking: Tracking = Tracking()

    @field_validator("features", "context")
    @classmethod
    def _names_are_free(cls, features: dict[str, Feature]) -> dict[str, Feature]:
        made = list(all_made(features))
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
            in_seconds(fit, "train_window")
            return {**given, "fit": fit}
        return given

    @model_validator(mode="after")
    def _counted_steps_have_no_calendar(self) -> Self:
        for feature in (*self.features.values(), *self.context.values()):
            if self.source.counts_steps and not feature.inputs:
                raise ValueError(f'op = "{feature.op}" with times that have one, not with counted steps')
        return self

    @model_validator(mode="after")
    def _resamples_what_is_used(self) -> Self:
        how = self.source.resample
        for column in how if isinstance(how, dict) else ():
            if column not in self.source_columns:
                raise ValueError(
                    f"`source.resample` of {column!r} with columns that features use: "
                    f"{nearest(column, self.source_columns)}"
                )
        return self

    @model_validator(mode="after")
    def _chains_know_their_context(self, info: ValidationInfo) -> Self:
        if is_outline(info) or self.source.missing_context != "mark_missing":
            return self
        for kind in ("transition", "duration", "context"):
            if kind not in self.model.model_fields_set:
                continue
            for choice in getattr(self.model, kind):
                if reads_context(kind, choice):
                    raise ValueError(
                        f'source.missing_context = "last_known" or "reject" with `model.{kind}` {label(choice)}, which '
                        "reads the context of every row, of those without values too"
                    )
        return self

    @model_validator(mode="after")
    def _shards_are_of_models_apart(self) -> Self:
        given = [key for key in ("runner", "shard_series") if key in self.run.model_fields_set]
        if given and self.fit.pool != "per_series":
            raise ValueError(
                f'fit.pool = "per_series" with `run.{given[0]}`; all series of a model are fitted together'
            )
        return self

    @model_validator(mode="after")
    def _columns_are_there(self, info: ValidationInfo) -> Self:
        if both := set(self.made_features) & set(self.made_context):
            raise ValueError(f"features and context of different names, unlike {min(both)}")
        for key in () if is_outline(info) else ("emission", "transition", "duration", "initial"):
            for choice in getattr(self.model, key):
                self._check_columns(key, choice)
        return self

    def _check_columns(self, key: str, choice: Any) -> None:
        for which, known in (("features", self.value_columns), ("context", self.context_columns)):
            for name in named_columns(choice, which):
                if name not in known:
                    there = nearest(name, known) if known else f"declare {name!r} in a table `[{which}]`"
                    raise ValueError(f"`model.{key}` {label(choice)} with columns of {which}: {there}")

    def ordered(self, features: Sequence[str], context: Sequence[str]) -> Settings:
        """The same with its features and its context in these orders."""
        copy = self.model_copy(
            update={
                "features": {name: self.features[name] for name in features},
                "context": {name: self.context[name] for name in context},
            }
        )
        for made in ("made_features", "made_context", "levels"):
            copy.__dict__.pop(made, None)
        return copy

    @cached_property
    def made_features(self) -> dict[str, Feature]:
        """The columns that the model sees, in their order; a feature of several lags makes one for each."""
        return all_made(self.features)

    @cached_property
    def made_context(self) -> dict[str, Feature]:
        """The columns that the model's laws may depend on, made as features are."""
        return all_made(self.context)

    @property
    def source_columns(self) -> dict[str, str]:
        """The columns of the source that hold values, and the key of the configuration that names each first."""
        labels = {} if self.source.states is None else {self.source.states: "source.states"}
        declared = (("context", self.context), ("features", self.features))
        used = [
            (c, f"{section}.{name}") for section, all_of in declared for name, f in all_of.items() for c in f.inputs
        ]
        return labels | dict(reversed(used))

    @cached_property
    def levels(self) -> dict[str, Feature]:
        """The columns that features are changes of, as they are: no model sees them, the page does."""
        return changed_levels(self.made_features)

    @property
    def value_columns(self) -> list[str]:
        """The names of the columns that the model sees."""
        return list(self.made_features)

    @property
    def context_columns(self) -> list[str]:
        """The names of the columns of the context."""
        return list(self.made_context)


def read_settings(path: str | Path, assignments: Sequence[str] = ()) -> Settings:
    """Read a TOML configuration, let the environment and ``assignments`` override it, and check it.

    Raises ``ConfigurationError`` naming every wrong key, what was found and what was expected.
    """
    merged, origins = _merged(path, assignments)
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise ConfigurationError(explain(error, Settings, origins)) from None


def read_outline(path: str | Path, assignments: Sequence[str] = ()) -> Settings:
    """:func:`read_settings` for commands that fit nothing: the library's own names are taken as they are written.

    They are not looked up, so that the library need not be loaded. Raises as that does.
    """
    merged, origins = _merged(path, assignments)
    try:
        return Settings.model_validate(merged, context=OUTLINE)
    except ValidationError as error:
        raise ConfigurationError(explain(error, Settings, origins)) from None


def _merged(path: str | Path, assignments: Sequence[str]) -> tuple[dict[str, Any], Origins]:
    merged = read_toml(Path(path))
    return merged, Origins(str(path), override(merged, assignments, Settings.model_fields))


def check_name(name: str) -> str:
    """A model's name, if it could be one."""
    if not re.fullmatch(_NAME, name):
        raise ConfigurationError(f"found {name!r}; expected a model's name: `name` in its configuration.")
    return name


def read_tracking(assignments: Sequence[str] = ()) -> Tracking:
    """Where runs are logged, for commands that name a model and no configuration: environment, then ``assignments``."""
    merged: dict[str, Any] = {}
    override(merged, assignments, Settings.model_fields)
    try:
        return Tracking(**merged.get("tracking", {}))
    except (ValidationError, TypeError):
        raise ConfigurationError("tracking: expected tracking.uri, a text such as sqlite:///mlflow.db.") from None
