"""A model may stop after any row and go on, in another process too; a lag of n rows sees n rows ahead."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hsmm
from hsmm.errors import ImpossibleDataError, NotFittedError
from hsmm.models import Estimator
from tests.hsmm.models.cases import fitted, regimes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*single row:hsmm.errors.DataWarning", "ignore::hsmm.errors.DurationWallWarning"
)

LENGTHS = [31, 12, 22]
X = regimes(5, lengths=LENGTHS)
CAUSAL = ("filter_proba", "log_density", "elapsed_duration", "remaining_duration")
CUTS = [[1, 1, 1], [10, 11, 3], [30, 5, 21]]


@pytest.fixture(params=["hmm", "hmm student", "hsmm", "hsmm censored", "hsmm categorical", "hsmm ended", "one state"])
def model(request: pytest.FixtureRequest) -> Estimator:
    return fitted(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fitted("hsmm").filter_state(X, LENGTHS, max_duration=40).save(tmp_path / "state")


def rows_from(first: list[int], until: list[int]) -> np.ndarray:
    begins = np.cumsum([0, *LENGTHS[:-1]])
    return np.concatenate([np.arange(b + f, b + u) for b, f, u in zip(begins, first, until, strict=True)])


def split(cuts: list[int]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The first rows of each series, which rows follow, and how many of each series those are."""
    later = rows_from(cuts, LENGTHS)
    return X[rows_from([0, 0, 0], cuts)], later, [n - cut for n, cut in zip(LENGTHS, cuts, strict=True)]


@pytest.mark.filterwarnings("ignore:state . was seen to end:hsmm.errors.IntervalWarning")
class TestGoingOn:
    @pytest.mark.parametrize("cuts", CUTS, ids=str)
    def test_pieces_have_the_bits_of_the_whole(self, model: Estimator, cuts: list[int]) -> None:
        head, later, left = split(cuts)
        state = model.filter_state(head, cuts)
        for name in CAUSAL:
            query = getattr(model, name)
            assert np.array_equal(query(X[later], left, after=state), query(X, LENGTHS)[later]), name
        assert np.array_equal(model.forecast(X[later], 3, left, after=state), model.forecast(X, 3, LENGTHS))

    def test_so_they_have_in_another_process(self, model: Estimator, tmp_path: Path) -> None:
        head, later, left = split(CUTS[1])
        model.filter_state(head, CUTS[1]).save(model.save(tmp_path))
        again, state = hsmm.load(tmp_path), hsmm.load_filter_state(tmp_path)
        for name in CAUSAL:
            found = getattr(again, name)(X[later], left, after=state)
            assert np.array_equal(found, getattr(model, name)(X, LENGTHS)[later]), name

    def test_a_state_may_be_carried_from_row_to_row(self, model: Estimator) -> None:
        rows = X[:6]
        whole = {name: getattr(model, name)(rows) for name in CAUSAL}
        state = model.filter_state(rows[:1])
        for n in range(1, len(rows)):
            for name in CAUSAL:
                assert np.array_equal(getattr(model, name)(rows[n : n + 1], after=state)[0], whole[name][n]), name
            state = model.filter_state(rows[n : n + 1], after=state)
        assert state.n_rows.tolist() == [6]

    @pytest.mark.parametrize("max_duration", [1, 4, 40])
    def test_it_answers_in_the_columns_it_was_made_for(self, model: Estimator, max_duration: int) -> None:
        head, later, left = split(CUTS[1])
        state = model.filter_state(head, CUTS[1], max_duration=max_duration)
        for name in ("elapsed_duration", "remaining_duration"):
            query = getattr(model, name)
            whole = query(X, LENGTHS, max_duration=max_duration)
            assert np.array_equal(query(X[later], left, max_duration=max_duration, after=state), whole[later])
        assert np.array_equal(model.filter_proba(X[later], left, after=state), model.filter_proba(X, LENGTHS)[later])

    def test_it_counts_series_and_rows(self, model: Estimator) -> None:
        state = model.filter_state(X, LENGTHS)
        assert state.n_series == 3
        assert model.filter_state(X[:6], [1, 2, 3], after=state).n_rows.tolist() == [32, 14, 25]


