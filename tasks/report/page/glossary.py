"""The words that the page uses, as the documentation explains them: ``glossary.md`` is its own file, seen from here."""

from __future__ import annotations

import re
from pathlib import Path

_TERM = re.compile(r"^\| (\*\*.+?) \| (.+) \|$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_MARKS = re.compile(r"\*\*|`|\*(?=\w)|(?<=\w)\*")


def glossary() -> list[tuple[str, str]]:
    """Word and meaning of every entry, in the order of the alphabet, without mark-up."""
    source = (Path(__file__).parent / "glossary.md").read_text(encoding="utf-8")
    return sorted(((_plain(word), _plain(says)) for word, says in _TERM.findall(source)), key=lambda of: of[0].lower())


def _plain(text: str) -> str:
    return _MARKS.sub("", _LINK.sub(r"\1", text))
