"""The page says what the tables hold, escapes every word, stays small, and keeps the changes of state."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hsmm
from hsmm.plot.style import PALETTE
from tasks.config.columns import NAME_COLUMNS, QUARANTINE_COLUMNS, STATE_COLUMNS
from tasks.config.errors import OutputError
from tasks.config.settings import Settings
from tasks.fitting.bundle import Bundle, Member
from tasks.fitting.scaling import Scaling
from tasks.report.page.coverage import coverage
from tasks.report.page.data import ChosenModel, PageData, chosen_models, page_data
from tasks.report.page.evidence import recorded
from tasks.report.page.plots import hazard_plot, numbers, survival_plot
from tasks.report.page.profile import decoded_runs, hazard, laws, mean_durations, survival
from tasks.report.page.published import published_data, published_overview
from tasks.report.page.quality import balance
from tasks.report.page.recorded import recorded_page_data, recorded_report
from tasks.report.page.render import page, script_json, write_page
from tasks.report.page.series import FEWEST_POINTS, MOST_POINTS, MOST_SERIES, kept_rows, sample
from tasks.report.page.signs import newest_rows
from tasks.report.page.text import number
from tasks.report.page.units import MOST_UNITS
from tasks.report.page.view import head, quality, ranking, standing
from tasks.report.page.view_states import states
from tasks.tables.findings import append_quarantine
from tasks.tables.names import append_names
from tasks.tables.show import known_rows
from tasks.tables.states import publish_states

START = datetime(2024, 1, 1, tzinfo=UTC)
AS_OF = datetime(2024, 12, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'&amp;${x}{{7*7}}"


def rows_of(series: str, path: list[int], n_states: int = 2, **changes: Any) -> pl.DataFrame:
    """State table rows, an hour apart, that follow ``path``; ``changes`` replace whole columns."""
    n = len(path)
    certain = [[0.9 if k == state else 0.1 / max(n_states - 1, 1) for k in range(n_states)] for state in path]
    columns = {
        "series_id": [series] * n,
        "time": [START + timedelta(hours=i) for i in range(n)],
        "as_of": [AS_OF] * n,
        "state": path,
        "state_name": [f"state {k}" for k in path],
        "p_filtered": certain,
        "p_smoothed": certain,
        "viterbi": path,
        **{name: [3.0] * n for name, kind in STATE_COLUMNS.items() if kind == "double"},
        **{f"p_change_{h}": [0.1] * n for h in (1, 5, 20)},
        "in_sample": [True] * n,
        "status": ["OK"] * n,
        "reason": [None] * n,
        "model_name": ["toy"] * n,
        "model_version": [1] * n,
        "run_key": ["key"] * n,
        "train_start": [START] * n,
        "train_end": [START + timedelta(hours=n)] * n,
        "level": [float(state) for state in path],
        **changes,
    }
    schema = {"state": pl.Int16, "viterbi": pl.Int16, "status": pl.String, "reason": pl.String, "level": pl.Float64}
    return pl.DataFrame(columns, schema_overrides={**schema, "log_density": pl.Float64, "p_change_5": pl.Float64})


def aside(*reasons: tuple[str, str]) -> pl.DataFrame:
    fixed = {"detail": "found what it is", "as_of": AS_OF, "model_name": "toy", "run_key": "key"}
    rows = [{"series_id": series, "reason": reason, **fixed} for series, reason in reasons]
    return pl.DataFrame(rows, schema=dict.fromkeys(QUARANTINE_COLUMNS) if not rows else None)


def named(*names: str) -> pl.DataFrame:
    rows = [(k, name, START, None, "toy") for k, name in enumerate(names)]
    types = {"state": pl.Int16, "name": pl.String, "born": pl.Datetime("us", "UTC"), "died": pl.Datetime("us", "UTC")}
    return pl.DataFrame(rows, schema={**types, "model_name": pl.String}, orient="row")


def page_data_of(rows: pl.DataFrame, **changes: Any) -> PageData:
    summary = {"run_key": "key", "verdict": "PUBLISHED", "n_series": rows["series_id"].n_unique(), "n_published": 4}
    made = PageData("toy", summary, rows, {"level": "units of level"}, aside(), named("calm", "wild"))
    return replace(made, **changes)


PATH = [0] * 30 + [1] * 20 + [0] * 50
RANKING = pl.DataFrame(
    {
        "candidate": [1, 0],
        "n_states": [2, 3],
        "emission": ["gaussian", "gaussian"],
        "duration": ["geometric", "none"],
        "bic": [100.0, 110.5],
        "held_out": [float("nan")] * 2,
        "log_likelihood": [-40.0, -41.0],
        "n_parameters": [8, 9],
        "n_iter": [10, 20],
        "converged": [True, False],
        "warnings": ["", "did not converge"],
    }
)


def fitted() -> ChosenModel:
    """A model with a tail and a shortest duration."""
    generator = np.random.default_rng(0)
    level = np.repeat([0.0, 9.0] * 15, 2 + generator.geometric(0.1, 30))
    x = level + generator.normal(size=len(level))
    model = hsmm.HSMM(2, duration="geometric", max_duration=12, min_duration=3, n_init=4, max_iter=200).fit(x)
    statistics = pl.DataFrame({"series_id": ["A", "B"], "mean:level": [1.0, 2.0], "scale:level": [2.0, 4.0]})
    return ChosenModel(model, Scaling(["level"], statistics))


@pytest.fixture(scope="module")
def model() -> ChosenModel:
    return fitted()


class Text(HTMLParser):
    """The tags of a page and the text between them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self._inside = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag in ("script", "style") else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.said.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.said))


