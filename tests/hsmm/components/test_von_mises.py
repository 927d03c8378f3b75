"""Directions: a circle has no ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import hsmm
from hsmm.sequences import Sequences

LAW = hsmm.emissions.VonMises.from_parameters([[0.3], [3.0], [-2.5]], [[0.5], [20.0], [900.0]])


def headings(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three directions, one of which lies across the end of the scale."""
    states = np.tile(np.repeat([0, 1, 2], 12), 12)
    drawn = np.random.default_rng(seed).vonmises(
        np.array([0.2, 2.0, np.pi])[states], np.array([8.0, 8.0, 20.0])[states]
    )
    return drawn, states


def test_the_density_is_the_textbook_s() -> None:
    angles = np.linspace(-np.pi, np.pi, 101)
    found = LAW.log_potentials(Sequences.from_arrays(angles))[0].numpy()
    expected = stats.vonmises.logpdf(angles[:, None], LAW.concentration_[:, 0], LAW.mean_[:, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_whole_turn_changes_nothing() -> None:
    angles, _ = headings()
    turned = np.where(angles < 0, angles + 2.0 * np.pi, angles)
    one, other = (hsmm.HMM(3, emission="von_mises", n_init=4, random_state=1).fit(x) for x in (angles, turned))
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, rel=1e-9)
    assert np.array_equal(one.predict(angles), other.predict(turned))


def test_a_state_across_the_end_of_the_scale_is_one_state() -> None:
    angles, states = headings()
    model = hsmm.HMM(3, emission="von_mises", n_init=4, random_state=1).fit(angles)
    found = model.predict(angles)
    assert hsmm.metrics.aligned_accuracy(states, found) > 0.97
    means = model.emission_.mean_[:, 0]
    assert (np.abs(means) <= np.pi).all()
    assert np.cos(means[np.abs(means).argmax()] - np.pi) > 0.99


def test_the_fit_turns_with_the_compass() -> None:
    angles, _ = headings()
    turned = np.angle(np.exp(1j * (angles + 1.0)))
    one, other = (
        hsmm.HMM(3, emission="von_mises", n_init=8, random_state=1, tol=1e-9).fit(x) for x in (angles, turned)
    )
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, rel=1e-7)


def test_directions_lie_on_one_turn() -> None:
    law = hsmm.emissions.VonMises.from_parameters([[6.0], [0.5]], [[1.0], [2.0]])
    np.testing.assert_allclose(law.mean_, [[6.0 - 2.0 * np.pi], [0.5]])
    assert law.order().tolist() == [0, 1]
    leapt = law.with_free({"mean": law.parameters["mean"] + 4.0 * np.pi})
    np.testing.assert_allclose(leapt.mean_, law.mean_, atol=1e-12)


def test_a_state_of_one_heading_is_degenerate_unless_there_is_no_other() -> None:
    for others, expected in ((np.linspace(-1.0, 1.0, 20), True), (np.full(20, 0.7), False)):
        rows = Sequences.from_arrays(np.r_[np.full(20, 0.7), others])
        labels = torch.arange(40)[None] // 20
        law = hsmm.emissions.VonMises().initialise(rows, labels, 2)
        own = torch.nn.functional.one_hot(labels, 2).double()
        for _ in range(40):
            law = law.maximise(rows, own)
        assert bool(law.collapsed(rows)) is expected


@pytest.mark.parametrize("turn", [0.0, 2.0, np.pi])
def test_a_spike_is_as_wide_as_the_headings_around_it_on_both_sides_of_any_cut(turn: float) -> None:
    around = np.linspace(-1.0, 1.0, 101)
    rows = Sequences.from_arrays(np.angle(np.exp(1j * (turn + np.r_[np.zeros(20), around]))))
    weights = torch.nn.functional.one_hot((torch.arange(121) >= 20).long(), 2).double()[None]
    law = hsmm.emissions.VonMises.from_parameters([[turn], [turn]], [[1e6], [3.0]])
    assert law.suspects(rows).tolist() == [True]
    concentration = law.sobered(rows, weights).concentration_[:, 0]
    assert concentration == pytest.approx([1.0 / np.sort(np.abs(around))[49] ** 2, 3.0])


def test_degrees_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"holds 270 at row 1, column 0; a von_mises emission expects angles in radians"
    ):
        hsmm.HMM(2, emission="von_mises").fit([0.0, 270.0, 90.0, 10.0])
    with pytest.raises(ValueError, match="expected two rising positive numbers"):
        hsmm.emissions.VonMises(concentration_bounds=(3.0, 2.0))
    with pytest.raises(ValueError, match="concentration holds 0; expected positive"):
        hsmm.emissions.VonMises.from_parameters([[0.0]], [[0.0]])
    with pytest.raises(ValueError, match=r"mean .1, 1. and concentration .1, 2."):
        hsmm.emissions.VonMises.from_parameters([[0.0]], [[1.0, 2.0]])
