"""Random tables against the reference kernel, until the time is up: ``python -m tests.fuzz_kernels --minutes 10``.

Batches of cases run in child processes, so that a crash, too, is reported with the seed that reproduces it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from hsmm import inference
from hsmm.inference import CausalName
from hsmm.kernels import native
from hsmm.potentials import Potentials
from hsmm.types import KernelName
from tests.hsmm.inference.cases import heads, rows_of, selected, sharing, tails

T = TypeVar("T")

CASES_A_PROCESS = 200
CELLS = 30_000  # the reference's work, a case
CAUSAL: tuple[CausalName, ...] = ("filtered", "predicted", "log_density", "elapsed", "remaining")
MODULE = "tests.fuzz_kernels"


class Dice:
    """Everything random of one case."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def below(self, n: int) -> int:
        return int(torch.randint(n, (), generator=self.generator))

    def one_of(self, *choices: T) -> T:
        return choices[self.below(len(choices))]

    def chance(self, one_in: int) -> bool:
        return self.below(one_in) == 0

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def hits(self, probability: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator) < probability


@dataclass(frozen=True, eq=False)
class Case:
    p: Potentials
    weight: Tensor | None
    restarts: list[int]
    series: list[int]


def random_case(seed: int) -> Case:
    dice = Dice(seed)
    n_states = dice.one_of(1, 2, 2, 3, 3, 5, 8, 17, dice.one_of(1, 33, 64))
    kind = dice.one_of("hmm", "segments", "segments", "tail")
    n_durations = 1 if kind == "hmm" else dice.one_of(1, 2, 3, 4, 7, 16, 33, dice.one_of(3, 200, 2000))
    n_restarts = dice.one_of(1, 1, 2, 3, 9)
    lengths = random_lengths(dice, CELLS // (n_restarts * n_states * (n_durations + n_states)))
    p = random_tables(dice, kind, n_restarts, n_states, n_durations, lengths)
    p = in_other_layouts(dice, p)
    if dice.chance(3):
        p = in_single(p)
    weight = None if dice.chance(2) else dice.normal(n_restarts, len(lengths)).to(p.log_emission.dtype)
    series = torch.randperm(len(lengths), generator=dice.generator)[: 1 + dice.below(3)].tolist()
    return Case(p, weight, [dice.below(n_restarts)], series)


def random_lengths(dice: Dice, n_rows: int) -> list[int]:
    """Lengths of up to 40 series of at most ``n_rows`` rows in all, or one row each."""
    longest = dice.one_of(1, 3, 12, 12, 40, dice.one_of(40, 400))
    lengths = [1 + dice.below(longest) for _ in range(1 + dice.below(dice.one_of(1, 5, 18, 40)))]
    fitting = [n for n, total in zip(lengths, itertools.accumulate(lengths), strict=True) if total <= n_rows]
    return fitting or [max(1, min(lengths[0], n_rows))]


def random_tables(
    dice: Dice, kind: str, n_restarts: int, n_states: int, n_durations: int, lengths: list[int]
) -> Potentials:
    r, k, d, s, n = n_restarts, n_states, n_durations, len(lengths), sum(lengths)
    spread = dice.one_of(0.0, 1.0, 1.0, 5.0, 40.0, 300.0)
    holes = dice.one_of(0.0, 0.0, 0.1, 0.5)
    normalised = not dice.chance(4)

    def law(*shape: int) -> Tensor:
        table = spread * dice.normal(*shape)
        table = table.masked_fill(dice.hits(holes, *shape), -torch.inf)
        if not normalised:
            return table
        table = table.log_softmax(-1)
        return table.masked_fill(table.isnan(), -torch.inf)

    def rows() -> tuple[int, ...]:
        return (n,) if dice.chance(4) else ()

    transition = law(r, *rows(), k, k)
    if k > 1 and not dice.chance(3):
        transition = transition.masked_fill(torch.eye(k, dtype=torch.bool), -torch.inf)
    p = Potentials(law(r, k), transition, None, random_emission(dice, r, n, k, lengths), offsets_of(lengths))
    if kind == "hmm":
        return p
    tail = -dice.one_of(1.0, 1e-3, 1e-9, 1e3) * dice.normal(r, k).abs()
    residual = dice.one_of(None, (r, k, d), (r, s, k, d))
    return replace(
        p,
        log_duration=law(r, *rows(), k, d),
        log_tail=tail.masked_fill(dice.hits(holes / 4, r, k), -torch.inf) if kind == "tail" else None,
        log_residual=None if residual is None else law(*residual),
        left_censored=dice.one_of(True, False, dice.hits(0.5, s)),
        right_censored=dice.one_of(True, False, dice.hits(0.5, s)),
    )


def random_emission(dice: Dice, r: int, n: int, k: int, lengths: list[int]) -> Tensor:
    """Gentle or violent, drifting, swinging there and back, with missing rows, forbidden states and outliers."""
    scale = dice.one_of(0.0, 1e-3, 2.0, 2.0, 30.0, 300.0, 1e5)
    emission = scale * dice.normal(r, n, k) + dice.one_of(0.0, 0.0, -1e6, 1e4)
    if dice.chance(3):
        period, swing = dice.one_of(2, 10, 60), dice.one_of(1.0, 20.0, 120.0, 800.0)
        phase = torch.arange(n)[:, None] // period % 2 == torch.arange(k) % 2
        emission = emission - swing * phase
    if dice.chance(4):
        emission[:, dice.below(n), :] -= dice.one_of(1e3, 5e11, 1e200)
    emission = emission.masked_fill(dice.hits(dice.one_of(0.0, 0.05, 0.4), r, n, k), -torch.inf)
    emission = emission.masked_fill(dice.hits(dice.one_of(0.0, 0.1, 0.9), n)[:, None], 0.0)
    if dice.chance(8):
        emission[:, : lengths[0]] = 0.0
    if dice.chance(8):
        emission[..., dice.below(k)] = -torch.inf
    if dice.chance(8):
        emission[dice.below(r), dice.below(n)] = -torch.inf
    return emission


def offsets_of(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *itertools.accumulate(lengths)])


