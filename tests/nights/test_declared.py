"""What a configuration may declare beside features and families: context, known states, counted time, what is kept."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from hsmm.selection import HeldOut
from hsmm.training.together import alone
from tasks.config.errors import ConfigurationError, FitError
from tasks.fitting.candidates import candidates
from tasks.fitting.finished import FittedCandidate, Rows, Store, Weighing, _key, fitting_candidate
from tasks.fitting.fit import _order, known_states
from tasks.fitting.scaling import scaling_for
from tasks.source.ingest import ingest
from tasks.source.run_key import run_key
from tasks.source.validate import validate

GLM = ("model.emission={name='glm', family='poisson'}", "context.w={op='identity', column='w'}", "model.n_states=2")


def trials(toy, n_rows: int = 300, seed: int = 1) -> pl.DataFrame:
    """Counts whose dependence on ``w`` is the state's: rising in one, falling in the other."""
    rng = np.random.default_rng(seed)
    state, w = toy.sojourns(n_rows, n_states=2, mean=30, seed=seed), rng.normal(size=n_rows)
    counts = rng.poisson(np.exp(1.0 + np.where(state == 1, 0.8, -0.8) * w))
    return toy.frame(counts.astype(float)).with_columns(w=pl.Series(w), truth=pl.Series(state))


def test_a_regression_on_the_context_is_found_and_says_its_states(place_at, toy) -> None:
    place, rows = place_at("one"), trials(toy)
    rows.write_parquet(place.source)
    assert place.night(None, *GLM)["gate"]["verdict"] == "PROMOTE"
    member = place.registry.bundle(1).members[""]
    slopes = member.model.emission_.coef_[:, 0, 0]
    assert sorted(np.sign(slopes)) == [-1.0, 1.0]
    rising = pl.Series(np.array(member.ids)[np.argsort(slopes)][rows["truth"].to_numpy()])
    assert (place.table().sort("time")["viterbi"] == rising).mean() > 0.9
    later = place.decode(None, *GLM)
    assert (later["verdict"], later["n_published"]) == ("ALREADY_PUBLISHED", 0)


@pytest.mark.parametrize("policy", ["reject", "mark_missing", "last_known"])
def test_a_missing_context_becomes_what_was_declared(place_at, toy, policy: str) -> None:
    place, lost = place_at("one"), pl.int_range(pl.len()).is_in([50, 51])
    other = trials(toy, seed=2).with_columns(symbol=pl.lit("B"))
    holed = trials(toy).with_columns(w=pl.when(~lost).then("w"))
    pl.concat([holed, other]).write_parquet(place.source)
    settings = place.settings(*GLM, f"source.missing_context={policy}")
    found = validate(ingest(settings), settings)
    assert found.rows["w"].null_count() == 0
    set_aside = found.quarantine.select("series_id", "reason").rows()
    assert set_aside == ([("A", "missing_context")] if policy == "reject" else [])
    lacking = found.rows.filter(pl.col("series_id") == "A")[50:52]
    if policy == "mark_missing":
        assert lacking["x"].null_count() == 2
    if policy == "last_known":
        assert lacking["w"].to_list() == [holed["w"][49]] * 2
        assert lacking["x"].null_count() == 0


def test_a_first_row_without_a_context_has_no_last_known_one(place_at, toy) -> None:
    place = place_at("one")
    first = pl.int_range(pl.len()) == 0
    trials(toy).with_columns(w=pl.when(~first).then("w")).write_parquet(place.source)
    settings = place.settings(*GLM, "source.missing_context=last_known")
    assert validate(ingest(settings), settings).quarantine["reason"].to_list() == ["missing_context"]


@pytest.mark.parametrize("law", ["transition=contextual", "duration={name='contextual', context=['w']}"])
def test_chains_that_read_a_context_need_it_in_gaps_too(place_at, toy, law: str) -> None:
    place = place_at("one")
    trials(toy).filter(pl.int_range(pl.len()) != 40).write_parquet(place.source)
    moving = (f"model.{law}", "model.n_states=2", "context.w={op='identity', column='w'}")
    for policy, reasons in (("reject", ["missing_context"]), ("last_known", [])):
        settings = place.settings(*moving, f"source.missing_context={policy}")
        assert validate(ingest(settings), settings).quarantine["reason"].to_list() == reasons
    by_time = place.settings("model.transition=contextual", "context.d={op='day_of_week'}")
    found = validate(ingest(by_time), by_time)
    assert found.quarantine.is_empty()
    assert found.rows["d"].to_list() == [float(t.weekday()) for t in found.rows["time"]]
    with pytest.raises(ConfigurationError, match="contextual"):
        place.settings(*moving, "source.missing_context=mark_missing")


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        ([GLM[0]], "add its columns under"),
        ([GLM[1]], "no candidate reads it"),
        (["model.context=gru", "select.criterion=held_out"], "gru reads a context, but none is declared"),
        (["model.context=gru", GLM[1]], "not say how closely"),
        (["model.context={name='gru', bidirectional=true}", GLM[1]], "the state table is causal"),
        (["model.context=grru", GLM[1]], "gru"),
    ],
)
def test_a_context_is_declared_where_it_is_read(place_at, toy, assignments: list[str], words: str) -> None:
    place = place_at("one")
    trials(toy).write_parquet(place.source)
    with pytest.raises(ConfigurationError, match=words):
        place.night(None, *assignments)


