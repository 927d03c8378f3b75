"""Help at once, exit statuses that scripts can rely on, one sentence for a user's mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import main

_FITS = ("torch", "prefect", "mlflow", "matplotlib")
_HEAVY = (*_FITS, "deltalake", "polars")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["states", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from flows.cli import main
status = main({arguments})
print([name for name in {_HEAVY} if name in sys.modules], status)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


_MISTAKES = [
    (["run", "--set", "fit.n_int=3"], "unknown key; did you mean `fit.n_init`?"),
    (["try", "--set", "source.timezone=Europe/Berln"], "did you mean 'Europe/Berlin'?"),
    (["run", "--as-of", "yesterday"], "--as-of: found 'yesterday'"),
    (["decode", "--as-of", "2024-13-01"], "--as-of: found '2024-13-01'"),
    (["try", "--as-of", "now"], "--as-of: found 'now'"),
    (["backfill", "--start", "2024-01-01", "--end", "x"], "--end: found 'x'"),
    (["run", "--set", "source.frequency=5q"], "found '5q'; expected steps of months that divide a year"),
    (
        ["run", "--set", "features.r={op='diff', column='clos'}"],
        "no column 'clos' in the source; did you mean 'close'?",
    ),
    (["try", "--set", "source.time=day"], "source.time: found no column 'day'"),
    (["decode", "--set", "source.path=nowhere.csv"], "found nothing at 'nowhere.csv'"),
    (["init", "nowhere.csv"], "found nothing at 'nowhere.csv'"),
    (["init", "nowhere/*.parquet"], "found nothing at 'nowhere/*.parquet'"),
    (["init", "/"], "it is the root of all files"),
    (["run", "--as-of", "1900-01-01"], "was available at 1900-01-01T00:00:00+00:00; the first was at"),
    (["decode", "--as-of", "2100-01-01"], "is a moment to come"),
]


def test_what_was_mistyped_is_refused_before_anything_is_loaded() -> None:
    """In the configuration, on the command line, and of the source: its columns, and the moments that it has."""
    root = Path(__file__).parents[2]
    own = {"init": []}
    commands = [[name, *own.get(name, ["configs/markets.toml"]), *options] for (name, *options), _ in _MISTAKES]
    code = f"""
import sys
from flows.cli import main
for arguments in {commands}:
    status = main(arguments)
    print([name for name in {_FITS} if name in sys.modules], status)
    print("---", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.splitlines() == ["[] 2"] * len(_MISTAKES)
    for said, (_, words) in zip(done.stderr.split("---\n"), _MISTAKES, strict=False):
        assert words in said


def test_help_names_the_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("run", "decode", "backfill", "promote", "rollback", "states", "name"):
        assert f" {command} " in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "config"),
        (["rnu", "x.toml"], "rnu"),
        (["run", "x.toml", "--as-off", "2024-01-01"], "--as-off"),
        (["run", "nowhere.toml"], "nowhere.toml"),
        (["states", "nowhere.toml"], "nowhere.toml"),
        (["states", "x.toml", "--head", "many"], "many"),
        (["backfill", "x.toml", "--start", "2024-01-01"], "end"),
        (["promote", "../etc"], "'../etc'"),
        (["name", "nowhere.toml", "0=calm"], "nowhere.toml"),
    ],
)
def test_wrong_use_is_status_2_and_said_on_standard_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words.lower() in said.err.lower()
    assert "Traceback" not in said.err


@pytest.mark.parametrize("server", [{}, {"PREFECT_API_URL": "http://127.0.0.1:9/api"}])
def test_the_orchestrator_and_its_services_are_silent(server: dict[str, str]) -> None:
    """Services' loggers bear names of their own. A server that outlives the command keeps what the run logs."""
    code = """
import logging
from flows.commands.flow import hush
hush()
import prefect.logging.configuration
prefect.logging.configuration.setup_logging()
logging.getLogger("EventsWorker").warning("Still processing")
print(logging.getLogger("prefect.flow_runs").isEnabledFor(logging.INFO))
"""
    quiet = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=quiet | server)
    assert (told.stdout.strip(), told.stderr) == (str(bool(server)), "")
