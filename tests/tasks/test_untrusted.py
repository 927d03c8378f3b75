"""A Parquet file that lies is refused at once, before anything is allocated for its claims."""

from __future__ import annotations

import base64
import multiprocessing
import resource
import struct
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.config.errors import PipelineError, SourceError
from tasks.source.ingest import ingest

_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
_COLUMNS = {"symbol": 6, "date": 1, "close": 5}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _text(value: str) -> bytes:
    return _varint(len(value)) + value.encode()


def _list(kind: int, items: Sequence[bytes], count: int | None = None) -> bytes:
    return bytes([0xF0 | kind]) + _varint(len(items) if count is None else count) + b"".join(items)


def _structure(*fields: tuple[int, int, bytes]) -> bytes:
    return b"".join(bytes([kind]) + _number(place) + value for place, kind, value in fields) + b"\0"


def _element(name: str, kind: int | None = None, children: int | None = None) -> bytes:
    fields = [(3, _I32, _number(1)), (4, _BINARY, _text(name))]
    if kind is not None:
        fields = [(1, _I32, _number(kind)), *fields]
    if children is not None:
        fields.append((5, _I32, _number(children)))
    return _structure(*fields)


def _chunk(
    name: str, kind: int, rows: int, start: int, unpacked: int, packed: int, dictionary: int | None = None
) -> bytes:
    numbers = {5: rows, 6: unpacked, 7: packed, 9: start if dictionary is None else start + dictionary}
    if dictionary is not None:
        numbers[11] = start
    described = _structure(
        (1, _I32, _number(kind)),
        (2, _LIST, _list(_I32, [_number(0), _number(3)])),
        (3, _LIST, _list(_BINARY, [_text(name)])),
        (4, _I32, _number(0)),
        *((place, _I64, _number(value)) for place, value in numbers.items()),
    )
    return _structure((2, _I64, _number(start)), (3, _STRUCT, described))


def _page(rows: int, unpacked: int, body: bytes) -> bytes:
    data = _structure(*((place, _I32, _number(value)) for place, value in {1: rows, 2: 0, 3: 3, 4: 3}.items()))
    sizes = {1: 0, 2: unpacked, 3: len(body)}
    return _structure(*((place, _I32, _number(value)) for place, value in sizes.items()), (5, _STRUCT, data)) + body


def _footer(
    rows: int, schema: list[bytes], groups: list[bytes], notes: dict[str, str] | None = None, **claims: int
) -> bytes:
    pairs = [_structure((1, _BINARY, _text(key)), (2, _BINARY, _text(said))) for key, said in (notes or {}).items()]
    noted = [(5, _LIST, _list(_STRUCT, pairs))] if pairs else []
    return _structure(
        (1, _I32, _number(2)),
        (2, _LIST, _list(_STRUCT, schema, claims.get("n_schema"))),
        (3, _I64, _number(rows)),
        (4, _LIST, _list(_STRUCT, groups, claims.get("n_groups"))),
        *noted,
    )


def _schema(children: int = 3) -> list[bytes]:
    return [_element("root", children=children), *(_element(name, kind) for name, kind in _COLUMNS.items())]


def _file(body: bytes, footer: bytes) -> bytes:
    return b"PAR1" + body + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _filled(rows: int, n_groups: int = 1, unpacked: int | None = None, claimed: int | None = None) -> bytes:
    """Rows without values: a run of nulls takes a few bytes whatever its length."""
    run = _varint(rows << 1) + b"\0"
    levels = struct.pack("<I", len(run)) + run
    page = _page(rows, unpacked or len(levels), levels)
    chunks = [
        _chunk(name, kind, rows, 4 + i * len(page), claimed or len(page), len(page))
        for i, (name, kind) in enumerate(_COLUMNS.items())
    ]
    group = _structure((1, _LIST, _list(_STRUCT, chunks)), (2, _I64, _number(100)), (3, _I64, _number(rows)))
    return _file(page * 3, _footer(rows * n_groups, _schema(), [group] * n_groups))


