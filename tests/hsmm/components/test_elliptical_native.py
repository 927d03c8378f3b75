"""Native densities and moments against the torch reference: odd shapes, missing cells, far values, threads, builds."""

from __future__ import annotations

import itertools
import math
from types import ModuleType

import pytest
import torch
from torch import Tensor

from hsmm.components.emission import Gaussian, StudentT, native, reference
from hsmm.components.emission.elliptical import Elliptical
from hsmm.components.emission.geometry import Moments
from hsmm.native import library
from hsmm.sequences import Sequences
from tests.hsmm.components.cases import ELLIPTICAL

pytestmark = pytest.mark.skipif(not library.available(), reason="no native library was built")

LAWS = list(itertools.product(ELLIPTICAL, ("full", "diag")))
BUILDS = [name for name in ("_portable", "_avx2", "_avx512") if library.available() and library.runs(name)]
SHAPES = [(1, 1, 1, 1), (1, 63, 2, 1), (11, 64, 1, 2), (3, 65, 5, 3), (2, 513, 9, 4), (9, 1030, 3, 6), (2, 130, 7, 5)]
MISSING = {"complete": 0.0, "gaps": 0.3}


def rows(n_rows: int, n_features: int, missing: float = 0.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn((n_rows, n_features), generator=generator, dtype=torch.float64)
    values[torch.rand(n_rows, generator=generator) < 0.02] *= 1e6
    values = values.masked_fill(torch.rand(values.shape, generator=generator) < missing, torch.nan)
    values[0, 0] = 1.0
    return values


def law(name: str, covariance: str, n_restarts: int, n_states: int, n_features: int) -> Elliptical:
    generator = torch.Generator().manual_seed(1)
    shape = (n_restarts, n_states, n_features)
    root = torch.randn((*shape, n_features), generator=generator, dtype=torch.float64)
    scatter = root @ root.mT + torch.eye(n_features, dtype=torch.float64)
    parameters = {
        "mean": torch.randn(shape, generator=generator, dtype=torch.float64),
        "covariance": scatter if covariance == "full" else scatter.diagonal(dim1=-2, dim2=-1).clone(),
    }
    if name == "student_t":
        parameters["dof"] = 1.0 + 9.0 * torch.rand(shape[:2], generator=generator, dtype=torch.float64)
    return ELLIPTICAL[name](covariance=covariance, parameters=parameters)


def weights(n_restarts: int, n_rows: int, n_states: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand((n_restarts, n_rows, n_states), generator=generator, dtype=torch.float64).softmax(-1)


def densities(backend: ModuleType, emission: Elliptical, sequences: Sequences) -> Tensor:
    mean = emission.parameters["mean"]
    density = mean.new_zeros(mean.shape[0], sequences.n_rows, mean.shape[1])
    for geometry in emission._geometries(sequences):
        assert native.supports(sequences, geometry)
        backend.fill_log_density(density, sequences, geometry, emission._radial(geometry))
    return density


def moments(backend: ModuleType, emission: Elliptical, sequences: Sequences, weight: Tensor) -> list[Moments]:
    return [
        backend.moments(sequences, geometry, emission._radial(geometry), weight)
        for geometry in emission._geometries(sequences)
    ]


def assert_same_moments(found: Moments, expected: Moments) -> None:
    """To 1e-12 of the sums of absolute terms, or of what bounds them."""
    axes = expected.second if expected.second.ndim == 3 else expected.second.diagonal(dim1=-2, dim2=-1)
    size = axes.sqrt()
    sizes = {
        "first": size * expected.scaled.sqrt().unsqueeze(-1),
        "second": axes if expected.second.ndim == 3 else size[..., None] * size[..., None, :],
    }
    for name, value in vars(expected).items():
        bound = 1e-12 * sizes.get(name, value) + 1e-300
        assert ((getattr(found, name) - value).abs() <= bound).all(), name


def assert_same_bits(found: Moments, expected: Moments) -> None:
    for name, value in vars(expected).items():
        assert torch.equal(getattr(found, name), value), name


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "covariance"), LAWS)
def test_native_is_the_reference(name: str, covariance: str, shape: tuple[int, ...], missing: str) -> None:
    n_restarts, n_rows, n_states, n_features = shape
    emission = law(name, covariance, n_restarts, n_states, n_features)
    sequences = Sequences.from_arrays(rows(n_rows, n_features, MISSING[missing]))
    torch.testing.assert_close(
        densities(native, emission, sequences), densities(reference, emission, sequences), rtol=1e-12, atol=1e-12
    )
    weight = weights(n_restarts, n_rows, n_states)
    pairs = zip(*(moments(b, emission, sequences, weight) for b in (native, reference)), strict=True)
    for found, expected in pairs:
        assert_same_moments(found, expected)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(("name", "covariance"), LAWS)
