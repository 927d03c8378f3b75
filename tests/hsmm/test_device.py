"""A fit on a GPU is the fit on the CPU: on one that is there, and on one that is pretended."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hsmm
from hsmm import inference, numerics
from hsmm.components.duration import DURATIONS
from hsmm.components.model import Model
from hsmm.inference import engine, log_partition
from hsmm.inference.engine import KERNELS
from hsmm.kernels import gpu, native
from hsmm.kernels.protocol import Kernel
from hsmm.models import devices
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences
from hsmm.training.em import expectation_maximisation
from hsmm.training.first import first_models
from hsmm.training.objective import Objective
from hsmm.types import KernelName
from tests.hsmm.components.cases import EmissionCase, emission_cases
from tests.hsmm.pretended import CUDA, Machine, machine_with_gpu

RELATIVE = 1e-6
FAMILIES = list({case.component.name: case for case in emission_cases() if not case.component.uses_covariates}.values())
PLAIN = {
    "gaussian": "normal", "student_t": "normal", "poisson": "counts", "negative_binomial": "counts",
    "categorical": "counts",
}  # fmt: skip
ITERATION = [
    *((emission, "geometric", False) for emission in PLAIN),
    *(("gaussian", law, False) for law in ("negative_binomial", "log_normal")),
    *(("gaussian", law, True) for law in ("categorical", "negative_binomial")),
]


@pytest.fixture(params=["pretended", "cuda"])
def on_gpu(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], AbstractContextManager[Any]]:
    """A context in which ``device="cuda"`` is a GPU."""
    if request.param == "pretended":
        return lambda: machine_with_gpu(monkeypatch)
    if complaint := gpu.complaint():
        pytest.skip(f"no GPU to fit on: {complaint}")
    return nullcontext


@pytest.fixture
def real_gpu() -> Callable[[], AbstractContextManager[Any]]:
    """The same of one that is there: what takes too long on a pretended one."""
    if complaint := gpu.complaint():
        pytest.skip(f"no GPU to fit on: {complaint}")
    return nullcontext


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with machine_with_gpu(monkeypatch) as found:
        yield found


def rows(kind: str = "normal", n_series: int = 3, n_rows: int = 40) -> tuple[np.ndarray, list[int]]:
    """Two states that last some ten rows."""
    rng = np.random.default_rng(3)
    stays = rng.integers(4, 12, (n_series, n_rows // 4))
    states = np.concatenate([np.repeat(np.arange(len(own)) % 2, own)[:n_rows] for own in stays])
    values = rng.normal(3.0 * states[:, None], 1.0, (len(states), 2))
    lengths = [n_rows] * n_series
    return (values if kind == "normal" else np.floor(np.abs(2.0 * values))), lengths


def both(
    make: Callable[[str], Any], fit: Callable[[Any], Any], on_gpu: Callable[[], AbstractContextManager[Any]]
) -> list[Any]:
    """The model fitted on the CPU, and on the GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here = fit(make("cpu"))
        with on_gpu():
            there = fit(make("cuda"))
    return [here, there]


def agree(here: Any, there: Any) -> None:
    assert there.log_likelihood_ == pytest.approx(here.log_likelihood_, rel=RELATIVE)
    assert np.isfinite(there.history_[-1])


@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: case.component.name)
def test_every_emission(case: EmissionCase, on_gpu):
    data = case.sequences
    X = torch.where(data.observed, data.values, torch.nan).numpy()

    def make(device: str) -> hsmm.HSMM:
        return hsmm.HSMM(
            3, emission=case.component, duration="geometric", max_duration=8, n_init=2, max_iter=2, random_state=1,
            device=device,
        )  # fmt: skip

    agree(*both(make, lambda model: model.fit(X, data.lengths.tolist()), on_gpu))


@pytest.mark.parametrize("left_censored", [False, True])
@pytest.mark.parametrize("duration", sorted(set(DURATIONS) - {"contextual"}))
def test_every_duration(duration: str, left_censored: bool, real_gpu):
    X, lengths = rows()

    def make(device: str) -> hsmm.HSMM:
        return hsmm.HSMM(
            2, duration=duration, max_duration=15, n_init=2, max_iter=200, left_censored=left_censored, device=device
        )

    agree(*both(make, lambda model: model.fit(X, lengths), real_gpu))


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("transition", ["sticky", "left_to_right"])
def test_other_first_states_and_moves(initial: str, transition: str, real_gpu):
    X, lengths = rows()

    def make(device: str) -> hsmm.HMM:
        return hsmm.HMM(3, transition=transition, initial=initial, n_init=2, max_iter=300, device=device)

    agree(*both(make, lambda model: model.fit(X, lengths), real_gpu))


