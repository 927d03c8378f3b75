"""The exact gradient of the objective, whatever the families, and the vectors it is taken in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.duration import DURATIONS
from hsmm.components.emission import EMISSIONS
from hsmm.components.initial import INITIALS
from hsmm.components.quasi_newton import Ascent
from hsmm.models import Estimator
from hsmm.sequences import Sequences
from hsmm.training.coordinates import Coordinates
from hsmm.training.gradient import adam, l_bfgs, slope
from hsmm.training.objective import Objective

RNG = np.random.default_rng(3)
LENGTHS = [50, 30]
LEVEL = np.arange(80) // 8 % 2
COUNTS = RNG.poisson(2.0 + 4.0 * LEVEL).astype(float)
DATA = {
    "gaussian": np.c_[3.0 * LEVEL + RNG.normal(size=80), RNG.normal(size=80)],
    "student_t": np.c_[3.0 * LEVEL + RNG.standard_t(4, size=80), RNG.normal(size=80)],
    "categorical": np.c_[(LEVEL + (RNG.random(80) < 0.2)) % 3, RNG.integers(0, 2, 80)].astype(float),
    "bernoulli": (RNG.random((80, 2)) < 0.2 + 0.5 * LEVEL[:, None]).astype(float),
    "poisson": COUNTS[:, None],
    "negative_binomial": COUNTS[:, None],
    "gamma": RNG.gamma(2.0 + 3.0 * LEVEL)[:, None],
}
CONTEXT = RNG.normal(size=(80, 1))
for table in DATA.values():
    table[::9, 0] = np.nan


def emitting(name: str) -> Estimator:
    return hsmm.HMM(2, emission=name)


def lasting(name: str) -> Estimator:
    return hsmm.HSMM(2, duration=name, max_duration=20, left_censored=True)


NEED_ARGUMENTS = {"fixed", "factorial"}
STRUCTURES: dict[str, tuple[Estimator, str]] = {
    **{name: (emitting(name), name) for name in EMISSIONS if name in DATA},
    **{f"duration {name}": (lasting(name), "gaussian") for name in DURATIONS},
    **{f"initial {name}": (hsmm.HMM(2, initial=name), "gaussian") for name in sorted({*INITIALS} - NEED_ARGUMENTS)},
    "priors": (
        hsmm.HMM(
            2,
            initial=hsmm.initials.FreeInitial(concentration=2.0),
            transition=hsmm.transitions.Dense(concentration=3.0),
        ),
        "gaussian",
    ),
}


@pytest.mark.parametrize("name", STRUCTURES)
class TestEveryStructure:
    def test_the_slope_is_that_of_finite_differences(self, name: str) -> None:
        model, objective = started(name)
        coordinates = Coordinates(model, frozenset())
        x = coordinates.of(model)
        toward = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        step = 1e-6
        ahead, behind = (slope(coordinates, objective, x + sign * step * toward).value for sign in (1.0, -1.0))
        found = (slope(coordinates, objective, x).gradient * toward).sum(1)
        torch.testing.assert_close(found, (ahead - behind) / (2.0 * step), rtol=1e-5, atol=1e-5)

    def test_climbs_end_higher(self, name: str) -> None:
        model, objective = started(name)
        for fit in (
            adam(model, objective, n_steps=15, learning_rate=0.02),
            l_bfgs(model, objective, n_steps=8, tol=0.0),
        ):
            assert (fit.objective > fit.history[0]).all()
            assert fit.objective.isfinite().all()
            torch.testing.assert_close(fit.history[-1], fit.objective, rtol=1e-9, atol=0.0)

    def test_vectors_and_models_are_one(self, name: str) -> None:
        model, _ = started(name)
        coordinates = Coordinates(model, frozenset())
        again = coordinates.model(coordinates.of(model))
        for key, value in model.free().items():
            torch.testing.assert_close(again.free()[key].exp(), value.exp(), rtol=1e-9, atol=1e-12)


def started(name: str):
    estimator, data = STRUCTURES[name]
    context = CONTEXT if estimator.uses_context else None
    fitted = estimator.clone().set_params(n_init=1, max_iter=2, tol=0.0).fit(DATA[data], LENGTHS, context=context)
    return fitted._model, Objective(hsmm.Sequences.from_arrays(DATA[data], LENGTHS, context))


def test_nothing_to_learn_is_refused() -> None:
    model, _ = started("gaussian")
    with pytest.raises(ValueError, match="nothing is left to learn"):
        Coordinates(model, frozenset({"initial", "transition", "emission"}))


def test_no_unit_changes_the_last_steps_of_a_climb() -> None:
    """A state so narrow that its mean, in the unit of the data, is steep beyond all else."""
    rng = np.random.default_rng(0)
    narrow = np.arange(120) // 15 % 2 == 0
    x = np.where(narrow, 4.0 + 1e-4 * rng.standard_t(6, 120), 5.0 + 3.0 * rng.normal(size=120))
    reached = []
    for unit, origin in ((1.0, 0.0), (1e4, -4.0)):
        mean, scale = np.array([[4.00002], [5.5]]) + origin, np.array([[[4e-8]], [[4.0]]])
        law = hsmm.emissions.StudentT.from_parameters(unit * mean, unit**2 * scale, [30.0, 30.0])
        chain = {"initial_prob": [0.5, 0.5], "transition_prob": [[0.9, 0.1], [0.1, 0.9]]}
        model = hsmm.HMM.from_parameters(**chain, emission=law)._fitted_model()
        sequences = Sequences.from_arrays(unit * (x + origin))
        fit = l_bfgs(model.in_units_of(sequences), Objective(sequences), n_steps=15, tol=0.0)
        reached.append(float(fit.objective[0]) + len(x) * np.log(unit))
    assert reached[0] == pytest.approx(reached[1], abs=1e-6)


def climbed(scale: torch.Tensor, top: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """Where problems of these tops end, and how often each was evaluated."""
    n_asked = torch.zeros(len(top))

    def evaluate(x: torch.Tensor, some: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n_asked[some] += 1
        off, size = x - top[some], scale[some]
        return x, -(size * (off**2 + off**4)).sum(1), -size * (2.0 * off + 4.0 * off**3)

    ascent = Ascent()
    here = evaluate(torch.zeros_like(top), torch.arange(len(top)))
    for _ in range(80):
        here = ascent.step(evaluate, *here)
    return here[0], n_asked.tolist()


def test_problems_side_by_side_find_their_own_tops_and_are_evaluated_no_more_often_than_alone() -> None:
    scale = torch.tensor([[1.0, 100.0], [3.0, 0.2], [1e4, 1e-3]], dtype=torch.float64)
    top = torch.tensor([[1.0, -2.0], [0.5, 4.0], [7.0, 1.0]], dtype=torch.float64)
    reached, n_asked = climbed(scale, top)
    torch.testing.assert_close(reached, top, rtol=0.0, atol=1e-4)
    alone = [climbed(scale[[one]], top[[one]]) for one in range(3)]
    assert torch.equal(reached, torch.cat([found for found, _ in alone]))
    assert n_asked == [asked for _, (asked,) in alone]
