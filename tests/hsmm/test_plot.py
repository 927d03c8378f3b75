"""Pictures show what the model says, into the axes they are given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

import hsmm
from hsmm.plot.style import PALETTE

LENGTHS = [150, 90]
STATES = np.repeat(np.arange(24) % 2, 10)
X = np.random.default_rng(0).normal(size=(240, 2)) + 6.0 * STATES[:, None]
FRAME = pd.DataFrame(X, columns=["load", "heat"], index=pd.date_range("2024-01-01", periods=240))
CHOICE = hsmm.select_model(X, [hsmm.HMM(k, n_init=1) for k in (1, 2)], LENGTHS)
MODEL = hsmm.HSMM(2, max_duration=30, n_init=2, max_iter=30).fit(X, LENGTHS)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    with mpl.rc_context({"backend": "Agg"}):
        yield
    pyplot.close("all")


DRAWN = {
    "states": lambda ax: hsmm.plot.states(MODEL, X, LENGTHS, ax=ax),
    "posteriors": lambda ax: hsmm.plot.posteriors(MODEL, X, LENGTHS, ax=ax),
    "dwell": lambda ax: hsmm.plot.dwell(MODEL, X, LENGTHS, ax=ax),
    "transitions": lambda ax: hsmm.plot.transitions(MODEL, ax=ax),
    "pseudo_residuals": lambda ax: hsmm.plot.pseudo_residuals(MODEL, X, LENGTHS, ax=ax),
    "ranking": lambda ax: hsmm.plot.ranking(
        hsmm.select_model(X, [hsmm.HMM(k, n_init=1) for k in (1, 2)], LENGTHS), ax=ax
    ),
}


@pytest.mark.parametrize("name", hsmm.plot.__all__)
def test_it_is_drawn_into_the_axes_given_or_new_ones(name: str) -> None:
    given = pyplot.figure().subplots()
    assert DRAWN[name](given) is given
    made = DRAWN[name](None)
    assert isinstance(made, Axes)
    assert made is not given
    made.figure.canvas.draw()


def test_candidates_are_named_in_their_number() -> None:
    labels = [label.get_text() for label in DRAWN["ranking"](None).get_yticklabels()]
    assert {label.split(" · ")[0] for label in labels} == {"1 state", "2 states"}


def test_a_line_has_the_colours_of_its_series_path() -> None:
    path = MODEL.predict(X, LENGTHS)
    for series, rows in enumerate((slice(0, 150), slice(150, 240))):
        ax = hsmm.plot.states(MODEL, X, LENGTHS, series=series, feature=1)
        (line,) = (drawn for drawn in ax.collections if isinstance(drawn, LineCollection))
        assert [to_hex(tint) for tint in line.get_colors()] == [PALETTE[k].lower() for k in path[rows][1:]]
        corners = np.stack(line.get_segments())
        assert np.array_equal(corners[:, 1, 1], X[rows, 1][1:])


def test_features_go_by_name_and_dates_by_the_index() -> None:
    model = hsmm.HMM(2, n_init=2, max_iter=20).fit(FRAME, LENGTHS)
    ax = hsmm.plot.states(model, FRAME, LENGTHS, feature="heat")
    assert ax.get_ylabel() == "heat"
    first = mpl.dates.num2date(ax.get_xlim()[0])
    assert (first.year, first.month, first.day) == (2024, 1, 1)
    beside = hsmm.plot.posteriors(model, FRAME, LENGTHS, series=1, times=np.arange(240) / 10.0)
    assert beside.get_xlim()[0] == 15.0


def test_probabilities_are_stacked_to_one_and_causal_ones_are_the_filter() -> None:
    ax = hsmm.plot.posteriors(MODEL, X, LENGTHS, causal=True)
    lowest = ax.collections[0].get_paths()[0].vertices
    expected = MODEL.filter_proba(X, LENGTHS)[:150, 0]
    assert np.isin(np.round(expected, 9), np.round(lowest[:, 1], 9)).all()


def test_a_dwell_law_is_the_model_s_beside_its_runs() -> None:
    ax = hsmm.plot.dwell(MODEL, X, LENGTHS, names=["calm", "wild"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["calm", "wild"]
    law = ax.lines[0].get_ydata()
    survival = MODEL.duration_prob_[0][::-1].cumsum()[::-1]
    assert np.allclose(law[:30], survival)
    assert len(ax.lines) == 4
    assert len(hsmm.plot.dwell(MODEL, states=[1]).lines) == 1


def test_transitions_are_written_into_their_cells() -> None:
    ax = hsmm.plot.transitions(MODEL)
    assert [text.get_text() for text in ax.texts] == ["", "1.000", "1.000", ""]


def test_residuals_are_drawn_in_order_against_normal_quantiles() -> None:
    ax = hsmm.plot.pseudo_residuals(MODEL, X, LENGTHS, feature="x1")
    drawn = ax.lines[1].get_ydata()
    assert np.array_equal(drawn, np.sort(MODEL.pseudo_residuals(X, LENGTHS)[:, 1]))
    assert (np.diff(ax.lines[1].get_xdata()) > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"series": 2}, "series is 2; expected 0 to 1"),
        ({"feature": "cold"}, "feature is 'cold'; expected one of x0, x1"),
        ({"feature": 2}, "feature is 2; expected 0 to 1"),
        ({"names": ["one"]}, "names has 1 entries; expected one for each of 2 states"),
        ({"times": [0.0, 1.0]}, "times has 2 entries; expected one for each of 240 rows"),
    ],
)
def test_what_there_is_not_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hsmm.plot.states(MODEL, X, LENGTHS, **options)


def test_importing_the_library_draws_nothing() -> None:
    code = "import sys, hsmm.plot; print('matplotlib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
