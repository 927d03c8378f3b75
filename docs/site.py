"""What the site shows of files that stand outside ``docs/``: the same words, their links turned to the site's pages."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "examples/data/README.md": "example-data.md",
    "NOTICE": "notice.md",
    "LICENSE": "licence.md",
}
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of :data:`PAGES`."""
    for source, page in PAGES.items():
        text = (_ROOT / source).read_text(encoding="utf-8")
        content = _turned(text, source, page) if source.endswith(".md") else f"```text\n{text}```\n"
        files.append(File.generated(config, page, content=content))
    return files


def _turned(text: str, source: str, page: str) -> str:
    """The text with links that lead where they did, seen from the page."""
    beside = PurePosixPath(source).parent

    def turn(found: re.Match[str]) -> str:
        target = normpath(str(beside / found[1]))
        if (_ROOT / target).is_dir():  # the site has no page of a folder: its first file stands for it
            target = relpath(min((_ROOT / target).glob("*.md")), _ROOT)
        target = PAGES.get(target, target.removeprefix("docs/"))
        return relpath(target, str(PurePosixPath(page).parent)) + (found[2] or "")

    return _LINK.sub(turn, text)