def test_every_build_is_the_reference(name: str, covariance: str, build: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = library.open_build(build)
    monkeypatch.setattr(library, "load", lambda: chosen)
    for missing in MISSING.values():
        emission, sequences = law(name, covariance, 10, 3, 3), Sequences.from_arrays(rows(300, 3, missing))
        found, expected = (densities(backend, emission, sequences) for backend in (native, reference))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        weight = weights(10, 300, 3)
        for one, two in zip(*(moments(b, emission, sequences, weight) for b in (native, reference)), strict=True):
            assert_same_moments(one, two)


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize(("name", "covariance"), LAWS)
def test_a_model_alone_and_threads_have_the_same_bits(
    name: str, covariance: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_rows, n_states = 6000, 5  # together more than the caches hold, alone less
    emission = law(name, covariance, 20, n_states, 3)
    sequences, weight = Sequences.from_arrays(rows(n_rows, 3, MISSING[missing])), weights(20, n_rows, n_states)
    density, sums = densities(native, emission, sequences), moments(native, emission, sequences, weight)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(densities(native, emission, sequences), density)
    for found, expected in zip(moments(native, emission, sequences, weight), sums, strict=True):
        assert_same_bits(found, expected)
    here = torch.tensor([13])
    alone = emission.take(here)
    assert torch.equal(densities(native, alone, sequences), density[here])
    for found, expected in zip(moments(native, alone, sequences, weight[here]), sums, strict=True):
        among = {key: value[here] if value.ndim else value for key, value in vars(expected).items()}
        assert_same_bits(found, Moments(**among))


@pytest.mark.parametrize(("name", "covariance"), LAWS)
def test_a_far_origin_changes_no_bit(name: str, covariance: str) -> None:
    """Where the shift itself is exact: no sum mixes the origin into the squares."""
    emission, shift = law(name, covariance, 2, 3, 2), 2.0**27
    steps = (rows(200, 2) * 2.0**10).round() / 2.0**10
    near = emission.with_parameters(mean=(emission.parameters["mean"] * 2.0**10).round() / 2.0**10)
    far = near.with_parameters(mean=near.parameters["mean"] + shift)
    here, there = Sequences.from_arrays(steps), Sequences.from_arrays(steps + shift)
    assert torch.equal(densities(native, far, there), densities(native, near, here))
    weight = weights(2, 200, 3)
    for found, expected in zip(moments(native, far, there, weight), moments(native, near, here, weight), strict=True):
        assert_same_bits(found, expected)


def test_the_logarithm_of_one_plus_a_ratio_is_exact_from_the_smallest_to_the_largest() -> None:
    ratios = [0.0, 0.41421356237309, 0.5, 1.0, 3.0, *torch.logspace(-280, 200, 4801, dtype=torch.float64).tolist()]
    ratios += (1.0 + torch.linspace(-0.7, 2.0, 1000, dtype=torch.float64)).tolist()
    mean = torch.tensor(ratios, dtype=torch.float64).sqrt()[None, :, None]
    unit = torch.ones_like(mean)
    emission = StudentT(covariance="diag", parameters={"mean": mean, "covariance": unit, "dof": unit[..., 0]})
    sequences = Sequences.from_arrays(torch.zeros(1, 1, dtype=torch.float64))
    (sums,) = moments(native, emission, sequences, torch.ones(1, 1, len(ratios), dtype=torch.float64))
    expected = [math.log1p(x) for x in mean.flatten().square().tolist()]
    torch.testing.assert_close(sums.spread[0], torch.tensor(expected, dtype=torch.float64), rtol=6e-16, atol=0.0)


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_a_narrow_state_far_from_the_others_has_its_own_variance(covariance: str) -> None:
    noise = torch.randn((400, 2), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    labels = torch.arange(400) % 2
    values = 1e-2 * noise + 1e4 * labels[:, None]
    sequences = Sequences.from_arrays(values)
    weight = torch.nn.functional.one_hot(labels, 2).double()[None]
    emission = Gaussian(covariance=covariance, min_covariance=1e-15).initialise(sequences, labels[None], 2)
    found = emission.maximise(sequences, weight).maximise(sequences, weight)
    for state in range(2):
        own = values[labels == state]
        centred = own - own.mean(0)
        scatter = centred.mT @ centred / len(own)
        own_scatter = {
            "full": scatter, "diag": scatter.diagonal(), "spherical": scatter.diagonal().mean().expand(2),
        }[covariance]  # fmt: skip
        torch.testing.assert_close(found.parameters["covariance"][0, state], own_scatter, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("name", "covariance"), LAWS)
def test_learnt_parameters_keep_their_derivatives(name: str, covariance: str) -> None:
    emission = law(name, covariance, 1, 2, 2)
    mean = emission.parameters["mean"].clone().requires_grad_()
    sequences = Sequences.from_arrays(rows(20, 2))
    emission.with_parameters(mean=mean).log_potentials(sequences).sum().backward()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()
    assert mean.grad.abs().max() > 0
