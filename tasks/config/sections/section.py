"""What all sections of the configuration are, and the kinds of values that several of them hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from tasks.config.kinds import check_kind
from tasks.config.secrets import holds_secret


class Section(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        check_kind(value, cls.model_fields[info.field_name].annotation)
        return value


DATABASES = ("postgresql://", "postgres://")


def is_database(place: str) -> bool:
    """Whether a place is a database of a PostgreSQL server."""
    return place.startswith(DATABASES)


def _open_place(place: str) -> str:
    """The place is logged and stands in tables."""
    if holds_secret(place):
        variable = "PGPASSWORD" if is_database(place) else "AWS_ACCESS_KEY_ID"
        raise ValueError(f"a place without password or token, which belong in the environment ({variable}, …)")
    return place


def as_candidates(value: Any) -> Any:
    """A list as it is; anything else is a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values; raises ``ValueError`` where there are none, or one is there twice."""
    if not values or len(set(values)) < len(values):
        raise ValueError("at least one candidate, none of them twice")
    return values


Count = Annotated[int, Field(ge=1)]
Place = Annotated[str, Field(min_length=1), AfterValidator(_open_place)]
