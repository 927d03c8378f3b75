"""What every emission family keeps, with every option: bits, gradients, samples found again, odd data, files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.emission import Mixture, Product
from hsmm.components.emission.support import ANGLES
from hsmm.sequences import Sequences
from tests.hsmm.components.cases import ELLIPTICAL, N_STATES, EmissionCase, emission_cases

CASES = [case for case in emission_cases() if not case.component.uses_covariates]
COMPLETE = [case for case in CASES if case.is_complete]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
FIRST = {case.component.name: case for case in reversed(COMPLETE)}
FLOORED = [case for case in COMPLETE if case.component.name in ELLIPTICAL or case is FIRST[case.component.name]]
every_family = pytest.mark.parametrize("case", FLOORED, ids=lambda case: case.name)
every_law = pytest.mark.parametrize("case", COMPLETE, ids=lambda case: case.name)


@every_case
def test_a_row_has_the_same_bits_whatever_is_beside_it(case: EmissionCase) -> None:
    emission, data = case.random(0), case.sequences
    together = emission.log_potentials(data)
    rows, first = torch.where(data.observed, data.values, torch.nan), emission.n_before
    for part in (slice(0, 1), slice(5, 6), slice(3, 40), slice(17, 150)):
        before = rows[None, max(part.start - first, 0) : part.start] if first and 0 < part.start < 109 else None
        alone = Sequences.from_arrays(rows[part], may_be_missing=True)
        found = emission.log_potentials(replace(alone, before=before))
        same = slice(part.start, min(part.stop, 109)) if first else part
        assert torch.equal(found[:, : same.stop - same.start], together[:, same])
    cells, lengths = torch.cat([rows.flip(0), rows, rows]), data.lengths.tolist()
    many = emission.log_potentials(Sequences.from_arrays(cells, [150, *lengths, *lengths]))
    assert torch.equal(many[:, 150:300], together)
    one = emission.take(torch.tensor([2]))
    assert torch.equal(one.log_potentials(data), together[2:])
    out = torch.full_like(together, torch.nan)
    assert emission.log_potentials(data, out) is out
    assert torch.equal(out, together)


@every_case
def test_the_slope_of_its_tables_is_that_of_differences(case: EmissionCase) -> None:
    emission = case.random(1).take(torch.tensor([0]))
    free = {name: value.detach().requires_grad_() for name, value in emission.free().items()}
    weights = case.statistics(1)["counts"][:1]

    def value(coordinates: dict[str, torch.Tensor]) -> torch.Tensor:
        return (weights * emission.with_free(coordinates).log_potentials(case.sequences)).sum()

    slopes = torch.autograd.grad(value(free), list(free.values()))
    step = 1e-6
    generator = torch.Generator().manual_seed(2)
    for name, slope in zip(free, slopes, strict=True):
        along = torch.randn(slope.shape, generator=generator, dtype=slope.dtype)
        along = along.tril() if slope.ndim > 3 and slope.shape[-1] == slope.shape[-2] else along
        still = {key: coordinate.detach() for key, coordinate in free.items()}
        low, high = (value({**still, name: still[name] + sign * step * along}) for sign in (-1.0, 1.0))
        difference = float(high - low) / (2.0 * step)
        assert float((slope * along).sum()) == pytest.approx(difference, rel=1e-5, abs=1e-4)


@every_law
def test_what_is_sampled_is_found_again(case: EmissionCase) -> None:
    truth = case.random(2).take(torch.tensor([0]))
    states = torch.arange(N_STATES).repeat(3000)
    sequences = Sequences.from_arrays(truth.sample(states, torch.Generator().manual_seed(3)))
    weights = torch.nn.functional.one_hot(states, N_STATES).double()[None]
    # A mixture has optima beside the best, so its climb starts where it should end.
    found = truth if "mixture" in case.name else truth.bare().initialise(sequences, states[None], N_STATES)
    reached = -torch.inf
    for _ in range(150):
        now = ((weights * found.log_potentials(sequences)).nan_to_num(0.0).sum() + found.log_prior()).item()
        if now - reached < 1e-6 * len(states):
            break
        found, reached = found.maximise(sequences, weights), now
    known, learnt = ((weights * law.log_potentials(sequences)).nan_to_num(0.0).sum() for law in (truth, found))
    assert learnt + found.log_prior() >= known + truth.log_prior() - 1e-3 * len(states)
    # Twice the gain of a maximum over the truth is chi-squared, with a degree of freedom for each parameter.
    assert learnt - known < 3.0 * truth.n_parameters() + 10.0
    fresh = Sequences.from_arrays(truth.sample(states, torch.Generator().manual_seed(4)))
    kept, reached = ((weights * law.log_potentials(fresh)).nan_to_num(0.0).sum() for law in (truth, found))
    assert (kept - reached) / len(states) < 0.01


@every_law
def test_its_moments_are_those_of_its_samples(case: EmissionCase) -> None:
    law = case.random(2).take(torch.tensor([0]))
    tame = {name: torch.full_like(x, 12.0) for name, x in law.parameters.items() if name.endswith("dof")}
    law = replace(law, parameters={**law.parameters, **tame})
    if (moments := law.moments()) is None:
        assert case.component.name in ("categorical", "multinomial")
        return
    size = 20_000
    drawn = law.sample(torch.arange(N_STATES).repeat_interleave(size), torch.Generator().manual_seed(5))
    drawn = drawn.view(N_STATES, size, -1)
    mean, deviation = (x[0] for x in moments)
    if getattr(case.component, "support", None) is ANGLES:
        spread = torch.polar(torch.ones_like(drawn), drawn).mean(1)
        torch.testing.assert_close(spread.angle(), mean, rtol=0.0, atol=0.1)
        torch.testing.assert_close((-2.0 * spread.abs().log()).sqrt(), deviation, rtol=0.06, atol=1e-9)
        return
    known = ~mean.isnan()
    assert known.any()
    of_parts = drawn.unflatten(1, (100, -1)).mean(2).std(1) / 10.0  # whose rows may depend on each other
    off = (drawn.mean(1) - mean) / of_parts.clamp(min=1e-9)
    assert (off[known].abs() < 5.0).all()
    torch.testing.assert_close(drawn.std(1)[known], deviation[known], rtol=0.06, atol=1e-9)


def degenerate(case: EmissionCase) -> dict[str, np.ndarray]:
    """Odd data of the law's kind."""
    usual = case.sequences.values.numpy()
    constant, lonely = np.tile(usual[:1], (40, 1)), np.tile(usual[:1], (40, 1))
    lonely[17] = usual[usual[:, 0].argmax()]
    column = usual[:60].copy()
    column[:, 1] = usual[0, 1]
    missing = usual[:60].copy()
    missing[:, 0] = np.nan
    return {
        "constant": constant,
        "one odd row": lonely,
        "a constant column": column,
        "an empty column": missing,
        "as many rows as states": usual[[0, 70, 140]],
        "two values": np.repeat(usual[[0, 100]], 20, axis=0),
    }


