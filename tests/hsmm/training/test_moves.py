"""States go from where there are too many to where there are too few."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import hsmm
from benchmarks.search_sets import problems
from hsmm.components.emission import Gaussian
from hsmm.components.model import Model
from hsmm.sequences import Sequences
from hsmm.training import local_search as module
from hsmm.training import restarts
from hsmm.training.em import Fit, expectation_maximisation
from hsmm.training.joins import Join, joined_counts, ranked_joins
from hsmm.training.local_search import Ground, Way, _furthest, _together, local_search
from hsmm.training.moves import Move, Neighbourhood, _around, _splits, can_move
from hsmm.training.objective import Objective
from hsmm.training.race import SAME, Race
from hsmm.training.standing import prospect_of
from hsmm.training.together import Fitting, alone
from hsmm.training.trainers import EM


def levels() -> tuple[np.ndarray, np.ndarray]:
    states = np.tile(np.repeat(np.arange(4), 20), 6)
    return np.random.default_rng(0).normal(5.0 * states, 1.0), states


def neighbourhood(model: Model, sequences: Sequences) -> Neighbourhood:
    return Neighbourhood(model, Objective(sequences), torch.Generator().manual_seed(0))


def neighbours(model: Model, sequences: Sequences, n_moves: int) -> Model:
    near = neighbourhood(model, sequences)
    return near.revived().joined(near.after([(move,) for move in near.most_promising(n_moves, ())]))


def levels_only() -> Sequences:
    return Sequences.from_arrays(levels()[0])


def misplaced(estimator: type) -> tuple[hsmm.HMM, Sequences]:
    """Two states share the lowest level, one has the two highest."""
    X, _ = levels()
    start = estimator(4, n_init=1).fit(X)
    law = Gaussian.from_parameters([[-0.5], [0.5], [5.0], [12.5]], [[[1.0]], [[1.0]], [[1.0]], [[7.0]]])
    tables = start._fitted_model()
    start._model = type(tables)(**{**vars(tables), "emission": law})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator(4, n_init=1).fit(X, start=start), Sequences.from_arrays(X)


def test_a_split_and_a_merge_lead_out_of_a_wrong_optimum() -> None:
    stuck, sequences = misplaced(hsmm.HMM)
    X, states = levels()
    assert hsmm.metrics.aligned_accuracy(states, stuck.predict(X)) < 0.9
    near = neighbours(stuck._fitted_model(), sequences, 3)
    fit = expectation_maximisation(near, sequences, max_iter=40, tol=1e-8, accelerate=True)
    assert fit.objective.max() > stuck.log_likelihood_ + 100.0


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM], ids=["HMM", "HSMM"])
def test_every_neighbour_is_a_model(estimator: type) -> None:
    stuck, sequences = misplaced(estimator)
    near = neighbours(stuck._fitted_model(), sequences, 5)
    assert near.emission.n_restarts == 11  # five moves, five joins
    for part in (near.initial, near.transition):
        total = part.parameters["probability"].sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total))
    assert hsmm.inference.log_partition(near.potentials(sequences)).isfinite().all()


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM], ids=["HMM", "HSMM"])
def test_a_transition_that_has_died_may_return(estimator: type) -> None:
    """EM never leaves a probability of zero; revived, it may, and ends higher for it."""
    states = np.tile(np.repeat([0, 1, 2, 0, 2, 1], 9), 12)
    sequences = Sequences.from_arrays(np.random.default_rng(0).normal(5.0 * states, 1.0))
    options = {"duration": "poisson", "max_duration": 20} if estimator is hsmm.HSMM else {}
    model = estimator(3, n_init=4, **options).fit(sequences.values.numpy())._fitted_model()
    law = model.transition.parameters["probability"].clone()
    law[0, 0, 2] = 0.0
    dead = replace(model, transition=model.transition.with_parameters(probability=law / law.sum(-1, keepdim=True)))
    stuck = expectation_maximisation(dead, sequences, max_iter=50, tol=0.0)
    assert float(stuck.model.transition.parameters["probability"][0, 0, 2]) == 0.0
    near = neighbourhood(stuck.model, sequences).revived()
    revived = expectation_maximisation(near, sequences, max_iter=50, tol=0.0)
    assert float(revived.objective) > float(stuck.objective) + 10.0


def test_young_climbs_that_promise_less_are_given_up_where_rows_are_many() -> None:
    stuck, sequences = misplaced(hsmm.HMM)
    near = neighbourhood(stuck._fitted_model(), sequences)
    told: dict[int, list[torch.Tensor]] = {1: [], 30: []}
    for at_once, heights in told.items():
        ground = Ground(EM(), Objective(sequences, watch=heights.append), 100, 0.0, at_once)
        ways = [(), *((move,) for move in near.most_promising(7, ()))]
        assert alone(_furthest(near, ways, math.inf, ground)) == ((), None)
    assert 3 * len(told[1]) <= len(told[30])


def test_moves_that_promise_more_are_made_together_where_they_share_no_state() -> None:
    a, b, c, d = (Move(split, pair, 0) for split, pair in ((0, (1, 2)), (3, (4, 5)), (2, (6, 7)), (8, (6, 7))))
    promise = torch.tensor([9.0, 3.0, 5.0, 4.0, 1.0])
    assert _together([(), (a,), (b,), (c,), (d,)], promise, least=2.0) == (b, c)
    assert _together([(), (a,), (b,), (c,), (d,)], promise, least=0.0) == (b, c)
    assert _together([(), (a,), (b,), (), (d,)], promise, least=0.0) == (b, a, d)


def test_two_moves_together_mend_two_wrong_places() -> None:
    """Of seven levels the second pair and the third have one state each; the lowest and the highest have two."""
    states = np.tile(np.repeat(np.arange(7), 20), 6)
    sequences = Sequences.from_arrays(np.random.default_rng(0).normal(8.0 * states, 1.0))
    means = [-0.5, 0.5, 12.0, 24.0, 36.0, 47.5, 48.5]
    law = Gaussian.from_parameters([[x] for x in means], [[[17.0 if x in (12.0, 36.0) else 1.0]] for x in means])
    moves = 0.9 * torch.eye(7, dtype=torch.float64) + torch.full((7, 7), 0.1 / 7, dtype=torch.float64)
    start = hsmm.HMM.from_parameters(initial_prob=np.full(7, 1 / 7), transition_prob=moves.numpy(), emission=law)
    near = neighbourhood(start._fitted_model(), sequences)
    one, two = Move(2, (0, 1), 0), Move(4, (5, 6), 0)
    fit = expectation_maximisation(near.after([(one,), (two,), (one, two)]), sequences, max_iter=20, tol=0.0)
    assert fit.objective[2] > fit.objective[:2].max() + 300.0
    found = fit.model.emission.parameters["mean"][2, :, 0].sort().values
    torch.testing.assert_close(found, 8.0 * torch.arange(7, dtype=torch.float64), atol=0.5, rtol=0.0)


def test_what_was_in_vain_is_not_tried_again_before_its_states_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, sequences = misplaced(hsmm.HMM)
    race = Race(["clusters"], seed=0)
    race.run(expectation_maximisation(stuck._fitted_model(), sequences, max_iter=0, tol=0.0), Objective(sequences))
    race.end()
    race.best.standing -= 100.0
    tried: list[set[Move | Join]] = []

    def one_success(_: Neighbourhood, ways: list[Way], *__: object) -> Fitting[tuple[Way, Fit | None]]:
        tried.append({move for way in ways for move in way})
        return (ways[0], race.best.fit) if len(tried) == 2 else ((), None)
        yield

    monkeypatch.setattr(module, "_furthest", one_success)
    alone(local_search(race, Ground(EM(), Objective(sequences), 100, 1e-6, at_once=0), 0))
    first, second, third, *_ = tried
    assert not first & second
    assert third & (first | second)  # of four states a move changes three, which every move has some of


@pytest.mark.parametrize(("agreed", "n_tries"), [(True, 1), (False, 2)])
def test_what_restarts_agree_on_is_left_after_one_try(
    monkeypatch: pytest.MonkeyPatch, agreed: bool, n_tries: int
) -> None:
    stuck, sequences = misplaced(hsmm.HMM)
    race = Race(["clusters"], seed=0)
    race.run(expectation_maximisation(stuck._fitted_model(), sequences, max_iter=0, tol=0.0), Objective(sequences))
    race.end()
    tried: list[tuple[bool, int]] = []

    def in_vain(_: Neighbourhood, ways: list[Way], *__: object) -> Fitting[tuple[Way, Fit | None]]:
        tried.append((() in ways, len(ways)))
        return (), None
        yield

    monkeypatch.setattr(module, "_furthest", in_vain)
    monkeypatch.setattr(Race, "is_agreed", agreed)
    alone(local_search(race, Ground(EM(), Objective(sequences), 100, 1e-6, at_once=0), 0))
    assert [is_revived for is_revived, _ in tried] == [True, False][:n_tries]


def test_a_state_splits_by_what_is_around_its_rows_where_they_are_alike() -> None:
    states = np.tile([0, 1, 2, 3], 60)
    X = np.random.default_rng(0).normal(np.array([0.0, 5.0, 0.0, 10.0])[states], 1.0)
    sequences = Sequences.from_arrays(X)
    model = hsmm.HMM(3, n_init=4).fit(X)
    objective = Objective(sequences)
    weights = objective.expected_counts(objective.potentials(model._fitted_model())).state
    law = model._fitted_model()
    own = law.emission.log_potentials(sequences)[0]
    around = _around(weights[0], objective)
    shares, gains = _splits(law, objective, weights, own, around, torch.Generator().manual_seed(0))
    lowest = int(law.emission.parameters["mean"][0, :, 0].argmin())
    way = int(gains[:, lowest].argmax())
    second = shares[way, :, lowest].numpy().round()
    assert gains[:, lowest].max() > gains.max(0).values.sum() - gains[:, lowest].max()
    inner = slice(4, -4)
    assert len({(a, b) for a, b in zip(states[inner], second[inner], strict=True) if a in (0, 2)}) == 2


def test_of_restarts_that_came_to_one_height_one_goes_on() -> None:
    race = Race(["clusters"] * 5, seed=0)
    model, _ = misplaced(hsmm.HMM)
    tables = model._fitted_model()
    fit = expectation_maximisation(tables.take(torch.zeros(5, dtype=torch.int64)), levels_only(), max_iter=0, tol=0.0)
    for position, (runner, height) in enumerate(zip(race.runners, (-3.0, -1.0, -1.001, -9.0, -5.0), strict=True)):
        runner.took_part(fit, position, collapsed=False, standing=height)
    race.halve(3)
    assert [runner.restart for runner in race.alive] == [0, 1, 4]


def test_states_with_a_place_do_not_move() -> None:
    stuck, sequences = misplaced(hsmm.HMM)
    model = stuck._fitted_model()
    assert can_move(model, Objective(sequences))
    assert not can_move(model, Objective(sequences, frozen=frozenset({"emission.mean"})))
    assert not can_move(model, Objective(sequences, states=torch.full((sequences.n_rows,), -1)))
    ordered = hsmm.HMM(3, transition="left_to_right", n_init=2, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not can_move(ordered.fit(levels()[0])._fitted_model(), Objective(sequences))


@pytest.mark.parametrize(("ratio", "leapt"), [(0.3, True), (0.85, True), (0.3, False), (0.75, False)])
def test_a_prospect_is_what_a_geometric_climb_has_left(ratio: float, leapt: bool) -> None:
    steps = torch.arange(13, dtype=torch.float64)
    history = torch.stack([-(ratio**steps), torch.where(steps < 7, -(ratio**steps), torch.nan)], 1)
    left = torch.tensor([ratio**12, ratio**6], dtype=torch.float64)
    torch.testing.assert_close(prospect_of(history, leapt=leapt), left, rtol=1e-9, atol=0.0)


def test_the_leap_out_of_a_rough_start_promises_nothing() -> None:
    steps = torch.arange(7, dtype=torch.float64)
    climb = -(0.5**steps)
    climb[:4] = -1e6 * 2.0 ** -steps[:4]
    left = torch.tensor([0.5**6], dtype=torch.float64)
    torch.testing.assert_close(prospect_of(climb.unsqueeze(1), leapt=False), left, rtol=1e-9, atol=0.0)


def raced(heights: list[tuple[float, float]]) -> Race:
    """A race of runners in their second round, with these standings and prospects, all of them at their end."""
    stuck, sequences = misplaced(hsmm.HMM)
    model = stuck._fitted_model().take(torch.zeros(len(heights), dtype=torch.long))
    race = Race(["clusters"] * len(heights), seed=0)
    race.run(expectation_maximisation(model, sequences, max_iter=0, tol=0.0), Objective(sequences))
    race.end()
    for runner, (standing, prospect) in zip(race.runners, heights, strict=True):
        runner.standing, runner.prospect, runner.n_rounds = standing, prospect, 2
    return race


def test_restarts_agree_on_a_height_and_not_on_any_that_is_higher() -> None:
    assert raced([(-10.0, 0.0), (-10.0, 0.0), (-12.0, 2.0), (-30.0, 0.0)]).is_agreed
    assert not raced([(-10.0, 0.0), (-20.0, 15.0), (-20.0, 18.0), (-30.0, 25.0)]).is_agreed


def test_climbs_that_only_seem_to_lead_to_one_height_both_go_on() -> None:
    race = raced([(-10.0, 2.0), (-20.0, 12.0), (-20.0, 12.0), (-30.0, 10.0)])
    race.halve(3)
    assert [runner.restart for runner in race.alive] == [0, 1, 3]


def test_a_move_need_only_lead_above_where_the_best_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    race = raced([(-10.0, 5.0)])
    least: list[float] = []

    def seen(_: Neighbourhood, __: list[Way], above: float, ___: Ground) -> Fitting[tuple[Way, Fit | None]]:
        least.append(above)
        return (), None
        yield

    monkeypatch.setattr(module, "_furthest", seen)
    alone(local_search(race, Ground(EM(), Objective(levels_only()), 100, 1e-6, at_once=0), 0))
    assert set(least) == {-10.0 + SAME}


@pytest.mark.parametrize(
    ("name", "seed", "reached"),
    [
        ("overlapping chain 5", 0, -2338.65),
        ("weekly counts, stationary 4", 2, -634.84),
        ("earthquakes, free 4", 0, -326.286),
        ("waves, semi-Markov 5", 2, -926.87),
    ],
)
def test_a_fit_ends_higher_than_all_its_restarts_would(name: str, seed: int, reached: float) -> None:
    assert problems()[name]().fit(random_state=seed).log_likelihood_ >= reached


@pytest.mark.parametrize("estimator", [hsmm.HMM, hsmm.HSMM], ids=["HMM", "HSMM"])
def test_a_join_counts_what_the_changed_path_does(estimator: type) -> None:
    """Of two series, one of which counts twice; the path ends where it ended, so that no censored segment changes."""
    path = torch.tensor([0, 0, 1, 1, 1, 2, 0, 1, 1, 1, 2, 2, 1, 1, 0, 0, 2, 2, 1, 0])
    X = np.random.default_rng(0).normal(path.numpy(), 1.0)
    start = {"duration": "poisson", "max_duration": 6} if estimator is hsmm.HSMM else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = estimator(3, n_init=1, max_iter=2, **start).fit(X, [8, 12])._fitted_model()
    sequences = Sequences.from_arrays(X, [8, 12])
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64)
    share = torch.zeros(20, dtype=torch.float64)
    share[[2, 3, 4, 8, 9]] = 0.9
    moved = path.masked_fill((path == 1) & (share > 0.5), 2)
    before, after = (
        one.expected_counts(one.potentials(model))
        for one in (Objective(sequences, states=states, weight=weight) for states in (path, moved))
    )
    found = joined_counts(model, before, Objective(sequences, weight=weight), share[None], [Join(1, 2, way=0, half=1)])
    for name in ("state", "initial", "transition", *(["duration"] if start else [])):
        torch.testing.assert_close(getattr(found, name), getattr(after, name), atol=1e-9, rtol=0.0)
    cut_short = torch.zeros_like(share)
    cut_short[-1] = 0.9
    found = joined_counts(
        model, before, Objective(sequences, weight=weight), cut_short[None], [Join(0, 2, way=0, half=1)]
    )
    torch.testing.assert_close(found.duration, before.duration, atol=1e-9, rtol=0.0)


def test_the_half_that_another_law_would_take_joins_it_first() -> None:
    """Of the first state's runs every other one is much like those of the second, and none of its own."""
    states = np.tile(np.repeat([0, 1, 0, 2], 15), 4)
    other = np.tile(np.repeat([0.0, 6.0, 5.0, 20.0], 15), 4)
    sequences = Sequences.from_arrays(np.random.default_rng(0).normal(other, 0.5))
    law = Gaussian.from_parameters([[2.5], [6.0], [20.0]], [[[6.5]], [[0.25]], [[0.25]]])
    moves = 0.9 * np.eye(3) + 0.1 / 3
    model = hsmm.HMM.from_parameters(initial_prob=np.full(3, 1 / 3), transition_prob=moves, emission=law)
    weights = torch.nn.functional.one_hot(torch.as_tensor(states), 3).double()
    shares = torch.as_tensor(other == 5.0).double()[None, :, None].expand(1, -1, 3)
    own = law.log_potentials(sequences)[0]
    objective = Objective(sequences)
    first, *_ = ranked_joins(model._fitted_model(), objective, weights, own, shares)
    assert (first.source, first.target, first.half) == (0, 1, 1)
    often = torch.nn.functional.one_hot(torch.arange(240) % 3, 3).double()
    assert ranked_joins(model._fitted_model(), objective, often, own, shares) == []


def test_what_climbs_back_to_where_the_best_stands_is_given_up_young() -> None:
    stuck, sequences = misplaced(hsmm.HMM)
    told: list[torch.Tensor] = []
    objective = Objective(sequences, watch=told.append)
    near = neighbourhood(stuck._fitted_model(), sequences)
    assert alone(_furthest(near, [()], stuck.log_likelihood_ + SAME, Ground(EM(), objective, 100, 0.0, 1))) == (
        (),
        None,
    )
    assert len(told) < 10


@pytest.mark.parametrize(("cheap", "is_searched"), [(1, True), (10**9, False)])
def test_agreement_is_trusted_only_where_all_restarts_went_on(
    monkeypatch: pytest.MonkeyPatch, cheap: int, is_searched: bool
) -> None:
    searched: list[Race] = []

    def seen(race: Race, *_: object) -> Fitting[None]:
        searched.append(race)
        return
        yield

    monkeypatch.setattr(restarts, "_CHEAP", cheap)
    monkeypatch.setattr(restarts, "local_search", seen)
    monkeypatch.setattr(Race, "is_agreed", True)
    hsmm.HMM(3, n_init=4).fit(levels()[0][:200])
    assert bool(searched) == is_searched