def test_every_word_is_escaped(model: ChosenModel) -> None:
    rows = pl.concat([rows_of(HOSTILE, PATH, log_density=[3.0] * 99 + [-9.0]), rows_of("B", PATH)])
    rows = rows.with_columns(pl.lit(HOSTILE).alias("state_name")).rename({"level": HOSTILE})
    recorded_words = {
        "verdict": HOSTILE,
        "gate": {"verdict": HOSTILE, HOSTILE: [HOSTILE]},
        "identity": {"ids": HOSTILE},
    }
    scales = {"series_id": [HOSTILE, "B"], f"mean:{HOSTILE}": [1.0, 2.0], f"scale:{HOSTILE}": [2.0, 4.0]}
    data = page_data_of(
        rows,
        summary={"run_key": "key", **recorded_words},
        units={HOSTILE: HOSTILE},
        quarantine=aside((HOSTILE, "constant")).with_columns(detail=pl.lit(HOSTILE)),
        names=named(HOSTILE, "wild"),
        ranking=RANKING.with_columns(warnings=pl.lit(HOSTILE), emission=pl.lit(HOSTILE)),
        models=[replace(model, scaling=Scaling([HOSTILE], pl.DataFrame(scales)))],
        notes=[HOSTILE],
    )
    source = page(data)
    clean = page(page_data_of(rows_of("A", PATH), models=[model]))
    assert "<script>alert" not in source
    assert Text(source).text.count(HOSTILE) >= 12
    assert {tag for tag, _ in Text(source).tags} == {tag for tag, _ in Text(clean).tags}
    assert [tag for tag, _ in Text(source).tags].count("script") == 3
    assert not any(name.startswith("on") for _, attributes in Text(source).tags for name in attributes)


