"""Laws of units that share emissions and have tables of their own about a group's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import hsmm
from hsmm import PartialPooling

LEVELS = np.array([-3.0, 0.0, 3.0])
LENGTHS = (60, 45, 80, 50)


def made(model: hsmm.Estimator, n_rows: int, seed: int) -> np.ndarray:
    return np.asarray(model.sample(n_rows, random_state=seed)[0])


def chain(stay: tuple[float, float, float]) -> hsmm.HMM:
    moves = np.diag(stay) + (1 - np.array(stay))[:, None] * (1 - np.eye(3)) / 2
    law = hsmm.emissions.Gaussian.from_parameters(mean=LEVELS[:, None], covariance=np.ones((3, 1)))
    return hsmm.HMM.from_parameters(initial_prob=np.full(3, 1 / 3), transition_prob=moves, emission=law)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Four units, of which two move often."""
    stays = [(0.95, 0.9, 0.95), (0.6, 0.5, 0.7)] * 2
    X = [made(chain(stay), n, seed) for seed, (stay, n) in enumerate(zip(stays, LENGTHS, strict=True))]
    return np.concatenate(X), np.repeat(["a", "b", "c", "d"], LENGTHS)


@pytest.fixture(scope="module")
def pooled(data: tuple[np.ndarray, np.ndarray]) -> hsmm.HMM:
    X, units = data
    return hsmm.HMM(3, n_init=4).fit(X, groups=units)


@pytest.fixture(scope="module")
def semi(data: tuple[np.ndarray, np.ndarray]) -> hsmm.HSMM:
    X, units = data
    return hsmm.HSMM(3, n_init=2, max_duration=30).fit(X, groups=units)


@pytest.mark.parametrize("model", ["pooled", "semi"])
def test_a_prior_of_great_strength_pools_all(
    model: str, data: tuple[np.ndarray, np.ndarray], request: pytest.FixtureRequest
) -> None:
    (X, units), start = data, request.getfixturevalue(model)
    found = PartialPooling(start, concentration=1e9).fit(X, units)
    assert found.log_likelihood_ == pytest.approx(start.log_likelihood_, abs=1e-3)
    for unit in "abcd":
        np.testing.assert_allclose(found.of(unit).transition_prob_, start.transition_prob_, atol=1e-4)


def test_a_prior_of_no_strength_leaves_each_unit_alone(data: tuple[np.ndarray, np.ndarray], pooled: hsmm.HMM) -> None:
    X, units = data
    kept = hsmm.HMM(3, frozen=("emission",), n_init=1, tol=1e-10).fit(X, groups=units, start=pooled)
    found = PartialPooling(kept, concentration=1e-9, tol=1e-10).fit(X, units)
    for unit in "abcd":
        alone = kept.clone().fit(X[units == unit], start=kept)
        assert found.of(unit).log_likelihood_ == pytest.approx(alone.log_likelihood_, abs=1e-4)
        known = alone.state_share_ > 0.1
        np.testing.assert_allclose(found.of(unit).transition_prob_[known], alone.transition_prob_[known], atol=1e-3)