def test_three_features_with_gaps(on_gpu):
    X, lengths = rows()
    X = np.column_stack([X, X.sum(1) + np.random.default_rng(1).normal(size=len(X))])
    X[::7, 0], X[::11, 2], X[5] = np.nan, np.nan, np.nan

    def make(device: str) -> hsmm.HSMM:
        return hsmm.HSMM(
            2, emission="student_t", duration="geometric", max_duration=8, n_init=2, max_iter=5, device=device
        )

    agree(*both(make, lambda model: model.fit(X, lengths), on_gpu))


HEADS: list[dict[str, Any]] = [
    {"transition": "contextual"},
    {"duration": "contextual"},
    {"emission": hsmm.emissions.GLM(family="gaussian")},
]
ENCODERS: list[dict[str, Any]] = [
    {"context": hsmm.context.Linear()},
    {"context": hsmm.context.CNNLSTM(hidden=4)},
    {"context": hsmm.context.GRU(hidden=4), "trainer": hsmm.trainers.AdamW(n_steps=6, every=3)},
    {"context": hsmm.context.Attention(hidden=4)},
    {"context": hsmm.context.MLP(hidden=4), "emission": hsmm.emissions.Contextual(family="gaussian")},
]


@pytest.mark.parametrize("options", HEADS, ids=lambda options: "-".join(options))
def test_heads(options: dict[str, Any], on_gpu):
    agree(*with_context(options, on_gpu))


@pytest.mark.parametrize("options", ENCODERS, ids=lambda options: options["context"].name)
def test_encoders(options: dict[str, Any], real_gpu):
    agree(*with_context(options, real_gpu))


def with_context(options: dict[str, Any], on_gpu: Callable[[], AbstractContextManager[Any]]) -> list[Any]:
    X, lengths = rows()
    C = np.random.default_rng(4).normal(size=(len(X), 2))

    def make(device: str) -> hsmm.HSMM:
        plain = {"duration": "geometric", "max_duration": 8, "n_init": 2, "max_iter": 5}
        return hsmm.HSMM(2, device=device, **{**plain, **options})

    return both(make, lambda model: model.fit(X, lengths, context=C), on_gpu)


@pytest.mark.parametrize("trainer", ["gradient", "hybrid"])
def test_other_trainers(trainer: str, real_gpu):
    X, lengths = rows()
    options = {"gradient": hsmm.trainers.Gradient(n_steps=8), "hybrid": hsmm.trainers.Hybrid(em_iterations=5)}

    def make(device: str) -> hsmm.HSMM:
        return hsmm.HSMM(
            2, duration="poisson", max_duration=8, n_init=2, max_iter=40, trainer=options[trainer], device=device
        )

    agree(*both(make, lambda model: model.fit(X, lengths), real_gpu))


def test_known_states_weights_and_what_is_frozen(on_gpu):
    X, lengths = rows()
    known = np.full(len(X), -1)
    known[:10] = 0

    def fit(model: hsmm.HSMM) -> hsmm.HSMM:
        return model.fit(X, lengths, states=known, sample_weight=[1.0, 2.0, 0.5])

    def make(device: str) -> hsmm.HSMM:
        return hsmm.HSMM(2, duration="geometric", max_duration=8, n_init=2, max_iter=60, device=device)

    agree(*both(make, fit, on_gpu))


def test_what_was_fitted_there_is_asked_and_kept_here(on_gpu, tmp_path: Path):
    X, lengths = rows()

    def make(device: str) -> hsmm.HSMM:
        return hsmm.HSMM(2, duration="geometric", max_duration=15, n_init=2, max_iter=10, device=device)

    here, there = both(make, lambda model: model.fit(X, lengths), on_gpu)
    agree(here, there)
    assert (hsmm.metrics.aligned_accuracy(here.predict(X, lengths), there.predict(X, lengths))) == 1.0
    again = hsmm.load(there.save(tmp_path / "model"))
    assert again.score(X, lengths) == there.score(X, lengths)
    assert set(there.restarts_.columns) == set(here.restarts_.columns)


def test_a_selection(real_gpu):
    X, lengths = rows()

    def make(device: str) -> Callable[[], Any]:
        models = [hsmm.HSMM(k, duration="geometric", max_duration=8, n_init=2, device=device) for k in (1, 2)]
        return lambda: hsmm.select_model(X, models, lengths)

    here, there = both(make, lambda select: select(), real_gpu)
    assert there.best.n_states == here.best.n_states == 2
    assert there.table["bic"].to_list() == pytest.approx(here.table["bic"].to_list(), rel=RELATIVE)


def climbing(emission: str, duration: str, *, left_censored: bool = False) -> tuple[Model, Objective]:
    """Three starts on the GPU, and what they climb."""
    X, lengths = rows(PLAIN[emission])
    structure = hsmm.HSMM(
        2, emission=emission, duration=duration, max_duration=15, left_censored=left_censored
    )._structure()
    objective = Objective(Sequences.from_arrays(X, lengths))
    return first_models(structure, objective, n_states=2, n_init=3, seed=0)[0], objective