@given(st.text())
def test_no_text_ends_its_script_and_all_of_it_comes_back(text: str) -> None:
    written = script_json({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert not re.search(r"[<>&\u2028\u2029]", written)


def test_the_page_asks_for_nothing_but_itself(model: ChosenModel) -> None:
    tags = Text(page(page_data_of(rows_of("A", PATH), models=[model]))).tags
    fetched = [value for _, a in tags for name, value in a.items() if name in ("src", "href", "srcset", "action")]
    assert [value for value in fetched if not str(value).startswith(("#", "data:"))] == []
    policy = next(a["content"] for tag, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy)
    assert "unsafe" not in str(policy).split("style-src")[0]


def test_the_same_data_give_the_same_bytes(tmp_path: Path, model: ChosenModel) -> None:
    data = page_data_of(rows_of("A", PATH), models=[model], ranking=RANKING)
    first, second = (write_page(data, tmp_path / name).read_bytes() for name in ("one", "two"))
    assert first == second
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["report.html"]


def test_many_long_series_of_many_models_stay_below_a_megabyte(model: ChosenModel) -> None:
    n_rows, generator = 3_000, np.random.default_rng(0)
    path = np.repeat(generator.integers(0, 4, n_rows // 6), 6).tolist()
    one = rows_of("", path, n_states=4).with_columns(
        pl.Series(f"feature {k}", generator.normal(size=n_rows)) for k in range(9)
    )
    rows = pl.concat([one.with_columns(series_id=pl.lit(f"series {i:03}")) for i in range(100)])
    own = [replace(model, unit=f"series {i:03}", ids=(i % 3, 3)) for i in range(100)]
    source = page(page_data_of(rows, units={f"feature {k}": "units" for k in range(9)}, models=own))
    assert len(source.encode()) < 1_000_000
    assert f"{MOST_UNITS} of 100 can be chosen" in Text(source).text
    assert f"sample of {MOST_SERIES} of 100 series" in Text(source).text
    assert "4 more features are not shown" in Text(source).text


walks = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), min_size=1, max_size=60)


@given(walks, st.integers(FEWEST_POINTS, 400))
def test_thinning_keeps_ends_extremes_and_every_change_that_fits(walk: list[tuple[int, int]], n_points: int) -> None:
    path = np.concatenate([[state] * length for state, length in walk])
    values = np.random.default_rng(len(path)).normal(size=(len(path), 2))
    values[::7] = np.nan
    changes = 1 + np.flatnonzero(path[1:] != path[:-1])
    kept = kept_rows(values, changes, n_points)
    assert len(kept) <= n_points
    assert (np.diff(kept) > 0).all()
    assert {0, len(path) - 1} <= set(kept)
    if len(changes) <= 3 * n_points // 4:
        assert set(changes) <= set(kept)
    if len(path) > 1:
        assert np.nanmax(values, axis=0) == pytest.approx(np.nanmax(values[kept], axis=0))
        assert np.nanmin(values, axis=0) == pytest.approx(np.nanmin(values[kept], axis=0))


def test_a_unit_shows_the_states_that_its_model_has_and_no_others(model: ChosenModel) -> None:
    rows = pl.concat([rows_of("A", PATH), rows_of("B", [0] * 99 + [4])])
    units = [replace(model, unit="A", ids=(0, 1)), replace(model, unit="B", ids=(0, 4))]
    data = page_data_of(rows, models=units)
    assert [[row["state"] for row in states(unit)["profile"]] for unit in data.by_unit()] == [[0, 1], [0, 4]]


def test_the_page_opens_with_the_series_that_was_asked_for_and_its_model(model: ChosenModel) -> None:
    names = [f"s{i:03}" for i in range(100)]
    rows = pl.concat([rows_of(name, [0, 1]) for name in names])
    units = [replace(model, unit=name, ids=(0, 1)) for name in names]
    source = page(page_data_of(rows, models=units, opens_with="s051"))
    assert re.findall(r'<option value="\d+" selected>(.*?)</option>', source) == ["s051"]
    chooser = re.search(r'id="pick-unit">(.*?)</select>', source, re.S).group(1)  # type: ignore[union-attr]
    assert re.findall(r">(s\d+)<", chooser)[0] == "s051"


def test_a_thinned_series_tells_the_path_of_the_whole_one() -> None:
    path = np.repeat(np.arange(400) % 3, 50).tolist()
    drawn = sample(rows_of("A", path, n_states=3), ["A"], ["level"], 3, [])
    series = drawn.series[0]
    assert len(series["gaps"]) < MOST_POINTS < len(path)
    assert drawn.n_changes == drawn.n_changes_drawn == 399
    steps = np.append(np.array(series["gaps"]) * series["unit"], series["step"]) / 3_600_000
    told = np.repeat(series["viterbi"][::2], series["viterbi"][1::2])
    assert np.repeat(told, steps.round().astype(int)).tolist() == path


def test_the_page_says_of_every_row_whether_it_is_out_of_sample() -> None:
    seen = [True] * 60 + [False] * 25 + [True] * 10 + [False] * 5
    rows = rows_of("A", PATH, in_sample=seen)
    told = sample(rows, ["A"], ["level"], 2, []).series[0]["seen"]
    assert np.repeat(told[::2], told[1::2]).astype(bool).tolist() == seen
    assert dict(head(page_data_of(rows))["facts"])["Out of sample"] == "30 rows, 30.0 %"


def test_series_with_signs_are_drawn_before_others() -> None:
    rows = pl.concat([rows_of(f"s{i:03}", [0, 1]) for i in range(200)])
    alarming = [f"s{i:03}" for i in range(150, 175)]
    every = rows["series_id"].unique(maintain_order=True).to_list()
    drawn = {series["name"] for series in sample(rows, every, ["level"], 2, alarming).series}
    assert set(alarming) <= drawn
    assert len(drawn) == MOST_SERIES


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (rows_of("A", PATH), set()),
        (rows_of("A", [*PATH[:-1], 1]), {"changed"}),
        (rows_of("A", PATH, p_change_5=[0.9] * 99 + [0.5]), set()),
        (rows_of("A", PATH, p_change_5=[0.1] * 99 + [0.51]), {"ending"}),
        (rows_of("A", PATH, p_change_5=[0.76] * 99 + [0.78]), set()),
        (rows_of("A", [*PATH[:-1], 2], p_change_5=[0.1] * 99 + [0.9]), {"changed"}),
        (rows_of("A", [*PATH[:-1], 1], p_change_5=[0.1] * 99 + [0.9], status=["OK"] * 99 + ["STALE"]), set()),
        (rows_of("A", [*PATH[:-1], 1], p_change_5=[0.1] * 99 + [0.9], status=["OK"] * 99 + ["MISSING"]), set()),
        (rows_of("A", PATH * 2, log_density=[*np.linspace(0, 1, 199), -0.001]), {"surprising"}),
        (rows_of("A", PATH * 2, log_density=[*np.linspace(0, 1, 199), 0.02]), set()),
        (rows_of("A", PATH[:50], log_density=[0.0] * 49 + [-9.0]), set()),
        (rows_of("A", [0, 1], as_of=[START, START]), set()),
    ],
    ids=[
        *["calm", "changed", "one half", "above one half", "of a state of short stays", "of a new state"],
        *["stale", "missing", "below", "within", "too few", "not of the newest publish"],
    ],
)
def test_signs_are_what_they_say(rows: pl.DataFrame, expected: set[str]) -> None:
    found = newest_rows(pl.concat([rows, rows_of("other", PATH)])).filter(series_id="A").row(0, named=True)
    assert {kind for kind in ("changed", "ending", "surprising") if found[kind]} == expected
    assert found["n_signs"] == len(expected)


