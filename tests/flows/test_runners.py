"""Workers beside each other fit what the run itself would: shards of one that dies go to another, others stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import flows.runners
from flows.runners import check_runner, chosen_runner, fit_beside
from tasks.config.errors import ConfigurationError, FitError
from tasks.config.sections.run import Run
from tests.nights.conftest import frame, levels, sojourns
from tests.nights.store import free_port

_ROOT = Path(__file__).parents[2]
SETTINGS, RUN = SimpleNamespace(fit=SimpleNamespace(device="cpu")), Run(runner="process")


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    places = [tmp_path / f"shard {n}" for n in range(201)]
    for place in places:
        place.mkdir()
    return [str(place) for place in places]


@pytest.fixture
def given_out(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[list[str]]]]:
    """Workers that fit with ``work``; what they were given, in each round."""

    def start(work: Callable[[Sequence[str]], None]) -> list[list[list[str]]]:
        rounds = list[list[list[str]]]()

        class Workers:
            def submit(self, task: Any, parameters: Mapping[str, Any]) -> Any:  # noqa: ARG002
                rounds[-1].append(parameters["folders"])
                return SimpleNamespace(result=lambda: work(parameters["folders"]))

        @contextmanager
        def started(run: Run, n_shards: int) -> Iterator[Workers]:  # noqa: ARG001
            rounds.append([])
            yield Workers()

        @contextmanager
        def client(**_: Any) -> Iterator[Any]:
            yield SimpleNamespace(api_url="http://127.0.0.1:1/api")

        monkeypatch.setattr(flows.runners, "_started", started)
        monkeypatch.setattr(flows.runners, "get_client", client)
        return rounds

    return start


def fit(folders: Sequence[str]) -> None:
    for folder in folders:
        (Path(folder) / "fitted").mkdir()


def test_every_shard_is_fitted_once_by_at_most_a_hundred_tasks(shards, given_out) -> None:
    rounds = given_out(fit)
    fit_beside(SETTINGS, RUN, shards)
    (pieces,) = rounds
    assert len(pieces) == 100
    assert sorted(folder for piece in pieces for folder in piece) == sorted(shards)
    fit_beside(SETTINGS, RUN, shards)
    assert len(rounds) == 1


def test_what_a_worker_leaves_goes_to_another_and_nothing_else(shards, given_out) -> None:
    def die_once(folders: Sequence[str]) -> None:
        if shards[0] in folders and len(rounds) == 1:
            fit(folders[:1])
            raise OSError("the worker is gone")
        fit(folders)

    rounds = given_out(die_once)
    fit_beside(SETTINGS, RUN, shards)
    assert sorted(folder for piece in rounds[1] for folder in piece) == sorted([shards[100], shards[200]])


def test_workers_that_die_again_and_again_are_one_sentence(shards, given_out) -> None:
    def die(folders: Sequence[str]) -> None:  # noqa: ARG001
        raise OSError("the worker is gone")

    rounds = given_out(die)
    with pytest.raises(FitError, match=r"did not fit all shards: the worker is gone; what is.*`run\.shard_series`"):
        fit_beside(SETTINGS, RUN, shards)
    assert len(rounds) == 3


def test_what_is_wrong_with_the_work_itself_is_not_tried_again(shards, given_out) -> None:
    def refuse(folders: Sequence[str]) -> None:  # noqa: ARG001
        raise FitError("no candidate could be fitted.")

    rounds = given_out(refuse)
    with pytest.raises(FitError, match="no candidate"):
        fit_beside(SETTINGS, RUN, shards)
    assert len(rounds) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"runner": "pool"}, "Input should be 'sequential', 'process', 'dask' or 'ray'"),
        ({"runner": "thread"}, "threads of one process would hear each other's"),
        ({"runner": "ray", "address": "ray://127.0.0.1:1"}, "`address` such as tcp://host:port together with"),
        ({"runner": "dask", "address": "127.0.0.1:8786"}, "should match pattern"),
        ({"runner": "process", "address": "tcp://127.0.0.1:1"}, 'together with `runner = "dask"`'),
        ({"runner": "sequential", "workers": 2}, "`workers` without `address`, and with a `runner` that starts them"),
    ],
)
def test_a_runner_that_means_nothing_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="1 validation error") as caught:
        Run(**given)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("given", "n_shards", "device", "runner"),
    [
        ({}, 2, "auto", "process"),
        ({}, 1, "auto", None),
        ({}, 2, "cuda", None),
        ({"workers": 1}, 2, "auto", None),
        ({"runner": "sequential"}, 2, "auto", "sequential"),
        ({"runner": "dask"}, 2, "cuda", "dask"),
    ],
)
def test_processes_fit_several_shards_unless_another_is_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], n_shards: int, device: str, runner: str | None
) -> None:
    monkeypatch.setattr(flows.runners, "_n_cores", lambda: 2)
    settings: Any = SimpleNamespace(run=Run(**given), fit=SimpleNamespace(device=device))
    assert chosen_runner(settings, n_shards) == Run(**{**given, "runner": runner})


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_runner_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch, runner: Any) -> None:
    monkeypatch.setattr(flows.runners, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'hsmm-flows\[{runner}\]'\.$"):
        check_runner(Run(runner=runner))


def test_an_address_at_which_nothing_answers_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.runners, "find_spec", lambda name: name)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(
        ConfigurationError, match=rf"^run\.address: '{address}' cannot be reached: nothing answers there"
    ):
        check_runner(Run(runner="dask", address=address))


CONFIG = """
name = "toy"
[source]
path = "source.parquet"
series = "symbol"
time = "date"
[features]
x = { op = "identity", column = "x" }
[model]
n_states = 2
emission = "gaussian"
duration = "geometric"
max_duration = 20
[fit]
pool = "per_series"
n_init = 3
max_iter = 60
[promote]
holdout = 10
[run]
shard_series = 2
"""


@pytest.mark.skipif("HSMM_TEST_SERVER" not in os.environ, reason="HSMM_TEST_SERVER is not set")
@pytest.mark.skipif(find_spec("prefect_dask") is None, reason="the extra `dask` is not installed")
def test_the_workers_of_dask_make_the_rows_of_the_run_itself_though_one_is_killed(tmp_path: Path) -> None:
    rows = [frame(levels(sojourns(120, 2, seed=s), distance=4.0, seed=s), symbol=f"S{s}") for s in range(6)]
    pl.concat(rows).write_parquet(tmp_path / "source.parquet")
    (tmp_path / "toy.toml").write_text(CONFIG)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    address = f"tcp://127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]

    def start(*command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", *command], cwd=tmp_path, env=environment)

    night = ("flows.cli", "run", "toy.toml")
    assert start(*night, "--set", "run.runner=sequential", "--set", "output.states=here").wait() == 0
    scheduler = start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
    worker = ("distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard")
    workers = [start(*worker), start(*worker)]
    try:
        time.sleep(5)
        run = start(
            *night, "--set", "run.runner=dask", "--set", f"run.address={address}", "--set", "output.states=there"
        )
        while run.poll() is None and not [*tmp_path.glob("there_fits/*/rows.parquet")]:
            time.sleep(0.1)
        workers[0].send_signal(signal.SIGKILL)
        assert run.wait() == 0
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()
    here, there = (pl.read_delta(str(tmp_path / name)).sort("series_id", "time") for name in ("here", "there"))
    assert there.equals(here)
