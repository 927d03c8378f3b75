"""One declared transform of the source's columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from tasks.config.ops import OPS, Period
from tasks.config.sections.section import Count, Section, distinct
from tasks.config.settings_errors import nearest

_LAGS = "lags"


LEVEL = "level:"


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
    lags: Annotated[tuple[Count, ...], AfterValidator(distinct)] | None = None
    """Several of these: one column each."""
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Rows after which a weight has halved."""
    low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The least value that is let through."""
    high: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The greatest value that is let through."""
    period: Period | None = None
    """What comes round: a day, a week, a year."""
    dates: Annotated[tuple[date, ...], AfterValidator(distinct)] | None = None
    """Days, such as 2026-12-25."""

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


def all_made(features: Mapping[str, Feature]) -> dict[str, Feature]:
    """The columns that all of these make, in their order."""
    return {column: made for name, feature in features.items() for column, made in feature.made(name).items()}


def changed_levels(features: Mapping[str, Feature]) -> dict[str, Feature]:
    """The columns of the source that these are changes of, under names that no feature has."""
    changed = (column for feature in features.values() if OPS[feature.op].change for column in feature.inputs)
    return {f"{LEVEL}{column}": Feature(op="identity", column=column) for column in dict.fromkeys(changed)}
