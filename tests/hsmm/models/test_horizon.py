"""How long a table of durations is where nobody said so, and what is said of one that is too short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.duration import DURATIONS
from hsmm.components.duration.reach import beyond
from hsmm.components.model import Model
from hsmm.errors import DurationWallWarning
from hsmm.selection.soundness import strained_tail

STAYS = np.random.default_rng(5).integers(280, 321, size=24)
LONG = 5.0 * np.repeat(np.arange(24) % 2, STAYS) + np.random.default_rng(6).normal(size=STAYS.sum())
QUICK = {"n_init": 2, "tol": 1e-6}


def stays_of(mean: float, n: int) -> np.ndarray:
    """Rows of two states far apart whose stays end at random."""
    rng = np.random.default_rng(7)
    stays = rng.geometric(1.0 / mean, n)
    return 8.0 * np.repeat(np.arange(n) % 2, stays) + rng.normal(size=stays.sum())


@pytest.fixture(scope="module")
def found() -> hsmm.HSMM:
    return hsmm.HSMM(2, **QUICK).fit(LONG)


def test_a_table_grows_until_a_hundredth_lies_beyond(found: hsmm.HSMM) -> None:
    assert found.max_duration_ > 300
    assert float(beyond(found.duration_).mass.max()) <= 0.01
    assert found.mean_duration_ == pytest.approx([300.0, 300.0], rel=0.05)


@pytest.mark.parametrize("mean", [20.0, 60.0])
def test_a_law_reaches_as_far_as_a_hundredth_and_a_thousandth_of_its_segments(mean: float) -> None:
    law = DURATIONS["geometric"](max_duration=10).initialise(torch.full((1, 1), mean, dtype=torch.float64))
    found = beyond(law)
    for length, share in ((found.reach, 0.01), (found.farthest, 0.001)):
        assert length.tolist() == [[int(np.ceil(np.log(share) / np.log1p(-1.0 / mean)))]]


def test_it_is_the_fit_of_one_who_knew(found: hsmm.HSMM) -> None:
    known = hsmm.HSMM(2, max_duration=found.max_duration_, **QUICK).fit(LONG)
    assert known.log_likelihood_ == pytest.approx(found.log_likelihood_, abs=1e-3)
    assert known.duration_prob_ == pytest.approx(found.duration_prob_, abs=1e-4)


@pytest.mark.filterwarnings("ignore:state . was seen to end:hsmm.errors.IntervalWarning")
def test_what_remains_near_the_end_of_a_stay_is_little(found: hsmm.HSMM) -> None:
    after = STAYS[0] + 290
    expected = (found.remaining_duration(LONG[:after])[-1] * np.arange(1, found.max_duration_ + 1)).sum()
    assert 5.0 < expected < 25.0


def test_a_short_table_is_warned_of_with_the_share() -> None:
    with pytest.warns(DurationWallWarning, match=r"9\d\.\d% of the segments of state . last longer than .* = 100 "):
        hsmm.HSMM(2, max_duration=100, **QUICK).fit(LONG)


def test_a_tail_that_is_the_laws_own_needs_no_more() -> None:
    found = hsmm.HSMM(2, duration="geometric", **QUICK).fit(stays_of(250.0, 20))
    assert found.max_duration_ == 100
    assert float(beyond(found.duration_).mass.min()) > 0.3


def test_a_law_without_a_tail_grows_from_its_wall() -> None:
    found = hsmm.HSMM(2, duration="categorical", **QUICK).fit(LONG)
    assert found.max_duration_ >= 320
    assert found.mean_duration_ == pytest.approx([300.0, 300.0], rel=0.05)


def test_no_table_is_longer_than_the_longest_series() -> None:
    with pytest.warns(DurationWallWarning, match=r"= 200 steps.*; take coarser steps"):
        found = hsmm.HSMM(2, **QUICK).fit(LONG[:4000], [200] * 20)
    assert found.max_duration_ == 200


@pytest.mark.parametrize("duration", ["negative_binomial", "categorical"])
def test_a_start_brings_its_table(duration: str) -> None:
    start = hsmm.HSMM(2, duration=duration, max_duration=400, **QUICK).fit(LONG)
    assert hsmm.HSMM(2, duration=duration, **QUICK).fit(LONG, start=start).max_duration_ == 400
    frozen = hsmm.HSMM(2, duration=duration, frozen=("duration",), **QUICK).fit(LONG, start=start)
    assert np.array_equal(frozen.duration_prob_, start.duration_prob_)


def test_the_table_of_a_start_may_grow() -> None:
    short = hsmm.HSMM(2, max_duration=30, **QUICK)
    with pytest.warns(DurationWallWarning):
        short.fit(LONG)
    assert hsmm.HSMM(2, **QUICK).fit(LONG, start=short).max_duration_ > 320


def test_what_is_given_or_kept_does_not_grow() -> None:
    own = hsmm.durations.NegativeBinomial(max_duration=30)
    with pytest.warns(DurationWallWarning):
        short = hsmm.HSMM(2, duration=own, **QUICK).fit(LONG)
    assert short.max_duration_ == 30
    with pytest.warns(DurationWallWarning):
        kept = hsmm.HSMM(2, frozen=("duration",), **QUICK).fit(LONG, start=short)
    assert kept.max_duration_ == 30


def test_how_long_a_dead_state_would_last_does_not_matter() -> None:
    shape = torch.tensor([[[2.0, 1.0], [2.0, 1.0], [8.0, 3.0]]], dtype=torch.float64)
    model = Model(
        initial=hsmm.initials.FreeInitial.from_parameters([0.5, 0.5, 0.0]),
        transition=hsmm.transitions.Dense.from_parameters([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]),
        duration=hsmm.durations.NegativeBinomial(parameters={"shape": shape}, max_duration=100),
        emission=hsmm.emissions.Gaussian.from_parameters([[0.0], [8.0], [99.0]], np.ones((3, 1, 1))),
    )
    rows = hsmm.Sequences.from_arrays(stays_of(8.0, 20))
    assert float(beyond(model.duration).mass[0, 2]) > 0.9
    assert strained_tail(model, rows) is None
    alive = replace(model, transition=hsmm.transitions.Dense.from_parameters(np.full((3, 3), 0.5) - np.eye(3) / 2))
    far = hsmm.Sequences.from_arrays(np.r_[stays_of(8.0, 20), np.full(150, 99.0)])
    assert strained_tail(alive, far)[0] == 2


def test_known_states_say_how_long_the_first_table_is() -> None:
    x, states = LONG[: STAYS[:2].sum()], np.repeat([0, 1], STAYS[:2])
    assert hsmm.HSMM(2, duration="categorical", **QUICK).fit(x, states=states).max_duration_ >= STAYS[:2].max()


def test_a_saved_model_keeps_its_table(found: hsmm.HSMM, tmp_path: Path) -> None:
    loaded = hsmm.load(found.save(tmp_path / "model"))
    assert (loaded.max_duration, loaded.max_duration_) == ("auto", found.max_duration_)
    assert np.array_equal(loaded.filter_proba(LONG[:900]), found.filter_proba(LONG[:900]))


@pytest.mark.filterwarnings("ignore::hsmm.errors.IntervalWarning")
def test_refits_to_simulated_data_keep_the_table() -> None:
    x = stays_of(8.0, 40)
    model = hsmm.HSMM(2, duration="categorical", **QUICK).fit(x)
    drawn = model.confidence_intervals(x, method="bootstrap", n_samples=2)
    assert drawn.filter(parameter="duration.probability").height == 2 * model.max_duration_


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r"max_duration is 'atuo'; expected a whole number >= 1 or 'auto'"):
        hsmm.HSMM(2, max_duration="atuo").fit(LONG)