@pytest.mark.parametrize("family", ["negative_binomial", "categorical"])
def test_no_step_at_one_prior_lowers_the_objective(family: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    X, units = data
    model = hsmm.HSMM(3, duration=family, n_init=1, max_duration=40, max_iter=8, tol=0)
    found = PartialPooling(model, concentration=20.0, max_iter=25, tol=0)
    with pytest.warns(hsmm.errors.ConvergenceWarning):
        found.fit(X, units)
    assert {*found.concentration_} == {"initial", "transition", "duration"}
    for climb in found.history_:
        assert (np.diff(climb) >= -1e-9 * np.abs(climb[:-1])).all()
    assert max(len(climb) for climb in found.history_) > 3


def test_the_order_of_units_changes_nothing(data: tuple[np.ndarray, np.ndarray], pooled: hsmm.HMM) -> None:
    X, units = data
    order = np.concatenate([np.flatnonzero(units == unit) for unit in "dbac"])
    first, second = (
        PartialPooling(pooled, concentration={"initial": 5.0}, own=["initial", "transition"]).fit(X[rows], units[rows])
        for rows in (np.arange(len(X)), order)
    )
    assert second.units_ == [*"dbac"]
    assert second.log_likelihood_ == pytest.approx(first.log_likelihood_, rel=1e-9)
    assert second.concentration_ == pytest.approx(first.concentration_, rel=1e-6)
    for unit in "abcd":
        np.testing.assert_allclose(second.of(unit).transition_prob_, first.of(unit).transition_prob_, atol=1e-8)


def test_units_differ_as_much_as_they_do() -> None:
    """Where units are alike the group's law counts for much, where they are not for little."""
    units, strengths = np.repeat(np.arange(8), 120), []
    for spread in (0.0, 0.25):
        stays = [(0.8 - spread,) * 3, (0.8 + 0.6 * spread,) * 3] * 4
        X = np.concatenate([made(chain(stay), 120, seed) for seed, stay in enumerate(stays)])
        moves = PartialPooling(hsmm.HMM(3, n_init=1), own=["transition"]).fit(X, units)
        lasting = hsmm.HSMM(3, duration="geometric", max_duration=30, n_init=1)
        stay = PartialPooling(lasting, own=["duration"]).fit(X, units)
        strengths.append([moves.concentration_["transition"], stay.concentration_["duration"]])
    alike, unlike = np.array(strengths)
    assert (alike > 4 * unlike).all()
    assert (unlike < 40).all()
    for quick, slow in ((0, 1), (6, 7)):
        assert moves.of(quick).transition_prob_.diagonal().mean() < 0.65
        assert moves.of(slow).transition_prob_.diagonal().mean() > 0.85
        assert (stay.of(quick).mean_duration_ < stay.of(slow).mean_duration_).all()


def test_a_new_unit_has_the_groups_law(data: tuple[np.ndarray, np.ndarray], pooled: hsmm.HMM) -> None:
    X, units = data
    found = PartialPooling(pooled, concentration=10.0).fit(X, units)
    assert found.of("new") is found.group_
    own = found.score(X, units)
    assert own == pytest.approx(found.log_likelihood_, rel=1e-12)
    assert own > found.group_.score(X, groups=units)
    named = np.where(units == "a", "new", units)
    instead = found.group_.score(X[units == "a"]) - found.of("a").score(X[units == "a"])
    assert found.score(X, named) == pytest.approx(own + instead, rel=1e-12)


def test_a_unit_of_many_rows_is_one_of_the_group() -> None:
    """Where units differ much each says as much of the group's law as any other, however many rows it has."""
    stays, lengths = [(0.95,) * 3, *[(0.6,) * 3] * 3], [600, 60, 60, 60]
    drawn = [
        chain(stay).sample(n, random_state=seed) for seed, (stay, n) in enumerate(zip(stays, lengths, strict=True))
    ]
    X, states = (np.concatenate([np.asarray(one[part]) for one in drawn]) for part in (0, 1))
    units = np.repeat(np.arange(4), lengths)
    model = hsmm.HMM(3, n_init=1).fit(X, groups=units, states=states)
    assert model.transition_prob_.diagonal().mean() > 0.85
    found = PartialPooling(model, own=["transition"], concentration=1.0).fit(X, units, states=states)
    assert 0.6 < found.group_.transition_prob_.diagonal().mean() < 0.75


def test_several_series_of_a_unit_learn_together(data: tuple[np.ndarray, np.ndarray], pooled: hsmm.HMM) -> None:
    X, units = data
    halves = np.concatenate([[n // 2, n - n // 2] for n in LENGTHS])
    found = PartialPooling(pooled, concentration=10.0).fit(X, units, halves)
    assert found.units_ == [*"abcd"]
    assert found.score(X, units, halves) == pytest.approx(found.log_likelihood_, rel=1e-12)
    with pytest.raises(ValueError, match="series 0 has rows of two units"):
        found.score(X, units, [sum(LENGTHS)])
    with pytest.raises(ValueError, match=r"units has shape \(4,\); expected"):
        found.score(X, LENGTHS)


def test_what_is_saved_answers_alike(data: tuple[np.ndarray, np.ndarray], semi: hsmm.HSMM, tmp_path: Path) -> None:
    X, units = data
    found = PartialPooling(semi, own=["duration"], concentration=20).fit(X, units)
    again = hsmm.load(found.save(tmp_path / "kept"))
    assert isinstance(again, PartialPooling)
    assert again.units_ == found.units_
    assert again.concentration_ == found.concentration_
    assert again.score(X, units) == found.score(X, units)
    assert not [*tmp_path.rglob("*.pkl")]
    for unit in ("a", "new"):
        np.testing.assert_array_equal(again.of(unit).predict(X), found.of(unit).predict(X))


def test_states_are_renumbered_in_every_unit(data: tuple[np.ndarray, np.ndarray], pooled: hsmm.HMM) -> None:
    X, units = data
    found = PartialPooling(pooled, concentration=10.0).fit(X, units)
    moved = found.permuted([2, 0, 1])
    for unit in ("a", "d", "new"):
        np.testing.assert_array_equal(
            moved.of(unit).transition_prob_, found.of(unit).transition_prob_[[2, 0, 1]][:, [2, 0, 1]]
        )
    assert moved.score(X, units) == pytest.approx(found.score(X, units), rel=1e-12)


def test_known_states_teach_every_unit(data: tuple[np.ndarray, np.ndarray], pooled: hsmm.HMM) -> None:
    X, units = data
    states = pooled.predict(X, groups=units)
    found = PartialPooling(pooled, concentration=1e-9).fit(X, units, states=states)
    own = states[units == "c"]
    moves = np.zeros((3, 3))
    np.add.at(moves, (own[:-1], own[1:]), 1)
    np.testing.assert_allclose(found.of("c").transition_prob_, moves / moves.sum(1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"own": ["emission"]}, "own names 'emission'; expected some of initial, transition"),
        ({"own": "transition"}, "own is 'transition'; expected a list"),
        ({"concentration": 0.0}, "concentration is 0.0; expected a finite number > 0"),
        ({"concentration": {"duration": 3.0}}, "concentration names 'duration'"),
        ({"tol": -1.0}, "tol is -1.0"),
        ({"model": hsmm.GLMHMM(2)}, "model is a GLMHMM; expected an hsmm.HSMM or an hsmm.HMM"),
        ({"model": hsmm.HMM(3, initial="stationary", n_init=1, max_iter=2, tol=0)}, "initial 'stationary'"),
    ],
)
def test_what_cannot_be_is_refused(
    options: dict[str, object], says: str, data: tuple[np.ndarray, np.ndarray], pooled: hsmm.HMM
) -> None:
    X, units = data
    with pytest.raises(ValueError, match=says):
        PartialPooling(**{"model": pooled, **options}).fit(X, units)  # type: ignore[arg-type]


def test_a_table_that_reads_a_context_is_no_units_own(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, units = data
    context = np.linspace(-1, 1, len(X))[:, None]
    model = hsmm.HMM(2, transition="contextual", n_init=1, max_iter=2, tol=0)
    with pytest.raises(ValueError, match="transition follows a context"):
        PartialPooling(model).fit(X, units, context=context)


def test_a_unit_without_visits_to_a_state_has_the_groups_law_there() -> None:
    high = np.random.default_rng(1).normal(3.0, 0.5, 20)
    X = np.concatenate([made(chain((0.9, 0.9, 0.9)), 200, 0)[:, 0], high])
    units = np.repeat([0, 1], [200, 20])
    found = PartialPooling(hsmm.HMM(3, n_init=2), own=["transition"], concentration=5.0).fit(X, units)
    np.testing.assert_allclose(found.of(1).transition_prob_[0], found.group_.transition_prob_[0], atol=1e-3)
    assert torch.isfinite(torch.tensor(found.log_likelihood_))