class TestRefusals:
    @pytest.mark.parametrize("name", ["hmm", "hsmm"])
    def test_columns_it_was_not_made_for(self, name: str) -> None:
        model = fitted(name)
        state = model.filter_state(X, LENGTHS, max_duration=30)
        for query in (model.elapsed_duration, model.remaining_duration, model.filter_state):
            with pytest.raises(ValueError, match=r"max_duration=40.*filter_state\(\.\.\., max_duration=40\)"):
                query(X, LENGTHS, max_duration=40, after=state)

    def test_durations_that_end_need_no_other_columns(self) -> None:
        state = fitted("hsmm categorical").filter_state(X, LENGTHS)
        assert fitted("hsmm categorical").elapsed_duration(X, LENGTHS, max_duration=90, after=state).shape[1] == 90

    def test_another_model(self) -> None:
        state = fitted("hsmm").filter_state(X, LENGTHS)
        other = fitted("hsmm").clone().set_params(max_iter=3).fit(X, LENGTHS)
        for query in (other.filter_proba, other.log_density, other.elapsed_duration, other.filter_state):
            with pytest.raises(ValueError, match=r"belongs to a model with digest .*refit"):
                query(X, LENGTHS, after=state)

    @pytest.mark.parametrize("changed", ["initial_prob", "transition_prob", "duration_prob", "mean", "right_censored"])
    def test_a_model_that_differs_in_one_bit(self, changed: str) -> None:
        known: dict[str, Any] = {
            "initial_prob": np.array([0.5, 0.5]),
            "transition_prob": np.array([[0.0, 1.0], [1.0, 0.0]]),
            "duration_prob": np.array([[0.25, 0.75], [0.5, 0.5]]),
            "mean": np.array([[0.0], [1.0]]),
            "right_censored": True,
        }

        def made(mean: np.ndarray, **known: Any) -> hsmm.HSMM:
            emission = hsmm.emissions.Gaussian.from_parameters(mean=mean, covariance=[[1.0], [1.0]])
            return hsmm.HSMM.from_parameters(emission=emission, **known)

        state = made(**known).filter_state([0.0, 1.0])
        assert np.isfinite(made(**known).log_density([0.5], after=state)).all()
        if changed == "transition_prob":
            known[changed] = np.array([[0.0, np.nextafter(1.0, 0.0)], [1.0, 0.0]])
        else:
            known[changed] = False if changed == "right_censored" else np.nextafter(known[changed], 2.0)
        with pytest.raises(ValueError, match="digest"):
            made(**known).log_density([0.5], after=state)

    def test_other_series(self) -> None:
        state = fitted("hsmm").filter_state(X, LENGTHS)
        with pytest.raises(ValueError, match="state is of 3 series but the rows are of 1"):
            fitted("hsmm").filter_proba(X, after=state)

    def test_what_is_no_state(self) -> None:
        with pytest.raises(ValueError, match=r"after is a dict; expected what filter_state"):
            fitted("hsmm").filter_proba(X, after={})  # type: ignore[arg-type]

    def test_a_model_without_a_fit(self) -> None:
        with pytest.raises(NotFittedError, match="call fit"):
            hsmm.HMM(2).filter_state(X)


@pytest.mark.parametrize("kind", [hsmm.HMM, hsmm.HSMM])
def test_an_impossible_row_after_a_state_is_named(kind: type[Estimator]) -> None:
    far = 1e99
    narrow = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [far]], covariance=[[1e-200], [1e-200]])
    known: dict[str, Any] = {"initial_prob": [0.5, 0.5], "transition_prob": [[0.0, 1.0], [1.0, 0.0]]}
    if kind is hsmm.HSMM:
        known["duration_prob"] = [[1.0], [1.0]]
    model = kind.from_parameters(emission=narrow, **known)  # type: ignore[attr-defined]
    state = model.filter_state([0.0, far, far], [2, 1])
    follows_nothing = [0.0, far, 0.0]
    causal = (model.filter_proba, model.elapsed_duration, model.remaining_duration, model.filter_state, model.decode)
    for query in causal:
        with pytest.raises(ImpossibleDataError, match=r"series 1 at its row 0 \(both count from 0, rows after"):
            query(follows_nothing, [1, 2], after=state)
    assert np.isneginf(model.log_density(follows_nothing, [1, 2], after=state)).tolist() == [False, True, True]
    with pytest.raises(ImpossibleDataError, match="series 0 at its row 1 "):
        model.filter_state([0.0, 0.0])


class TestFixedLag:
    def test_no_lag_is_the_filter(self, model: Estimator) -> None:
        filtered = model.filter_proba(X, LENGTHS)
        assert model.predict_proba(X, LENGTHS, lag=0) == pytest.approx(filtered, rel=0, abs=1e-12)

    @pytest.mark.parametrize("lag", [1, 6])
    def test_a_lag_sees_as_many_rows_ahead(self, model: Estimator, lag: int) -> None:
        found = model.predict_proba(X[:31], lag=lag)
        open_ended = not isinstance(model, hsmm.HSMM) or model.right_censored
        for n in (0, 8, 30) if open_ended else ():
            seen = model.predict_proba(X[: min(n + lag + 1, 31)])
            assert found[n] == pytest.approx(seen[n], rel=0, abs=1e-9)
        assert np.array_equal(found[:20], model.predict_proba(X[: 20 + lag], lag=lag)[:20])

    def test_a_lag_beyond_the_end_sees_all(self) -> None:
        for name in ("hmm", "hsmm", "hsmm censored"):
            everything = fitted(name).predict_proba(X, LENGTHS)
            assert fitted(name).predict_proba(X, LENGTHS, lag=500) == pytest.approx(everything, rel=0, abs=1e-9)

    @pytest.mark.parametrize("lag", [-1, 1.5, True, "2"])
    def test_other_lags_are_refused(self, lag: Any) -> None:
        with pytest.raises(ValueError, match=r"lag is .* expected a whole number >= 0"):
            fitted("hmm").predict_proba(X, lag=lag)


MANIFEST, TABLES = "filter_state.json", "filter_state.safetensors"