def in_other_layouts(dice: Dice, p: Potentials) -> Potentials:
    """The same numbers, some of them transposed, strided or one broadcast for all restarts."""

    def laid_out(table: Tensor) -> Tensor:
        layout = dice.below(6)
        if layout == 0:
            return table.transpose(0, -1).contiguous().transpose(0, -1)
        if layout == 1:
            return torch.stack([table, torch.full_like(table, torch.nan)], -1)[..., 0]
        if layout == 2:
            return table[:1].expand_as(table)
        return table

    return replace(p, **{name: laid_out(table) for name, table in p.tables().items()})


def in_single(p: Potentials) -> Potentials:
    """float32, within its range."""
    return replace(p, **{name: t.float().masked_fill(t < -3e38, -torch.inf) for name, t in p.tables().items()})


def in_double(p: Potentials) -> Potentials:
    return replace(p, **{name: table.double() for name, table in p.tables().items()})


def check(seed: int) -> None:
    """Raise ``AssertionError`` where the native kernel and the reference differ on the case of this seed."""
    case = random_case(seed)
    p, weight = case.p, case.weight
    exact = in_double(p)
    bound = Bound(exact, single=p.log_emission.dtype == torch.float32)
    wanted = dict(answers(exact, None if weight is None else weight.double(), "reference"))
    for name, found in answers(p, weight, "auto"):
        assert not found.isnan().any(), f"{name} has NaN"
        if native.available():
            bound.compare(name, found, wanted[name])
    check_paths(p, exact, bound)
    check_bits(case)
    check_pieces(p)
    if not p.is_stationary:
        check_shared(case, Dice(seed), bound)


def check_shared(case: Case, dice: Dice, bound: Bound) -> None:
    """Rows that share tables find what they find when each has its own."""
    p = sharing(case.p, dice.one_of(1, 2, 5), dice.generator, alike=dice.chance(2))
    own = p.by_row()
    wanted = dict(answers(own, case.weight, "auto"))
    summed = inference.expected_counts(own, case.weight).by_table(p)
    wanted |= {f"expected_counts.{name}": value for name, value in vars(summed).items()}
    for name, found in answers(p, case.weight, "auto"):
        bound.compare(name, found.double(), wanted[name].double())
    check_bits(replace(case, p=p))
    check_pieces(p)


def answers(p: Potentials, weight: Tensor | None, kernel: KernelName) -> Iterator[tuple[str, Tensor]]:
    """Every result of every function of the kernels, as "function.field"."""
    yield "log_partition", inference.log_partition(p, kernel=kernel)
    for name, value in vars(inference.expected_counts(p, weight, kernel=kernel)).items():
        yield f"expected_counts.{name}", value
    known = inference.causal(p, CAUSAL, kernel=kernel)
    yield from ((name, known[name]) for name in CAUSAL)
    yield "smoothed", inference.smoothed(p, int(p.lengths[0]) % 4, kernel=kernel)
    yield "viterbi.log_probability", inference.viterbi(p, kernel=kernel).log_probability


class Bound:
    """How far two answers may lie apart: 1e-10, or 1e-5 for float32, and what rounding does to logs this large."""

    def __init__(self, p: Potentials, *, single: bool) -> None:
        finite = [table.masked_fill(table.isinf(), 0.0).abs().max().item() for table in p.tables().values()]
        largest = max(1.0, *finite)
        n_rows = int(p.lengths.max())
        self.relative = 1e-5 if single else 1e-10
        self.absolute = self.relative * max(1.0, (1e-6 if single else 1e-5) * largest * n_rows)
        self.counts = float(p.n_rows)

    def compare(self, name: str, found: Tensor, wanted: Tensor) -> None:
        summed = name.startswith("expected_counts.") and found.ndim < 4 and not name.endswith("state")
        scale = self.counts if summed else 1.0
        torch.testing.assert_close(
            found.double(),
            wanted,
            rtol=max(self.relative, min(self.absolute, 1.0)),
            atol=scale * self.absolute,
            msg=lambda text: f"{name}: {text}",
        )


