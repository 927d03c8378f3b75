"""Whether a GPU's kernels give the reference's values, and every series the bits that it has alone.

Where values are wrong, times mean nothing: ``benchmarks.gpu`` asks first. The tests ask where there is a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables import random_tables
from hsmm import inference
from hsmm.inference import CausalName, FilterState
from hsmm.kernels import reference
from hsmm.potentials import Potentials
from hsmm.types import KernelName

DEVICE = torch.device("cuda")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
BATCHES = (1, 7, 64, 1024)
CAUSAL: tuple[CausalName, ...] = ("filtered", "predicted", "log_density", "elapsed", "remaining", "filter_state")
LENGTHS = (1, 2, 90, 33, 64, 100, 7, 53)


@dataclass(frozen=True)
class Kind:
    """Tables to compare; ``max_duration`` 0 is an HMM."""

    n_states: int
    max_duration: int
    tail: bool = False
    by_row: bool = False
    violent: bool = False

    def tables(self) -> Potentials:
        """Ragged series, some cut off, with missing rows and states that are forbidden."""
        n_rows, k, d = sum(LENGTHS), self.n_states, self.max_duration
        p = random_tables(k, d, n_rows, n_restarts=2)
        emission = (400 if self.violent else 2) * p.log_emission
        emission[:, ::17] = 0.0
        emission[:, 5::23, 0] = -math.inf if k > 1 else 0.0
        p = replace(p, log_emission=emission, offsets=torch.tensor([0, *np.cumsum(LENGTHS)]))
        if self.by_row:
            p = _by_row(p)
        if not d:
            return p
        series = torch.arange(len(LENGTHS))
        stay = torch.full((2, k), -0.5, dtype=torch.float64) if self.tail else None
        return replace(p, log_tail=stay, left_censored=series % 2 == 0, right_censored=series % 3 > 0)


KINDS = (
    Kind(3, 0),
    Kind(5, 0, violent=True),
    Kind(5, 0, by_row=True),
    Kind(3, 4, tail=True),
    Kind(1, 1, tail=True),
    Kind(5, 64),
    Kind(16, 20, tail=True, violent=True),
    Kind(2, 200),
    Kind(3, 12, tail=True, by_row=True),
    Kind(40, 6),
    Kind(5, 900, tail=True),
)


def faults() -> Iterator[str]:
    """Where the kernels and the reference, in float64 on the CPU, differ; and whose bits depend on the batch."""
    for kind in KINDS:
        exact = kind.tables()
        wanted = dict(_answers(exact, "reference"))
        for dtype, tolerance in TOLERANCE.items():
            p = on_gpu(exact, dtype)
            where = f"{kind} {dtype}"
            yield from _differences(where, dict(_answers(p, "gpu")), wanted, tolerance, violent=kind.violent)
            yield from _broken_pieces(where, p)
    yield from _false_slopes()
    yield from _false_draws()
    yield from _unstable_bits()


def _answers(p: Potentials, kernel: KernelName) -> Iterator[tuple[str, Tensor]]:
    yield "log_partition", inference.log_partition(p, kernel=kernel)
    yield from vars(inference.expected_counts(p, kernel=kernel)).items()
    known = inference.causal(p, CAUSAL, kernel=kernel)
    yield from ((name, known[name]) for name in CAUSAL[:-1])
    assert known.filter_state is not None
    yield from (
        (f"saved {name}", getattr(known.filter_state, name).exp()) for name in ("starting", "steps_left", "by_age")
    )
    yield "smoothed", inference.smoothed(p, 3, kernel=kernel)
    yield "path", inference.viterbi(p, kernel=kernel).log_probability


def _differences(
    where: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float, *, violent: bool
) -> Iterator[str]:
    """Probabilities of violent data turn on differences of large logarithms, which keep fewer digits."""
    allowed = tolerance * (400 if violent else 1)
    for name, exact in wanted.items():
        value = found[name].cpu().double()
        if value.isnan().any():
            yield f"{where}: {name} has NaN"
        elif not torch.allclose(value, exact, rtol=allowed, atol=allowed):
            apart = (value - exact).abs()
            yield f"{where}: {name} is off by {float(apart[apart.isfinite()].max()):.1e}, allowed {allowed:g}"


def _broken_pieces(where: str, p: Potentials) -> Iterator[str]:
    """A pass that stops in the middle of every series and goes on has the bits of one that does not."""
    n = 40
    p = _series(p, (p.lengths > n).nonzero().flatten().tolist())
    whole = inference.causal(p, CAUSAL, kernel="gpu")
    first, rest = _rows(p, 0, n), _rows(p, n, None)
    names: list[CausalName] = [name for name in CAUSAL[:-1] if name != "elapsed" or not _varies(p)]
    found = inference.causal(rest, names, after=_state(first), kernel="gpu")
    later = torch.cat(
        [torch.arange(a + n, b) for a, b in zip(p.offsets[:-1].tolist(), p.offsets[1:].tolist(), strict=True)]
    )
    for name in names:
        if not torch.equal(found[name], whole[name][:, later.to(found[name].device)]):
            yield f"{where}: {name} in pieces"


def _false_slopes() -> Iterator[str]:
    """Derivatives in tables by row."""
    exact = Kind(3, 12, tail=True, by_row=True).tables()
    wanted, found = _slopes(exact, "reference"), _slopes(on_gpu(exact, torch.float64), "gpu")
    for name, slope in wanted.items():
        if not torch.allclose(found[name].cpu(), slope, rtol=1e-9, atol=1e-9):
            yield f"the slope in {name} is off by {float((found[name].cpu() - slope).abs().max()):.1e}"


def _slopes(p: Potentials, kernel: KernelName) -> dict[str, Tensor]:
    tables = {name: table.clone().requires_grad_() for name, table in p.tables().items()}
    inference.log_partition(replace(p, **tables), kernel=kernel).sum().backward()
    return {name: table.grad for name, table in tables.items() if table.grad is not None}


def _false_draws() -> Iterator[str]:
    """Frequencies of states in sampled paths, to five standard deviations."""
    n = 4000
    for kind in (Kind(3, 0), Kind(3, 4, tail=True), Kind(3, 12, tail=True, by_row=True), Kind(5, 64)):
        exact = kind.tables()
        paths = inference.sample_paths(on_gpu(exact), n, torch.Generator().manual_seed(1), kernel="gpu")
        wanted = reference.expected_counts(exact).state
        found = torch.nn.functional.one_hot(paths.clamp(min=0), kind.n_states).double().mean(0).cpu()
        apart = (found - wanted).abs() / (wanted * (1 - wanted) / n).clamp(min=1e-4 / n).sqrt()
        possible = wanted.sum(-1) > 0.5
        if float(apart[possible].max()) > 6.0:
            yield f"{kind}: sampled states are {float(apart[possible].max()):.1f} standard deviations off"


def _unstable_bits() -> Iterator[str]:
    """Series number 0 alone and among others."""
    for dtype in TOLERANCE:
        for n_states, max_duration, by_row in ((5, 64, False), (5, 0, False), (5, 16, True)):
            many = random_tables(n_states, max_duration, 100, n_series=BATCHES[-1], dtype=dtype, device=DEVICE.type)
            many = _by_row(many) if by_row else many
            wanted: list[Tensor] = []
            for n in BATCHES:
                bits = list(_bits(_series(many, list(range(n)))))
                wanted = wanted or bits
                if not all(torch.equal(x, y) for x, y in zip(bits, wanted, strict=True)):
                    yield f"K={n_states} D={max_duration} {dtype}: a series has other bits in a batch of {n}"


def _bits(p: Potentials) -> Iterator[Tensor]:
    """All that is known of the first series."""
    rows = slice(0, int(p.lengths[0]))
    counts, known = inference.expected_counts(p, kernel="gpu"), inference.causal(p, CAUSAL, kernel="gpu")
    yield from (counts.log_likelihood[0, 0], counts.state[0, rows])
    yield from (known[name][0, rows] for name in CAUSAL[:-1])
    yield inference.viterbi(p, kernel="gpu").states[0, rows]
    yield inference.smoothed(p, 3, kernel="gpu")[0, rows]


def _state(p: Potentials) -> FilterState:
    return inference.filter_state(p, kernel="gpu")


def _varies(p: Potentials) -> bool:
    return p.log_duration is not None and p.log_duration.ndim == 4


def _by_row(p: Potentials) -> Potentials:
    """The same laws, each row's a little different."""

    def spread(table: Tensor) -> Tensor:
        generator = torch.Generator(table.device).manual_seed(1)
        shape = table.shape[0], p.n_rows, *table.shape[1:]
        noise = torch.rand(shape, generator=generator, dtype=table.dtype, device=table.device)
        return (table.unsqueeze(1) + noise).log_softmax(-1)

    duration = None if p.log_duration is None else spread(p.log_duration)
    return replace(p, log_transition=spread(p.log_transition), log_duration=duration)


