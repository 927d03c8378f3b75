"""Fitting climbs, ends where it says, and depends on the data alone."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.duration import DURATIONS, Categorical, Geometric
from hsmm.components.emission import Gaussian
from hsmm.components.initial import FreeInitial
from hsmm.components.model import Model
from hsmm.components.transition import Dense
from hsmm.errors import ConvergenceWarning, DataWarning, ImpossibleDataError
from hsmm.sequences import Sequences
from hsmm.training.em import expectation_maximisation
from hsmm.training.first import first_models
from hsmm.training.m_step import maximise
from hsmm.training.objective import Objective
from hsmm.training.race import FEWEST, Restart
from hsmm.training.restarts import fitting_restarts
from hsmm.training.starts import KINDS, draw_starts, initial_model, k_means
from hsmm.training.together import alone
from tests.hsmm.components.cases import ELLIPTICAL
from tests.hsmm.models.cases import LENGTHS, regimes

pytestmark = pytest.mark.filterwarnings("ignore:.*single row:hsmm.errors.DataWarning")

COMPLETE = Sequences.from_arrays(regimes(missing=0.0), LENGTHS)
GAPPY = Sequences.from_arrays(regimes(missing=0.2), LENGTHS)
STATIC = {name: law for name, law in DURATIONS.items() if not law.uses_covariates}
N_STATES = 3
N_STEPS = 15


def structure(**changes: object) -> Model:
    plain = Model(FreeInitial(), Dense(self_transitions=True), None, Gaussian())
    return replace(plain, **changes)


def semi_markov(duration: object, **changes: object) -> Model:
    return structure(transition=Dense(), duration=duration, **changes)


def started(model: Model, sequences: Sequences, n_restarts: int = 4, seed: int = 0) -> Model:
    starts = draw_starts(sequences, N_STATES, n_restarts, 10, seed)
    return initial_model(model, sequences, starts, seed)


STRUCTURES = {
    **{
        f"{name} {kind}": structure(emission=ELLIPTICAL[name](covariance=kind))
        for name, kind in itertools.product(ELLIPTICAL, ["full", "diag", "tied", "spherical"])
    },
    **{
        f"{name} floored": structure(emission=ELLIPTICAL[name](min_covariance=0.3), transition=Dense(concentration=2.0))
        for name in ELLIPTICAL
    } ,
    **{
        f"hmm floor {kind}": structure(emission=Gaussian(covariance=kind, min_covariance=0.2))
        for kind in ("full", "diag", "tied", "spherical")
    },
    **{f"{name}": semi_markov(law(max_duration=12, min_duration=2)) for name, law in STATIC.items()},
    **{
        f"{name} left-censored": semi_markov(law(max_duration=12), left_censored=True)
        for name, law in STATIC.items()
    },
    "categorical with priors": semi_markov(
        Categorical(max_duration=9, concentration=1.5), initial=FreeInitial(concentration=3.0), left_censored=True
    ),
    "seen to its end": semi_markov(DURATIONS["poisson"](max_duration=30), right_censored=False),
    "truncated": semi_markov(DURATIONS["negative_binomial"](max_duration=20, tail=False)),
}  # fmt: skip
ROWS = {"complete": COMPLETE, "missing": GAPPY}
# A law of durations does not see the rows, and so not whether they are complete.
CLIMBS = [(name, rows) for rows in ROWS for name in STRUCTURES if rows == "missing" or not STRUCTURES[name].duration]


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize(("name", "rows"), CLIMBS)
class TestEveryClimb:
    def test_is_monotone_and_ends_at_its_likelihood(self, name: str, rows: str, accelerate: bool) -> None:
        sequences = ROWS[rows]
        start = started(STRUCTURES[name], sequences)
        fit = expectation_maximisation(start, sequences, max_iter=N_STEPS, tol=0.0, accelerate=accelerate)
        assert (fit.fall <= 1e-8).all()
        assert (fit.history.diff(dim=0) >= -1e-8 * fit.history[1:].abs()).all()
        assert fit.n_iter.tolist() == [N_STEPS] * 4
        assert not fit.converged.any()
        reached = hsmm.inference.log_partition(fit.model.potentials(sequences)).sum(1)
        torch.testing.assert_close(fit.log_likelihood, reached, rtol=1e-12, atol=0.0)
        torch.testing.assert_close(fit.objective, reached + fit.model.log_prior(), rtol=1e-12, atol=0.0)
        torch.testing.assert_close(fit.history[-1], fit.objective, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("n_steps", [0, 4])
def test_no_counts_are_made_that_no_step_follows(monkeypatch: pytest.MonkeyPatch, n_steps: int) -> None:
    made: list[int] = []
    counted = Objective.expected_counts
    monkeypatch.setattr(Objective, "expected_counts", lambda *a, **kw: (made.append(1), counted(*a, **kw))[1])
    start = started(STRUCTURES["negative_binomial"], COMPLETE)
    fit = expectation_maximisation(start, COMPLETE, max_iter=n_steps, tol=0.0)
    assert len(made) == n_steps
    whole = counted(Objective(COMPLETE), Objective(COMPLETE).potentials(fit.model)).log_likelihood.sum(1)
    assert torch.equal(fit.log_likelihood, whole)


@pytest.mark.parametrize("name", ["gaussian full", "student_t diag", "negative_binomial", "categorical left-censored"])
def test_restarts_climb_as_if_alone(name: str) -> None:
    start = started(STRUCTURES[name], GAPPY)
    together = expectation_maximisation(start, GAPPY, max_iter=20, tol=1e-4, accelerate=True)
    for restart in range(start.emission.n_restarts):
        alone = expectation_maximisation(
            start.take(torch.tensor([restart])), GAPPY, max_iter=20, tol=1e-4, accelerate=True
        )
        assert int(alone.n_iter) == int(together.n_iter[restart])
        assert float(alone.log_likelihood) == pytest.approx(float(together.log_likelihood[restart]), rel=1e-9)


def test_a_climb_stops_when_a_step_gains_too_little() -> None:
    start = started(STRUCTURES["gaussian full"], COMPLETE)
    tol = 1e-5
    fit = expectation_maximisation(start, COMPLETE, max_iter=500, tol=tol)
    assert fit.converged.all()
    for restart, n_iter in enumerate(fit.n_iter.tolist()):
        gains = fit.history[: n_iter + 1, restart].diff()
        assert gains[-1] < tol * COMPLETE.n_observed_rows
        assert (gains[:-1] >= tol * COMPLETE.n_observed_rows).all()
        assert fit.history[n_iter + 1 :, restart].isnan().all()


def test_leaps_arrive_where_small_steps_do() -> None:
    start = started(STRUCTURES["gaussian full"], COMPLETE)
    plain = expectation_maximisation(start, COMPLETE, max_iter=800, tol=1e-12)
    leaping = expectation_maximisation(start, COMPLETE, max_iter=800, tol=1e-12, accelerate=True)
    torch.testing.assert_close(leaping.log_likelihood.max(), plain.log_likelihood.max(), rtol=1e-9, atol=0.0)
    assert leaping.n_iter.sum() < plain.n_iter.sum()


def test_permuted_models_take_permuted_steps() -> None:
    order = torch.tensor([1, 2, 0])
    start = started(STRUCTURES["negative_binomial"], GAPPY)

    def stepped(model: Model) -> Model:
        return maximise(model, GAPPY, hsmm.inference.posterior(model.potentials(GAPPY)))

    one, other = stepped(start.permuted(order)), stepped(start).permuted(order)
    for found, expected in zip(one.free().values(), other.free().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_a_prior_enters_the_objective_and_not_the_likelihood() -> None:
    X, lengths = regimes(), LENGTHS
    model = hsmm.HMM(3, transition=hsmm.transitions.Dense(concentration=5.0), n_init=2).fit(X, lengths)
    prior = 4.0 * np.log(model.transition_prob_).sum()
    assert model.score(X, lengths) == pytest.approx(model.log_likelihood_, rel=1e-9)
    assert model.history_[-1] == pytest.approx(model.log_likelihood_ + prior, rel=1e-9)
    assert model.log_likelihood_ < hsmm.HMM(3, n_init=2).fit(X, lengths).log_likelihood_


@pytest.mark.filterwarnings("ignore:state . was seen to end:hsmm.errors.IntervalWarning")
@pytest.mark.parametrize("max_duration", [1, 6])
def test_a_geometric_semi_markov_model_is_a_markov_model(max_duration: int) -> None:
    X = np.random.default_rng(1).normal(size=(150, 1)) + 4.0 * (np.arange(150)[:, None] // 9 % 2)
    semi = hsmm.HSMM(2, duration="geometric", max_duration=max_duration, n_init=4, tol=1e-10).fit(X)
    plain = hsmm.HMM(2, n_init=4, tol=1e-10).fit(X)
    assert semi.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-6)
    assert semi.mean_duration_ == pytest.approx(plain.mean_duration_, rel=1e-3)
    assert semi.n_parameters_ == plain.n_parameters_
    for name in ("elapsed_duration", "remaining_duration"):
        found, expected = (getattr(m, name)(X, max_duration=5) for m in (semi, plain))
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("max_duration", [1, 3, 9])
def test_the_optimum_of_a_markov_chain_is_one_of_geometric_durations(max_duration: int) -> None:
    start = started(structure(), COMPLETE, n_restarts=1)
    chain = expectation_maximisation(start, COMPLETE, max_iter=3000, tol=1e-15, accelerate=True).model
    cells = chain.transition.parameters["probability"]
    stay, moves = cells.diagonal(dim1=-2, dim2=-1), cells * (1.0 - torch.eye(N_STATES))
    semi = replace(
        chain,
        transition=Dense(parameters={"probability": moves / moves.sum(-1, keepdim=True)}),
        duration=Geometric(max_duration=max_duration, parameters={"shape": (-stay.log()).log().unsqueeze(-1)}),
    )
    after = maximise(semi, COMPLETE, hsmm.inference.posterior(semi.potentials(COMPLETE)))
    for found, expected in zip(after.free().values(), semi.free().values(), strict=True):
        torch.testing.assert_close(found.exp(), expected.exp(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("covariance", ["full", "diag", "tied", "spherical"])
@pytest.mark.parametrize("emission", ELLIPTICAL)
def test_the_unit_of_the_data_does_not_matter(emission: str, covariance: str) -> None:
    model = structure(emission=ELLIPTICAL[emission](covariance=covariance))
    one = expectation_maximisation(started(model, GAPPY), GAPPY, max_iter=20, tol=0.0, accelerate=True)
    for scale in (1e6, 1e-6):
        scaled = replace(GAPPY, values=scale * GAPPY.values)
        other = expectation_maximisation(started(model, scaled), scaled, max_iter=20, tol=0.0, accelerate=True)
        jacobian = np.log(scale) * int(GAPPY.observed.sum())
        torch.testing.assert_close(other.history + jacobian, one.history, rtol=1e-9, atol=0.0)
        means = (fit.model.emission.parameters["mean"] for fit in (one, other))
        torch.testing.assert_close(scale * next(means), next(means), rtol=1e-6, atol=0.0)


DEGENERATE = {
    "constant column": np.c_[np.random.default_rng(0).normal(size=60), np.full(60, 0.1)],
    "constant": np.full((30, 1), -7.3),
    "two values": np.repeat([[0.0], [1.0]], 20, axis=0),
    "ties": np.round(np.random.default_rng(1).normal(size=(80, 2))),
    "one outlier": np.r_[np.random.default_rng(2).normal(size=(50, 1)), [[1e6]]],
    "copied column": np.repeat(np.random.default_rng(3).normal(size=(60, 1)), 2, axis=1),
    "as many rows as states": np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 0.5]]),
    "an empty column": np.c_[np.random.default_rng(4).normal(size=40), np.full(40, np.nan)],
}


@pytest.mark.filterwarnings("ignore::hsmm.errors.DataWarning", "ignore::hsmm.errors.ConvergenceWarning")
@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("covariance", ["full", "diag", "tied", "spherical"])
@pytest.mark.parametrize("emission", ELLIPTICAL)
def test_degenerate_data_stay_finite_and_floored(name: str, covariance: str, emission: str) -> None:
    X = DEGENERATE[name]
    law = ELLIPTICAL[emission](covariance=covariance, min_covariance=1e-4)
    model = hsmm.HMM(3, emission=law, n_init=3, max_iter=20).fit(X)
    assert np.isfinite(model.log_likelihood_)
    assert model.score(X) == pytest.approx(model.log_likelihood_, rel=1e-9, abs=1e-9)
    assert np.isfinite(model.predict_proba(X)).all()
    assert model._best.fall <= 1e-8
    scale = Sequences.from_arrays(X).floor_scale.numpy()
    matrices = model.emission_.parameters["covariance"][0].numpy()
    smallest = (
        matrices / scale**2 if matrices.ndim == 2 else np.linalg.eigvalsh(matrices / (scale[:, None] * scale))
    )  # fmt: skip
    floor = 1e-4 if covariance != "spherical" else 1e-4 * (scale**2).mean() / (scale**2).max()
    assert smallest.min() >= floor * (1 - 1e-6)


def test_a_constant_column_changes_no_state() -> None:
    X = regimes(missing=0.0)
    with_constant = np.c_[X, np.full(len(X), 0.1)]
    plain = hsmm.HMM(3, n_init=3).fit(X, LENGTHS)
    with pytest.warns(DataWarning, match=r"columns \[2\]"):
        odd = hsmm.HMM(3, n_init=3).fit(with_constant, LENGTHS)
    assert np.array_equal(odd.predict(with_constant, LENGTHS), plain.predict(X, LENGTHS))


def test_a_collapsed_restart_never_wins_over_a_sound_one() -> None:
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(300, 1)), 1)
    X[::7], X[1::9] = 0.5, -1.0
    for n_states, emission in itertools.product([3, 4], ["gaussian", "student_t"]):
        with pytest.warns(ConvergenceWarning, match="set aside"):
            model = hsmm.HMM(n_states, emission=emission, n_init=8, random_state=1).fit(X)
        assert not model._best.collapsed
        assert model.emission_.covariance_.min() > 1e-4 * X.var()


def test_halving_returns_the_best_of_its_survivors() -> None:
    X = regimes(missing=0.05)
    model = hsmm.HMM(3, n_init=12, random_state=3).fit(X, LENGTHS)
    table = model.restarts_
    assert table["restart"].to_list() == list(range(12))
    survivors = table.filter(table["stopped"] != "halved")
    assert 1 <= len(survivors) <= FEWEST
    assert model.log_likelihood_ == survivors.filter(~survivors["collapsed"])["log_likelihood"].max()
    assert model.n_iter_ in survivors["iterations"].to_list()
    assert set(table["start"]) == set(KINDS) - {"stretches"}  # of which a start is where states are many
    assert table.columns == list(Restart.__annotations__)


@pytest.mark.parametrize("n_init", [1, 2, 9])
def test_without_a_tolerance_every_iteration_is_made(n_init: int) -> None:
    model = hsmm.HMM(3, n_init=n_init, tol=0.0, max_iter=45).fit(regimes(), LENGTHS)
    assert model.n_iter_ == 45
    assert len(model.history_) == 46
    assert not model.converged_


def test_starts_of_fewer_restarts_are_the_first_of_more() -> None:
    few, many = (draw_starts(GAPPY, N_STATES, n, 10, 5) for n in (4, 11))
    assert torch.equal(few.labels, many.labels[:4])
    assert torch.equal(few.mean_dwell, many.mean_dwell[:4])
    assert few.kinds == many.kinds[:4]
    assert many.labels.shape == (11, GAPPY.n_rows)
    assert int(many.labels.min()) >= 0
    assert int(many.labels.max()) < N_STATES
    assert (many.mean_dwell > 1.0).all()


def test_every_other_start_is_as_narrow_as_its_rows_but_random_centres() -> None:
    X = np.repeat([0.0, 100.0], 50) + np.random.default_rng(0).normal(size=100)
    sequences = Sequences.from_arrays(X)
    structure = Model(initial=FreeInitial(), transition=Dense(), duration=None, emission=Gaussian())
    starts = draw_starts(sequences, 2, 6, 10, 0)
    spread = initial_model(structure, sequences, starts, 0).emission.parameters["covariance"].flatten(1)
    own = torch.tensor([[X[row == state].var() for state in (0, 1)] for row in starts.labels.numpy()])
    torch.testing.assert_close(spread[starts.narrow], own[starts.narrow])
    assert bool(((spread - own)[~starts.narrow].abs() > 1e-4 * own[~starts.narrow]).any(1).all())
    narrow = {kind for kind, is_narrow in zip(starts.kinds, starts.narrow.tolist(), strict=True) if is_narrow}
    assert narrow == {"clusters", "windows"}


def test_random_centres_see_the_features_in_scales_of_their_own() -> None:
    """A row nearer to one of two places if features count alike, to the other if one counts for more."""
    X = np.array([[0.0, 0.0], [1.0, 1.0]] * 2000 + [[0.9, 0.2]])
    sides = set()
    for seed in range(60):
        labels = KINDS["random"](
            torch.from_numpy(X), Sequences.from_arrays(X), 2, [torch.Generator().manual_seed(seed)]
        )[0]
        if labels[0] != labels[1]:
            sides.add(bool(labels[-1] == labels[0]))
    assert sides == {False, True}


def test_clusters_of_starts_are_refined_until_rows_lie_nearest_to_their_own_mean() -> None:
    points = torch.randn((60, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for seed in range(5):
        labels = k_means(points, 3, [torch.Generator().manual_seed(seed)])[0]
        means = torch.stack([points[labels == state].mean(0) for state in range(3)])
        assert float((torch.cdist(points, means).argmin(1) == labels).double().mean()) > 0.95


def test_of_many_centres_none_is_missed() -> None:
    places = 10.0 * torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).double()
    points = places.repeat(12, 1) + torch.randn((192, 2), generator=torch.Generator().manual_seed(0)).double()
    for seed in range(6):
        labels = k_means(points, 16, [torch.Generator().manual_seed(seed)])[0]
        assert hsmm.metrics.adjusted_rand(np.tile(np.arange(16), 12), labels.numpy()) > 0.97


def test_one_start_climbs_by_small_steps_alone() -> None:
    X = np.random.default_rng(0).normal(size=200)
    model = hsmm.HMM(3, n_init=1, tol=0.0, max_iter=12).fit(X)
    target = Objective(Sequences.from_arrays(X))
    first, _ = first_models(model._structure(), target, n_states=3, n_init=1, seed=model.seed_)
    plain, leaping = (
        expectation_maximisation(first, target, max_iter=12, tol=0.0, accelerate=leaps).history[:, 0]
        for leaps in (False, True)
    )
    np.testing.assert_allclose(model.history_, plain, rtol=1e-12)
    assert float((plain - leaping).abs().max()) > 1e-3


def test_data_that_no_start_can_explain_are_refused() -> None:
    ended = semi_markov(Categorical(max_duration=4, min_duration=4), right_censored=False)
    with pytest.raises(ImpossibleDataError, match="probability zero"):
        alone(fitting_restarts(ended, COMPLETE.series([1]), n_states=1, n_init=2, max_iter=5, tol=0.0, seed=0))


@pytest.mark.parametrize("family", ["geometric", "poisson"])
def test_starts_lie_above_the_shortest_duration(family: str) -> None:
    sequences = Sequences.from_arrays(np.random.default_rng(0).normal(size=400))
    law = replace(DURATIONS[family](), max_duration=200, min_duration=20)
    structure = Model(initial=FreeInitial(), transition=Dense(), duration=law, emission=Gaussian())
    made = initial_model(structure, sequences, draw_starts(sequences, 2, 20, 60, 0), 0).duration
    assert made is not None
    beyond = made.mean() - 19.0
    assert bool((beyond > 1.3).all())
    assert float(beyond.max()) > 20.0
