"""Rows that follow from the rows before: what is known of them, and what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.emission.autoregressive.lags import Lagged
from hsmm.sequences import Sequences

AR = hsmm.emissions.AutoregressiveGaussian
TURNING = [[[[1.6]], [[-0.8]]], [[[0.5]], [[0.2]]]]
SWITCHING = AR.from_parameters([[0.0], [1.0]], TURNING, [[[0.1]], [[0.1]]])
CHAIN = {"initial_prob": [0.5, 0.5], "transition_prob": [[0.97, 0.03], [0.03, 0.97]]}


def switching() -> hsmm.HMM:
    return hsmm.HMM.from_parameters(**CHAIN, emission=SWITCHING)


def random_law(seed: int, **options: str) -> hsmm.emissions.AutoregressiveGaussian:
    """Two features, two lags, three states."""
    drawn = np.random.default_rng(seed)
    coef = 0.2 * drawn.normal(size=(3, 2, 2, 2))
    root = drawn.normal(size=(3, 2, 2)) + 2.0 * np.eye(2)
    covariance = root @ root.transpose(0, 2, 1)
    diagonal = np.arange(2)
    if options.get("coefficients") == "diag":
        coef = coef[..., diagonal, diagonal]
    if options.get("covariance") == "diag":
        covariance = covariance[..., diagonal, diagonal]
    return AR.from_parameters(drawn.normal(size=(3, 2)), coef, covariance)


@pytest.mark.parametrize("options", [{}, {"coefficients": "diag"}, {"covariance": "diag"}], ids=str)
def test_the_density_is_that_of_a_regression_with_normal_cells_where_the_past_is_lost(options: dict[str, str]) -> None:
    law, drawn = random_law(1, **options), np.random.default_rng(2)
    X = drawn.normal(size=(9, 2))
    X[4, 1] = X[6] = np.nan
    found, tails = law.log_potentials(Sequences.from_arrays(X, [6, 3]))[0], law.tails(Sequences.from_arrays(X, [6, 3]))
    mean, sd = (law.parameters[name][0].numpy() for name in ("past_mean", "past_sd"))
    coef, covariance = law.coef_, law.covariance_
    coef = np.stack([[np.diag(lag) for lag in state] for state in coef]) if coef.ndim == 3 else coef
    covariance = np.stack([np.diag(state) for state in covariance]) if covariance.ndim == 2 else covariance
    for row in range(9):
        start = 0 if row < 6 else 6
        for state in range(3):
            centre, scatter = law.intercept_[state].copy(), covariance[state].copy()
            for lag in (1, 2):
                before = X[row - lag] if row - lag >= start else np.full(2, np.nan)
                lost = np.isnan(before)
                centre += coef[state, lag - 1] @ np.where(lost, mean, before)
                scatter += coef[state, lag - 1] @ np.diag(lost * sd**2) @ coef[state, lag - 1].T
            seen = ~np.isnan(X[row])
            sd_of_row = np.sqrt(np.diag(scatter))
            below = torch.special.log_ndtr(torch.tensor((X[row] - centre) / sd_of_row))
            assert np.allclose(tails.below[row, seen, state], below[seen], rtol=1e-9)
            expected = 0.0
            if seen.any():
                textbook = torch.distributions.MultivariateNormal(
                    torch.tensor(centre[seen]), torch.tensor(scatter[np.ix_(seen, seen)])
                )
                expected = float(textbook.log_prob(torch.tensor(X[row, seen])))
            assert float(found[row, state]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n_known", [0, 1, 4])
def test_the_density_of_a_row_given_the_rows_before_integrates_to_one(n_known: int) -> None:
    model, (X, _) = switching(), switching().sample(n_known + 1, random_state=3)
    if n_known > 2:
        X[2] = np.nan
    values, width = np.linspace(-25.0, 25.0, 4001), 50.0 / 4000
    packed = np.tile(X, (len(values), 1))
    packed[n_known :: n_known + 1, 0] = values
    density = model.log_density(packed, [n_known + 1] * len(values))[n_known :: n_known + 1]
    assert np.exp(density).sum() * width == pytest.approx(1.0, abs=1e-9)


def test_a_series_knows_nothing_of_the_one_before_it() -> None:
    model = switching()
    pieces = [model.sample(n, random_state=n)[0] for n in (40, 1, 2, 30)]
    pieces[3][7] = np.nan
    lengths = [len(piece) for piece in pieces]
    density = model.log_density(np.concatenate(pieces), lengths)
    assert np.array_equal(density, np.concatenate([model.log_density(piece) for piece in pieces]))
    turned = model.score(np.concatenate(pieces[::-1]), lengths[::-1])
    assert turned == pytest.approx(sum(model.score(piece) for piece in pieces), rel=1e-12)


def test_causal_columns_keep_their_bits_when_a_series_is_cut() -> None:
    model = switching()
    X, _ = model.sample(60, random_state=4)
    X[[10, 11, 30]] = np.nan
    assert hsmm.check_causal(model, X).is_causal
    for length in (1, 2, 12, 33):
        assert np.array_equal(model.log_density(X[:length]), model.log_density(X)[:length])


@pytest.mark.parametrize("emission", ["alone", "in a product"])
def test_a_stream_carries_the_rows_that_are_read(emission: str, tmp_path: Path) -> None:
    law, X = SWITCHING, np.concatenate([switching().sample(n, random_state=n)[0] for n in (30, 25)])
    if emission == "in a product":
        place = hsmm.emissions.Gaussian.from_parameters([[0.0], [2.0]], [[1.0], [1.0]])
        law, X = hsmm.emissions.Product.from_parameters((place, law)), np.c_[X[::-1], X]
    model = hsmm.HMM.from_parameters(**CHAIN, emission=law)
    X[[4, 33]] = np.nan
    series, state, found = (X[:30], X[30:]), None, []
    for first, last in ((0, 1), (1, 2), (2, 5), (5, 6), (6, 25)):  # pieces shorter than the lags, too
        rows = np.concatenate([one[first:last] for one in series])
        decoded = model.decode(rows, [last - first] * 2, after=state, keep_state=True)
        state = hsmm.load_filter_state(decoded.filter_state.save(tmp_path))
        found.append(decoded.log_density.reshape(2, -1))
    whole = model.log_density(np.concatenate([one[:25] for one in series]), [25, 25]).reshape(2, -1)
    assert np.array_equal(np.concatenate(found, 1), whole)
    assert state.rows.shape == (2, 2, X.shape[1])


def test_a_stream_without_the_rows_that_are_read_is_another() -> None:
    model = switching()
    X, _ = model.sample(20, random_state=5)
    state = model.filter_state(X[:10])
    bare = replace(state, rows=None)
    whole = model.log_density(X)[10:]
    assert np.array_equal(model.log_density(X[10:], after=state), whole)
    assert not np.array_equal(model.log_density(X[10:], after=bare), whole)


def test_other_units_move_the_likelihood_by_the_jacobian_alone() -> None:
    X, _ = switching().sample(300, random_state=6)
    X[40:43] = np.nan
    one = hsmm.HMM(2, emission=AR(lags=2), n_init=4, tol=1e-7).fit(X)
    other = hsmm.HMM(2, emission=AR(lags=2), n_init=4, tol=1e-7).fit(3e4 * X + 1e7)
    jacobian = np.log(3e4) * np.isfinite(X).sum()
    assert other.log_likelihood_ + jacobian == pytest.approx(one.log_likelihood_, abs=1e-3)
    assert np.allclose(other.emission_.coef_, one.emission_.coef_, atol=1e-3)


def test_a_switching_system_is_found_within_its_intervals() -> None:
    X, states = switching().sample(1500, random_state=1)
    model = hsmm.HMM(2, emission=AR(lags=2), n_init=4, tol=1e-7).fit(X)
    assert hsmm.metrics.aligned_accuracy(states, model.predict(X)) > 0.97
    with pytest.warns(hsmm.errors.IntervalWarning):
        table = model.confidence_intervals(X, level=0.999)
    for name, truth in (("coef", np.ravel(TURNING)), ("covariance", [0.1, 0.1])):
        rows = table.filter(table["parameter"] == f"emission.{name}")
        assert ((rows["low"].to_numpy() < truth) & (truth < rows["high"].to_numpy())).all()
    moments = [x[0] for x in model.emission_.moments()]
    assert float(moments[0][1, 0]) == pytest.approx(1.0 / 0.3, abs=0.15)


@pytest.mark.costly
def test_steps_far_smaller_than_where_they_lead_are_no_collapse() -> None:
    drawn = np.random.default_rng(7)
    calm = np.repeat(drawn.integers(2, size=100), 20).astype(bool)
    X = 1e5 + np.cumsum(np.cumsum(np.where(calm, 0.1, 1.0) * drawn.normal(size=2000)))
    model = hsmm.HMM(2, emission=AR(lags=2), n_init=2, tol=1e-6).fit(X)
    assert not model.restarts_["collapsed"].any()
    assert model.emission_.covariance_[:, 0, 0] == pytest.approx([0.01, 1.0], rel=0.2)


def test_a_state_that_foretells_few_rows_without_error_has_collapsed() -> None:
    drawn = np.random.default_rng(8)
    X = Sequences.from_arrays(np.r_[drawn.normal(size=100), np.sin(0.3 * np.arange(60)), drawn.normal(size=100)])
    labels = torch.zeros(1, 260, dtype=torch.int64)
    labels[0, 102:160] = 1
    law = AR(lags=2).initialise(X, labels, 2)
    for _ in range(3):
        law = law.maximise(X, torch.nn.functional.one_hot(labels, 2).double())
    assert law.collapsed(X).all()
    assert "states [1] foretell" in law.degeneracy(X)
    floor = law.min_covariance * Lagged.of(X, 2).floor_scale.square()
    assert float(law.parameters["covariance"][0, 1, 0, 0]) == pytest.approx(float(floor[0]), rel=1e-6)


def test_a_state_without_a_stationary_law_has_no_moments_and_needs_to_be_told_of_its_past() -> None:
    walk = {"intercept": [[0.0]], "coef": [[[1.0]]], "covariance": [[1.0]]}
    with pytest.raises(ValueError, match="state 0 is not stationary"):
        AR.from_parameters(**walk)
    law = AR.from_parameters(**walk, past_mean=[5.0], past_sd=[2.0])
    assert all(x.isnan().all() for x in law.moments())
    assert float(law.log_potentials(Sequences.from_arrays([5.0]))) == pytest.approx(-0.5 * np.log(2 * np.pi * 5.0))


@pytest.mark.parametrize("emission", ["alone", "in a product"])
def test_a_features_share_of_the_surprise_is_its_own_density_given_the_whole_past(emission: str) -> None:
    law = random_law(9, covariance="diag").permuted(torch.tensor([0]))
    X, whole, names = np.random.default_rng(10).normal(size=(12, 2)), law, ("x0", "x1")
    mean = law.intercept_[0] + X[1:-1] @ law.coef_[0, 0].T + X[:-2] @ law.coef_[0, 1].T
    variance = law.covariance_[0]
    expected = 0.5 * np.log(2.0 * np.pi * variance) + 0.5 * (X[2:] - mean) ** 2 / variance
    if emission == "in a product":
        place = hsmm.emissions.Gaussian.from_parameters([[0.0]], [[1.0]])
        whole, names = hsmm.emissions.Product.from_parameters((place, law), ((1,), (0, 2))), ("x0", "x2")
        X = np.insert(X, 1, 0.3, axis=1)
    model = hsmm.HMM.from_parameters(initial_prob=[1.0], transition_prob=[[1.0]], emission=whole)
    table = model.contributions(X)
    for feature, name in enumerate(names):
        np.testing.assert_allclose(table[f"surprise_{name}"].to_numpy()[2:], expected[:, feature], rtol=1e-9)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: AR(lags=0), "lags is 0; expected a whole number >= 1"),
        (lambda: AR(lags=True), "lags is True"),
        (lambda: AR(coefficients="ful"), "coefficients is 'ful'; expected one of full, diag"),
        (lambda: AR(covariance="tied"), "covariance is 'tied'; expected one of full, diag"),
        (lambda: AR(min_covariance=1.0), "min_covariance is 1.0"),
        (lambda: AR.from_parameters([[0.0, 0.0]], [[[0.1]]], [[1.0, 1.0]]), "parameters have shapes"),
        (lambda: AR.from_parameters([[0.0]], [[[0.1]]], [[-1.0]]), "not positive definite"),
        (lambda: AR.from_parameters([[0.0] * 2], [[[0.1] * 2]], [[[1.0, 0.5], [0.1, 1.0]]]), "not symmetric"),
        (lambda: AR.from_parameters([[0.0]], [[[0.1]]], [[1.0]], past_mean=[0.0], past_sd=[-1.0]), "past_sd are"),
        (lambda: hsmm.emissions.Mixture(AR()), "cannot be the component of a mixture"),
    ],
)
def test_what_makes_no_law_is_refused(made: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made()