def check_paths(p: Potentials, exact: Potentials, bound: Bound) -> None:
    """Decoded and sampled paths are possible; the decoded one is no more probable than all segments along it."""
    decoded = inference.viterbi(p)
    possible = inference.log_partition(p).isfinite()
    sampled = inference.sample_paths(p, 2, torch.Generator().manual_seed(0))
    paths = torch.stack([decoded.states, *sampled])
    assert torch.equal(paths >= 0, possible[:, p.series_of_row].expand_as(paths)), "a path, or none, where it is not so"
    assert (paths < p.n_states).all(), "a path of states that there are not"
    joint = joint_probability(exact, paths)
    assert joint[:, possible].isfinite().all(), "an impossible path"
    slack = bound.absolute + bound.relative * joint[0].abs()
    assert (decoded.log_probability.double() <= joint[0] + slack)[possible].all(), "viterbi: above its own path"


def joint_probability(p: Potentials, paths: Tensor) -> Tensor:
    """(n, R, S) log-probability of the data and all segments along these states (n, R, N)."""
    n = len(paths)
    others = ~torch.nn.functional.one_hot(paths.clamp(min=0), p.n_states).bool()
    repeated = {name: table.expand(n, *table.shape).flatten(0, 1) for name, table in p.tables().items()}
    repeated["log_emission"] = repeated["log_emission"].masked_fill(others.flatten(0, 1), -math.inf)
    return inference.log_partition(replace(p, **repeated), kernel="reference").unflatten(0, (n, -1))


def check_bits(case: Case) -> None:
    """Some series under one model give the bits they gave in the batch, on any number of threads."""
    p = case.p
    rows = rows_of(p, case.series)
    several, alone = (dict(by_row_or_series(q)) for q in (p, selected(p, case.restarts, case.series)))
    threads = torch.get_num_threads()
    torch.set_num_threads(3 if threads == 1 else 1)
    try:
        others = dict(by_row_or_series(p))
    finally:
        torch.set_num_threads(threads)
    for name, value in several.items():
        part = value[case.restarts][:, case.series if value.shape[1] == p.n_series and is_by_series(name) else rows]
        assert torch.equal(alone[name], part), f"{name} alone and in the batch differ"
        assert torch.equal(others[name], value), f"{name} depends on the number of threads"


def check_pieces(p: Potentials) -> None:
    """A forward pass that stops and goes on gives the bits of one that does not."""
    by_row = p.log_duration is not None and p.log_duration.ndim == 4
    series = (p.lengths > 1).nonzero().flatten().tolist()
    if not series:
        return
    whole = selected(p, list(range(p.n_restarts)), series)
    cuts = [1 + int(n) * 7 % (int(n) - 1) for n in whole.lengths]
    state = inference.filter_state(heads(whole, cuts))
    rest, rows = tails(whole, cuts)
    for query in CAUSAL:
        if query != "elapsed" or not by_row:
            found, wanted = getattr(inference, query)(rest, after=state), getattr(inference, query)(whole)[:, rows]
            assert torch.equal(found, wanted), f"{query} in pieces"


def is_by_series(name: str) -> bool:
    return name in ("log_partition", "log_likelihood", "log_probability")


def by_row_or_series(p: Potentials) -> Iterator[tuple[str, Tensor]]:
    yield "log_partition", inference.log_partition(p)
    counts, decoded = inference.expected_counts(p), inference.viterbi(p)
    yield from (("log_likelihood", counts.log_likelihood), ("state", counts.state))
    yield from (("states", decoded.states), ("log_probability", decoded.log_probability))
    for query in CAUSAL:
        yield query, getattr(inference, query)(p)


def run_here(seeds: range, *, announce: bool) -> None:
    for seed in seeds:
        if announce:
            say(seed)
        check(seed)


def run_in_children(first: int, seconds: float) -> int:
    """How many cases passed; a failure ends the process."""
    until, seed = time.monotonic() + seconds, first
    while time.monotonic() < until:
        command = [sys.executable, "-m", MODULE, "--seed", str(seed), "--cases", str(CASES_A_PROCESS)]
        child = subprocess.run([*command, "--announce"], stdout=subprocess.PIPE, text=True, check=False)
        if child.returncode:
            failing = child.stdout.split()[-1] if child.stdout.split() else str(seed)
            sys.exit(f"failed with exit status {child.returncode}: python -m {MODULE} --seed {failing} --cases 1")
        seed += CASES_A_PROCESS
    return seed - first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the next has the next one")
    parser.add_argument("--cases", type=int, help="run so many in this process, whatever the time")
    parser.add_argument("--announce", action="store_true", help="print each seed before its case")
    options = parser.parse_args()
    if options.cases is not None:
        run_here(range(options.seed, options.seed + options.cases), announce=options.announce)
        return
    passed = run_in_children(options.seed, 60 * options.minutes)
    say(f"{passed} cases without a difference, seeds {options.seed} to {options.seed + passed - 1}")


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
