"""What may be known, fixed or weighed before a model learns, and the trainers that it learns by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hsmm
from hsmm.errors import ConvergenceWarning
from tests.hsmm.models.cases import LENGTHS, regimes

X = regimes(missing=0.1)
N_SERIES = len(LENGTHS)
pytestmark = pytest.mark.filterwarnings("ignore:.*single row:hsmm.errors.DataWarning")

MODELS = {
    "hmm": hsmm.HMM(3, n_init=3),
    "hsmm": hsmm.HSMM(3, max_duration=60, n_init=2),
    "student_t": hsmm.HMM(3, emission="student_t", n_init=2),
}


def fitted(name: str, **options: object) -> hsmm.HMM:
    return MODELS[name].clone().set_params(**options).fit(X, LENGTHS)


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def before(name: str) -> hsmm.HMM:
    return fitted(name)


def tables(model: hsmm.HMM) -> dict[str, np.ndarray]:
    return {f"{kind}.{name}": value.numpy() for kind, part in model._model.components().items()
            for name, value in part.parameters.items()}  # fmt: skip


class TestWarmStart:
    def test_a_fit_that_starts_at_an_optimum_stays_there(self, before: hsmm.HMM) -> None:
        again = before.clone().set_params(n_init=1, tol=1e-7).fit(X, LENGTHS, start=before)
        assert again.n_iter_ <= 4  # one of EM, and three that finish by gaining nothing
        assert again.log_likelihood_ >= before.log_likelihood_ - 1e-8
        assert again.restarts_["start"].to_list() == ["start"]

    def test_it_is_one_of_the_restarts(self, before: hsmm.HMM) -> None:
        again = before.clone().set_params(n_init=4, random_state=7).fit(X, LENGTHS, start=before)
        plain = before.clone().set_params(n_init=4, random_state=7).fit(X, LENGTHS)
        assert again.restarts_["start"].to_list() == ["start", *plain.restarts_["start"].to_list()[1:]]
        assert again.log_likelihood_ >= before.log_likelihood_ - 1e-8

    def test_a_start_of_another_structure_is_refused(self, name: str, before: hsmm.HMM) -> None:
        other = hsmm.HSMM(3) if name != "hsmm" else hsmm.HMM(3)
        with pytest.raises(ValueError, match="start is an H"):
            other.fit(X, LENGTHS, start=before)
        with pytest.raises(ValueError, match="shape"):
            before.clone().set_params(n_states=2).fit(X, LENGTHS, start=before)
        kind = "student_t" if name != "student_t" else "gaussian"
        with pytest.raises(ValueError, match="emission of start is"):
            before.clone().set_params(emission=kind).fit(X, LENGTHS, start=before)

    def test_a_component_with_parameters_begins_there(self, before: hsmm.HMM) -> None:
        given = before.clone().set_params(emission=before.emission_, max_iter=1, tol=0.0)
        frozen = given.clone().set_params(frozen=("emission",)).fit(X, LENGTHS)
        assert np.array_equal(frozen.emission_.mean_, before.emission_.mean_)
        assert given.fit(X, LENGTHS).log_likelihood_ >= fitted_once(before)


def fitted_once(before: hsmm.HMM) -> float:
    return before.clone().set_params(max_iter=1, tol=0.0).fit(X, LENGTHS).log_likelihood_


class TestFrozen:
    @pytest.mark.parametrize("trainer", ["em", "gradient"])
    @pytest.mark.parametrize("kind", ["initial", "transition", "duration", "emission"])
    def test_a_frozen_table_keeps_its_bits_and_is_not_counted(self, before: hsmm.HMM, kind: str, trainer: str) -> None:
        if kind == "duration" and isinstance(before, hsmm.HMM):
            pytest.skip("an HMM has no durations")
        short = hsmm.trainers.Gradient(n_steps=5) if trainer == "gradient" else "em"
        model = before.clone().set_params(frozen=(kind,), trainer=short, n_init=2, max_iter=5, tol=0.0)
        model.fit(X[: LENGTHS[0]], start=before)
        same = {key for key, value in tables(model).items() if np.array_equal(value, tables(before)[key])}
        assert {key for key in tables(model) if key.startswith(kind)} <= same
        vertex = {"initial.probability"} if tables(before)["initial.probability"].max() == 1.0 else set()
        assert not {key for key in same if not key.startswith(kind)} - vertex  # a law that is certain has no slope
        counted = before._model.n_parameters_by_kind()
        assert model.n_parameters_ == sum(counted.values()) - counted[kind]

    @pytest.mark.parametrize("part", ["mean", "covariance", "dof"])
    @pytest.mark.parametrize("covariance", ["full", "diag", "tied", "spherical"])
    @pytest.mark.parametrize("family", ["Gaussian", "StudentT"])
    def test_em_climbs_with_a_part_of_an_elliptical_law_frozen(self, family: str, covariance: str, part: str) -> None:
        if part == "dof" and family == "Gaussian":
            pytest.skip("a Gaussian has no degrees of freedom")
        emission = getattr(hsmm.emissions, family)(covariance=covariance)
        start = hsmm.HMM(3, emission=emission, n_init=1, max_iter=2, tol=0.0).fit(X, LENGTHS)
        model = start.clone().set_params(max_iter=15, frozen=(f"emission.{part}",))
        model.fit(X, LENGTHS, start=start)
        assert np.array_equal(tables(model)[f"emission.{part}"], tables(start)[f"emission.{part}"])
        assert (np.diff(model.history_) >= -1e-8 * abs(model.history_[-1])).all()
        assert model.history_[-1] > model.history_[0]
        size = {"mean": 6, "dof": 3, "covariance": {"full": 9, "diag": 6, "tied": 3, "spherical": 3}[covariance]}[part]
        assert model.n_parameters_ == start.n_parameters_ - size

    def test_em_and_gradient_agree_on_what_is_best_given_a_part(self) -> None:
        start = hsmm.HMM(3, n_init=1, max_iter=2, tol=0.0).fit(X, LENGTHS)
        for part in ("mean", "covariance"):
            model = start.clone().set_params(max_iter=1000, tol=1e-10, frozen=(f"emission.{part}",))
            em = model.clone().fit(X, LENGTHS, start=start)
            climber = hsmm.trainers.Gradient("lbfgs")
            gradient = model.set_params(trainer=climber).fit(X, LENGTHS, start=start)
            assert gradient.log_likelihood_ == pytest.approx(em.log_likelihood_, abs=1e-3)

    def test_what_em_cannot_hold_the_gradient_can(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hsmm.emissions.Gaussian, "holdable", frozenset())
        start = hsmm.HMM(2, n_init=1, max_iter=3, tol=0.0).fit(X, LENGTHS)
        frozen = start.clone().set_params(frozen=("emission.mean",))
        for trainer in ("em", "hybrid"):
            with pytest.raises(ValueError, match="trainer='gradient'"):
                frozen.set_params(trainer=trainer).fit(X, LENGTHS, start=start)
        climber = hsmm.trainers.Gradient("lbfgs", n_steps=10)
        model = frozen.set_params(trainer=climber).fit(X, LENGTHS, start=start)
        assert np.array_equal(model.emission_.mean_, start.emission_.mean_)
        assert model.log_likelihood_ > start.log_likelihood_

    def test_names_without_a_meaning_or_a_value_are_refused(self) -> None:
        for frozen, message in [
            (("emissions",), "expected one of initial, transition, emission"),
            (("duration",), "expected one of"),
            (("emission.median",), "has mean, covariance"),
            ("emission", "tuple of names"),
            (("emission", "emission.mean"), "leave the part out"),
            (("emission",), "nothing says its value"),
            (("transition",), "Dense.from_parameters"),
        ]:
            with pytest.raises(ValueError, match=message):
                hsmm.HMM(2, frozen=frozen).fit(X, LENGTHS)


class TestKnownStates:
    def test_fully_known_states_are_counted(self) -> None:
        rng = np.random.default_rng(1)
        states = np.repeat([2, 0, 1, 0, 2, 1], 20)
        data = rng.normal(size=120) + 0.1 * states
        model = hsmm.HMM(3, n_init=2).fit(data, [60, 60], states=states)
        moves = np.zeros((3, 3))
        for series in (states[:60], states[60:]):
            np.add.at(moves, (series[:-1], series[1:]), 1)
        assert model.transition_prob_ == pytest.approx(moves / moves.sum(1, keepdims=True), abs=1e-12)
        assert model.initial_prob_ == pytest.approx([0.5, 0.0, 0.5], abs=1e-12)
        means = [data[states == k].mean() for k in range(3)]
        assert model.emission_.mean_[:, 0] == pytest.approx(means, abs=1e-9)
        assert model.log_likelihood_ == pytest.approx(model.score(data, [60, 60]), rel=1e-9)

    def test_known_rows_are_in_their_states_and_keep_their_numbers(self, name: str, before: hsmm.HMM) -> None:
        order = np.array([2, 0, 1])
        truth = order[before.predict(X, LENGTHS)]
        known = np.where(np.arange(len(X)) % 5 == 0, truth, -1)
        model = MODELS[name].clone().fit(X, LENGTHS, states=known)
        assert (model.predict(X, LENGTHS)[known >= 0] == known[known >= 0]).mean() > 0.95
        assert (model.predict(X, LENGTHS) == truth).mean() > 0.9
        assert model.log_likelihood_ == pytest.approx(model.score(X, LENGTHS), rel=1e-9)
        assert model.history_[-1] <= model.log_likelihood_ + 1e-9

    def test_nothing_known_changes_nothing(self) -> None:
        plain, same = (hsmm.HMM(2, n_init=2, max_iter=20, tol=0.0).fit(X, LENGTHS, states=states)
                       for states in (None, np.full(len(X), -1)))  # fmt: skip
        assert plain.log_likelihood_ == same.log_likelihood_
        assert np.array_equal(plain.emission_.mean_, same.emission_.mean_)

    def test_the_order_of_series_does_not_matter(self) -> None:
        states = np.where(np.arange(len(X)) % 3 == 0, (np.arange(len(X)) // 7) % 3, -1)
        bounds = np.r_[0, np.cumsum(LENGTHS)]
        order = list(range(N_SERIES))[::-1]
        rows = np.concatenate([np.arange(bounds[s], bounds[s + 1]) for s in order])
        weight = np.linspace(0.5, 2.0, N_SERIES)
        model = hsmm.HMM(3, n_init=2, max_iter=20, tol=0.0)
        one = model.clone().fit(X, LENGTHS, states=states, sample_weight=weight)
        other = model.fit(X[rows], [LENGTHS[s] for s in order], states=states[rows], sample_weight=weight[order])
        assert other.log_likelihood_ == pytest.approx(one.log_likelihood_, rel=1e-9)

    @pytest.mark.parametrize(
        ("states", "message"),
        [([0, 1], "one for each row"), (np.zeros(len(X)), "whole numbers"), (np.full(len(X), 3), "0 to 2")],
    )
    def test_states_that_say_nothing_are_refused(self, states: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            hsmm.HMM(3).fit(X, LENGTHS, states=states)


class TestWeights:
    def test_two_is_twice_and_nothing_is_absent(self, before: hsmm.HMM) -> None:
        model = before.clone().set_params(n_init=1, max_iter=10, tol=0.0)
        bounds = np.r_[0, np.cumsum(LENGTHS)]
        weight = np.array([2.0, 0.0] + [1.0] * (N_SERIES - 2))
        chosen = [0, 0, *range(2, N_SERIES)]
        rows = np.concatenate([np.arange(bounds[s], bounds[s + 1]) for s in chosen])
        weighted = model.clone().fit(X, LENGTHS, start=before, sample_weight=weight)
        repeated = model.fit(X[rows], [LENGTHS[s] for s in chosen], start=before)
        assert weighted.history_ == pytest.approx(repeated.history_, rel=1e-9)
        for key, value in tables(weighted).items():
            assert value == pytest.approx(tables(repeated)[key], rel=1e-6, abs=1e-7), key
        assert weighted.log_likelihood_ == pytest.approx(weighted.score(X, LENGTHS), rel=1e-9)

    def test_rows_may_carry_their_series_weight(self, before: hsmm.HMM) -> None:
        weight = np.arange(1.0, N_SERIES + 1)
        model = before.clone().set_params(n_init=1, max_iter=3, tol=0.0)
        one = model.clone().fit(X, LENGTHS, start=before, sample_weight=weight)
        other = model.fit(X, LENGTHS, start=before, sample_weight=np.repeat(weight, LENGTHS))
        assert np.array_equal(one.history_, other.history_)

    @pytest.mark.parametrize(
        ("weight", "message"),
        [
            (np.linspace(1, 2, len(X)), "changes within a series"),
            ([1.0], "one for each series"),
            (-np.ones(N_SERIES), ">= 0"),
            (np.zeros(N_SERIES), "one of them positive"),
            (["a"] * N_SERIES, "not numbers"),
        ],
    )
    def test_weights_that_cannot_be_are_refused(self, weight: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            hsmm.HMM(2).fit(X, LENGTHS, sample_weight=weight)


class TestTrainers:
    @pytest.mark.parametrize("trainer", [hsmm.trainers.Gradient("lbfgs"), "hybrid"])
    def test_all_trainers_climb_to_the_same_top(self, before: hsmm.HMM, trainer: object) -> None:
        model = before.clone().set_params(n_init=1, tol=1e-9, trainer=trainer)
        start = before.clone().set_params(n_init=1, max_iter=3, tol=0.0).fit(X, LENGTHS, start=before)
        climbed = model.fit(X, LENGTHS, start=start)
        assert climbed.log_likelihood_ >= before.log_likelihood_ - 1e-3
        assert climbed.log_likelihood_ == pytest.approx(climbed.score(X, LENGTHS), rel=1e-9)
        assert climbed.converged_

    def test_restarts_climb_as_if_alone(self) -> None:
        for climber in (hsmm.trainers.Gradient(n_steps=6), hsmm.trainers.Gradient("lbfgs", n_steps=6)):
            model = hsmm.HMM(2, trainer=climber)
            with pytest.warns(ConvergenceWarning, match="n_steps"):
                few = model.clone().set_params(n_init=1).fit(X, LENGTHS)
            with pytest.warns(ConvergenceWarning):
                many = model.set_params(n_init=3).fit(X, LENGTHS)
            assert many.restarts_["objective"][0] == pytest.approx(few.restarts_["objective"][0], rel=1e-9)

    def test_priors_pull_the_gradient_as_they_pull_em(self) -> None:
        sticky = hsmm.transitions.Dense(concentration=8.0)
        em = hsmm.HMM(2, transition=sticky, n_init=1, tol=1e-10).fit(X, LENGTHS)
        climber = hsmm.trainers.Gradient("lbfgs")
        start = em.clone().set_params(max_iter=4, tol=0.0).fit(X, LENGTHS)
        gradient = em.clone().set_params(trainer=climber).fit(X, LENGTHS, start=start)
        assert gradient.history_[-1] == pytest.approx(em.history_[-1], abs=1e-3)
        assert gradient.transition_prob_ == pytest.approx(em.transition_prob_, abs=1e-3)

    def test_labels_and_weights_enter_the_gradient(self) -> None:
        states = np.where(np.arange(len(X)) % 2 == 0, (np.arange(len(X)) // 9) % 2, -1)
        weight = np.linspace(0.5, 1.5, N_SERIES)
        em = hsmm.HMM(2, n_init=1, tol=1e-10).fit(X, LENGTHS, states=states, sample_weight=weight)
        climber = hsmm.trainers.Gradient("lbfgs")
        gradient = em.clone().set_params(trainer=climber).fit(X, LENGTHS, states=states, sample_weight=weight)
        assert gradient.history_[-1] == pytest.approx(em.history_[-1], abs=1e-3)

    @pytest.mark.parametrize("covariance", ["tied", "spherical"])
    def test_what_is_one_value_stays_one(self, covariance: str) -> None:
        climber = hsmm.trainers.Gradient("lbfgs", n_steps=5)
        law = hsmm.emissions.Gaussian(covariance=covariance)
        with pytest.warns(ConvergenceWarning):
            model = hsmm.HMM(3, emission=law, n_init=1, trainer=climber).fit(X, LENGTHS)
        value = model.emission_.parameters["covariance"][0]
        other = value[:1].expand_as(value) if covariance == "tied" else value[:, :1].expand_as(value)
        assert torch.equal(value, other)

    def test_options_that_cannot_be_are_refused(self) -> None:
        with pytest.raises(ValueError, match="expected one of em, gradient, hybrid"):
            hsmm.HMM(2, trainer="sgd").fit(X, LENGTHS)
        with pytest.raises(ValueError, match="adam, lbfgs"):
            hsmm.trainers.Gradient("newton")
        with pytest.raises(ValueError, match="learning_rate"):
            hsmm.trainers.Gradient(learning_rate=0.0)


def test_options_survive_cloning_saving_and_loading(tmp_path) -> None:
    start = hsmm.HMM(2, n_init=1, max_iter=2, tol=0.0).fit(X, LENGTHS)
    climber = hsmm.trainers.Gradient(n_steps=3)
    model = start.clone().set_params(trainer=climber, frozen=("emission.mean",)).fit(X, LENGTHS, start=start)
    assert model.clone().get_params() == model.get_params()
    loaded = hsmm.load(model.save(tmp_path / "model"))
    assert loaded.trainer == climber
    assert loaded.frozen == ("emission.mean",)
    assert loaded.n_parameters_ == model.n_parameters_
    assert loaded.score(X, LENGTHS) == model.score(X, LENGTHS)


def discrete_tutorial(n_series: int, n_steps: int, seed: int) -> np.ndarray:
    """Activities (walk, shop, clean) under two kinds of weather."""
    generator = torch.Generator().manual_seed(seed)
    initial, moves, emits = (torch.tensor(table) for table in WEATHER)
    rows = []
    for _ in range(n_series):
        state = int(torch.multinomial(initial, 1, generator=generator))
        for step in range(n_steps):
            state = int(torch.multinomial(moves[state], 1, generator=generator)) if step else state
            rows.append(int(torch.multinomial(emits[state], 1, generator=generator)))
    return np.array(rows)


WEATHER = ([0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]], [[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])


def test_the_discrete_tutorial_s_recipe_gives_its_published_errors() -> None:
    data = discrete_tutorial(60, 100, seed=1)
    assert data[:8].tolist() == [1, 2, 2, 1, 2, 2, 1, 2]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [torch.distributions.Dirichlet(torch.ones(shape)).sample() for shape in [(2,), (2, 2), (2, 3)]]
    initial, moves, emits = ((table.double() / table.double().sum(-1, keepdim=True)).numpy() for table in drawn)
    emission = hsmm.emissions.Categorical.from_parameters(emits)
    start = hsmm.HMM.from_parameters(initial_prob=initial, transition_prob=moves, emission=emission)
    model = hsmm.HMM(2, emission="categorical", n_init=1, trainer="gradient")
    with pytest.warns(ConvergenceWarning):
        model.fit(data, [100] * 60, start=start)
    learned = model.initial_prob_, model.transition_prob_, model.emission_.fitted("probability").reshape(2, -1)
    order = min(([0, 1], [1, 0]), key=lambda p: abs(learned[2][p] - WEATHER[2]).sum())
    found = learned[0][order], learned[1][order][:, order], learned[2][order]
    errors = [abs(table - np.array(truth)).max() for table, truth in zip(found, WEATHER, strict=True)]
    assert np.round(errors, 3).tolist() == [0.118, 0.069, 0.036]
    assert model.log_likelihood_ == pytest.approx(-6528.581, abs=5e-4)


def test_the_gaussian_tutorial_s_top_is_found_by_em_and_by_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    initial, moves = (
        torch.tensor([0.5, 0.3, 0.2]),
        torch.tensor([[0.80, 0.15, 0.05], [0.10, 0.80, 0.10], [0.05, 0.15, 0.80]]),
    )
    rows = []
    for _ in range(30):
        state = int(torch.multinomial(initial, 1, generator=generator))
        for step in range(120):
            state = int(torch.multinomial(moves[state], 1, generator=generator)) if step else state
            rows.append(5.0 * state + 0.7 * float(torch.randn(1, generator=generator)))
    data, lengths = np.array(rows), [120] * 30
    em = hsmm.HMM(3, n_init=4).fit(data, lengths)
    assert em.log_likelihood_ == pytest.approx(-6081.3388, abs=1e-3)
    rough = em.clone().set_params(n_init=1, max_iter=1, tol=0.0).fit(data, lengths)
    climber = hsmm.trainers.Gradient("lbfgs")
    gradient = em.clone().set_params(n_init=1, trainer=climber).fit(data, lengths, start=rough)
    assert gradient.log_likelihood_ == pytest.approx(-6081.3388, abs=1e-3)
    assert em.emission_.mean_[:, 0] == pytest.approx([0.0446, 5.0332, 9.982], abs=1e-3)
    assert np.sqrt(em.emission_.covariance_[:, 0, 0]) == pytest.approx([0.7087, 0.6771, 0.7286], abs=1e-3)


def test_known_states_that_no_duration_allows_are_named() -> None:
    x, states = X[:60, :1], np.full(60, -1)
    states[10:40] = 1
    with pytest.raises(ValueError, match=r"state 1 lasts for 30 rows from row 10 of series 0 .*max_duration = 10"):
        hsmm.HSMM(2, duration="categorical", max_duration=10, n_init=2).fit(x, states=states)
    states[:] = -1
    states[20:23] = [0, 1, 0]
    with pytest.raises(ValueError, match=r"state 1 lasts for 1 rows from row 21 of series 0 .*min_duration = 5"):
        hsmm.HSMM(2, min_duration=5, max_duration=10, n_init=2).fit(x, states=states)


def test_series_shorter_than_any_segment_are_named() -> None:
    options = {"min_duration": 30, "max_duration": 50, "n_init": 2}
    with pytest.raises(ValueError, match="series 1 has 20 rows, but min_duration is 30"):
        hsmm.HSMM(2, right_censored=False, **options).fit(X[:60, :1], [40, 20])


def test_a_move_that_never_occurred_is_said_to_be_impossible() -> None:
    chain = {"initial_prob": [1.0, 0.0], "transition_prob": [[0.5, 0.5], [0.0, 1.0]]}
    emission = hsmm.emissions.Categorical.from_parameters(probability=np.eye(2)[:, None])
    model = hsmm.HMM.from_parameters(**chain, emission=emission)
    with pytest.raises(ValueError, match=r"moves that never occurred.*Dense\(concentration=1.01\)"):
        model.filter_proba([0, 1, 0])
    X_train, X_new = [0, 0, 0, 1, 1, 1], [0, 1, 0]
    prior = hsmm.HMM(2, emission="categorical", transition=hsmm.transitions.Dense(concentration=1.01))
    assert np.isfinite(prior.fit(X_train).log_density(X_new)).all()
