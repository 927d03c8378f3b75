"""What models say of time agrees with the laws they were made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import hsmm
from hsmm.errors import IntervalWarning, NotFittedError

LEVELS = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [2.0], [5.0]], covariance=[1.0, 1.0, 2.0])
MOVES = np.array([[0.0, 0.7, 0.3], [0.4, 0.0, 0.6], [0.5, 0.5, 0.0]])
DURATIONS = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.3, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])
CHAIN = np.array([[0.9, 0.05, 0.05], [0.1, 0.7, 0.2], [0.0, 0.3, 0.7]])


def semi_markov(**changes: object) -> hsmm.HSMM:
    known = {"initial_prob": [0.5, 0.3, 0.2], "transition_prob": MOVES, "duration_prob": DURATIONS, "emission": LEVELS}
    return hsmm.HSMM.from_parameters(**(known | changes))


def chain() -> hsmm.HMM:
    return hsmm.HMM.from_parameters(initial_prob=[0.5, 0.3, 0.2], transition_prob=CHAIN, emission=LEVELS)


def stationary(transition: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eig(transition.T)
    law = np.real(vectors[:, np.argmax(values.real)])
    return law / law.sum()


def test_a_far_forecast_is_the_stationary_law() -> None:
    X = [0.0, 0.1, 2.0]
    assert chain().forecast(X, 400)[0, -1] == pytest.approx(stationary(CHAIN), abs=1e-9)
    time_share = stationary(MOVES) * (DURATIONS @ np.arange(1, 5))
    assert semi_markov().forecast(X, 400)[0, -1] == pytest.approx(time_share / time_share.sum(), abs=1e-9)


def test_a_forecast_of_a_chain_is_a_power_of_its_matrix() -> None:
    X = [0.0, 1.0, 4.0]
    now = chain().filter_proba(X)[-1]
    for step, law in enumerate(chain().forecast(X, 5)[0], start=1):
        assert law == pytest.approx(now @ np.linalg.matrix_power(CHAIN, step))


def test_a_forecast_ends_no_segment_early() -> None:
    certain = semi_markov(duration_prob=np.eye(4)[[3, 3, 3]], initial_prob=[1.0, 0.0, 0.0])
    ahead = certain.forecast([0.0, 0.0], 3)[0]
    assert ahead[:2, 0] == pytest.approx([1.0, 1.0])
    assert ahead[2] == pytest.approx(MOVES[0])


def test_steps_left_of_a_chain_are_geometric() -> None:
    X = [0.0, 0.5, 5.0, 2.0]
    left = chain().remaining_duration(X, max_duration=6)
    stay = CHAIN.diagonal()
    law = np.stack([(1 - stay) * stay**r for r in range(5)] + [stay**5], axis=1)
    assert left == pytest.approx(chain().filter_proba(X) @ law)


def test_steps_so_far_count_from_the_first_row() -> None:
    for model in (chain(), semi_markov()):
        assert model.elapsed_duration([0.0, 0.1])[0, 0] == pytest.approx(1.0)
        assert model.elapsed_duration([0.0, 0.1])[1, :2].sum() == pytest.approx(1.0)


def test_steps_left_tick_down_when_nothing_changes() -> None:
    certain = semi_markov(duration_prob=np.eye(4)[[3, 3, 3]])
    left = certain.remaining_duration([0.0] * 4)
    assert left == pytest.approx(np.eye(4)[::-1])


@pytest.mark.parametrize("max_duration", [1, 2, 4, 9])
def test_columns_asked_for_are_columns_given(max_duration: int) -> None:
    X = [0.0, 0.5, 5.0, 2.0]
    full = semi_markov().remaining_duration(X)
    asked = semi_markov().remaining_duration(X, max_duration=max_duration)
    assert asked.shape == (4, max_duration)
    wide = np.pad(full, ((0, 0), (0, max(0, max_duration - 4))))
    assert asked[:, :-1] == pytest.approx(wide[:, : max_duration - 1])
    assert asked[:, -1] == pytest.approx(wide[:, max_duration - 1 :].sum(1))


def test_sampled_segments_follow_the_laws() -> None:
    _, states = semi_markov().sample(60_000, random_state=3)
    change = np.flatnonzero(np.diff(states)) + 1
    begins, lengths = np.r_[0, change][:-1], np.diff(np.r_[0, change])
    for state in range(3):
        of_state = lengths[states[begins] == state]
        assert np.bincount(of_state, minlength=5)[1:] / len(of_state) == pytest.approx(DURATIONS[state], abs=0.02)
    pairs = np.zeros((3, 3))
    np.add.at(pairs, (states[change - 1], states[change]), 1)
    assert pairs / pairs.sum(1, keepdims=True) == pytest.approx(MOVES, abs=0.02)


@pytest.mark.filterwarnings("ignore::hsmm.errors.DurationWallWarning")
def test_a_fit_finds_the_laws_of_its_sample() -> None:
    apart = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [8.0], [16.0]], covariance=[1.0, 1.0, 2.0])
    X, states = semi_markov(emission=apart).sample(6000, random_state=1)
    found = hsmm.HSMM(3, duration="categorical", max_duration=4, n_init=5, tol=1e-6).fit(X)
    assert (found.predict(X) == states).mean() > 0.999
    assert found.duration_prob_ == pytest.approx(DURATIONS, abs=0.05)
    assert found.transition_prob_ == pytest.approx(MOVES, abs=0.05)
    assert found.emission_.mean_ == pytest.approx(apart.mean_, abs=0.1)


@pytest.mark.filterwarnings("ignore::hsmm.errors.DurationWallWarning")
@pytest.mark.parametrize("duration", ["geometric", "negative_binomial", "poisson"])
def test_a_tail_is_sampled_too(duration: str) -> None:
    X = np.random.default_rng(0).normal(size=(300, 1)) + 8.0 * (np.arange(300)[:, None] // 25 % 2)
    model = hsmm.HSMM(2, duration=duration, max_duration=3, n_init=2, tol=1e-6).fit(X)
    _, states = model.sample(20_000, random_state=2)
    mean = len(states) / (1 + np.count_nonzero(np.diff(states)))
    assert mean == pytest.approx(model.mean_duration_.mean(), rel=0.15)


def test_two_devices_are_not_confused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ValueError, match=r"device is 'cuda'.*choose 'auto' or 'cpu'"):
        hsmm.HMM(2, device="cuda").fit([0.0, 1.0, 2.0])


def _segmented(durations: np.ndarray) -> np.ndarray:
    """Rows of two states far apart that take turns, each segment with its number of rows."""
    states = np.repeat(np.arange(len(durations)) % 2, durations)
    return 50.0 * states + np.random.default_rng(0).normal(size=len(states))


def _held(law: np.ndarray, durations: np.ndarray) -> float:
    """How many of these durations lie within the middle 80 % of a law (D,)."""
    below = law.cumsum()
    low, high = np.searchsorted(below, [0.1, 0.9]) + 1
    return float(((durations >= low) & (durations <= high)).mean())


@pytest.mark.filterwarnings("ignore::hsmm.errors.DurationWallWarning")
@pytest.mark.parametrize("model", [hsmm.HSMM(2, max_duration=40, n_init=1, tol=1e-6), hsmm.HMM(2, n_init=1, tol=1e-6)])
def test_durations_to_be_expected_hold_as_often_as_they_say(model: hsmm.HSMM | hsmm.HMM) -> None:
    """Of two stays a state, over twelve data sets: 80 % of those to come, where the fitted law holds fewer."""
    fitted, expected, is_hmm = [], [], isinstance(model, hsmm.HMM)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        seen, to_come = (
            rng.geometric(1 / 12, size) if is_hmm else 1 + rng.poisson(11.0 * rng.gamma(2.0, 0.5, size))
            for size in (4, 300)
        )
        X = _segmented(seen)
        found = model.clone().fit(X)
        stay = found.transition_prob_[0, 0]
        own = (1.0 - stay) * stay ** np.arange(400) if is_hmm else found.duration_prob_[0]
        fitted.append(_held(own, to_come))
        expected.append(_held(found.with_predictive_durations().duration_prob_[0], to_come))
    assert np.mean(fitted) < (0.78 if is_hmm else 0.65)
    assert 0.74 < np.mean(expected) < 0.92


def test_of_many_segments_the_durations_to_be_expected_are_those_fitted() -> None:
    rng = np.random.default_rng(0)
    X = _segmented(1 + rng.poisson(5.0 * rng.gamma(2.0, 0.5, 600)))
    model = hsmm.HSMM(2, max_duration=30, n_init=1, tol=1e-6).fit(X)
    wide = model.with_predictive_durations()
    assert wide.duration_prob_[:, :29] == pytest.approx(model.duration_prob_[:, :29], abs=0.01)
    assert wide.duration_prob_.sum(1) == pytest.approx(1.0)
    assert np.array_equal(wide.transition_prob_, model.transition_prob_)
    assert wide.filter_proba(X[:50]) == pytest.approx(model.filter_proba(X[:50]), abs=0.02)


@pytest.mark.parametrize("right_censored", [True, False])
def test_states_remember_how_often_they_were_left(right_censored: bool, tmp_path: Path) -> None:
    """A last stay that its series cuts off was not seen to end."""
    X = np.tile(_segmented(np.array([5, 9, 6, 8, 7])), 2)
    model = hsmm.HSMM(2, max_duration=20, right_censored=right_censored, n_init=1).fit(X, [35, 35])
    assert model.exits_ == pytest.approx([4.0, 4.0] if right_censored else [6.0, 4.0], abs=1e-6)
    kept = hsmm.load(model.save(tmp_path / "model"))
    for other in (kept, model.permuted([1, 0]).permuted([1, 0])):
        assert np.array_equal(other.exits_, model.exits_)
        wide = other.with_predictive_durations()
        assert np.array_equal(wide.duration_prob_, model.with_predictive_durations().duration_prob_)
    anew = model.with_predictive_durations(X[:35]).duration_prob_
    assert anew[0, :3].sum() > model.with_predictive_durations().duration_prob_[0, :3].sum(), "half as much was seen"


def test_time_left_after_few_stays_is_warned_of_once_and_not_when_it_allows_for_them() -> None:
    X = _segmented(np.array([5, 9, 6, 8, 7]))
    for model in (hsmm.HSMM(2, max_duration=20, n_init=1).fit(X), hsmm.HMM(2, n_init=1).fit(X)):
        with pytest.warns(IntervalWarning, match=r"state [01] was seen to end 2 times.*with_predictive_durations\(\)"):
            model.remaining_duration(X)
        model.remaining_duration(X)
        model.with_predictive_durations().remaining_duration(X)


def test_durations_of_no_few_parameters_or_of_no_fit_are_not_averaged() -> None:
    with pytest.raises(ValueError, match="concentration"):
        semi_markov().with_predictive_durations(np.zeros(9))
    with pytest.raises(NotFittedError, match="give the rows"):
        chain().with_predictive_durations()
