"""A configuration as a tree of plain values: the TOML file, then the environment, then ``--set`` assignments."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.config.errors import ConfigurationError, plainly
from tasks.config.secrets import holds_secret

_PREFIX = "HSMM_"


def read_toml(path: Path) -> dict[str, Any]:
    """What the file says; raises ``ConfigurationError`` where there is none or it is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: found no such file; expected a TOML configuration.") from None
    except (IsADirectoryError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {_no_toml(path, error)}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read as a TOML configuration: {plainly(error)}.") from None


def _no_toml(path: Path, error: Exception) -> str:
    if isinstance(error, IsADirectoryError):
        return f"found a folder; expected a TOML configuration.{_hint(path)}"
    if isinstance(error, UnicodeDecodeError):
        return f"found bytes that are not UTF-8; expected a TOML configuration.{_hint(path)}"
    return f"not valid TOML: {error}.{_hint(path)}"


def _hint(path: Path) -> str:
    return "" if path.suffix == ".toml" else f" If these are data, `hsmm init {path}` writes a configuration for them."


def override(tree: dict[str, Any], assignments: Sequence[str], top_level: Container[str]) -> dict[str, str]:
    """Write variables such as HSMM_FIT__N_INIT, and then assignments such as fit.n_init=64, into ``tree``.

    Of variables without a section, those count that name one of the ``top_level`` keys. Returns who wrote each dotted
    key: the variable, or ``--set``.
    """
    written = {}
    given = [*_variables(os.environ, top_level), *(("--set", *_split_assignment(text)) for text in assignments)]
    for origin, dotted, text in given:
        _assign(tree, dotted, _parse_value(text), origin)
        written[dotted] = origin
    return written


def _variables(environment: Mapping[str, str], top_level: Container[str]) -> list[tuple[str, str, str]]:
    """Variables such as HSMM_FIT__N_INIT, the keys that they name, and what they hold.

    Other variables that begin with HSMM_ are not configuration.
    """
    keys = {name: name.removeprefix(_PREFIX).lower() for name in sorted(environment) if name.startswith(_PREFIX)}
    return [
        (name, key.replace("__", "."), environment[name])
        for name, key in keys.items()
        if "__" in key or key in top_level
    ]


def assigned(assignments: Sequence[str]) -> dict[str, Any]:
    """The values of assignments by dotted key; the last of a key wins."""
    return {dotted: _parse_value(text) for dotted, text in map(_split_assignment, assignments)}


def _split_assignment(assignment: str) -> tuple[str, str]:
    dotted, equals, text = assignment.partition("=")
    if not equals or not dotted.strip():
        raise ConfigurationError(f"--set: found {assignment!r}; expected section.key=value, such as fit.n_init=64.")
    if holds_secret(text):  # Prefect keeps what a run was called with
        variable = f"{_PREFIX}{dotted.strip().upper().replace('.', '__')}"
        raise ConfigurationError(f"--set: found a password in {dotted.strip()}; expected it in {variable}.")
    return dotted.strip(), text.strip()


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(tree: dict[str, Any], dotted: str, value: Any, origin: str) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(
                f"{origin}: {dotted}: `{section}` holds a value; expected a section of the configuration."
            )
    tree[key] = value
