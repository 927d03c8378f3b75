"""Alerts: what deserves one, and who is told."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from tasks.config.secrets import holds_secret
from tasks.config.sections.section import Count, Section

Kind = Literal["stale", "quarantine", "held", "drift", "wild"]
KINDS: tuple[Kind, ...] = ("stale", "quarantine", "held", "drift", "wild")
EVERY = "*"
_ARROW = "->"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MAJORITY = 0.5


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("an address such as https://example.org/alerts") from None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)):
        raise ValueError("an address that begins with https://, or with http:// on this machine")
    return url


def checked_address(url: str) -> str | None:
    """What was expected instead of an address; ``None`` if it is one."""
    try:
        _address(url)
    except ValueError as error:
        return str(error)
    return None


def _open_address(url: str) -> str:
    if holds_secret(_address(url)):
        raise ValueError("an address without password or token; one that holds some stands in a variable: `url_from`")
    return url


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("the name of a variable of the environment, such as ALERTS_URL")
    return name


def _change(text: str) -> str:
    sides = [side.strip() for side in text.split(_ARROW)]
    if len(sides) != 2 or not all(sides) or (sides[0] == sides[1] != EVERY):
        raise ValueError(f'two states such as "calm {_ARROW} crisis", {EVERY} standing for any')
    return f" {_ARROW} ".join(sides)


Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Variable = Annotated[str, AfterValidator(_variable)]


class Hook(Section):
    """Who is told of an alert: an address that it is posted to, or a command that reads it."""

    url: Annotated[str, AfterValidator(_open_address)] | None = None
    """The address that each alert is posted to, as JSON."""
    url_from: Variable | None = None
    """A variable of the environment that holds the address, where that is itself a secret."""
    token_from: Variable | None = None
    """A variable of the environment that holds a token, sent as `Authorization: Bearer …`."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """A program and its arguments, run without a shell; it reads the alert as JSON from its standard input."""
    timeout: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 10.0
    """Seconds after which a call has failed."""
    retries: Annotated[int, Field(ge=0, le=10)] = 3
    """Calls after the first that failed, in one run; the next run tries again."""
    backoff: Seconds = 1.0
    """Seconds before the first of these; each waits twice as long as the one before."""

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        given = [key for key in ("url", "url_from", "command") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("one of `url`, `url_from` and `command`")
        if self.token_from is not None and self.command is not None:
            raise ValueError("`token_from` together with `url` or `url_from`; a command reads its own environment")
        return self


class Drift(Section):
    """When the input is no longer what it was."""

    window: Annotated[int, Field(ge=5)] = 50
    """Newest rows of a series that are compared with those before."""
    factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 3.0
    """How far a feature's level or spread may leave what any window before had, in its spreads."""
    missing: Annotated[float, Field(gt=0, le=1)] = 0.25
    """By how much a feature's share of missing values may exceed that of any window before."""
    surprise: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    """How many standard errors the rank of the rows' surprise, among earlier rows in the same state, may exceed the
    middle.
    """


class Alerts(Section):
    """What deserves an alert, and who is told. All of it is judged by what was known at the row."""

    states: tuple[int | str, ...] = ()
    """States, by name or number, of which each entry is an alert."""
    changes: tuple[Annotated[str, AfterValidator(_change)], ...] | None = None
    """Changes of state, such as "calm -> crisis" or "* -> crisis"; without `states` and `changes`, every change."""
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """How probable a state must be, given the rows so far."""
    confirm: Count = 2
    """For how many rows in a row that have values."""
    release: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Below which probability it has ended, and may be entered again."""
    most: Count = 3
    """The most alerts of one series that are told within `per` rows; the others are only noted."""
    per: Count = 100
    """The rows in which these are counted."""
    also: tuple[Kind, ...] = KINDS
    """What else deserves an alert: a series without values for long, one that was set aside, a night on which the gate
    held, inputs that are no longer what they were, values too far from all others to be evidence.
    """
    drift: Drift = Drift()
    """When inputs are no longer what they were."""
    hook: Hook | None = None
    """Who is told; without one, alerts stand in their table alone."""

    @model_validator(mode="after")
    def _ends_below_where_it_begins(self) -> Self:
        if self.release > self.probability:
            raise ValueError(f"release = {self.release:g} no larger than probability = {self.probability:g}")
        if self.patterns and self.probability <= _MAJORITY:
            raise ValueError(
                f"probability = {self.probability:g} above {_MAJORITY:g} together with `changes`, for which only one "
                "state may be probable at a time"
            )
        return self

    @property
    def patterns(self) -> list[tuple[str, str]]:
        """From and to of the changes that matter."""
        changes = self.changes if self.changes is not None else () if self.states else (f"{EVERY} {_ARROW} {EVERY}",)
        return [(before, after) for before, after in (change.split(f" {_ARROW} ") for change in changes)]
