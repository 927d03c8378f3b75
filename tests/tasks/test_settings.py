"""A configuration is read whole or refused with the key, what was found and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.config.errors import ConfigurationError
from tasks.config.settings import read_settings

MINIMAL = """
name = "toy"
[source]
path = "x.parquet"
time = "date"
[features]
r = { op = "log_return", column = "close" }
[fit]
n_init = 8
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("fit.n_int=3", ["fit.n_int", "unknown key", "`fit.n_init`"]),
        ("model.n_init=3", ["model.n_init", "unknown key", "`fit.n_init`"]),
        ("sorce.path=x", ["sorce", "unknown key", "`source`"]),
        ("features.r.windw=3", ["features.r.windw", "`features.r.window`"]),
        ("features.r.op=exec", ["features.r.op", "'exec'", "log_return"]),
        ("features.r.op=zscore", ["features.r.op", "'zscore'", "did you mean 'zscore_rolling'?"]),
        ("features.r={op='clip', column='close'}", ["`column` and `low` or `high`"]),
        ("features.r={op='clip', column='close', low=2, high=1}", ["low = 2 below high = 1"]),
        ("features.r={op='hour', column='close'}", ['op = "hour" with nothing else']),
        ("features.r={op='lags', column='close', lags=[1, 1]}", ["features.r.lags", "none of them twice"]),
        ("features.r.op=rolling_std", ["`column` and `window`"]),
        ("features.state={op='diff', column='close'}", ["feature names", "state"]),
        ("features={r_2={op='log', column='c'}, r={op='lags', column='c', lags=[2]}}", ["features", "r_2"]),
        ("model.n_states=0", ["model.n_states", "0", "greater than or equal to 1"]),
        ("model.n_states=[2, 2]", ["model.n_states", "none of them twice"]),
        ("model.min_duration=200", ["min_duration = 200", "max_duration = 120"]),
        ("fit.pool=by_sector", ["fit.pool", "'by_sector'", "'pooled'", "'per_series'"]),
        ("fit.tol=nan", ["fit.tol", "finite"]),
        ("source.timezone=Mars/Olympus", ["source.timezone", "'Mars/Olympus'", "IANA"]),
        ("source.frequency=2bd", ["source.frequency", "'2bd'", "1bd"]),
        ("source.available_after=1mo", ["source.available_after", "'1mo'", "1d12h"]),
        ("fit.train_window=3", ["fit.train_window"]),
        ("name=Toy", ["name", "'Toy'"]),
        ("promote.min_gain=1", ["promote.min_gain", "unknown key"]),
        ("promote.holdout=0", ["promote.holdout"]),
        ("fit", ["--set", "section.key=value"]),
    ],
)
def test_what_is_wrong_is_said_with_the_key(config: Path, assignment: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read_settings(config, [assignment])
    message = str(refusal.value)
    assert all(word in message for word in words), message
    assert refusal.value.exit_status == 2
    assert len(message.splitlines()) == 1


def test_every_wrong_key_is_named(config: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)fit\.n_int.*select\.critrion"):
        read_settings(config, ["fit.n_int=3", "select.critrion=bic"])


def test_assignments_override_the_environment_which_overrides_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_settings(config).fit.n_init == 8
    monkeypatch.setenv("HSMM_FIT__N_INIT", "64")
    assert read_settings(config).fit.n_init == 64
    assert read_settings(config, ["fit.n_init=2", "fit.n_init=3"]).fit.n_init == 3


def test_an_unknown_key_in_the_environment_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSMM_FIT__N_INTI", "64")
    with pytest.raises(ConfigurationError, match=r"fit\.n_init"):
        read_settings(config)


@pytest.mark.parametrize(("text", "candidates"), [("3", (3,)), ("[2, 3]", (2, 3))])
def test_a_scalar_is_a_list_of_one_candidate(config: Path, text: str, candidates: tuple[int, ...]) -> None:
    settings = read_settings(config, [f"model.n_states={text}", "model.emission=gaussian"])
    assert settings.model.n_states == candidates
    assert settings.model.emission == ("gaussian",)


def test_settings_are_frozen(config: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_settings(config).fit.n_init = 3  # type: ignore[misc]


@pytest.mark.parametrize("text", [None, "name = ", "\xff"])
def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "broken.toml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"broken\.toml"):
        read_settings(path)
