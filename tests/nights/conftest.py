"""Whole nights in a second each: the plain functions without Prefect, and a registry that is a folder."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import flows.backfill
import flows.decoding
import flows.nightly
import flows.publishing
import flows.server
import flows.shards
import flows.walk_forward
import tasks.judgement.champion
import tasks.judgement.promote
import tasks.registry.client
import tasks.tracking.track
from flows.cli import main
from tasks.config.errors import GoneError
from tasks.config.settings import Settings, read_settings
from tasks.fitting.bundle import Bundle, load_bundle
from tasks.registry.client import PREVIOUS, Version
from tasks.registry.local import make_local_database
from tests.commands import Outcome

FIRST_DAY = date(2020, 1, 1)
CONFIG = """
name = "toy"
[source]
path = "{path}"
series = "symbol"
time = "date"
frequency = "1d"
available_after = "1d"
[features]
x = {{ op = "identity", column = "x" }}
[model]
n_states = 3
emission = "gaussian"
duration = "geometric"
max_duration = 20
[fit]
n_init = 3
max_iter = 60
tol = 1e-5
device = "cpu"
[promote]
holdout = 10
[output]
states = "{states}"
[tracking]
uri = "{uri}"
"""


class FolderRegistry:
    """What :class:`tasks.registry.client.Registry` does, with folders and a dictionary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self._versions: dict[int, Version] = {}
        self._alias: int | None = None
        self._passed = 0
        self.uri = "a folder"

    experiment_id = "1"

    def log_night(self, *_: object) -> None: ...

    def describe_run(self, *_: object) -> None: ...

    def start_run(self, *_: object, **__: object) -> str:
        return "run"

    def end_run(self, *_: object) -> None: ...

    def log(self, *_: object, **__: object) -> None: ...

    def close_stopped(self, key: str) -> None: ...

    def log_dataset(self, *_: object) -> None: ...

    def log_files(self, run_id: str, paths: Sequence[Path], folder: str | None = None) -> None:  # noqa: ARG002
        self.files |= {path.name: path.read_bytes() for path in paths if path.is_file()}

    def log_text(self, run_id: str, text: str, name: str) -> None:  # noqa: ARG002
        self.texts[name] = text

    def register_model(
        self,
        run_id: str,  # noqa: ARG002
        name: str,  # noqa: ARG002
        bundle: Path,
        code: Path,  # noqa: ARG002
        columns: Sequence[str],  # noqa: ARG002
        requirements: Sequence[str],  # noqa: ARG002
        tags: Mapping[str, str],
        description: str = "",  # noqa: ARG002
        example: pl.DataFrame | None = None,  # noqa: ARG002
    ) -> int:
        number = max(self._passed, *self._versions, 0) + 1
        shutil.copytree(bundle, self.folder / str(number))
        self._versions[number] = Version(number, dict(tags))
        return number

    def pass_over(self, name: str, number: int) -> None:  # noqa: ARG002
        self._passed = number

    def lose(self, *versions: int) -> None:
        """As if it had been restored from a copy of before."""
        for version in versions:
            del self._versions[version]
            shutil.rmtree(self.folder / str(version))
        left = [number for number, version in self._versions.items() if version.tags["verdict"] == "PROMOTE"]
        self._alias = max(left, default=None)

    def versions(self, name: str) -> list[Version]:  # noqa: ARG002
        return list(self._versions.values())

    def champion(self, name: str) -> int | None:  # noqa: ARG002
        return self._alias

    def set_champion(self, name: str, version: int) -> None:
        if self._alias not in (None, version):
            self.tag_version(name, version, {PREVIOUS: str(self._alias)})
        self.move_champion(name, version)

    def move_champion(self, name: str, version: int) -> None:  # noqa: ARG002
        self._alias = version

    def drop_champion(self, name: str) -> None:  # noqa: ARG002
        self._alias = None

    def tag_version(self, name: str, version: int, tags: Mapping[str, str]) -> None:  # noqa: ARG002
        self._versions[version].tags.update(tags)

    def download(self, name: str, version: int, folder: Path) -> Path:  # noqa: ARG002
        if not (self.folder / str(version)).exists():
            raise GoneError("tracking: found no files.")
        return Path(shutil.copytree(self.folder / str(version), folder / "bundle"))

    def results(self) -> pl.DataFrame:
        return pl.read_parquet(self.files["results.parquet"])

    def bundle(self, version: int) -> Bundle:
        return load_bundle(self.folder / str(version))