def _series(p: Potentials, series: list[int]) -> Potentials:
    """These series."""
    bounds = [p.offsets[s : s + 2].tolist() for s in series]
    return _of_rows(p, series, bounds)


def _rows(p: Potentials, first: int, last: int | None) -> Potentials:
    """Of every series the rows from the first until the last."""
    bounds = []
    for start, stop in zip(p.offsets[:-1].tolist(), p.offsets[1:].tolist(), strict=True):
        bounds.append([start + first, stop if last is None else start + last])
    return _of_rows(p, list(range(p.n_series)), bounds)


def _of_rows(p: Potentials, series: list[int], bounds: list[list[int]]) -> Potentials:
    device = p.log_emission.device
    rows = torch.cat([torch.arange(*bound) for bound in bounds]).to(device)
    lengths = torch.tensor([stop - start for start, stop in bounds], device=device)

    def cut(name: str, table: Tensor) -> Tensor:
        varies = name in ("log_transition", "log_duration") and table.ndim == 4
        return table[:, rows] if varies or name == "log_emission" else table

    tables = {name: cut(name, table) for name, table in p.tables().items()}
    chosen = torch.tensor(series, device=device)
    flags = {f"{side}_censored": p.censored(side)[chosen] for side in ("left", "right") if p.log_duration is not None}
    offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    return replace(p, **tables, **flags, offsets=offsets)


def on_gpu(p: Potentials, dtype: torch.dtype | None = None) -> Potentials:
    tables = {name: table.to(DEVICE, dtype or table.dtype) for name, table in p.tables().items()}
    flags = {
        f"{side}_censored": p.censored(side).to(DEVICE) for side in ("left", "right") if p.log_duration is not None
    }
    return replace(p, **tables, **flags, offsets=p.offsets.to(DEVICE))
