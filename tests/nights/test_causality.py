"""`hsmm check` finds no leak where there is none, and each kind that is planted."""

from __future__ import annotations

import polars as pl
import pytest

import tasks.fitting.fit
import tasks.judgement.causality
import tasks.source.features
import tasks.source.validate
from flows.cli import main
from tasks.config.errors import CausalityError, ConfigurationError, ModelError
from tasks.judgement.causality import CAUSAL, check_causality, require_causal
from tasks.source.validate import validate

FEATURES = ('features.x={op="diff", column="x"}', 'features.m={op="rolling_mean", column="x", window=3}')


@pytest.fixture
def place(place_at, toy):
    """Two series and a champion half-way through."""
    here = place_at("checked")
    rows = [toy.frame(toy.levels(toy.sojourns(200, seed=s), seed=s), symbol=f"S{s}") for s in (1, 2)]
    pl.concat(rows).filter(pl.int_range(pl.len()) % 37 != 5).write_parquet(here.source)
    return here


@pytest.mark.parametrize("options", [(), ("fit.pool=per_series",), (*FEATURES, "fit.scale=none")])
def test_an_honest_pipeline_passes(place, toy, options: tuple[str, ...]) -> None:
    place.night(toy.day(150), *options)
    said = check_causality(place.settings(*options), n_cuts=8)
    assert (said["is_causal"], said["leaks"], said["n_cuts"]) == (True, [], 8)
    assert said["n_compared"] > 8 * 50
    require_causal(said)


def leaks(place, *options: str) -> set[str]:
    said = check_causality(place.settings(*options), n_cuts=4)
    assert not said["is_causal"]
    with pytest.raises(CausalityError, match="looks ahead in"):
        require_causal(said)
    return {leak["what"] for leak in said["leaks"]}


def test_features_scaled_by_the_whole_source_are_found(place, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    place.night(toy.day(150))
    honest = tasks.source.validate.add_features

    def z_scored(rows, features, zone):
        return honest(rows, features, zone).with_columns((pl.col("x") - pl.col("x").mean()) / pl.col("x").std())

    monkeypatch.setattr(tasks.source.validate, "add_features", z_scored)
    assert leaks(place) >= {"p_filtered", "log_density", "remaining_mean"}


def test_a_centred_window_is_found(place, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tasks.source.features.expression
    monkeypatch.setattr(
        tasks.source.features, "expression", lambda f, zone: honest(f, zone).rolling_mean(3, center=True)
    )
    place.night(toy.day(150))
    assert leaks(place) >= {"p_filtered", "log_density"}


def test_parameters_and_scales_from_the_future_are_found(place, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = place.settings()
    ahead = validate(tasks.judgement.causality.ingest(settings), settings)
    honest = tasks.fitting.fit.scaling_for
    with monkeypatch.context() as planted:
        planted.setattr(tasks.fitting.fit, "scaling_for", lambda _, settings: honest(ahead.rows, settings))
        place.night(toy.day(150))
    assert leaks(place) == {"champion's scales"}


def test_a_training_window_that_ends_after_its_moment_is_found(place, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.nightly

    honest, settings = flows.nightly.ingest_task, place.settings()
    late = honest(settings, toy.day(190).isoformat())

    def clock_was_wrong(settings, as_of):
        return tasks.source.ingest.Ingested(late.rows, honest(settings, as_of).as_of, late.delay, late.zone)

    with monkeypatch.context() as planted:
        planted.setattr(flows.nightly, "ingest_task", clock_was_wrong)
        place.night(toy.day(150))
    assert leaks(place) >= {"train_end", "champion's scales"}


def test_rows_that_ignore_the_moment_are_found(place, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    place.night(toy.day(150))
    honest = tasks.judgement.causality.ingest
    monkeypatch.setattr(tasks.judgement.causality, "ingest", lambda settings, as_of=None: honest(settings))  # noqa: ARG005
    assert "training rows" in leaks(place)


def test_the_command_says_so_and_fails(place, toy, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    place.night(toy.day(150))
    assert main(["check", str(place.config), "--cuts", "2", "--json"]) == 0
    assert "causal: no bit changed" in capsys.readouterr().out
    honest = tasks.fitting.fit.scaling_for
    monkeypatch.setattr(
        tasks.judgement.causality, "scaling_for", lambda rows, settings: honest(rows.head(30), settings)
    )
    assert main(["check", str(place.config), "--cuts", "2"]) == 1
    said = capsys.readouterr()
    assert "NOT causal" in said.out
    assert "champion's scales" in said.err


def test_what_cannot_be_checked_is_refused(place) -> None:
    with pytest.raises(ModelError, match="no champion"):
        check_causality(place.settings())
    with pytest.raises(ConfigurationError, match="--cuts"):
        check_causality(place.settings(), n_cuts=0)


def test_every_causal_column_is_compared() -> None:
    from tasks.config.columns import STATE_COLUMNS

    hindsight = {"p_smoothed", "viterbi"}
    about = {"series_id", "time", "as_of", "state_name", "in_sample", "status", "reason"}
    origin = {"model_name", "model_version", "run_key", "train_start", "train_end"}
    assert set(CAUSAL) == STATE_COLUMNS.keys() - hindsight - about - origin
