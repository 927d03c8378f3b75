"""Whether a Parquet file may be opened: what it claims is weighed before anything is allocated for it.

The readers trust a file's counts and nesting: one that lies can end the process, which nothing can catch.
"""

from __future__ import annotations

import binascii
import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from tasks.source.thrift import Thrift

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_CONTINUATION = b"\xff" * 4
_LARGEST_FOOTER = 1 << 26
_MOST_COLUMNS = 10_000
_MOST_GROUPS = 10_000
_DEEPEST = 32
_MOST_ROWS_PER_BYTE = 1_000
_MOST_EXPANSION = 20_000
_SMALL = 1 << 26
_SLACK = 1 << 16
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12


@dataclass
class _Chunk:
    """What one row group claims of one column."""

    column: str = ""
    unpacked: int = 0
    packed: int = 0
    data_at: int = 0
    dictionary_at: int = 0
    readable: bool = True

    @property
    def start(self) -> int:
        return self.dictionary_at or self.data_at


@dataclass
class _Claims:
    """What a footer says of its file."""

    n_rows: int = 0
    n_rows_of_groups: int = 0
    chunks: list[_Chunk] = field(default_factory=list)


def check_parquet(paths: Sequence[str], columns: list[str]) -> None:
    """Raises ``ValueError`` if a file on this machine must not be opened; ``columns`` are those that will be read."""
    n_rows = 0
    for file in (Path(path) for path in paths if "://" not in path):
        if not file.is_file():
            raise ValueError(f"{file.name} is no plain file")
        try:
            footer = _footer(file)
            claims = _claims(Thrift(footer), set(columns))
            _check_claims(claims, file, file.stat().st_size - len(footer))
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}" if len(paths) > 1 else str(error)) from None
        n_rows += claims.n_rows
    needed = n_rows * (len(columns) + 1) * 8
    if needed > (there := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise ValueError(f"its {n_rows} rows need {needed >> 30} GiB of memory and this machine has {there >> 30}")


def _claims(footer: Thrift, columns: set[str]) -> _Claims:
    claims = _Claims()
    for place, kind in footer.fields():
        if (place, kind) == (2, _LIST):
            _check_schema(footer)
        elif (place, kind) == (3, _I64):
            claims.n_rows = footer.integer()
        elif (place, kind) == (4, _LIST):
            count, _ = footer.list_header()
            if count > _MOST_GROUPS:
                raise ValueError(f"it claims {count} row groups, more than {_MOST_GROUPS}")
            for _ in range(count):
                _read_group(footer, claims, columns)
        elif (place, kind) == (5, _LIST):
            _check_notes(footer)
        elif place in (8, 9):
            raise ValueError("it is encrypted")
        else:
            footer.skip(kind)
    return claims


def _read_group(footer: Thrift, claims: _Claims, columns: set[str]) -> None:
    for place, kind in footer.fields():
        if (place, kind) == (1, _LIST):
            count, _ = footer.list_header()
            chunks = [_chunk(footer) for _ in range(count)]
            claims.chunks += [chunk for chunk in chunks if chunk.column in columns or not chunk.readable]
        elif (place, kind) == (3, _I64):
            claims.n_rows_of_groups += footer.integer()
        else:
            footer.skip(kind)


def _chunk(footer: Thrift) -> _Chunk:
    chunk = _Chunk()
    for place, kind in footer.fields():
        if (place, kind) == (3, _STRUCT):
            _read_column(footer, chunk)
        else:
            chunk.readable &= place not in (1, 8, 9)  # in another file, or encrypted
            footer.skip(kind)
    return chunk


def _read_column(footer: Thrift, chunk: _Chunk) -> None:
    numbers = {6: "unpacked", 7: "packed", 9: "data_at", 11: "dictionary_at"}
    for place, kind in footer.fields():
        if kind == _I64 and place in numbers:
            setattr(chunk, numbers[place], footer.integer())
        elif (place, kind) == (3, _LIST):
            count, item = footer.list_header()
            path = [footer.binary() for _ in range(count)] if item == _BINARY else []
            chunk.column = path[0].decode(errors="replace") if path else ""
        else:
            footer.skip(kind)


def _check_notes(footer: Thrift) -> None:
    """Arrow keeps its own schema among the notes, which readers follow wherever it leads."""
    count, _ = footer.list_header()
    for _ in range(count):
        notes = {}
        for place, kind in footer.fields():
            if kind == _BINARY:
                notes[place] = footer.binary()
            else:
                footer.skip(kind)
        if notes.get(1) == b"ARROW:schema":
            _check_arrow_schema(notes.get(2, b""))


def _check_arrow_schema(text: bytes) -> None:
    try:
        schema = binascii.a2b_base64(text)
    except binascii.Error:
        raise ValueError("its Arrow schema is not base64") from None
    if b"ARROW:extension:name" in schema:
        raise ValueError("it holds an extension type")
    if not schema.startswith(_CONTINUATION):
        raise ValueError("its Arrow schema does not begin as a message does")
    try:
        pa.ipc.read_schema(pa.py_buffer(schema))
    except (pa.ArrowInvalid, NotImplementedError, OSError) as error:
        raise ValueError(f"its Arrow schema does not hold: {error}") from None


def _footer(file: Path) -> bytes:
    with file.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        if size < 12:
            raise ValueError(f"it has only {size} bytes")
        handle.seek(-8, os.SEEK_END)
        length, magic = struct.unpack("<I4s", handle.read(8))
        if magic == _ENCRYPTED:
            raise ValueError("it is encrypted")
        if magic != _MAGIC:
            raise ValueError("it does not end as Parquet does")
        if length > min(size - 12, _LARGEST_FOOTER):
            raise ValueError(f"its footer claims {length} bytes of {size}")
        handle.seek(-8 - length, os.SEEK_END)
        return handle.read(length)


def _check_schema(footer: Thrift) -> None:
    count, kind = footer.list_header()
    if count > _MOST_COLUMNS or kind != _STRUCT:
        raise ValueError(f"it claims {count} columns, more than {_MOST_COLUMNS}")
    open_children: list[int] = []
    for _ in range(count):
        while open_children and open_children[-1] == 0:
            open_children.pop()
        if open_children:
            open_children[-1] -= 1
        children = _number_at(5, footer)
        if not 0 <= children <= _MOST_COLUMNS:
            raise ValueError(f"it claims a column of {children} columns")
        open_children.append(children)
        if len(open_children) > _DEEPEST:
            raise ValueError(f"its columns are nested deeper than {_DEEPEST}")


def _number_at(wanted: int, structure: Thrift) -> int:
    number = 0
    for place, kind in structure.fields():
        if (place, kind) == (wanted, _I32):
            number = structure.integer()
        else:
            structure.skip(kind)
    return number


def _check_claims(claims: _Claims, file: Path, size: int) -> None:
    if claims.n_rows != claims.n_rows_of_groups or claims.n_rows < 0:
        raise ValueError(f"it claims {claims.n_rows} rows and its row groups {claims.n_rows_of_groups}")
    if claims.n_rows > _MOST_ROWS_PER_BYTE * size:
        raise ValueError(f"it claims {claims.n_rows} rows in {size} bytes")
    if not claims.chunks:
        return
    if not all(chunk.readable for chunk in claims.chunks):
        raise ValueError("it has a column that is encrypted or lies in another file")
    end = 0
    for chunk in sorted(claims.chunks, key=lambda chunk: chunk.start):
        if not end <= chunk.start < chunk.start + chunk.packed <= size:
            raise ValueError(f"column {chunk.column!r} lies outside the file or upon another")
        end = chunk.start + chunk.packed
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for chunk in claims.chunks:
            _check_pages(content, chunk)


def _check_pages(content: mmap.mmap, chunk: _Chunk) -> None:
    """No page unpacks to more than its column claims, and that is no more than so few bytes can hold.

    Nor does a dictionary hold more values than bytes: room is made for all of them before the first is read.
    """
    if not 0 <= chunk.unpacked <= max(_SMALL, _MOST_EXPANSION * chunk.packed):
        raise ValueError(f"column {chunk.column!r} claims {chunk.unpacked} bytes packed into {chunk.packed}")
    at, end = chunk.start, chunk.start + chunk.packed
    while at < end:
        header, sizes = Thrift(content, at), {}
        for place, kind in header.fields():
            if place in (2, 3) and kind == _I32:
                sizes[place] = header.integer()
            elif (place, kind) == (7, _STRUCT):
                sizes[place] = _number_at(1, header)
            else:
                header.skip(kind)
        unpacked, packed, n_values = sizes.get(2, -1), sizes.get(3, -1), sizes.get(7, 0)
        if not (0 <= unpacked <= max(chunk.unpacked, _SLACK) and packed >= 0):
            raise ValueError(f"a page of column {chunk.column!r} claims {unpacked} bytes of {chunk.unpacked}")
        if not 0 <= n_values <= unpacked:
            raise ValueError(f"the dictionary of column {chunk.column!r} claims {n_values} values in {unpacked} bytes")
        at = header.at + packed
