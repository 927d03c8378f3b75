"""Duration laws in C++: tables as in torch, and maxima where the objective of torch is flat and no higher elsewhere."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hsmm.components.duration import DURATIONS, DurationCounts
from hsmm.components.duration import native as module
from hsmm.components.duration.parametric import Parametric
from hsmm.native import library
from hsmm.sequences import Sequences

pytestmark = pytest.mark.skipif(not library.available(), reason="no native library was built")

FAMILIES = module._FAMILIES
SHAPES = [(True, 3, 4), (True, 1, 40), (False, 1, 12), (False, 3, 4)]  # tail, min_duration, max_duration
BUILDS = [name for name in ("_portable", "_avx2", "_avx512") if library.available() and library.runs(name)]
R, K = 3, 4
ROWS = Sequences.from_arrays([0.0])  # that laws without context do not look at


def made(family: str, tail: bool, least: int, longest: int, seed: int = 0) -> Parametric:
    law = DURATIONS[family](max_duration=longest, min_duration=least, tail=tail)
    return law.initialise(1 + longest * uniform(seed, R, K))


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def counted(law: Parametric, seed: int, *, cut: bool, share: float = 1.0) -> DurationCounts:
    """Random counts about a bump; of ``share`` of the durations, and of first segments where series are ``cut``."""
    columns = law.max_duration + law.tail
    d = torch.arange(1, columns + 1, dtype=torch.float64)
    middle, width = (law.max_duration * uniform(seed + n, R, K, 1) for n in (1, 2))
    bump = 50 * uniform(seed + 3, R, K, columns) * torch.exp(-(((d - middle) / (1 + width)) ** 2))
    bump = bump * (uniform(seed + 4, R, K, columns) < share) * (d >= law.min_duration)
    residual = 3 * uniform(seed + 5, R, K, columns) * cut
    stay, leave = (n * uniform(seed + n, R, K) * law.tail for n in (6, 7))
    return DurationCounts(bump, residual, stay, leave)


def in_torch(law: Parametric, counts: DurationCounts, n_steps: int) -> Tensor:
    shape = law.parameters["shape"]
    for _ in range(n_steps):
        shape, before = law._newton_step(shape, counts), shape
        if torch.equal(shape, before):
            break
    return shape


def left_to_gain(law: Parametric, shape: Tensor, counts: DurationCounts) -> Tensor:
    """(R, K) what a Newton step within the bounds promises."""
    point = shape.clone().requires_grad_()
    (slope,) = torch.autograd.grad(law._objective(point, counts).sum(), point, create_graph=True)
    rows = [torch.autograd.grad(s.sum(), point, retain_graph=True)[0] for s in slope.unbind(-1)]
    low, high = (shape.new_tensor(edge) for edge in zip(*law._law().bounds, strict=True))
    free = ~(((shape <= low) & (slope < 0)) | ((shape >= high) & (slope > 0)))
    slope = slope.detach() * free
    curvature, axes = torch.linalg.eigh(torch.stack(rows, -2) * free.unsqueeze(-1) * free.unsqueeze(-2))
    along = (axes.mT @ slope.unsqueeze(-1)).squeeze(-1)
    return (along.square() / curvature.abs().clamp(min=1e-12)).sum(-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_law_that_the_library_does_not_know_climbs_in_torch(family, monkeypatch):
    law = made(family, True, 2, 12)
    counts = counted(law, 0, cut=True)
    highest = law._objective(law.maximise(ROWS, counts).parameters["shape"], counts)
    monkeypatch.setattr(module, "supports", lambda *_: False)
    start, climbed = (law._objective(x.parameters["shape"], counts) for x in (law, law.maximise(ROWS, counts)))
    assert (climbed > start).all()
    assert (climbed <= highest + 1e-10 * highest.abs()).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_tables_are_those_of_torch(family):
    for tail, least, longest in SHAPES:
        law = made(family, tail, least, longest)
        found, wanted = law.log_potentials(), law._tables(law.parameters["shape"])
        torch.testing.assert_close(found.log_duration, wanted.log_duration, rtol=1e-12, atol=1e-12)
        if tail:
            torch.testing.assert_close(found.log_tail, wanted.log_tail, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_maximum_is_where_the_objective_of_torch_is_flat_and_no_lower_than_its_climb(family, cut):
    for seed, (tail, least, longest) in enumerate(SHAPES):
        law = made(family, tail, least, longest, seed)
        for share in (1.0, 0.3):
            counts = counted(law, seed, cut=cut, share=share)
            size = sum(x.reshape(R, K, -1).sum(-1) for x in vars(counts).values()) + 1.0
            shape = law._law().maximised(law.parameters["shape"], counts)
            value, start = (law._objective(x, counts) for x in (shape, law.parameters["shape"]))
            climbed = law._objective(in_torch(law, counts, 30), counts)
            assert (value >= start - 1e-13 * size).all()
            assert (value >= climbed - 1e-10 * size).all()
            assert (left_to_gain(law, shape, counts) <= 1e-12 * size).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_has_the_same_bits_whatever_else_is_in_the_batch(family, monkeypatch):
    monkeypatch.setattr(module, "_CELLS_A_THREAD", 1)
    law = made(family, True, 1, 40)
    counts = counted(law, 0, cut=True)
    shape = law.parameters["shape"]
    together, tables = law._law().maximised(shape, counts), law._law().tables(shape)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(law._law().maximised(shape, counts), together)
    for r, k in itertools.product(range(R), range(K)):
        here = (slice(r, r + 1), slice(k, k + 1))
        alone = DurationCounts(**{name: x[here] for name, x in vars(counts).items()})
        assert torch.equal(law._law().maximised(shape[here], alone), together[here])
        assert torch.equal(law._law().tables(shape[here]).log_duration, tables.log_duration[here])


@pytest.mark.parametrize("build", BUILDS)
def test_every_build_finds_the_same(build, monkeypatch):
    law = made("negative_binomial", True, 2, 40)
    counts = counted(law, 1, cut=True)
    found = law._law().maximised(law.parameters["shape"], counts)
    chosen = library.open_build(build)
    monkeypatch.setattr(library, "load", lambda: chosen)
    torch.testing.assert_close(law._law().maximised(law.parameters["shape"], counts), found, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_without_segments_keeps_its_law(family):
    law = made(family, True, 1, 12)
    none = DurationCounts(**{name: torch.zeros_like(x) for name, x in vars(counted(law, 0, cut=False)).items()})
    assert torch.equal(law._law().maximised(law.parameters["shape"], none), law.parameters["shape"])


def test_a_size_beyond_e_to_the_eighth_is_found():
    law = DURATIONS["negative_binomial"](max_duration=60)
    log_mean, log_size = 3.0, 10.0
    truth = law.with_parameters(shape=torch.tensor([[[log_mean, log_size]]], dtype=torch.float64))
    table = truth.log_potentials()
    none = torch.zeros(1, 1, dtype=torch.float64)
    counts = DurationCounts(1e9 * table.log_duration.exp(), torch.zeros(1, 1, 61, dtype=torch.float64), none, none)
    start = replace(truth, parameters={"shape": torch.tensor([[[2.0, 0.5]]], dtype=torch.float64)})
    torch.testing.assert_close(
        start._law().maximised(start.parameters["shape"], counts), truth.parameters["shape"], rtol=1e-4, atol=1e-4
    )


def test_derivatives_are_left_to_torch():
    law = made("poisson", True, 1, 12)
    shape = law.parameters["shape"].clone().requires_grad_()
    table = law.with_parameters(shape=shape).log_potentials().log_duration
    (slope,) = torch.autograd.grad(table[..., 3].sum(), shape)
    assert slope.abs().min() > 0