@pytest.mark.filterwarnings("ignore::hsmm.errors.DataWarning", "ignore::hsmm.errors.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["constant", "one odd row", "a constant column", "an empty column",
                                  "as many rows as states", "two values"])  # fmt: skip
@every_family
def test_degenerate_data_end_in_finite_numbers(case: EmissionCase, kind: str) -> None:
    X = degenerate(case)[kind]
    if kind == "an empty column" and case.component.name == "multinomial":
        return  # where every row is missing
    model = hsmm.HMM(3, emission=case.component, n_init=2, max_iter=15).fit(X)
    assert np.isfinite(model.log_likelihood_)
    assert model.score(X) == pytest.approx(model.log_likelihood_, rel=1e-9, abs=1e-9)
    assert np.isfinite(model.predict_proba(X)).all()
    assert all(value.isfinite().all() for value in model.emission_.parameters.values())
    assert model._best.fall <= 1e-8


@pytest.mark.filterwarnings("ignore::hsmm.errors.DataWarning", "ignore::hsmm.errors.ConvergenceWarning")
@every_law
def test_a_fitted_model_goes_through_files_unchanged(case: EmissionCase, tmp_path: Path) -> None:
    X = case.sequences.values.numpy()
    model = hsmm.HMM(3, emission=case.component, n_init=2, max_iter=5, tol=0.0).fit(X)
    found = hsmm.load(model.save(tmp_path))
    assert repr(found.emission_) == repr(model.emission_)
    assert found.emission_.parameters.keys() == model.emission_.parameters.keys()
    assert found.score(X) == model.score(X)
    assert np.array_equal(found.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(found.filter_proba(X[5:], after=model.filter_state(X[:5])), model.filter_proba(X)[5:])
    assert np.isfinite(found.score(found.sample(30, random_state=1)[0]))


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        (lambda: Mixture("gaussian", n_components=0), "n_components is 0"),
        (lambda: Mixture("wrong"), "'wrong' stands in a mixture; expected one of .*bernoulli"),
        (lambda: Mixture("product"), "'product' needs arguments"),
        (lambda: Product("gaussian"), "expected several families"),
        (lambda: Product(()), "expected several families"),
        (lambda: Product(("gaussian", 3)), "3 stands in a product"),
        (lambda: Product(("gaussian", "poisson"), columns=((0,),)), "for 2 parts"),
        (lambda: Product(("gaussian", "poisson"), columns=((0,), ())), "for 2 parts"),
        (lambda: Product(("gaussian", "poisson"), columns=((0, 1), (1,))), "each of 0 to 2 exactly once"),
        (lambda: Product(("gaussian", "poisson"), columns=((0,), (2,))), "each of 0 to 1 exactly once"),
    ],
)
def test_what_cannot_be_nested_is_refused(nested: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nested()


def test_a_mixture_is_the_sum_of_its_components() -> None:
    inner = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [1.0], [5.0], [6.0]], covariance=[1.0, 2.0, 0.5, 1.5])
    mixture = Mixture.from_parameters([[0.3, 0.7], [1.0, 0.0]], inner)
    X = Sequences.from_arrays(torch.linspace(-3.0, 9.0, 50))
    density = inner.log_potentials(X).exp().view(1, 50, 2, 2)
    expected = (density * mixture.parameters["weight"][:, None]).sum(-1)
    torch.testing.assert_close(mixture.log_potentials(X).exp(), expected)
    assert mixture.order().tolist() == [0, 1]
    with pytest.raises(ValueError, match="has 4 states; expected 3 x 2"):
        Mixture.from_parameters([[0.5, 0.5]] * 3, inner)


