"""Laws of single columns: textbook densities, bits, samples found again, odd data, clear errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, distributions

from hsmm.components.emission import EMISSIONS, Categorical, Emission
from hsmm.sequences import Sequences

N_STATES, N_FEATURES = 3, 2


def uniform(low: float, high: float, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


# Parameters of two models, and the same law in the words of another library.
LAWS: dict[str, tuple[dict[str, Tensor], object]] = {
    "categorical": (
        {"probability": uniform(0.1, 1.0, 2, N_STATES, N_FEATURES, 5).log().softmax(-1)},
        lambda probability: distributions.Categorical(probability),
    ),
    "bernoulli": (
        {"probability": uniform(0.1, 0.9, 2, N_STATES, N_FEATURES)},
        lambda probability: distributions.Bernoulli(probability),
    ),
    "poisson": (
        {"rate": uniform(0.2, 9.0, 2, N_STATES, N_FEATURES)},
        lambda rate: distributions.Poisson(rate),
    ),
    "negative_binomial": (
        {
            "mean": uniform(0.5, 9.0, 2, N_STATES, N_FEATURES),
            "size": uniform(0.5, 4.0, 2, N_STATES, N_FEATURES, 1)[..., 0],
        },
        lambda mean, size: distributions.NegativeBinomial(size, logits=(mean / size).log()),
    ),
    "gamma": (
        {
            "mean": uniform(0.5, 9.0, 2, N_STATES, N_FEATURES),
            "shape": uniform(0.5, 9.0, 2, N_STATES, N_FEATURES, 1)[..., 0],
        },
        lambda mean, shape: distributions.Gamma(shape, shape / mean),
    ),
}


def law(name: str) -> Emission:
    return EMISSIONS[name](parameters=LAWS[name][0])


def rows(name: str, n_rows: int, missing: float = 0.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = law(name).sample(torch.randint(N_STATES, (n_rows,), generator=generator), generator)
    return drawn.masked_fill(torch.rand(drawn.shape, generator=generator) < missing, torch.nan)


every_law = pytest.mark.parametrize("name", LAWS)


@every_law
@pytest.mark.parametrize("n_rows", [5, 200])
def test_a_row_has_the_density_of_the_textbook(name: str, n_rows: int) -> None:
    parameters, textbook = LAWS[name]
    X = rows(name, n_rows, missing=0.2)
    X[2] = torch.nan
    found = law(name).log_potentials(Sequences.from_arrays(X))
    filled = torch.where(X.isnan(), rows(name, 1), X)
    cells = textbook(**{key: value[:, None] for key, value in parameters.items()}).log_prob(filled[None, :, None])
    expected = torch.where(X.isnan()[:, None], 0.0, cells).sum(-1)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@every_law
def test_a_row_has_the_same_bits_whatever_is_beside_it(name: str) -> None:
    emission, X = law(name), rows(name, 101)
    gappy = torch.cat([rows(name, 57, missing=0.3, seed=1), rows(name, 1500, seed=2)])
    alone = emission.log_potentials(Sequences.from_arrays(X))
    beside = emission.log_potentials(Sequences.from_arrays(torch.cat([gappy, X])))
    assert torch.equal(beside[:, len(gappy) :], alone)
    for row in range(0, 101, 7):
        assert torch.equal(emission.log_potentials(Sequences.from_arrays(X[row : row + 1])), alone[:, row : row + 1])
    assert torch.equal(emission.take(torch.tensor([1])).log_potentials(Sequences.from_arrays(X)), alone[1:])
    out = torch.empty_like(alone)
    assert emission.log_potentials(Sequences.from_arrays(X), out) is out
    assert torch.equal(out, alone)


@every_law
def test_tables_have_gradients(name: str) -> None:
    emission, sequences = law(name), Sequences.from_arrays(rows(name, 40, missing=0.1))
    free = {key: value.requires_grad_() for key, value in emission.free().items()}
    weights = uniform(0.0, 1.0, 2, 40, N_STATES)
    value = (weights * emission.with_free(free).log_potentials(sequences)).sum()
    slopes = dict(zip(free, torch.autograd.grad(value, list(free.values())), strict=True))
    step = 1e-6
    for key, slope in slopes.items():
        along = uniform(-1.0, 1.0, *slope.shape)
        ends = []
        for sign in (-1.0, 1.0):
            moved = emission.with_free({k: v.detach() + sign * step * along * (k == key) for k, v in free.items()})
            ends.append((weights * moved.log_potentials(sequences)).sum())
        difference = float(ends[1] - ends[0]) / (2.0 * step)
        assert float((slope * along).sum()) == pytest.approx(difference, rel=1e-6, abs=1e-6)


@every_law
def test_what_is_sampled_is_found_again(name: str) -> None:
    truth = law(name).take(torch.tensor([0]))
    states = torch.arange(N_STATES).repeat(20_000)
    drawn = truth.sample(states, torch.Generator().manual_seed(4))
    drawn[::11, 0] = drawn[::13, 1] = torch.nan
    sequences = Sequences.from_arrays(drawn)
    weights = torch.nn.functional.one_hot(states, N_STATES).double()[None]
    found = EMISSIONS[name]().initialise(sequences, states[None], N_STATES)
    for _ in range(10):
        found = found.maximise(sequences, weights)
    for key, value in truth.parameters.items():
        assert (found.parameters[key] / value - 1.0).abs().max() < 0.1


@every_law
def test_a_value_of_the_wrong_type_is_named(name: str) -> None:
    emission, X = law(name), rows(name, 60, missing=0.1)
    wrong = -0.5
    X[41, 1] = wrong
    sequences = Sequences.from_arrays(X)
    with pytest.raises(ValueError, match=rf"-0.5 at row 41, column 1; a {name} emission expects"):
        emission.log_potentials(sequences)
    with pytest.raises(ValueError, match="row 41, column 1"):
        emission.initialise(sequences, torch.zeros(1, 60).long(), 2)
    with pytest.raises(ValueError, match="3 features; the model was fitted on 2"):
        emission.log_potentials(Sequences.from_arrays(torch.zeros(4, 3)))


@every_law
def test_an_empty_state_keeps_its_law(name: str) -> None:
    before, sequences = law(name), Sequences.from_arrays(rows(name, 40))
    weights = torch.zeros(2, 40, N_STATES, dtype=torch.float64)
    weights[..., 1:] = 0.5
    after = before.maximise(sequences, weights)
    for key, value in before.parameters.items():
        torch.testing.assert_close(after.parameters[key][:, 0], value[:, 0])


@every_law
def test_parameters_given_are_the_law(name: str) -> None:
    first = {key: value[0].numpy() for key, value in LAWS[name][0].items()}
    made = EMISSIONS[name].from_parameters(**first)
    X = Sequences.from_arrays(rows(name, 30))
    assert torch.equal(made.log_potentials(X), law(name).log_potentials(X)[:1])
    for key, value in first.items():
        assert (getattr(made, f"{key}_") == value).all()
    assert made.order().sort().values.tolist() == [0, 1, 2]


def test_an_unseen_symbol_is_impossible_but_not_wrong() -> None:
    emission = law("categorical")
    found = emission.log_potentials(Sequences.from_arrays([[4.0, 0.0], [5.0, 0.0], [1e9, torch.nan]]))
    assert found[:, 0].isfinite().all()
    assert found[:, 1:].isneginf().all()


def test_symbols_beyond_those_announced_are_refused() -> None:
    sequences = Sequences.from_arrays([[0.0], [7.0]])
    with pytest.raises(ValueError, match="symbol 7; expected 0 to n_categories - 1 = 4"):
        Categorical(n_categories=5).initialise(sequences, torch.zeros(1, 2).long(), 2)
    with pytest.raises(ValueError, match="number them from 0"):
        Categorical().initialise(Sequences.from_arrays([1e6, 0.0]), torch.zeros(1, 2).long(), 2)
    with pytest.raises(ValueError, match="n_categories is 0"):
        Categorical(n_categories=0)
    for wrong in (0.5, [1.0, -2.0], [[[1.0]]]):
        with pytest.raises(ValueError, match="concentration"):
            Categorical(concentration=wrong)
    with pytest.raises(ValueError, match=r"concentration has shape \(3,\) for 1 features of 8"):
        Categorical(concentration=(1.0, 2.0, 3.0)).initialise(sequences, torch.zeros(1, 2).long(), 2)


def test_only_symbols_that_were_there_are_counted_as_parameters() -> None:
    X = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 4.0]] * 10)
    labels = torch.randint(2, (3, 30), generator=torch.Generator().manual_seed(0))
    assert Categorical().initialise(Sequences.from_arrays(X), labels, 2).n_parameters() == 2 * (1 + 2)
    assert Categorical(n_categories=6).initialise(Sequences.from_arrays(X), labels, 2).n_parameters() == 2 * 2 * 5
