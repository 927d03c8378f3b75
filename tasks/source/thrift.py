"""Just enough of Thrift's compact protocol to look at untrusted bytes: nothing is built, nothing is believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_DEEPEST = 16
_LONGEST_INTEGER = 10


class Thrift:
    """A place ``at`` in bytes; every step raises ``ValueError`` rather than leave them."""

    def __init__(self, data: Any, at: int = 0) -> None:
        self._data, self._size, self.at = data, len(data), at

    def fields(self) -> Iterator[tuple[int, int]]:
        """(id, kind) of every field of a structure; whoever asks for the next must have read or skipped this one."""
        last = 0
        while (head := self._byte()) != _STOP:
            last = last + (head >> 4) if head >> 4 else self.integer()
            yield last, head & 15

    def integer(self) -> int:
        """A signed whole number."""
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def binary(self) -> bytes:
        """A string of bytes."""
        length = self._unsigned()
        self._move(length)
        return bytes(self._data[self.at - length : self.at])

    def list_header(self) -> tuple[int, int]:
        """Count and kind of a list's items; each takes at least a byte, so there cannot be more than bytes left."""
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._unsigned()
        if count > self._size - self.at:
            raise ValueError(f"a list claims {count} items in {self._size - self.at} bytes")
        return count, head & 15

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value."""
        if depth > _DEEPEST:
            raise ValueError(f"structures within structures deeper than {_DEEPEST}")
        if kind in (_TRUE, _FALSE):
            return
        if kind in (_I16, _I32, _I64):
            self._unsigned()
        elif kind in (_BYTE, _DOUBLE, _BINARY):
            self._move({_BYTE: 1, _DOUBLE: 8}[kind] if kind != _BINARY else self._unsigned())
        elif kind in (_LIST, _SET):
            count, item = self.list_header()
            for _ in range(count):
                self._move(1) if item in (_TRUE, _FALSE) else self.skip(item, depth + 1)
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise ValueError(f"a field of unknown kind {kind}")

    def _byte(self) -> int:
        self._move(1)
        return int(self._data[self.at - 1])

    def _move(self, count: int) -> None:
        if count > self._size - self.at:
            raise ValueError("it ends in the middle of a value")
        self.at += count

    def _unsigned(self) -> int:
        value = 0
        for place in range(_LONGEST_INTEGER):
            byte = self._byte()
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value
        raise ValueError("a number has too many bytes")