def test_laws_of_laws_are_held_within_the_bounds_of_these() -> None:
    rates = hsmm.emissions.Poisson.from_parameters([[0.5], [2.0]])
    dispersed = hsmm.emissions.NegativeBinomial.from_parameters([[1.0], [2.0]], [[3.0], [4.0]], size_bounds=(0.1, 9.0))
    bounds = Product.from_parameters((rates, dispersed)).bounds()
    assert bounds.keys() == {"0.rate", "1.mean", "1.size"}
    assert bounds["1.size"] == (0.1, 9.0)
    assert Mixture.from_parameters([[0.5, 0.5]], dispersed).bounds()["component.size"] == (0.1, 9.0)


def test_a_product_is_its_parts_side_by_side() -> None:
    place = hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [3.0]], covariance=[1.0, 2.0])
    answer = hsmm.emissions.Bernoulli.from_parameters([[0.9], [0.2]])
    product = Product.from_parameters((answer, place), columns=((1,), (0,)))
    X = torch.tensor([[0.5, 1.0], [torch.nan, 0.0], [2.0, torch.nan], [torch.nan, torch.nan]])
    parts = (
        place.log_potentials(Sequences.from_arrays(X[:, 0])),
        answer.log_potentials(Sequences.from_arrays(X[:, 1])),
    )
    torch.testing.assert_close(product.log_potentials(Sequences.from_arrays(X)), sum(parts))
    assert product.order().tolist() == [1, 0]
    with pytest.raises(ValueError, match="3 features; the parts describe 2"):
        product.log_potentials(Sequences.from_arrays(torch.zeros(4, 3)))
    with pytest.raises(ValueError, match="2, 1 states"):
        Product.from_parameters((answer, hsmm.emissions.Bernoulli.from_parameters([[0.9]])))
    with pytest.raises(ValueError, match="bernoulli part has 1 features; expected its 2"):
        Product.from_parameters((answer, place), columns=((1, 2), (0,)))


def test_a_row_of_counts_misses_all_or_nothing() -> None:
    law = hsmm.emissions.Multinomial.from_parameters([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9]])
    X = torch.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0], [3.0, torch.nan, 2.0], [4.0, 0.0, 1.0]])
    found = law.log_potentials(Sequences.from_arrays(X))[0]
    textbook = torch.distributions.Multinomial(6, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
    assert found[0, 0] == pytest.approx(float(textbook.log_prob(X[0].double())))
    assert found[0, 1] == -torch.inf
    assert found[3, 1].isfinite()
    assert (found[1:3] == 0.0).all()
    with pytest.raises(ValueError, match="row 1, column 2"):
        law.log_potentials(Sequences.from_arrays(np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])))
    with pytest.raises(ValueError, match="at least 2"):
        hsmm.HMM(2, emission="multinomial").fit(np.arange(10.0))