def test_a_missing_newest_row_is_no_surprise() -> None:
    rows = rows_of("A", PATH * 2, log_density=[1.0] * 199 + [None], status=["OK"] * 199 + ["MISSING"])
    assert not newest_rows(rows)["surprising"].any()


def test_alarming_series_come_first() -> None:
    shown = standing(page_data_of(pl.concat([rows_of("A", PATH), rows_of("B", [0] * 99 + [1])])))
    assert [row["series"] for row in shown["rows"]] == ["B", "A"]
    assert shown["rows"][0]["previous"] == "calm"
    assert shown["marked"] == ["B"]


def test_series_in_are_published_held_or_quarantined() -> None:
    held = rows_of("B", [0, 1, 0], status=["OK", "HELD", "MISSING"])
    once_held = rows_of("A", [0, 1], status=["HELD", "OK"], as_of=[START, AS_OF])
    rows = pl.concat([once_held, held, rows_of("C", [0, 1])])
    data = page_data_of(rows, quarantine=aside(("C", "constant"), ("D", "constant"), ("E", "too_short")))
    assert balance(data) == {"published": 1, "held": 1, "stale": 0, "quarantined": 3}
    assert head(replace(data, summary={"n_series": 5, "run_key": "key"}))["imbalance"] is None
    assert head(replace(data, summary={"n_series": 6, "run_key": "key"}))["imbalance"] == "6"
    assert quality(data)["reasons"] == [("constant", "2"), ("too_short", "1")]


def test_only_the_newest_run_has_set_aside() -> None:
    earlier = aside(("D", "constant")).with_columns(run_key=pl.lit("an earlier one"))
    data = page_data_of(rows_of("A", PATH), quarantine=pl.concat([earlier, aside(("E", "too_short"))]))
    assert [series for series, *_ in quality(data)["details"]] == ["E"]


def test_the_law_and_the_rows_of_a_state_are_told_apart(model: ChosenModel) -> None:
    """Of one state the rows lie where the law does not say: both stand there, each under its name."""
    far = rows_of("A", PATH).with_columns(level=pl.when(pl.col("viterbi") == 1).then(50.0).otherwise("level"))
    row = states(page_data_of(far, models=[model]))["profile"][1]["features"][0]
    assert (row["observed"], row["mean"] != "50.0") == ("50.0 ± 0.00", True)
    assert states(page_data_of(far))["profile"][1]["features"][0]["observed"] == ""


def test_what_the_rule_for_alerts_does_is_told() -> None:
    performance = {
        "n_rows": 100,
        "n_stays": 9,
        "delay_mean": 1.25,
        "delay_p50": 1.0,
        "delay_p90": 3.0,
        "missed": 0.5,
        "false_per_1000": 0.7,
    }
    data = page_data_of(rows_of("A", PATH), summary={"run_key": "key", "rule": {"simulated": performance}})
    shown = Text(page(data)).text
    assert "simulated, as if the model were true: stays noted after 1.2 rows, 90 % within 3, 50 % missed" in shown
    assert "simulated" not in Text(page(replace(data, summary={"run_key": "key"}))).text