def test_a_series_that_a_law_cannot_be_asked_about_is_set_aside(place_at, toy) -> None:
    place = place_at("one")
    broken = trials(toy, seed=2).with_columns(symbol=pl.lit("B"), x=pl.col("x") + 0.5)
    pl.concat([trials(toy), broken]).write_parquet(place.source)
    settings = place.settings("model.emission=['poisson', 'gaussian']")
    found = validate(ingest(settings), settings).quarantine
    assert found.select("series_id", "reason").rows() == [("B", "outside_support")]
    assert "whole numbers >= 0" in found["detail"][0]


def test_known_states_keep_their_numbers(place_at, toy) -> None:
    place, truth = place_at("one"), toy.sojourns(200, n_states=3, seed=3)
    labels = np.array([2, 0, 1])[truth]  # no order that a fit would choose
    said = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.Series(labels)).alias("label")
    toy.frame(toy.levels(truth, distance=6.0)).with_columns(said).write_parquet(place.source)
    place.night(None, "source.states=label")
    assert (place.table().sort("time")["viterbi"].to_numpy() == labels).mean() > 0.98
    wrong = toy.frame(toy.levels(truth)).with_columns(label=pl.lit(0.5))
    wrong.write_parquet(place.source)
    settings = place.settings("source.states=label")
    assert validate(ingest(settings), settings).quarantine["reason"].to_list() == ["bad_state"]


def test_other_labels_and_another_context_make_another_run_and_another_fit(place_at, toy) -> None:
    place, rows = place_at("one"), trials(toy).with_columns(label=pl.col("truth"))
    settings = place.settings(*GLM, "source.states=label")
    (candidate,) = candidates(settings)
    keys, fits = [], []
    for changed in (rows, rows.with_columns(w=pl.col("w") * 2.0), rows.with_columns(label=1 - pl.col("truth"))):
        changed.write_parquet(place.source)
        validated = validate(ingest(settings), settings)
        keys.append(run_key(settings, validated))
        given = Rows(
            **scaling_for(validated.rows, settings).given(validated.rows, candidate.estimator),
            states=known_states(validated.rows),
        )
        fits.append(_key(candidate.estimator, given, Weighing.of(settings), None))
    assert len(set(keys)) == len(set(fits)) == 3


def test_how_an_encoder_was_judged_is_kept_with_the_fit(place_at, toy, tmp_path) -> None:
    place = place_at("one")
    trials(toy).write_parquet(place.source)
    settings = place.settings(
        *GLM[1:],
        "model.emission=gaussian",
        "model.context={name='linear'}",
        "select.criterion=held_out",
        "fit.max_iter=3",
    )
    validated, (candidate,) = validate(ingest(settings), settings), candidates(settings)
    given = Rows(**scaling_for(validated.rows, settings).given(validated.rows, candidate.estimator), states=None)
    made = alone(fitting_candidate(candidate, given, Weighing.of(settings), None, Store(tmp_path)))
    assert {"objective", "look.objective", "look.held_out"} == made.curves.keys()
    assert max(made.curves["look.held_out"]) > made.curves["look.held_out"][0]
    again = alone(fitting_candidate(candidate, given, Weighing.of(settings), None, Store(tmp_path)))
    np.testing.assert_equal(again.curves, made.curves)


