"""Credentials never reach a message, a parameter, a tag or a table: what looks like one is masked."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"""(?<=://)[^\s/@:'"]*:[^\s'"]*@|(?<=https://)[^\s/@'"]+@|(?<=http://)[^\s/@'"]+@""")
_TOKEN = re.compile(r"""(?<=[?&])([^\s=&]*(?:sig|token|key|pass|pwd|secret|cred)[^\s=&]*=)[^\s&'"]+""", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text with ``***`` for the user and password of a URL, and for the tokens in its query."""
    return _TOKEN.sub(r"\1***", _PASSWORD.sub("***@", text)) if "://" in text else text


def holds_secret(text: str) -> bool:
    """Whether a place names a password or a token."""
    return without_secrets(text) != text
