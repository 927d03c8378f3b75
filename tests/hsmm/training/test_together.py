"""Fits run side by side have the bits of fits run alone, whatever becomes of their neighbours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.register import resolve
from hsmm.native.library import available
from hsmm.sequences import Sequences
from hsmm.training import together as module
from hsmm.training.coordinates import Coordinates
from hsmm.training.em import Fit
from hsmm.training.first import first_models
from hsmm.training.gradient import slope
from hsmm.training.objective import Objective
from hsmm.training.race import BestFit
from hsmm.training.restarts import fitting_restarts
from hsmm.training.together import Climb, Fitting, alone, together
from hsmm.training.trainers import EM, Hybrid, Leg
from hsmm.training.units import ObjectiveOfUnits
from hsmm.units import Units
from tests.costly import costly_beyond
from tests.hsmm.selection.planted import levels

pytestmark = pytest.mark.skipif(not available(), reason="units are packed for the native kernels")
SHORT: dict[str, Any] = {"n_init": 3, "max_iter": 50, "tol": 1e-5, "seed": 3}
LAWS = {
    "gaussian": hsmm.emissions.Gaussian(),
    "student_t": hsmm.emissions.StudentT(covariance="diag"),
    "tied": hsmm.emissions.Gaussian(covariance="tied"),
    "spherical": hsmm.emissions.Gaussian(covariance="spherical"),
}


def data(n_units: int = 6) -> list[Sequences]:
    """Units of two features, of different lengths: complete, gappy, with wild values, with ties, of several series."""
    made = []
    for unit in range(n_units):
        rng = np.random.default_rng(unit)
        n_rows = 70 - 11 * (unit % 3)
        X = np.column_stack([levels(2, n_rows, seed=unit, gap=3.0), rng.normal(size=n_rows)])
        if unit % 4 == 1:
            X[rng.random(X.shape) < 0.2] = np.nan
        if unit % 4 == 2:
            X[7] = 1e5
        if unit % 4 == 3:
            X[10:40, 0] = 0.0
        made.append(Sequences.from_arrays(X, [n_rows - 20, 20] if unit == 4 else None))
    return made


def fit(sequences: Sequences, model: hsmm.Estimator, **options: Any) -> Fitting[BestFit]:
    return fitting_restarts(model._structure(), sequences, n_states=model.n_states, **(SHORT | options))


def assert_same(one: Any, other: Any) -> None:
    assert isinstance(one, BestFit)
    assert isinstance(other, BestFit)
    assert (one.log_likelihood, one.objective, one.n_iter) == (other.log_likelihood, other.objective, other.n_iter)
    assert one.restarts == other.restarts
    torch.testing.assert_close(one.history, other.history, rtol=0, atol=0, equal_nan=True)
    for kind, part in one.model.components().items():
        for name, value in part.parameters.items():
            theirs = other.model.components()[kind].parameters[name]
            torch.testing.assert_close(value, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills with how many climbs were made as one."""
    sizes: list[int] = []
    joined = module._joined

    def counted(climbs: list[Climb]) -> Climb:
        sizes.append(len(climbs))
        return joined(climbs)

    monkeypatch.setattr(module, "_joined", counted)
    return sizes


@pytest.mark.parametrize("law", costly_beyond(2, LAWS))
def test_together_is_alone_to_the_bit(law: str, packed: list[int]) -> None:
    model = hsmm.HSMM(3, emission=LAWS[law], max_duration=20, left_censored=law == "spherical")
    units = data()
    for one, fitted in zip(units, together([fit(one, model) for one in units]), strict=True):
        assert_same(fitted, alone(fit(one, model)))
    assert max(packed) == len(units)


def test_hidden_markov_models_too(packed: list[int]) -> None:
    model, units = hsmm.HMM(2, emission="student_t"), data()
    for one, fitted in zip(units, together([fit(one, model) for one in units]), strict=True):
        assert_same(fitted, alone(fit(one, model)))
    assert max(packed) == len(units)


def test_neither_order_nor_neighbours_nor_threads_change_a_bit() -> None:
    model, units = hsmm.HSMM(2, max_duration=20), data()
    whole = together([fit(one, model) for one in units])
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        backwards = together([fit(one, model) for one in reversed(units)])
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(whole, reversed(backwards), strict=True):
        assert_same(one, other)
    for one, other in zip(whole[::2], together([fit(one, model) for one in units[::2]]), strict=True):
        assert_same(one, other)


def climbing(sequences: Sequences, *legs: tuple[Literal["em", "last"], int]) -> Fitting[Fit]:
    """Climbs of these kinds and most iterations, one after the other."""
    objective = Objective(sequences)
    model, _ = first_models(hsmm.HSMM(2, max_duration=20)._structure(), objective, n_states=2, n_init=2, seed=0)
    for kind, n_iter in legs:
        leg = Leg.rest(n_iter, 0.0) if kind == "last" else Leg(n_iter, 0.0, accelerate=True)
        found = yield Climb(kind, EM(), leg, model, objective)
        assert found is not None
        model = found.model
    return found


def test_climbs_that_have_other_numbers_of_iterations_left_are_one(packed: list[int]) -> None:
    left = (3, 7, 4)
    fits = together([climbing(one, ("last", n)) for one, n in zip(data(3), left, strict=True)])
    assert packed == [3]
    for one, n, found in zip(data(3), left, fits, strict=True):
        assert isinstance(found, Fit)
        assert found.n_iter.tolist() == [n, n]
        by_itself = alone(climbing(one, ("last", n)))
        assert torch.equal(found.history, by_itself.history)
        assert torch.equal(found.log_likelihood, by_itself.log_likelihood)


