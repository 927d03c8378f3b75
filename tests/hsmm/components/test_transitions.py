"""What each family of moves allows, prefers, and starts from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.initial import FixedInitial
from hsmm.components.transition import Banded, Dense, LeftToRight, LowRank, Masked, Sticky
from hsmm.sequences import Sequences
from tests.hsmm.models.cases import LENGTHS, regimes

pytestmark = pytest.mark.filterwarnings("ignore:.*single row:hsmm.errors.DataWarning")

RING = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=bool)
STAGES = np.repeat([0.0, 5.0, 1.0, 9.0], [30, 20, 25, 15])


def stages(n_series: int = 5) -> tuple[np.ndarray, list[int]]:
    """Series that go through four levels, in this order."""
    rng = np.random.default_rng(0)
    return np.concatenate([STAGES + rng.normal(size=len(STAGES)) for _ in range(n_series)]), [len(STAGES)] * n_series


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM])
def test_forbidden_moves_stay_at_zero_through_a_fit(estimator: type) -> None:
    model = estimator(3, transition=Masked(allowed=RING), n_init=4, max_iter=30, tol=0.0).fit(regimes(), LENGTHS)
    forbidden = ~RING if estimator is hsmm.HMM else ~RING | np.eye(3, dtype=bool)
    assert (model.transition_prob_[forbidden] == 0.0).all()
    assert model._best.fall <= 1e-8
    for _, path in zip(range(3), [model.predict(regimes(s), LENGTHS) for s in range(3)], strict=True):
        starts = np.cumsum([0, *LENGTHS])[1:-1]
        moves = np.delete(np.stack([path[:-1], path[1:]], 1), starts - 1, axis=0)
        assert RING[moves[:, 0], moves[:, 1]].all()


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM])
@pytest.mark.parametrize("max_step", [None, 1])
def test_states_from_left_to_right_never_come_again(estimator: type, max_step: int | None) -> None:
    X, lengths = stages()
    law, start = LeftToRight(max_step=max_step), FixedInitial(probability=(1, 0, 0, 0))
    model = estimator(4, transition=law, initial=start, n_init=6).fit(X, lengths)
    truth = np.tile(np.repeat(np.arange(4), [30, 20, 25, 15]), 5)
    steps = np.diff(model.predict(X, lengths).reshape(5, -1), axis=1)
    assert steps.min() >= 0
    assert steps.max() <= (max_step or 3)
    assert (model.predict(X, lengths) == truth).mean() > 0.99, (
        "states keep their order in time, not that of their means"
    )
    assert (np.diff(model.sample(500, random_state=1)[1]) >= 0).all()
    assert model.transition_prob_[3].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert set(model.restarts_["start"]) == {"segments"}


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM])
def test_ordered_states_are_found_in_their_order_and_left_for_neighbours_alone(estimator: type) -> None:
    levels = np.abs(np.arange(600) // 10 % 8 - 4)
    X = levels + np.random.default_rng(0).normal(0.0, 0.3, 600)
    model = estimator(5, transition="banded", n_init=4, tol=1e-6).fit(X)
    steps = np.diff(model.predict(X))
    assert np.abs(steps).max() == 1
    assert (model.transition_prob_[np.abs(np.subtract.outer(range(5), range(5))) > 1] == 0.0).all()
    rise = np.diff(model.emission_.mean_[:, 0])
    assert (rise > 0.5).all() or (rise < -0.5).all(), "the numbers of the states are their order"


def test_ordered_states_start_from_rows_in_order() -> None:
    X = hsmm.Sequences.from_arrays(np.random.default_rng(1).normal(size=90))
    labels = Banded().first_states(X, 6, 3, torch.Generator().manual_seed(0))[:, X.values[:, 0].argsort()]
    assert labels[0].bincount().tolist() == [30, 30, 30]
    for steps in labels.diff(dim=1):
        assert (steps >= 0).all() or (steps <= 0).all()
    assert (labels.amax(1) == 2).all()


def test_left_to_right_is_known_by_name() -> None:
    X, lengths = stages(2)
    model = hsmm.HMM(4, transition="left_to_right", n_init=2).fit(X, lengths)
    assert (np.tril(model.transition_prob_, -1) == 0.0).all()


def test_a_state_that_never_ends_has_no_parameters_for_its_duration() -> None:
    X, lengths = stages(2)
    options = {"n_init": 2, "max_iter": 5, "tol": 0.0, "duration": "negative_binomial"}
    model = hsmm.HSMM(4, transition=LeftToRight(max_step=1), initial="uniform", **options).fit(X, lengths)
    assert model.n_parameters_ == 3 * 2 + 4 * 2
    dull = model.duration_prob_
    shape = model._model.duration.parameters["shape"].clone()
    shape[:, 3] += 1.0
    longer = model._model.duration.with_parameters(shape=shape)
    other = model.clone()._adopt_loaded(type(model._model)(**{**vars(model._model), "duration": longer}), None)
    assert not np.allclose(other.duration_prob_, dull)
    assert other.score(X, lengths) == pytest.approx(model.score(X, lengths), rel=1e-12)


def test_a_sticky_prior_makes_states_last() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=200) + 1.5 * (rng.random(200) < 0.5)
    stays = []
    for kappa in (0.0, 50.0, 1000.0):
        model = hsmm.HMM(2, transition=Sticky(kappa=kappa), n_init=4, random_state=1).fit(X)
        assert model._best.fall <= 1e-8
        stays.append(model.transition_prob_.diagonal().min())
    assert stays[0] < stays[1] < stays[2]


def test_without_kappa_sticky_is_dense() -> None:
    one, other = (
        hsmm.HMM(2, transition=law, n_init=2, max_iter=20, tol=0.0).fit(regimes(), LENGTHS)
        for law in (Sticky(kappa=0.0), "dense")
    )
    np.testing.assert_array_equal(one.transition_prob_, other.transition_prob_)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sticky(kappa=-1.0), "kappa is -1.0"),
        (lambda: LeftToRight(max_step=0), "max_step is 0"),
        (lambda: Banded(width=0), "width is 0"),
        (lambda: Masked(allowed=[[1, 0], [0, 2]]), "expected .n_states, n_states. of True and False"),
        (lambda: Masked(allowed=[[1, 1, 1], [1, 1, 1]]), "expected .n_states, n_states. of True and False"),
        (lambda: Masked(allowed=[[True, False], [False, False]]), r"states \[1\] no successor"),
        (lambda: hsmm.HSMM(2, transition="sticky").fit(regimes()), "'sticky' is given to a semi-Markov model"),
        (lambda: hsmm.HMM(2, transition="masked").fit(regimes()), "'masked' needs arguments"),
        (lambda: hsmm.HMM(2, transition=Masked(allowed=RING), n_init=1).fit(regimes(), LENGTHS), "mask of 3 states"),
        (lambda: LeftToRight.from_parameters([[0.5, 0.5], [0.1, 0.9]], self_transitions=True), "does not allow"),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "transition",
    [Sticky(kappa=3.0), Masked(allowed=RING), LeftToRight(max_step=2), Dense(concentration=np.eye(3) + 0.5)],
    ids=lambda law: law.name,
)
def test_options_survive_saving_and_renaming(transition: Dense, tmp_path: object) -> None:
    model = hsmm.HMM(3, transition=transition, n_init=2, max_iter=5, tol=0.0).fit(regimes(), LENGTHS)
    again = hsmm.load(model.save(tmp_path))
    assert again._model.transition.hyperparameters() == model._model.transition.hyperparameters()
    assert again.score(regimes(), LENGTHS) == model.score(regimes(), LENGTHS)


def classes(seed: int, n_states: int, rank: int, **options: bool) -> LowRank:
    drawn = np.random.default_rng(seed)
    leave, enter = drawn.dirichlet(np.full(rank, 0.3), n_states), drawn.dirichlet(np.full(n_states, 0.3), rank)
    return LowRank.from_parameters(leave, enter, **options)


def settled(law: LowRank | Dense, counts: torch.Tensor) -> LowRank | Dense:
    nothing = Sequences.from_arrays([0.0])
    for _ in range(300):
        law = law.maximise(nothing, counts)
    return law


def weighted(law: LowRank | Dense, counts: torch.Tensor) -> float:
    return float(torch.xlogy(counts, law.typical()).sum())


@pytest.mark.parametrize("stays", [True, False])
def test_moves_through_few_classes_are_found_from_their_counts(stays: bool) -> None:
    truth = classes(0, 12, 2, self_transitions=stays)
    counts = 1e4 * truth.typical()
    dwell, drawn = torch.full((4, 12), 3.0, dtype=torch.float64), torch.Generator().manual_seed(1)
    started = LowRank(2, self_transitions=stays).initialise(Sequences.from_arrays([0.0]), dwell, drawn)
    found = settled(started, counts.expand(4, -1, -1)).typical()
    assert float((found - truth.typical()).abs().amax((1, 2)).min()) < 1e-3
    assert stays or bool((found.diagonal(dim1=-2, dim2=-1) == 0.0).all())


@pytest.mark.parametrize("stays", [True, False])
def test_as_many_classes_as_states_are_every_table(stays: bool) -> None:
    counts = torch.from_numpy(np.random.default_rng(2).gamma(1.0, 20.0, (1, 4, 4)))
    counts = counts if stays else counts * (1.0 - torch.eye(4, dtype=torch.float64))
    dwell, drawn = torch.full((1, 4), 3.0, dtype=torch.float64), torch.Generator().manual_seed(3)
    nothing = Sequences.from_arrays([0.0])
    with pytest.warns(UserWarning, match="rank is 9 for 4 states; as many classes as states are made"):
        low = LowRank(9, self_transitions=stays).initialise(nothing, dwell, drawn)
    laws = (low, Dense(self_transitions=stays).initialise(nothing, dwell, drawn))
    low, dense = (settled(law, counts) for law in laws)
    assert low.n_parameters() == dense.n_parameters() == 4 * (3 if stays else 2)
    assert weighted(low, counts) == pytest.approx(weighted(dense, counts), rel=1e-6)


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM])
@pytest.mark.parametrize("initial", ["free", "stationary"])
def test_a_model_of_few_classes_climbs_and_keeps_its_diagonal(estimator: type, initial: str) -> None:
    law = LowRank(2)
    model = estimator(4, transition=law, initial=initial, n_init=1, max_iter=15, tol=0.0).fit(regimes(), LENGTHS)
    assert model._best.fall <= 1e-8
    assert model.transition_.leave_.shape == (4, 2)
    assert model.transition_.enter_.shape == (2, 4)
    assert estimator is hsmm.HMM or (np.diag(model.transition_prob_) == 0.0).all()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: LowRank(0), "rank is 0; expected a whole number >= 1"),
        (lambda: LowRank.from_parameters([[0.5, 0.5]] * 3, [[0.5, 0.5, 0.0]]), "leave has shape"),
        (lambda: LowRank.from_parameters([[0.5, 0.6]] * 3, [[0.5, 0.5, 0.0]] * 2), "leave"),
        (lambda: LowRank.from_parameters([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]), "to itself alone"),
    ],
)
def test_classes_that_make_no_table_are_refused(made: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made()