@pytest.mark.parametrize(("emission", "duration", "left_censored"), ITERATION)
def test_between_two_looks_at_the_flags_the_host_waits_for_nothing(
    emission: str, duration: str, left_censored: bool, machine: Machine
):
    """But for what kernels of the GPU ask themselves: others stand for them here."""
    model, objective = climbing(emission, duration, left_censored=left_censored)
    model, objective = model.to(CUDA), objective.to(CUDA)

    def waits(n_iterations: int) -> dict[str, int]:
        machine.waits.clear()
        expectation_maximisation(model, objective, max_iter=n_iterations, tol=0.0)
        return dict(machine.waits)

    waits(1)  # what is looked at once is known from then on
    assert waits(5) == waits(7)


@pytest.mark.parametrize("accelerate", [False, True])
def test_who_is_done_between_two_looks_stands_as_it_stood(accelerate: bool, machine: Machine):
    model, objective = climbing("gaussian", "geometric")
    here = expectation_maximisation(model, objective, max_iter=60, tol=1e-3, accelerate=accelerate)
    model, objective = model.to(CUDA), objective.to(CUDA)
    there = expectation_maximisation(model, objective, max_iter=60, tol=1e-3, accelerate=accelerate)
    assert there.n_iter.tolist() == here.n_iter.tolist()
    assert any(n % 4 != 3 for n in here.n_iter.tolist())
    assert there.objective.tolist() == pytest.approx(here.objective.tolist(), rel=1e-12)
    torch.testing.assert_close(there.history.cpu(), here.history, rtol=1e-12, atol=0.0, equal_nan=True)
    again = objective.total(log_partition(objective.potentials(there.model)))
    assert again.tolist() == pytest.approx(there.log_likelihood.tolist(), rel=1e-12)
    assert machine.n_launches > 0


class Small:
    """A kernel of a device whose memory holds so many models at once; counts how often it did not."""

    def __init__(self, most: int) -> None:
        self.most, self.refused = most, 0

    def __call__(self, query: str, p: Potentials, kernel: KernelName) -> Kernel:  # noqa: ARG002
        if p.n_restarts > self.most:
            self.refused += 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return KERNELS["native" if native.available() else "reference"]


def test_what_does_not_fit_the_memory_is_split_and_found_the_same(monkeypatch: pytest.MonkeyPatch):
    X, lengths = rows()
    model = hsmm.HSMM(2, max_duration=15, n_init=7, tol=1e-6)
    whole = model.fit(X, lengths).restarts_
    monkeypatch.setattr(engine, "choose", small := Small(most=2))
    assert model.fit(X, lengths).restarts_.equals(whole)
    assert small.refused > 0


def test_a_gpu_too_small_for_one_model_is_said_to_be(monkeypatch: pytest.MonkeyPatch):
    X, lengths = rows()
    monkeypatch.setattr(engine, "choose", Small(most=0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**29, 2**31))
    monkeypatch.setattr(devices, "device_name", lambda _: "Tiny GPU")
    with pytest.raises(MemoryError, match=r"Tiny GPU has too little memory, 0.5 of 2.0 GiB free, to fit 120 rows"):
        hsmm.HSMM(2, max_duration=15, n_init=3).fit(X, lengths)


@pytest.mark.usefixtures("machine")
def test_eigenvalues_and_factors_there_are_those_here():
    roots = torch.randn((50, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrices = torch.cat([roots @ roots.mT, torch.eye(2, dtype=torch.float64).expand(2, 2, 2), roots + roots.mT])
    for there in (matrices.to(CUDA), matrices[:, :1, :1].to(CUDA)):
        values, axes = numerics.eigh(there)
        assert (values[:, :-1] <= values[:, 1:]).cpu().all()
        again = (axes * values.unsqueeze(-2)) @ axes.mT
        torch.testing.assert_close(again.cpu(), there.cpu(), rtol=1e-13, atol=1e-13)
        unit = torch.eye(there.shape[-1], dtype=torch.float64).expand(there.shape)
        torch.testing.assert_close((axes.mT @ axes).cpu(), unit, rtol=1e-13, atol=1e-13)
    factors = numerics.cholesky(matrices.to(CUDA)).cpu()
    proper = torch.linalg.cholesky_ex(matrices).info == 0
    assert torch.equal(factors[proper], torch.linalg.cholesky(matrices[proper]))
    assert factors[~proper].isnan().all()
    assert not proper.all()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -1e301])
def test_tables_out_of_order_are_named_there_too(wrong: float, machine: Machine):
    model, objective = climbing("gaussian", "geometric")
    p = objective.to(CUDA).potentials(model.to(CUDA))
    waits = machine.waits.total()
    log_partition(p)
    assert machine.waits.total() == waits + 1
    p.log_emission[1, 7, 0] = wrong
    with pytest.raises(ValueError, match=r"log_emission is .* at \[1, 7, 0\]"):
        log_partition(p)
    assert inference.computable(p).tolist() == [True, False, True]
