"""A password that a user put into a URL is repeated nowhere."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from flows.console import print_run
from tasks.config.errors import ConfigurationError, TrackingError
from tasks.config.secrets import holds_secret, without_secrets
from tasks.config.settings import read_settings
from tasks.registry.client import existing_registry
from tests.sources import tracked_at

_CONFIG = """
name = "toy"
[source]
path = "{path}"
time = "date"
[features]
r = {{ op = "identity", column = "close" }}
[output]
states = "{states}"
"""


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://bob:hunter2@db/mlflow",
        "postgresql://bob:a@hunter2/b@db/mlflow",
        "http://bob:hunter2@localhost:5000",
        "https://hunter2@localhost",
        "az://container/file.parquet?sv=1&sig=hunter2&se=2",
        "https://host/file?X-Amz-Security-Token=hunter2",
    ],
)
def test_a_secret_is_masked_wherever_it_stands(place: str) -> None:
    assert holds_secret(place)
    assert "hunter2" not in without_secrets(f"found {place!r}, and {place} again.")
    assert "hunter2" not in str(TrackingError(f"tracking.uri: {place!r} cannot be used."))


@pytest.mark.parametrize(
    "place",
    [
        "sqlite:///mlflow.db",
        "http://127.0.0.1:5000",
        "s3://bucket/year=2024/part-?.parquet",
        "abfss://container@account.dfs.core.windows.net/states",
        "s3://bucket/a@b.parquet",
        "data/mail@home.parquet",
    ],
)
def test_a_place_without_a_secret_is_left_alone(place: str) -> None:
    assert without_secrets(place) == place


@pytest.mark.parametrize(
    ("path", "states", "assignments"),
    [
        ("https://u:hunter2@host/x.parquet", "out", ()),
        ("x.parquet", "az://c/out?sig=hunter2", ()),
        ("x.parquet", "out", ("tracking.uri=postgresql://u:hunter2@db/mlflow",)),
    ],
    ids=["a source", "a table", "on the command line"],
)
def test_a_place_with_a_secret_is_refused_without_repeating_it(
    tmp_path: Path, path: str, states: str, assignments: tuple[str, ...]
) -> None:
    config = tmp_path / "toy.toml"
    config.write_text(_CONFIG.format(path=path, states=states))
    with pytest.raises(ConfigurationError) as caught:
        read_settings(config, assignments)
    assert "hunter2" not in str(caught.value)


def test_the_environment_may_hold_the_password_of_the_tracking_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy.toml").write_text(_CONFIG.format(path="x.parquet", states="out"))
    monkeypatch.setenv("HSMM_TRACKING__URI", "http://bob:hunter2@127.0.0.1:9")
    assert "hunter2" in read_settings(tmp_path / "toy.toml").tracking.uri


def test_a_server_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1") as caught:
        existing_registry("http://bob:hunter2@127.0.0.1:9", "toy")
    shown = "".join(traceback.format_exception_only(caught.value))
    assert "hunter2" not in shown
    assert caught.value.__suppress_context__  # or a log would show what caused it, with the address


def test_the_end_of_a_run_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {
        "verdict": "ALREADY_PUBLISHED",
        "model_name": "toy",
        "as_of": "2024-01-01",
        "best": None,
        "mlflow_run_id": "1",
        "states_table": "out",
        "n_quarantined": 0,
    }
    print_run(summary, tracked_at("http://bob:hunter2@127.0.0.1:9"))
    assert "hunter2" not in capsys.readouterr().out