def test_the_longest_gap_is_the_longest_stretch_of_missing_rows() -> None:
    status = ["OK", "MISSING", "MISSING", "OK", "MISSING", "MISSING", "MISSING", "OK"]
    reason = [None, "gap", "gap", None, "no_value", "gap", "gap", None]
    found = coverage(rows_of("A", [0] * 8, status=status, reason=reason)).row(0, named=True)
    assert (found["n_missing"], found["n_gaps"], found["longest"]) == (5, 4, 3)


def test_the_law_goes_on_beyond_max_duration_and_has_the_models_mean(model: ChosenModel) -> None:
    alive, estimator = survival(model), model.estimator
    assert (np.diff(alive, axis=1) <= 1e-12).all()
    assert alive[:, :3] == pytest.approx(1.0)
    assert alive.sum(axis=1) == pytest.approx(estimator.mean_duration_)
    assert mean_durations(model) == pytest.approx(estimator.mean_duration_)
    ends = hazard(alive)
    assert ends[:, :2] == pytest.approx(0.0)
    assert ends[:, 12:40] == pytest.approx(np.tile(1 - estimator.tail_prob_[:, None], 28))


@given(st.lists(st.integers(1, 50), min_size=3, max_size=12))
def test_hazard_and_survival_are_one_law(weights: list[int]) -> None:
    law = np.array([weights]) / sum(weights)
    estimator = SimpleNamespace(duration_prob_=law, tail_prob_=None, transition_prob_=np.ones((1, 1)))
    model = ChosenModel(estimator, Scaling([], pl.DataFrame()))
    ends = hazard(survival(model))[:, : len(weights)]
    assert ends[:, -1] == pytest.approx(1.0)
    lasted = np.append(1.0, np.cumprod(1.0 - ends[0]))[:-1]
    assert lasted * ends[0] == pytest.approx(law[0])


def test_the_hazard_of_an_hmm_is_flat() -> None:
    estimator = SimpleNamespace(transition_prob_=np.array([[0.9, 0.1], [0.5, 0.5]]))
    model = ChosenModel(estimator, Scaling([], pl.DataFrame()))
    ends = hazard(survival(model))
    assert ends[:, :30] == pytest.approx(np.tile([[0.1], [0.5]], 30))
    assert mean_durations(model) == pytest.approx([10.0, 2.0])


@pytest.mark.parametrize(
    "covariance",
    [np.array([[[4.0, 1.0], [1.0, 9.0]]] * 3), np.array([[4.0, 9.0]] * 3)],
    ids=["full", "diag"],
)
def test_laws_are_in_the_features_own_units(covariance: np.ndarray) -> None:
    emission = hsmm.emissions.Gaussian.from_parameters(np.zeros((3, 2)), covariance)
    scales = {"mean:a": [1.0, 1.0], "mean:b": [5.0, 7.0], "scale:a": [10.0, 10.0], "scale:b": [1.0, 3.0]}
    model = ChosenModel(SimpleNamespace(emission_=emission), Scaling(["a", "b"], pl.DataFrame(scales)))
    found = laws(model)
    assert (found["a"].mean[0], found["a"].deviation[0], found["a"].varies) == (1.0, 20.0, False)
    assert (found["b"].mean[0], found["b"].deviation[0], found["b"].varies) == (6.0, 6.0, True)
    assert found["b"].deviation_range[2] == pytest.approx([3.0, 9.0])


def test_the_model_speaks_of_states_by_their_persistent_ids(model: ChosenModel) -> None:
    data = page_data_of(rows_of("A", PATH), names=named("calm", "gone", "wild"))
    plain = states(replace(data, models=[model]))["profile"]
    moved = states(replace(data, models=[replace(model, ids=(2, 0))]))["profile"]
    assert [moved[k]["expected"] for k in (2, 0)] == [plain[k]["expected"] for k in (0, 1)]
    law = ("mean", "deviation", "means", "deviations")
    told = [[[row["features"][0][name] for name in law] for row in rows] for rows in (plain[:2], [moved[2], moved[0]])]
    assert told[0] == told[1]
    assert moved[1]["expected"] == moved[1]["hazards"][0] == number(None)


def test_a_model_of_one_series_speaks_of_its_rows_only(model: ChosenModel) -> None:
    rows = pl.concat([rows_of("A", [0] * 90 + [1] * 10), rows_of("B", [1] * 100)])
    stacked = pl.concat(
        [RANKING.with_columns(series_id=pl.lit(name), bic=pl.col("bic") + n) for n, name in ((0, "B"), (7, "A"))]
    )
    data = page_data_of(rows, models=[replace(model, unit="A")], ranking=stacked)
    assert [(row["share"], row["n_runs"]) for row in states(data)["profile"]] == [("90.0 %", "1"), ("10.0 %", "1")]
    assert [row["score"] for row in ranking(data)["rows"]] == ["107.0", "117.5"]  # type: ignore[index]