def test_whole_numbers_are_a_clock(place_at, toy) -> None:
    place, path = place_at("one"), toy.sojourns(150, seed=4)
    cycles = toy.frame(toy.levels(path)).with_columns(date=pl.int_range(1000, 1000 + pl.len()))
    cycles.filter(pl.col("date") != 1050).write_parquet(place.source)
    counted = ("source.frequency=1", "source.available_after=1", "fit.train_window=100")
    first = place.settings(*counted)
    validated = validate(ingest(first, "1120"), first)
    assert validated.as_of == datetime.fromtimestamp(1120, UTC)
    assert validated.rows["time"].dt.epoch("s").to_list() == list(range(1000, 1120))
    assert validated.rows.filter("gap")["time"].dt.epoch("s").to_list() == [1050]
    assert validated.train_start == datetime.fromtimestamp(1021, UTC)
    place.config.write_text(place.config.read_text().replace('"1d"', "1", 2))
    import flows.nightly

    for as_of, n_rows in (("1120", 120), ("1140", 20)):
        said = flows.nightly.night(place.settings(), as_of)
        assert (said["verdict"], said["n_published"]) == ("PUBLISHED", n_rows)
    stops = toy.frame(toy.levels(path[:60]), "B").with_columns(date=pl.int_range(1000, 1060))
    pl.concat([pl.read_parquet(place.source), stops]).write_parquet(place.source)
    for command in (["run", "--as-of", "1145"], ["states"], ["states", "--columns", "time,as_of"], ["check"]):
        shown = place.command(*command)
        assert shown.status == 0, shown.err
        assert "1970" not in shown.out + shown.err
        assert "114" in shown.out or command == ["check"]


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("source.timezone=UTC", "without `time_format`, `timezone`"),
        ("features.h={op='hour'}", "not with counted steps"),
        ("features.h={op='month'}", "not with counted steps"),
        ("source.frequency=0", "greater than or equal to 1"),
    ],
)
def test_counted_steps_have_no_calendar(place_at, assignment: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        place_at("one").settings("source.frequency=1", "source.available_after=0", assignment)


def test_what_is_frozen_is_the_champions(place_at, toy) -> None:
    place, path = place_at("one"), toy.sojourns(260, seed=5)
    toy.frame(toy.levels(path)).write_parquet(place.source)
    keeping = ("fit.frozen=['emission']", "promote.min_improvement=-10.0")
    for as_of in (150, 240):
        assert place.night(toy.day(as_of), *keeping)["gate"]["verdict"] == "PROMOTE"
    first, second = (place.registry.bundle(version) for version in (1, 2))
    means = [bundle.members[""].model.emission_.mean_ for bundle in (first, second)]
    assert np.array_equal(*means)
    assert not np.array_equal(*(b.members[""].model.transition_prob_ for b in (first, second)))


@pytest.mark.parametrize(("rule", "first"), [("best", 0), ("one_standard_error", 1), ("paired_standard_error", 0)])
def test_a_rule_chooses_the_simplest_that_is_no_worse_than_chance_allows(place_at, rule: str, first: int) -> None:
    settings = place_at("one").settings("select.criterion=held_out", f"select.rule={rule}")
    spread, n_rows, fold = np.array([-9.0, -10.0, -11.0]), np.full(3, 10.0), np.arange(3)

    def weighed(shift: float, n_parameters: int) -> FittedCandidate:
        scores = HeldOut(spread + shift, n_rows, fold)
        row = {"n_states": 2, "n_parameters": n_parameters, "held_out": scores.mean, "warnings": ""}
        return FittedCandidate(None, row, held_out=scores)

    # every piece is a little worse under the second: less than pieces differ, more than their difference does
    fitted = [weighed(0.0, 9), weighed(-0.1, 4), weighed(-9.0, 1)]
    assert _order(fitted, settings)[0] == first


def test_a_rule_needs_pieces_that_differ(place_at, toy) -> None:
    place = place_at("one")
    toy.frame(toy.levels(toy.sojourns(200, n_states=2, seed=6))).write_parquet(place.source)
    with pytest.raises(FitError, match="two held-out pieces"):
        place.night(None, "select.criterion=held_out", "select.rule=one_standard_error")
    splits = "select.splits={name='forward_chaining', n_splits=3}"
    said = place.night(
        None, "model.n_states=[2, 3]", "select.criterion=held_out", "select.rule=one_standard_error", splits
    )
    ranking = place.registry.results()
    assert said["best"]["criterion"] == "held_out"
    assert ranking["held_out_se"].is_not_nan().all()


def test_a_gradient_finds_the_states_too(place_at, toy) -> None:
    place, path = place_at("one"), toy.sojourns(200, seed=7)
    toy.frame(toy.levels(path, distance=6.0)).write_parquet(place.source)
    place.night(
        None, "fit.trainer={name='gradient', optimiser='lbfgs', n_steps=300}", "model.estimator=['hmm', 'hsmm']"
    )
    ranking = place.registry.results()
    assert sorted(ranking["duration"]) == ["geometric", "none"]
    assert (place.table().sort("time")["viterbi"].to_numpy() == path).mean() > 0.98