def _with_dictionary(n_values: int) -> bytes:
    sizes = [(place, _I32, _number(value)) for place, value in {1: 2, 2: 8, 3: 8}.items()]
    about = _structure((1, _I32, _number(n_values)), (2, _I32, _number(0)))
    page = _structure(*sizes, (7, _STRUCT, about)) + bytes(8)
    both = page + _page(1, 6, struct.pack("<I", 2) + b"\2\0")
    chunks = [
        _chunk(name, kind, 1, 4 + i * len(both), len(both), len(both), len(page))
        for i, (name, kind) in enumerate(_COLUMNS.items())
    ]
    group = _structure((1, _LIST, _list(_STRUCT, chunks)), (2, _I64, _number(100)), (3, _I64, _number(1)))
    return _file(both * 3, _footer(1, _schema(), [group]))


def _with_arrow_schema(message: bytes) -> bytes:
    return _file(b"", _footer(0, _schema(), [], {"ARROW:schema": base64.b64encode(message).decode()}))


def _deep_message(depth: int) -> bytes:
    nested: pa.DataType = pa.int32()
    for _ in range(depth):
        nested = pa.list_(nested)
    return pa.schema([("symbol", nested)]).serialize().to_pybytes()


def _deep(depth: int) -> bytes:
    nested = [_element("x", children=1) for _ in range(depth)]
    return _file(b"", _footer(0, [*_schema(4), *nested, _element("leaf", 5)], []))


LIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a billion rows in a few bytes": (lambda: _filled(10**9), "1000000000 rows in"),
    "row groups upon each other": (lambda: _filled(10, 1000), "upon another"),
    "row groups without end": (lambda: _filled(1, 100_000), "100000 row groups"),
    "columns within columns": (lambda: _deep(5000), "nested deeper"),
    "columns without end": (lambda: _deep(300_000), "300005 columns"),
    "a list longer than the file": (
        lambda: _file(b"", _footer(1, _schema(), [], n_schema=2**31 - 1)),
        "2147483647 items",
    ),
    "groups that are not there": (
        lambda: _file(b"", _footer(1, _schema(), [], n_groups=2**31 - 1)),
        "items in 1 bytes",
    ),
    "a column of two billion": (lambda: _file(b"", _footer(1, _schema(2**31 - 1), [])), "2147483647 columns"),
    "fewer rows than none": (lambda: _file(b"", _footer(-5, _schema(), [])), "-5 rows"),
    "a page that swells": (lambda: _filled(100, unpacked=2**31 - 1), "a page of column"),
    "a column that swells": (lambda: _filled(100, 1, 2**31 - 1, 2**31 - 1), "packed into"),
    "a dictionary without end": (lambda: _with_dictionary(2**31 - 1), "2147483647 values in 8 bytes"),
    "an Arrow schema without end": (lambda: _with_arrow_schema(_deep_message(2000)), "Arrow schema does not hold"),
    "an Arrow schema of another frame": (lambda: _with_arrow_schema(_deep_message(2)[4:]), "as a message does"),
    "a footer longer than the file": (lambda: b"PAR1" + b"\0" * 40 + b"\xff\xff\xff\xffPAR1", "4294967295"),
    "an encrypted footer": (lambda: b"PARE" + b"\0" * 40 + b"\x04\0\0\0PARE", "encrypted"),
    "nothing": (lambda: b"", "0 bytes"),
}
_A_GIBIBYTE, _SECONDS = 1 << 30, 20.0