def test_evidence_is_shown_as_recorded_and_its_absence_is_said() -> None:
    gate = {"verdict": "HOLD", "reasons": ["states"], "evidence": {"held_out": {"candidate": -1.25, "champion": -1.0}}}
    gate |= {"passed": {"not_finite": True, "states": False}}
    summary = {"run_key": "key", "gate": gate, "identity": {"ids": [0, 1], "margin": 0.5, "births": [], "deaths": []}}
    assert ("evidence.held_out.candidate", "\N{MINUS SIGN}1.25") in recorded(gate)
    shown = Text(page(page_data_of(rows_of("A", PATH), summary=summary))).text
    assert "gate HOLD" in shown
    assert "not_finite passes states stops it" in " ".join(shown.split())
    assert "not recorded" not in shown.split("Identity and gate")[-1]
    bare = Text(page(page_data_of(rows_of("A", PATH)))).text
    assert bare.split("Identity and gate")[-1].count("not recorded") == 2


def test_candidates_are_ranked_with_their_warnings() -> None:
    found = ranking(page_data_of(rows_of("A", PATH), ranking=RANKING))
    assert found is not None
    assert [(row["behind"], row["warnings"]) for row in found["rows"]] == [("best", ""), ("10.50", "did not converge")]
    assert found["others"] == []
    assert found["n_warned"] == 1


def test_colours_are_those_of_the_pictures(model: ChosenModel) -> None:
    source = page(page_data_of(rows_of("A", PATH), models=[model]))
    payload = json.loads(re.search(r'id="page-data">(.*?)</script>', source, re.S).group(1))  # type: ignore[union-attr]
    assert payload["palette"] == list(PALETTE)
    assert [payload["figures"][f"0-dwell-{k}"]["lines"][-1]["tint"] for k in (0, 1)] == [0, 1]


def test_every_line_of_a_plot_has_a_value_at_every_place_of_its_axis(model: ChosenModel) -> None:
    alive, names = survival(model), ["calm", "wild"]
    plots = [
        survival_plot(decoded_runs(rows_of("A", PATH)), alive[0], 700, 0, "steps"),
        hazard_plot(hazard(alive), 20, names, "steps"),
    ]
    for plot in plots:
        assert all(plot["titles"])
        assert {len(drawn["y"]) for drawn in plot["lines"]} == {len(plot["x"])}
        assert plot["x"][0] == 1
        assert (np.diff(plot["x"]) > 0).all()


@given(st.floats(-1e300, 1e300, allow_subnormal=False))
def test_a_number_on_the_page_is_the_value_to_four_digits(value: float) -> None:
    (written,) = numbers(np.array([value]))
    assert written == pytest.approx(value, rel=6e-4)
    assert numbers(np.array([np.nan, np.inf])) == [None, None]


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9))
def test_values_on_the_page_are_within_what_the_eye_sees_of_their_range(middle: float, spread: float) -> None:
    values = middle + spread * np.linspace(-0.5, 0.5, 41)
    assert np.abs(np.array(numbers(values)) - values).max() <= np.ptp(values) / 2e3
    counter = np.arange(1_200_000, 1_204_400, 11)
    assert numbers(counter) == counter.tolist()


def test_the_bars_of_a_feature_stand_in_the_order_of_its_quantiles_on_one_axis() -> None:
    rows = rows_of("A", [0] * 101 + [1] * 101, level=[*range(101), *range(100, 201)])
    (spread,) = states(page_data_of(rows))["spreads"]
    low, high = (bar["places"] for bar in spread["bars"])
    assert low == sorted(low)
    assert np.diff(low) == pytest.approx(np.diff(high), abs=0.02)
    (first, start), *_, (last, end) = ((place, float(text)) for place, text in spread["ticks"])
    scale = (last - first) / (end - start)
    assert low == pytest.approx([first + scale * (level - start) for level in (5, 25, 50, 75, 95)], abs=0.05)


def test_moves_are_shown_by_persistent_id(model: ChosenModel) -> None:
    moves = states(page_data_of(rows_of("A", PATH), models=[replace(model, ids=(2, 0))]))["moves"]
    assert [state for state, _ in moves["heads"]] == [state for state, *_ in moves["rows"]] == [0, 2]
    assert [[cell["text"] for cell in cells] for *_, cells in moves["rows"]] == [["–", "100.0 %"], ["100.0 %", "–"]]  # noqa: RUF001