class Place:
    """A folder with a source, a table and a registry of its own, where nights are worked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source.parquet"
        self.states = str(folder / "states")
        self.config = folder / "toy.toml"
        self.registry = FolderRegistry(folder / "versions")
        text = CONFIG.format(path=self.source, states=self.states, uri=f"sqlite:///{folder}/mlflow.db")
        self.config.write_text(text)

    def settings(self, *assignments: str) -> Settings:
        return read_settings(self.config, assignments)

    def night(self, as_of: date | None = None, *assignments: str, new_lineage: bool = False) -> dict[str, Any]:
        moment = None if as_of is None else as_of.isoformat()
        return flows.nightly.night(self.settings(*assignments), moment, new_lineage=new_lineage)

    def decode(self, as_of: date | None = None, *assignments: str) -> dict[str, Any]:
        moment = None if as_of is None else as_of.isoformat()
        return flows.decoding.decode_new(str(self.config), moment, list(assignments))

    def backfill(
        self, start: date, end: date, every: str = "1d", *assignments: str, walk_forward: bool = False
    ) -> dict[str, Any]:
        days = (start.isoformat(), end.isoformat())
        return flows.backfill.backfill(str(self.config), *days, every, list(assignments), walk_forward=walk_forward)

    def command(self, *arguments: str) -> Outcome:
        """What the command line says, with this place's configuration after the command's name."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([arguments[0], str(self.config), *arguments[1:]])
        return Outcome(status, out.getvalue(), err.getvalue())

    def quarantine(self) -> pl.DataFrame:
        return pl.read_delta(f"{self.states}_quarantine")

    def table(self) -> pl.DataFrame:
        return pl.read_delta(self.states)


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nights without Prefect, and without pictures."""
    for module in (flows.nightly, flows.decoding, flows.publishing, flows.shards, flows.walk_forward):
        for name in [name for name in vars(module) if name.endswith("_task")]:
            monkeypatch.setattr(module, name, getattr(module, name).fn)
    monkeypatch.setattr(flows.nightly, "pictures_task", lambda *_: [])
    monkeypatch.setattr(flows.nightly, "page_task", lambda *_: Path(__file__))
    monkeypatch.setattr(flows.nightly, "report_data", lambda *_: None)
    for module, name in ((flows.nightly, "nightly"), (flows.decoding, "decode_new"), (flows.backfill, "backfill")):
        monkeypatch.setattr(module, name, getattr(module, name).fn)
    monkeypatch.setattr(flows.server, "server_starting", _no_server)


def _no_server() -> Future[None]:
    ready: Future[None] = Future()
    ready.set_result(None)
    return ready


@pytest.fixture(scope="session")
def tracking_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow's, which takes it seconds to make."""
    made = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    make_local_database(f"sqlite:///{made}")
    return made


@pytest.fixture
def real_place(tmp_path: Path, plainly: None, tracking_database: Path) -> Place:  # noqa: ARG001
    """A place whose registry is MLflow's."""
    shutil.copy(tracking_database, tmp_path)
    return Place(tmp_path)


@pytest.fixture
def place_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plainly: None) -> Callable[[str], Place]:  # noqa: ARG001
    """Places by name; the pipeline works at the one whose settings it is given."""
    places: dict[str, Place] = {}

    def registry(uri: str, name: str) -> FolderRegistry:  # noqa: ARG001
        return places[Path(uri.removeprefix("sqlite:///")).parent.name].registry

    for module in (flows.nightly, tasks.judgement.champion, tasks.judgement.promote):
        monkeypatch.setattr(module, "reach_registry", registry)
    monkeypatch.setattr(tasks.tracking.track, "Registry", registry)
    monkeypatch.setattr(tasks.registry.client, "existing_registry", registry)

    def make(name: str) -> Place:
        if name not in places:
            (tmp_path / name).mkdir()
            places[name] = Place(tmp_path / name)
        return places[name]

    return make


def levels(states: Sequence[int], spread: float = 1.0, distance: float = 3.0, seed: int = 0) -> np.ndarray:
    """Rows around a level for each state."""
    rng = np.random.default_rng(seed)
    return distance * np.asarray(states) + spread * rng.normal(size=len(states))


def sojourns(n_rows: int, n_states: int = 3, mean: int = 15, seed: int = 0) -> np.ndarray:
    """A path that stays in each state for a while and then moves to another."""
    rng = np.random.default_rng(seed)
    path, state = list[int](), int(rng.integers(n_states))
    while len(path) < n_rows:
        path += [state] * int(1 + rng.geometric(1 / mean))
        state = int((state + 1 + rng.integers(n_states - 1)) % n_states)
    return np.array(path[:n_rows])


def frame(x: np.ndarray, symbol: str = "A") -> pl.DataFrame:
    """Daily rows from the first day on."""
    days = [FIRST_DAY + timedelta(days=i) for i in range(len(x))]
    return pl.DataFrame({"symbol": symbol, "date": days, "x": x}, schema_overrides={"x": pl.Float64})


def day(n: int) -> date:
    """The day on which the first ``n`` rows are known."""
    return FIRST_DAY + timedelta(days=n)


@pytest.fixture
def toy() -> Any:
    """The functions that make sources."""
    return type("Toy", (), {f.__name__: staticmethod(f) for f in (levels, sojourns, frame, day)})


@pytest.fixture
def place(place_at: Callable[[str], Place], toy: Any) -> Place:
    """A place whose source holds a hundred and sixty days of two levels."""
    here = place_at("here")
    toy.frame(toy.levels(toy.sojourns(160, n_states=2), distance=4.0)).write_parquet(here.source)
    return here