def _in_little_memory(path: str, settings: Any, said: Any) -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _A_GIBIBYTE, taken + _A_GIBIBYTE))
    began = time.process_time()
    for lie in sorted(Path(path).iterdir()):
        try:
            ingest(settings.model_copy(update={"source": settings.source.model_copy(update={"path": str(lie)})}))
            said.put((lie.stem, "accepted", 0.0))
        except PipelineError as error:
            said.put((lie.stem, str(error), time.process_time() - began))
        began = time.process_time()
    said.put(None)


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float]]:
    """What was said of every lie, in a process that has a gibibyte to spare, and how long that took."""
    from tasks.config.settings import Settings

    folder = tmp_path_factory.mktemp("lies")
    for name, (make, _) in LIES.items():
        (folder / f"{name}.parquet").write_bytes(make())
    settings = Settings(
        name="toy",
        source={"path": "x", "series": "symbol", "time": "date"},
        features={"r": {"op": "log_return", "column": "close"}},
    )
    spawn = multiprocessing.get_context("spawn")
    said = spawn.Queue()
    child = spawn.Process(target=_in_little_memory, args=(str(folder), settings, said))
    child.start()
    heard = list(iter(lambda: said.get(timeout=120), None))
    child.join()
    return {name: (sentence, seconds) for name, sentence, seconds in heard}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_one_sentence_within_a_second_and_a_gibibyte(lie: str, refusals: dict) -> None:
    sentence, seconds = refusals[lie]
    assert LIES[lie][1] in sentence
    assert "cannot be read" in sentence
    assert len(sentence.splitlines()) == 1
    assert seconds < _SECONDS


@pytest.mark.parametrize("column", ["close", "id"])
def test_extension_types_are_refused_wherever_they_are(settings_for, prices, tmp_path: Path, column: str) -> None:
    settings = settings_for(prices())
    table = pq.read_table(tmp_path / "source.parquet")
    strange = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"] * len(table), pa.binary(16)))
    places = [*(name for name in table.column_names if name != column), column]
    columns = [strange if name == column else table[name] for name in places]
    pq.write_table(pa.table(dict(zip(places, columns, strict=True))), tmp_path / "source.parquet")
    with pytest.raises(SourceError, match="extension type"):
        ingest(settings)


def test_bytes_that_were_changed_never_end_the_process(settings_for, prices, tmp_path: Path) -> None:
    settings = settings_for(prices())
    whole = (tmp_path / "source.parquet").read_bytes()
    rng, said = np.random.default_rng(0), []
    for _ in range(60):
        changed = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 9)):
            changed[place] = rng.integers(256)
        (tmp_path / "source.parquet").write_bytes(changed)
        try:
            assert set(ingest(settings).rows.columns) >= {"series_id", "time", "raw:close"}
        except SourceError as error:
            said.append(str(error))
    assert len(said) > 10
    assert all(len(sentence.splitlines()) == 1 for sentence in said)


def test_what_ordinary_writers_make_is_read(settings_for, tmp_path: Path) -> None:
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(3000)]
    rows = pl.DataFrame({"symbol": "A", "date": days, "close": np.arange(3000.0), "note": [[1, 2]] * 3000})
    settings = settings_for(rows, source={"timezone": "UTC"})
    writers: list[Callable[[Path], object]] = [
        lambda path: rows.write_parquet(path, row_group_size=100, compression="zstd"),
        lambda path: rows.head(1).write_parquet(path, compression="uncompressed"),
        lambda path: rows.clear().write_parquet(path),
        lambda path: pq.write_table(rows.to_arrow(), path, data_page_size=64, compression="gzip"),
        lambda path: pq.write_table(rows.to_arrow(), path, data_page_version="2.0", use_dictionary=False),
        lambda path: pq.write_table(rows.with_columns(close=1.0).to_arrow(), path, compression="zstd"),
        lambda path: rows.to_pandas().to_parquet(path),
    ]
    for write in writers:
        write(tmp_path / "source.parquet")
        expected = pl.read_parquet(tmp_path / "source.parquet").height
        if expected:
            assert ingest(settings).rows.height == expected
        else:
            with pytest.raises(SourceError, match="holds no rows"):
                ingest(settings)


@pytest.mark.parametrize("width", ["int128", "decimal256"])
def test_numbers_that_are_too_wide_are_one_sentence(settings_for, prices, tmp_path: Path, width: str) -> None:
    settings, table = settings_for(prices()), prices().to_arrow()
    if width == "int128":
        prices().with_columns(pl.col("close").cast(pl.Int128)).write_parquet(tmp_path / "source.parquet")
    else:
        wide = table["close"].cast(pa.decimal256(50, 10))
        pq.write_table(table.set_column(2, "close", wide), tmp_path / "source.parquet")
    with pytest.raises(SourceError, match="cannot be read") as refusal:
        ingest(settings)
    assert len(str(refusal.value).splitlines()) == 1