def test_counted_time_is_shown_as_numbers_of_steps(model: ChosenModel) -> None:
    rows = rows_of("A", PATH).with_columns(
        pl.from_epoch(pl.int_range(pl.len()) + 1200, "s").cast(pl.Datetime("us", "UTC")).alias("time"),
        *(pl.lit(datetime.fromtimestamp(1299, UTC)).alias(name) for name in ("as_of", "train_start", "train_end")),
    )
    data = page_data_of(rows, models=[model], counted=True, names=named("calm", "wild").clear())
    source = page(data)
    assert "1970" not in Text(source).text
    assert "As of 1,299" in Text(source).text
    assert "UTC" not in Text(source).text
    assert json.loads(re.search(r'id="page-data">(.*?)</script>', source, re.S).group(1))["counted"]  # type: ignore[union-attr]


def test_each_unit_can_be_chosen_and_shows_its_own_model(model: ChosenModel) -> None:
    rows = pl.concat([rows_of("A", PATH), rows_of("B", [0] * 99 + [1])])
    units = [replace(model, unit="A", ids=(0, 1)), replace(model, unit="B", ids=(0, 1))]
    source = page(page_data_of(rows, models=units))
    chooser = re.search(r'id="pick-unit">(.*?)</select>', source, re.S).group(1)  # type: ignore[union-attr]
    assert re.findall(r">([AB])<", chooser) == ["A", "B"]
    blocks = re.search(r'<section id="states">(.*?)</section>', source, re.S).group(1).split('class="unit"')[1:]  # type: ignore[union-attr]
    assert [("hidden" in block.split(">")[0]) for block in blocks] == [False, True]
    assert ["80.0 %" in block for block in blocks] == [True, False]
    assert ["99.0 %" in block for block in blocks] == [False, True]
    assert "pick-unit" not in page(page_data_of(rows, models=[model])).split("<script")[0]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.00"),
        (0.99961, "1.00"),
        (9.996, "10.0"),
        (-1234.5, "−1,234"),  # noqa: RUF001
        (0.00012345, "0.000123"),
        (1e20, "1.00e+20"),
        (np.inf, "∞"),
        (np.nan, "–"),  # noqa: RUF001
    ],
)
def test_numbers_are_written_with_three_digits(value: float, written: str) -> None:
    assert number(value) == written


@pytest.fixture
def published(settings_for: Callable[..., Settings], prices: Callable[..., pl.DataFrame]) -> Settings:
    """A table of one series whose source is there, but no tracking server."""
    settings = settings_for(prices("A"), tracking={"uri": "sqlite:///nowhere/mlflow.db"})
    rows = rows_of("A", [0] * 30 + [1] * 30).with_columns(
        pl.datetime_range(START, START + timedelta(days=59), "1d", time_unit="us").alias("time")
    )
    summary = {"model_name": "toy", "run_key": "key", "verdict": "PUBLISHED", "as_of": AS_OF.isoformat(), "n_series": 2}
    states_table = settings.output.states
    append_names(states_table, {0: "calm"}, "toy", START, "key")
    append_quarantine(states_table, aside(("B", "constant")), "key", "night")
    publish_states(states_table, rows, "toy", "key", {**summary, "mlflow_run_id": "r", "model_version": 1})
    return settings


def test_what_is_published_is_read_back(published: Settings) -> None:
    data = recorded_page_data(published)
    assert (data.state_names, list(data.units)) == (["calm", "state 1"], ["r"])
    assert data.rows["r"].count() == 59
    assert balance(data) == {"published": 1, "held": 0, "stale": 0, "quarantined": 1}
    assert data.summary["n_published"] == 60


def test_what_cannot_be_had_is_said_and_costs_no_page(published: Settings, tmp_path: Path) -> None:
    (tmp_path / "source.parquet").unlink()
    summary = recorded_report(published)
    assert (summary["n_series"], summary["n_quarantined"]) == (2, 1)
    shown = Text(Path(summary["report"]).read_text()).text
    assert "The features cannot be shown: source.path" in shown
    assert "The ranking cannot be shown: the table of results" in shown
    assert "The model cannot be shown: tracking.uri" in shown
    assert not (tmp_path / "nowhere").exists()


def test_a_page_cannot_open_with_a_series_that_is_not_there(published: Settings) -> None:
    with pytest.raises(OutputError, match="--series: found 'Z'"):
        recorded_report(published, "Z")
    assert " selected>A<" in Path(recorded_report(published, "A")["report"]).read_text()


def test_without_a_table_there_is_no_page(settings_for: Callable[..., Settings]) -> None:
    with pytest.raises(OutputError, match="no state table"):
        recorded_report(settings_for())


