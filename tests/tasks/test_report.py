"""The pictures of a run, and the run lengths they show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hsmm
from hsmm.plot.runs import Runs, model_survival, observed_survival, runs
from hsmm.plot.style import PALETTE, colour
from tasks.report.data import ReportData
from tasks.report.figures.models import models
from tasks.report.figures.ranking import ranking
from tasks.report.figures.series import portrait, series_rows
from tasks.report.figures.weights import weights_by_state
from tasks.report.pictures import pictures, state_names
from tests.costly import costly_beyond

paths = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 2)), max_size=60).map(sorted)


def as_arrays(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return table[:, 1], table[:, 0]


@given(paths)
def test_runs_cover_every_decoded_row_once(rows: list[tuple[int, int]]) -> None:
    path, series = as_arrays(rows)
    found = runs(path, series)
    for state in range(3):
        assert found.of(state).length.sum() == (path == state).sum()


@given(paths)
def test_a_run_has_not_ended_where_its_series_does(rows: list[tuple[int, int]]) -> None:
    path, series = as_arrays(rows)
    found = runs(path, series)
    ends_of_series = [path[series == s][-1] for s in np.unique(series)]
    cut_by_gaps = ((path[:-1] >= 0) & (path[1:] < 0) & (series[:-1] == series[1:])).sum()
    assert (~found.ended).sum() == sum(state >= 0 for state in ends_of_series) + cut_by_gaps


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_survival_of_ended_runs_is_their_share(lengths: list[int]) -> None:
    length = np.array(lengths)
    found = Runs(np.zeros_like(length), length, np.ones(len(length), dtype=bool))
    share = np.array([(length >= n).mean() for n in range(1, 13)])
    reached = share > 0
    assert observed_survival(found, 12)[reached] == pytest.approx(share[reached])
    assert np.isnan(observed_survival(found, 12)[~reached]).all()


def test_unended_runs_are_not_taken_for_short_ones() -> None:
    found = Runs(np.zeros(2, dtype=int), np.array([3, 10]), np.array([False, True]))
    assert observed_survival(found, 10) == pytest.approx(np.ones(10))


def test_the_survival_of_an_hmm_is_geometric() -> None:
    hmm = SimpleNamespace(transition_prob_=np.array([[0.9, 0.1], [0.5, 0.5]]))
    hsmm = SimpleNamespace(duration_prob_=np.array([[0.1 * 0.9**d for d in range(400)]]))
    assert model_survival(hmm, 40)[0] == pytest.approx(model_survival(hsmm, 400)[0, :40])


def test_models_of_many_series_are_counted_whole() -> None:
    results = pl.DataFrame(
        [
            {
                "series_id": f"s{i}",
                "candidate": rank,
                "chosen": rank == 0,
                "n_states": 2 + i % 2,
                "emission": "gaussian",
            }
            | {"duration": "geometric", "criterion": "bic", "score": 10.0 * i + rank, "n_iter": 5 + i}
            | {"verdict": None if rank else "PROMOTE"}
            for i in range(7)
            for rank in (0, 1)
        ]
    )
    figure = models(results)
    shown = [sum(patch.get_width() for patch in axis.patches) for axis in figure.axes[:3]]
    assert shown == [7, 7, 7]
    assert [sum(patch.get_height() for patch in axis.patches) for axis in figure.axes[3:]] == [7, 7, 7]


def report_data(n_series: int = 2, n_states: int = 3, n_rows: int = 200) -> ReportData:
    generator = np.random.default_rng(0)
    frame = pl.concat([_series(f"s{i}", n_states, n_rows, generator) for i in range(n_series)])
    candidates = [
        {"n_states": k, "emission": "gaussian", "duration": d, "bic": 10.0 * k, "warnings": ""}
        for k in (2, 3)
        for d in ("geometric", "none")
    ]
    transition = np.full((n_states, n_states), 1 / max(n_states - 1, 1))
    np.fill_diagonal(transition, 0.0 if n_states > 1 else 1.0)
    model = SimpleNamespace(transition_prob_=transition, duration_prob_=np.full((n_states, 10), 0.1))
    model.mean_duration_ = np.full(n_states, 5.5)
    return ReportData(frame, ["level", "change"], pl.DataFrame(candidates), model, "bic", "made up")


def _series(name: str, n_states: int, n_rows: int, generator: np.random.Generator) -> pl.DataFrame:
    path = np.repeat(generator.integers(0, n_states, -(-n_rows // 10)), 10)[:n_rows].astype(np.int16)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "series_id": [name] * n_rows,
            "time": [start + timedelta(hours=n) for n in range(n_rows)],
            "state": path,
            "state_name": [f"name {k}" for k in path],
            "viterbi": path,
            "p_filtered": generator.dirichlet(np.ones(n_states), n_rows).tolist(),
            "level": path + generator.normal(size=n_rows),
            "change": generator.normal(size=n_rows),
        }
    )


@pytest.mark.parametrize("n_states", costly_beyond(1, [9, 4, 1]))
def test_every_idea_gets_a_readable_picture(tmp_path: Path, n_states: int) -> None:
    from matplotlib.image import imread

    drawn = pictures([report_data(n_states=n_states)], tmp_path / "new" / "folder")
    assert [path.stem for path in drawn][:3] == ["states", "states-s0", "states-s1"]
    assert {"features", "dwell-times", "transitions", "ranking"} <= {path.stem for path in drawn}
    for path in drawn:
        pixels = imread(path)
        assert min(pixels.shape[:2]) > 200, path
        assert pixels.std() > 0.01, path


@pytest.mark.parametrize("estimator", costly_beyond(1, [hsmm.HSMM(2, n_init=4), hsmm.HMM(2, n_init=4)]))
def test_a_fitted_model_shows_its_restarts(tmp_path: Path, estimator: hsmm.HSMM | hsmm.HMM) -> None:
    data = report_data(n_states=2)
    fitted = estimator.fit(data.frame["level"], lengths=[200, 200])
    drawn = pictures([replace(data, model=fitted)], tmp_path)
    assert drawn[-1].stem == "restarts"


@pytest.mark.parametrize("n_candidates", [1, 4, 30])
def test_long_names_of_candidates_stand_inside_the_picture_and_apart(n_candidates: int) -> None:
    long = "mixture of {'components': 3, 'family': 'student_t', 'covariance': 'full', 'min_covariance': 1e-06} and more"
    rows = [
        {"n_states": 2, "emission": long * (k % 3), "duration": "weibull", "bic": 10.0 + 7000 * k, "warnings": ""}
        for k in range(n_candidates)
    ]
    figure = ranking(pl.DataFrame(rows), "bic")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    labels = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert len(labels) == min(n_candidates, 20)
    assert all(label.x0 >= 0 and label.y0 >= 0 and label.y1 <= figure.bbox.y1 for label in labels)
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(labels))
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in axes.texts)


def test_laying_out_first_changes_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = report_data(n_series=1, n_states=2)
    once = [path.read_bytes() for path in pictures([data], tmp_path / "once")]
    monkeypatch.setattr("tasks.report.pictures._lay_out", lambda _: None)
    assert [path.read_bytes() for path in pictures([data], tmp_path / "twice")] == once


def test_the_series_are_drawn_in_the_colours_of_their_states(tmp_path: Path) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    pixels = imread(pictures([report_data(n_series=1, n_states=2)], tmp_path)[1])[..., :3].reshape(-1, 3)
    for state, expected in ((0, True), (1, True), (2, False)):
        found = bool((np.abs(pixels - to_rgb(colour(state))).max(1) < 0.01).any())
        assert found == expected


def test_units_with_models_of_their_own_have_pictures_each_under_the_ids_of_the_table(tmp_path: Path) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    one = report_data(n_series=1, n_states=2)
    moved = one.frame.with_columns(
        *(pl.col(name).replace_strict({0: 1, 1: 3}, return_dtype=pl.Int16) for name in ("state", "viterbi")),
        series_id=pl.lit("s1"),
        p_filtered=pl.concat_list(
            pl.lit(0.0), pl.col("p_filtered").list.get(0), pl.lit(0.0), pl.col("p_filtered").list.get(1)
        ),
    )
    units = [replace(one, unit="s0"), replace(one, unit="s1", frame=moved, ids=(1, 3))]
    drawn = {path.stem: imread(path)[..., :3].reshape(-1, 3) for path in pictures(units, tmp_path)}
    assert list(drawn)[:3] == ["states", "states-s0", "states-s1"]
    for name in ("features", "dwell-times", "transitions", "ranking"):
        assert {f"{name}-s0", f"{name}-s1"} <= set(drawn)
    shown = {
        name: {k for k in range(4) if (np.abs(pixels - to_rgb(colour(k))).max(1) < 0.01).any()}
        for name, pixels in drawn.items()
    }
    assert shown["states"] == {0, 1, 3}
    assert shown["states-s0"] == shown["dwell-times-s0"] == shown["transitions-s0"] == {0, 1}
    assert shown["states-s1"] == shown["dwell-times-s1"] == shown["transitions-s1"] == {1, 3}


def test_counted_steps_are_no_dates_in_a_picture() -> None:
    data = replace(report_data(n_series=1, n_states=2), counted=True)
    (rows,) = series_rows(data.frame, data.value_columns, 2, counted=True)
    figure = portrait(rows, state_names(data))
    figure.draw_without_rendering()
    bottom = figure.axes[-1]
    assert bottom.get_xlabel() == "step"
    assert bottom.get_xlim()[0] == datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def test_weights_are_drawn_with_their_intervals_in_the_colours_of_their_states() -> None:
    rows = [
        (k, "load", name, value, value - 1.0, value + 1.0) for k in (0, 1) for name, value in (("a", 3.0), ("b", -2.0))
    ]
    table = pl.DataFrame(rows, schema=["state", "feature", "column", "estimate", "low", "high"], orient="row")
    (axes,) = weights_by_state(table, {4: "calm", 2: "wild"}).axes
    intervals = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 2]
    assert [tuple(line.get_xdata()) for line in intervals] == [(2.0, 4.0), (2.0, 4.0), (-3.0, -1.0), (-3.0, -1.0)]
    assert [line.get_color() for line in intervals] == [colour(4), colour(2)] * 2
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["load on a: calm", "load on a: wild"]


def test_missing_rows_leave_gaps_and_no_error(tmp_path: Path) -> None:
    data = report_data(n_series=1)
    hole = pl.int_range(pl.len()).is_between(50, 80)
    frame = data.frame.with_columns(
        pl.when(~hole).then(pl.col(name)).alias(name) for name in ("level", "viterbi", "p_filtered", "state")
    )
    unseen = frame.with_columns(change=pl.lit(None, dtype=pl.Float64))
    assert pictures([replace(data, frame=unseen)], tmp_path)


def test_a_series_of_one_row_is_drawn(tmp_path: Path) -> None:
    assert pictures([report_data(n_rows=1)], tmp_path)


def test_no_series_id_leaves_the_folder_or_hides_another(tmp_path: Path) -> None:
    data = report_data()
    hostile = data.frame.with_columns(pl.col("series_id").replace({"s0": "../../a b", "s1": "../../a/b"}))
    drawn = pictures([replace(data, frame=hostile)], tmp_path / "pictures")
    assert {path.parent for path in drawn} == {tmp_path / "pictures"}
    assert len(set(drawn)) == len(list((tmp_path / "pictures").iterdir()))
    assert {path.name for path in tmp_path.iterdir()} == {"pictures"}


def test_states_that_were_never_seen_are_named_by_number() -> None:
    data = report_data(n_states=3)
    seen = data.frame.filter(pl.col("state") != 1)
    assert state_names(replace(data, frame=seen)) == {0: "name 0", 1: "state 1", 2: "name 2"}


def test_a_name_is_the_latest_given() -> None:
    data = report_data(n_series=1, n_states=1)
    renamed = data.frame.with_columns(
        state_name=pl.when(pl.int_range(pl.len()) < 100).then(pl.lit("old")).otherwise(pl.lit("calm"))
    )
    assert state_names(replace(data, frame=renamed)) == {0: "calm"}


def test_colours_are_distinct_for_as_many_states_as_there_are() -> None:
    assert len({colour(state) for state in range(len(PALETTE))} | {colour(-1)}) == len(PALETTE) + 1