def test_a_fit_that_is_ahead_waits_for_those_behind(packed: list[int]) -> None:
    """For one that makes a step of its own, and for one that ends a turn of a search later."""
    short, long = ("em", 2), ("em", 5)
    ways = [(long, short, ("last", 3)), (long, ("last", 3)), (short, ("last", 3))]
    together([climbing(one, *way) for one, way in zip(data(3), ways, strict=True)])
    assert packed == [2, 2, 3]


@pytest.mark.costly
def test_what_cannot_be_packed_is_fitted_beside_the_rest(packed: list[int]) -> None:
    """Another number of states, another family or trainer, known states: each is a fit like any other."""
    units = data(4)
    first = hsmm.HSMM(2, max_duration=20)
    counts = [Sequences.from_arrays(np.abs(one.values.numpy()).round() % 50) for one in units[:2]]
    known = Objective(units[3], states=torch.full((units[3].n_rows,), -1).index_fill(0, torch.arange(9), 1))
    wanted = [
        *((first, one) for one in units[:2]),
        *((hsmm.HSMM(3, max_duration=20), one) for one in units[1:3]),
        *((hsmm.HSMM(2, emission="poisson", max_duration=20), one) for one in counts),
        (first, known),
    ]
    for (model, one), fitted in zip(wanted, together([fit(one, model) for model, one in wanted]), strict=True):  # type: ignore[arg-type]
        assert_same(fitted, alone(fit(one, model)))  # type: ignore[arg-type]
    assert max(packed) == 2
    mixed = Hybrid(em_iterations=6)
    for one, fitted in zip(units, together([fit(one, first, trainer=mixed) for one in units]), strict=True):
        assert_same(fitted, alone(fit(one, first, trainer=mixed)))


def test_a_unit_that_fails_fails_alone(packed: list[int]) -> None:
    """Whether it fails between climbs or makes the climb of all impossible."""
    model, units = hsmm.HSMM(2, max_duration=20), data(4)

    def broken() -> Fitting[BestFit]:
        found = yield from fit(units[0], model)
        raise ValueError(f"not fitted, {found.n_iter}")

    def poisonous() -> Fitting[BestFit]:
        running = fit(units[1], model)
        climb = next(running)
        law = climb.model.emission
        climb.model.emission.__dict__["parameters"] = {**law.parameters, "covariance": -law.parameters["covariance"]}
        return (yield climb)  # type: ignore[return-value]

    found = together([broken(), *(fit(one, model) for one in units), poisonous()])
    assert isinstance(found[0], ValueError)
    assert isinstance(found[-1], RuntimeError)
    assert max(packed) == len(found)
    for one, fitted in zip(units, found[1:-1], strict=True):
        assert_same(fitted, alone(fit(one, model)))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    "frozen", [(), ("emission",), ("initial", "transition", "duration"), ("emission.mean", "duration")], ids=str
)
def test_the_slope_by_moments_is_the_slope_by_rows(law: str, frozen: tuple[str, ...]) -> None:
    one = data()[1]
    fitted = alone(fit(one, hsmm.HSMM(2, emission=LAWS[law], max_duration=20), max_iter=5))
    objective, coordinates = Objective(one), Coordinates(fitted.model, frozenset(frozen))
    point = (coordinates.of(fitted.model) + 0.02).requires_grad_()
    model = coordinates.model(point)
    value = objective.total(hsmm.inference.log_partition(objective.potentials(model))) + model.log_prior()
    (gradient,) = torch.autograd.grad(value.sum(), point)
    found = slope(coordinates, objective, point.detach())
    torch.testing.assert_close(found.gradient, gradient, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.value, value.detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("family", ["geometric", "poisson", "negative_binomial", "gamma", "log_normal"])
def test_a_duration_that_is_differentiated_has_its_bits_in_any_company(family: str) -> None:
    law = resolve("duration", family)
    drawn = 1.0 + 60.0 * torch.rand(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shape = replace(law, max_duration=20).initialise(drawn).parameters["shape"]
    shape = shape + 0.3 * torch.randn(shape.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = replace(law, max_duration=20)._tables(shape)
    for model in range(len(shape)):
        one = replace(law, max_duration=20)._tables(shape[[model]])
        assert torch.equal(whole.log_duration[[model]], one.log_duration)
        assert torch.equal(whole.log_tail[[model]], one.log_tail)


def test_units_take_rows_and_series_of_some_models() -> None:
    units = Units(tuple(data(3)), (2, 1, 3))
    objective = ObjectiveOfUnits(units)
    table = torch.arange(units.n_rows, dtype=torch.float64).view(1, -1, 1)
    kept = torch.tensor([1, 3, 5])
    parts = [part for _, own in units.parts(table) for part in own]
    some = units.of_models(kept)
    assert [one.n_rows for one in some.sequences] == [units.sequences[unit].n_rows for unit in (0, 2)]
    assert some.n_models == (1, 2)
    assert torch.equal(table[0, units.rows_of_models(kept)], torch.cat([parts[model] for model in kept.tolist()]))
    assert torch.equal(objective.of_models(kept).n_observations, objective.n_observations[kept])
