"""The look as a configuration that says why every line is as it is."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.config.errors import ConfigurationError
from tasks.config.moments import told_day
from tasks.config.outcome import LookSummary
from tasks.config.overrides import assigned
from tasks.config.whole import appearing
from tasks.source.look.choices import Choice
from tasks.source.look.features import key
from tasks.source.look.guess import Look, check_is_source, look_at, name_of

_WIDTH = 110
_SECTIONS = ("source", "features", "model", "fit", "output", "tracking")
_MOST_TOLD = 10


def free_path(output: str | None, name: str) -> Path:
    """Where the configuration goes; raises ``ConfigurationError`` rather than replace a file."""
    path = Path(output or f"{name}.toml")
    if path.exists() or path.suffix != ".toml":
        found = "is there already" if path.exists() else "is no name of a TOML file"
        raise ConfigurationError(
            f"--output: {str(path)!r} {found}; expected a name that is free, such as {name}_2.toml."
        )
    return path


def write_configuration(look: Look, path: Path) -> None:
    """Write the configuration, whole or not at all."""
    try:
        with appearing(path) as made:
            made.write_text(configuration(look, str(path)), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--output: {str(path)!r} cannot be written: {error.strerror}.") from None


def configuration(look: Look, path: str) -> str:
    """The configuration as text."""
    lines = [*_comment(_summary(look)), *_comment(_standing(look, path)), ""]
    lines += _lines(look, "")
    for section in _SECTIONS:
        lines += ["", f"[{section}]", *_lines(look, section)]
    return "\n".join([*lines, *_aside(look), ""])


def _summary(look: Look) -> str:
    counted = isinstance(look.choices.value("source.frequency"), int)
    ends = [told_day(moment, counted=counted) for moment in (look.first, look.last) if moment is not None]
    span = f", {'steps ' if counted else ''}{' to '.join(ends)}" if ends else ""
    n_series = f" of {look.n_series} series" if look.n_series else ""
    return f"Written by `hsmm init` from a look at {look.path}: {look.n_rows} rows{n_series}{span}."


def _standing(look: Look, path: str) -> str:
    if look.open:
        keys = ", ".join(choice.key for choice in look.open)
        told = f"DECIDE: {keys}; the lines below say between what."
        of_source = [choice.key for choice in look.open if choice.key.startswith("source.")]
        if not of_source:
            return told
        return f"{told} Or give the answer to another look: `hsmm init {look.path} --set {of_source[0]}=…`."
    return f"`hsmm try {path}` fits and draws and publishes nothing; `hsmm run {path}` publishes."


def _lines(look: Look, section: str) -> Iterator[str]:
    for name, choice in look.choices.of(section).items():
        yield from _choice(name, choice)


def _choice(name: str, choice: Choice) -> Iterator[str]:
    why = choice.why[:1].upper() + choice.why[1:]
    yield from _comment(("DECIDE: " if choice.is_open else "") + why + ("" if why.endswith("?") else "."))
    if choice.value is not None:
        yield f"{key(name)} = {toml(choice.value)}"
    yield from (line if line.startswith("#") else f"# {line}" for line in choice.instead)


def _aside(look: Look) -> Iterator[str]:
    """Which series a night would set aside, and what else it would say."""
    if look.refusal is not None:
        yield ""
        yield from _comment(f"As it stands, a night would say: {look.refusal}")
    if look.validated is not None and len(look.validated.quarantine):
        quarantine = look.validated.quarantine
        yield ""
        yield from _comment(f"A night would set {len(quarantine)} series aside, and go on with the others:")
        for series, reason, detail in quarantine.head(_MOST_TOLD).iter_rows():
            yield from _comment(f"{series or '(no name)'}: {reason}, {detail}.")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False
    )


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key(name)} = {toml(held)}" for name, held in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def look_and_write(source: str, output: str | None, assignments: Sequence[str] = ()) -> LookSummary:
    """Look at a source and write its configuration; what the command says of it."""
    check_is_source(source)
    given = assigned(assignments)
    path = free_path(output, str(given.get("name", name_of(source))))
    look = look_at(source, given)
    write_configuration(look, path)
    told = [] if look.validated is None else look.validated.quarantine.head(_MOST_TOLD).to_dicts()
    return {
        "config": str(path),
        "name": look.name,
        "n_rows": look.n_rows,
        "n_series": look.n_series,
        "n_quarantined": 0 if look.validated is None else len(look.validated.quarantine),
        "quarantined": told,
        "frequency": look.choices.sections()["source"].get("frequency"),
        "features": list(look.choices.sections()["features"]),
        "decide": {choice.key: choice.why for choice in look.open},
        "refusal": look.refusal,
    }