def test_the_page_of_many_series_is_that_of_all_their_rows_and_reads_few(
    settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"s{i:03}" for i in range(100)]
    settings = settings_for(features={"level": {"op": "identity", "column": "close"}})
    paths = {name: np.random.default_rng(i).integers(0, 2, 20).tolist() for i, name in enumerate(names)}
    rows = pl.concat([rows_of(name, path) for name, path in paths.items()])
    status = pl.when(pl.col("series_id") < "s004").then(pl.lit("HELD")).otherwise("status")
    rows = rows.with_columns(status.alias("status"), in_sample=pl.int_range(pl.len()).over("series_id") < 15)
    early, late = rows.filter(pl.col("time") < rows["time"].median()), rows.filter(pl.col("series_id") != "s009")
    summary = {"model_name": "toy", "run_key": "key", "verdict": "PUBLISHED", "as_of": AS_OF.isoformat()}
    for key, part, days in (("old", early, -2), ("key", late, 0)):
        made = part.with_columns(pl.col("as_of") + timedelta(days=days), run_key=pl.lit(key))
        publish_states(settings.output.states, made, "toy", key, {**summary, "run_key": key})
    append_names(settings.output.states, {0: "calm"}, "toy", START, "key")
    model = fitted()
    models = [replace(model, unit=name) for name in names]
    features = rows.select("series_id", "time", level=pl.int_range(pl.len()).cast(pl.Float64))
    known = known_rows(settings, series=None, as_of=None, head=None)
    whole = page_data(settings, summary, known, features, None, models)
    monkeypatch.setattr("tasks.source.pieces.AT_ONCE", 150)
    few = published_data(settings, summary, published_overview(settings), features, None, models, opens_with="s051")
    assert page(few) == page(replace(whole, opens_with="s051"))
    assert few.rows["series_id"].n_unique() < len(names) == whole.rows["series_id"].n_unique()
    seen, is_newest = few.overview, known["as_of"] == known["as_of"].max()
    assert (seen.n_rows, seen.n_newest, seen.n_unseen) == (len(known), is_newest.sum(), (~known["in_sample"]).sum())
    assert 0 < seen.n_newest < seen.n_rows
    assert seen.newest == known.filter(is_newest).row(-1, named=True)
    of_all = published_data(settings, summary, published_overview(settings), features, None, [replace(model, unit="")])
    assert of_all.rows.equals(whole.rows)


def test_names_of_columns_are_those_of_the_tables() -> None:
    assert set(named().columns) == set(NAME_COLUMNS)


def test_of_many_models_only_those_that_are_shown_are_read() -> None:
    read, names = list[str](), [f"s{i:03}" for i in range(100)]
    model = fitted().estimator

    def reading(name: str) -> Callable[[], Any]:
        return lambda: read.append(name) or model

    members = {name: Member(reading(name), (0, 1), 2, 1, START, START) for name in names}
    scales = pl.DataFrame({"series_id": names, "mean:level": 0.0, "scale:level": 1.0})
    rows = pl.concat([rows_of(name, PATH[:20]) for name in names])
    models = chosen_models(Bundle(members, Scaling(["level"], scales)), rows)
    assert [model.unit for model in models] == names
    assert models[7].scaling.statistics["series_id"].to_list() == [names[7]]
    page(page_data_of(rows, models=models))
    assert 0 < len(set(read)) <= MOST_UNITS


def test_why_rows_are_missing_adds_up() -> None:
    status = ["OK", "OK", "MISSING", "MISSING", "MISSING", "MISSING", "STALE", "STALE"]
    reason = [None, "wild_value", "wild_value", "gap", "gap", "no_value", "no_value_for_long", "wild_value"]
    data = page_data_of(pl.concat([rows_of("A", [0] * 8, status=status, reason=reason), rows_of("B", PATH)]))
    shown = Text(page(data)).text
    why = "steps that the source lacks: 2, after a feed had ended: 2, values too wild to be evidence: 1, empty cells: 1"
    assert f"6 of 108 rows are missing ({why})." in shown
    assert [row["n_wild"] for row in quality(data)["rows"]] == ["3", "0"]
    assert "stale" in standing(data)["rows"][0]["kinds"] + standing(data)["rows"][1]["kinds"]
    assert "are missing." in Text(page(page_data_of(rows_of("B", PATH)))).text


def test_inputs_that_are_no_longer_what_they_were_are_named() -> None:
    drift = [{"series_id": HOSTILE, "feature": "x", "reason": "level", "value": 9.0, "detail": "level of x is 9"}]
    shown = Text(page(page_data_of(rows_of("A", PATH), summary={"run_key": "key", "drift": drift}))).text
    assert f"{HOSTILE}: level of x is 9." in shown