@pytest.mark.parametrize("name", [MANIFEST, TABLES])
def test_what_was_not_saved_whole_is_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=name):
        hsmm.load_filter_state(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        hsmm.load_filter_state(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 2}, "format 2; this version reads format 1"), ({"model": 7}, "model = 7; expected a str")],
)
def test_a_forged_manifest_is_refused(folder: Path, change: dict, message: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(ValueError, match=message):
        hsmm.load_filter_state(folder)


def _without(tables: dict, prefix: str) -> None:
    for name in [name for name in tables if name.startswith(prefix)]:
        del tables[name]


FORGERIES: dict[str, tuple[Callable[[dict], Any], str]] = {
    "nan": (lambda t: t["own.starting"][0, 0, 0].fill_(torch.nan), "own.starting holds NaN"),
    "infinite": (lambda t: t["wide.by_age"][0, 0, 0, 0].fill_(torch.inf), "wide.by_age holds NaN or infinity"),
    "float32": (lambda t: t.update({"own.steps_left": t["own.steps_left"].float()}), "float32; expected float64"),
    "rows in float": (lambda t: t.update({"own.n_rows": t["own.n_rows"].double()}), "float64; expected int64"),
    "no rows": (lambda t: t["own.n_rows"].zero_(), "own.n_rows is 0; expected at least one"),
    "other rows": (lambda t: t["wide.n_rows"].add_(1), "expected the same rows"),
    "a series too few": (lambda t: t.update({"own.by_age": t["own.by_age"][:, :2]}), "own.by_age has shape"),
    "a column too few": (lambda t: t.update({"own.by_age": t["own.by_age"][..., :2]}), "own.by_age has shape"),
    "no series": (lambda t: t.update({k: v[:, :0] if v.ndim > 1 else v[:0] for k, v in t.items()}), "at least 1"),
    "two models": (lambda t: t.update({k: torch.cat([v, v]) for k, v in t.items()}), "other axes"),
    "an axis too few": (lambda t: t.update({"own.steps_left": t["own.steps_left"][0]}), "other axes"),
    "one too few": (lambda t: t.pop("own.by_age"), "own has n_rows, starting, steps_left; expected by_age"),
    "one too many": (lambda t: t.update({"own.extra": torch.zeros(1)}), "own has by_age, extra"),
    "another's": (
        lambda t: t.update({f"x{k[3:]}": v for k, v in t.items() if k[:3] == "own"}),
        "holds own, wide, x; expected",
    ),
    "no state": (lambda t: _without(t, "own"), "holds wide; expected own"),
    "nothing": (lambda t: _without(t, ""), "holds nothing; expected own"),
}


def _sign(folder: Path, tables: dict[str, torch.Tensor]) -> None:
    """Write forged tables, and words that speak of their bytes: digests stop accidents, not forgers."""
    save_file(tables, folder / TABLES)
    words = json.loads((folder / MANIFEST).read_text())
    words["sha256"] = hashlib.sha256((folder / TABLES).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(words))


@pytest.mark.parametrize("kind", FORGERIES)
def test_forged_tables_are_refused(folder: Path, kind: str) -> None:
    forge, message = FORGERIES[kind]
    tables = {name: value.clone() for name, value in load_file(folder / TABLES).items()}
    forge(tables)
    _sign(folder, {name: value.clone().contiguous() for name, value in tables.items()})
    with pytest.raises(ValueError, match=message):
        hsmm.load_filter_state(folder)


def test_a_state_of_wrong_size_is_refused_by_its_model(folder: Path) -> None:
    tables = {
        name: value[..., :2].contiguous() if value.ndim == 4 else value
        for name, value in load_file(folder / TABLES).items()
    }
    _sign(folder, tables)
    with pytest.raises(ValueError, match="steps_left has shape"):
        fitted("hsmm").filter_proba(X, LENGTHS, after=hsmm.load_filter_state(folder))


def test_saving_again_leaves_no_other_file(folder: Path) -> None:
    hsmm.load_filter_state(folder).save(folder)
    assert {path.name for path in folder.iterdir()} == {MANIFEST, TABLES}


def test_a_missing_row_is_a_row(model: Estimator) -> None:
    """Rows that come one by one and are missing, the first among them, give the bits of one pass over all."""
    rows = X[:9].copy()
    rows[[0, 3, 8]] = np.nan
    width = 40
    state, answers = None, {name: [] for name in CAUSAL}
    for row in rows:
        for name in CAUSAL:
            more = {"max_duration": width} if name.endswith("duration") else {}
            answers[name].append(getattr(model, name)(row[None], after=state, **more))
        ahead = model.forecast(row[None], 3, after=state)
        state = model.filter_state(row[None], max_duration=width, after=state)
    for name in CAUSAL:
        more = {"max_duration": width} if name.endswith("duration") else {}
        assert np.array_equal(np.concatenate(answers[name]), getattr(model, name)(rows, **more))
    assert np.array_equal(ahead, model.forecast(rows, 3))
    assert np.concatenate(answers["log_density"])[[0, 3, 8]] == pytest.approx(0.0, abs=1e-12)
