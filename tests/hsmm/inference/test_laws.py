"""What must hold whatever the numbers are."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hsmm import inference
from hsmm.potentials import Potentials
from hsmm.types import KernelName
from tests.hsmm.inference.cases import random_potentials, require_support

LENGTHS = (7, 1, 12, 3)
MODELS = {
    "stationary": {},
    "tail": {"tail": True},
    "time_varying": {"time_varying": True, "tail": True},
    "self_transitions": {"self_transitions": True},
    "sparse": {"sparse": True, "tail": True},
    "hmm": {"n_durations": None},
    "one_state": {"n_states": 1},
}
FLAGS = ("left_censored", "right_censored")
CENSORINGS = list(itertools.product([False, True], repeat=2))


@pytest.fixture(params=MODELS, ids=str)
def options(request: pytest.FixtureRequest, kernel: KernelName) -> dict:
    chosen = MODELS[request.param]
    require_support(kernel, random_potentials(0, LENGTHS, **chosen))
    return chosen


@pytest.mark.parametrize("left_censored", [False, True])
def test_without_emissions_everything_is_certain(kernel: KernelName, options, left_censored):
    p = random_potentials(0, LENGTHS, left_censored=left_censored, **options)
    unobserved = replace(p, log_emission=torch.zeros_like(p.log_emission))
    _assert_close(inference.log_partition(unobserved, kernel=kernel), torch.zeros(p.n_restarts, p.n_series))


@pytest.mark.parametrize(FLAGS, CENSORINGS)
def test_probabilities_add_up_to_one(kernel: KernelName, options, left_censored, right_censored):
    p = random_potentials(1, LENGTHS, left_censored=left_censored, right_censored=right_censored, **options)
    found = inference.posterior(p, kernel=kernel)
    possible = found.log_likelihood.isfinite()
    of_row = possible[:, p.series_of_row].double()
    assert possible.any()
    _assert_close(found.state.sum(-1), of_row)
    _assert_close(found.initial.sum(-1), possible.sum(-1).double())
    n_segments = found.duration.sum((-2, -1)) + found.residual.sum((-2, -1))
    _assert_close(found.transition.sum((-2, -1)), n_segments - possible.sum(-1))
    until_impossible = inference.log_density(p, kernel=kernel).isfinite()
    for query in ("filtered", "elapsed", "remaining"):
        total = getattr(inference, query)(p, kernel=kernel).sum(-1)
        _assert_close(total[until_impossible], torch.ones(1))


@pytest.mark.parametrize("left_censored", [False, True])
def test_what_is_predicted_of_a_row_is_what_is_filtered_where_it_is_missing(kernel, options, left_censored):
    p = random_potentials(7, LENGTHS, left_censored=left_censored, **options)
    predicted, density = (inference.causal(p, ["predicted", "log_density"], kernel=kernel)[x] for x in
                          ("predicted", "log_density"))  # fmt: skip
    for row in (0, 4, 6, 7, 13, 19):
        blank = p.log_emission.clone()
        blank[:, row] = 0.0
        missing = inference.filtered(replace(p, log_emission=blank), kernel=kernel)
        possible = density[:, row].isfinite()
        _assert_close(predicted[:, row].exp()[possible], missing[:, row][possible])
    total = (predicted + p.log_emission).logsumexp(-1)
    _assert_close(total[density.isfinite()], density[density.isfinite()])


@pytest.mark.parametrize("left_censored", [False, True])
def test_densities_of_rows_multiply_to_the_likelihood(kernel: KernelName, options, left_censored):
    p = random_potentials(2, LENGTHS, left_censored=left_censored, **options)
    density = inference.log_density(p, kernel=kernel)
    total = torch.stack([rows.sum(-1) for rows in density.split(p.lengths.tolist(), dim=1)], -1)
    _assert_close(total, inference.log_partition(p, kernel=kernel))


def test_the_last_row_has_no_hindsight(kernel: KernelName, options):
    p = random_potentials(3, LENGTHS, left_censored=True, **options)
    posterior, last = inference.posterior(p, kernel=kernel), p.offsets[1:] - 1
    possible = posterior.log_likelihood.isfinite()
    filtered = inference.filtered(p, kernel=kernel)
    _assert_close(filtered[:, last][possible], posterior.state[:, last][possible])


def test_missing_rows_at_the_end_tell_nothing(kernel: KernelName, options):
    p = random_potentials(4, (6, 9), left_censored=True, **options)
    missing = p.log_emission.clone()
    missing[:, 3:6] = missing[:, 11:15] = 0.0
    padded = replace(p, log_emission=missing)
    kept = torch.cat([torch.arange(0, 3), torch.arange(6, 11)])
    by_row = {name: t[:, kept] for name, t in p.tables().items() if name == "log_emission" or t.ndim == 4}
    cut = replace(p, **by_row, offsets=torch.tensor([0, 3, 8]))
    _assert_close(inference.log_partition(padded, kernel=kernel), inference.log_partition(cut, kernel=kernel))
    possible = inference.log_partition(cut, kernel=kernel).isfinite()[:, cut.series_of_row]
    found, wanted = (inference.posterior(q, kernel=kernel).state for q in (padded, cut))
    _assert_close(found[:, kept][possible], wanted[possible])


@pytest.mark.parametrize(FLAGS, CENSORINGS)
def test_names_of_states_mean_nothing(kernel: KernelName, left_censored, right_censored):
    p = random_potentials(
        5, LENGTHS, tail=True, residual=True, left_censored=left_censored, right_censored=right_censored
    )
    order = torch.tensor([2, 0, 1])
    renamed = replace(
        p,
        log_initial=p.log_initial[:, order],
        log_duration=p.log_duration[:, order],
        log_tail=p.log_tail[:, order],
        log_residual=p.log_residual[:, order],
        log_transition=p.log_transition[:, order][:, :, order],
        log_emission=p.log_emission[:, :, order],
    )
    before, after = (inference.posterior(q, kernel=kernel) for q in (p, renamed))
    _assert_close(after.log_likelihood, before.log_likelihood)
    _assert_close(after.state, before.state[..., order])
    _assert_close(after.transition, before.transition[:, order][:, :, order])
    for name in ("initial", "duration", "residual", "tail_stay", "tail_leave"):
        _assert_close(getattr(after, name), getattr(before, name)[:, order])
    before, after = (inference.viterbi(q, kernel=kernel) for q in (p, renamed))
    assert torch.equal(torch.where(after.states >= 0, order[after.states], -1), before.states)
    _assert_close(after.log_probability, before.log_probability)
    before, after = (inference.filtered(q, kernel=kernel) for q in (p, renamed))
    _assert_close(after, before[..., order])
    for query in ("log_density", "elapsed", "remaining"):
        found, wanted = (getattr(inference, query)(q, kernel=kernel) for q in (renamed, p))
        _assert_close(found, wanted)


@pytest.mark.parametrize("left_censored", [False, True])
@pytest.mark.parametrize("n_columns", [1, 2, 3, 6, 10])
def test_geometric_durations_with_their_tail_are_an_hmm(kernel: KernelName, n_columns, left_censored):
    hmm, semi_markov = _geometric(6, (9, 1, 14), n_columns, left_censored)
    for query in ("log_partition", "filtered", "log_density"):
        found, wanted = (getattr(inference, query)(p, kernel=kernel) for p in (semi_markov, hmm))
        _assert_close(found, wanted)
    found, wanted = (inference.posterior(p, kernel=kernel) for p in (semi_markov, hmm))
    _assert_close(found.state, wanted.state)
    _assert_close(found.initial, wanted.initial)
    off_diagonal = ~torch.eye(3, dtype=torch.bool)
    _assert_close(found.transition[:, off_diagonal], wanted.transition[:, off_diagonal])
    decoded, hmm_decoded = (inference.viterbi(p, kernel=kernel) for p in (semi_markov, hmm))
    assert torch.equal(decoded.states, hmm_decoded.states)
    _assert_close(decoded.log_probability, hmm_decoded.log_probability)
    if n_columns == 1 and not left_censored:
        _assert_close(found.tail_stay, wanted.transition.diagonal(dim1=-2, dim2=-1))


def test_a_longer_table_replaces_its_tail(kernel: KernelName):
    """The tail slot of a short table is what a long one spells out."""
    lengths = (9, 4, 6)
    short = random_potentials(7, lengths, n_durations=3, tail=True, left_censored=True)
    steps = torch.arange(12, dtype=torch.float64)
    leave = torch.log1p(-short.log_tail.exp())
    spelt_out = short.log_duration[..., 2:] + short.log_tail[..., None] * steps + leave[..., None]
    beyond = short.log_duration[..., 2:] + short.log_tail[..., None] * len(steps)
    long = replace(short, log_duration=torch.cat([short.log_duration[..., :2], spelt_out, beyond], -1))
    found, wanted = inference.posterior(long, kernel=kernel), inference.posterior(short, kernel=kernel)
    for name in ("log_likelihood", "state", "initial", "transition"):
        _assert_close(getattr(found, name), getattr(wanted, name))
    folded = torch.cat([found.duration[..., :2], found.duration[..., 2:].sum(-1, keepdim=True)], -1)
    _assert_close(folded, wanted.duration)
    found, wanted = (inference.viterbi(p, kernel=kernel).log_probability for p in (long, short))
    _assert_close(found, wanted)


@pytest.mark.parametrize(FLAGS, CENSORINGS)
@pytest.mark.parametrize("tail", [False, True])
def test_no_path_beats_viterbi_and_viterbi_does_not_beat_their_sum(
    kernel: KernelName, tail, left_censored, right_censored
):
    p = random_potentials(
        8, LENGTHS, n_durations=6, tail=tail, left_censored=left_censored, right_censored=right_censored
    )
    log_likelihood, best = inference.log_partition(p, kernel=kernel), inference.viterbi(p, kernel=kernel)
    possible = log_likelihood.isfinite()
    assert torch.equal(best.log_probability.isfinite(), possible)
    assert (best.log_probability <= log_likelihood + 1e-12).all()
    _assert_close(_joint(p, best.states.clamp(min=0), kernel)[possible], best.log_probability[possible])
    for path in inference.sample_paths(p, 30, torch.Generator().manual_seed(0), kernel="reference"):
        joint = _joint(p, path.clamp(min=0), kernel)
        assert joint[possible].isfinite().all()
        assert (joint <= best.log_probability + 1e-12)[possible].all()


@pytest.mark.parametrize(FLAGS, CENSORINGS)
@pytest.mark.parametrize("name", ["stationary", "tail", "time_varying", "self_transitions", "hmm"])
def test_sampled_paths_follow_their_posterior(kernel: KernelName, name, left_censored, right_censored):
    """Each path's number of draws is binomial; none of them all may be as odd as one in a million samples is."""
    n, lengths = 4000, (4, 3)
    p = random_potentials(
        9, lengths, n_states=2, left_censored=left_censored, right_censored=right_censored, **MODELS[name]
    )
    require_support(kernel, p)
    paths = inference.sample_paths(p, n, torch.Generator().manual_seed(1), kernel=kernel)
    assert paths.shape == (n, p.n_restarts, p.n_rows)
    log_likelihood = inference.log_partition(p, kernel="reference")
    level = 1e-6 / (p.n_restarts * sum(2**length for length in lengths))
    for s, length in enumerate(lengths):
        rows = slice(*p.offsets[s : s + 2].tolist())
        for states in itertools.product(range(2), repeat=length):
            whole = torch.zeros(p.n_restarts, p.n_rows, dtype=torch.int64)
            whole[:, rows] = torch.tensor(states)
            expected = (_joint(p, whole, "reference") - log_likelihood)[:, s].exp()
            found = (paths[:, :, rows] == torch.tensor(states)).all(-1).sum(0)
            for draws, probability in zip(found.tolist(), expected.tolist(), strict=True):
                assert _how_odd(draws, n, probability) > level, states


def test_the_same_seed_gives_the_same_paths(kernel: KernelName):
    p = random_potentials(10, LENGTHS)
    first, second, other = (
        inference.sample_paths(p, 5, torch.Generator().manual_seed(seed), kernel=kernel) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("scale", [300.0, 3e4])
@pytest.mark.parametrize("tail", [False, True])
def test_densities_of_any_size_lose_nothing(kernel: KernelName, tail, scale):
    p = random_potentials(11, (40, 25), n_durations=5, tail=tail)
    extreme = replace(p, log_emission=p.log_emission * scale - 1e6)
    found, wanted = (inference.posterior(extreme, kernel=name) for name in (kernel, "reference"))
    torch.testing.assert_close(found.log_likelihood, wanted.log_likelihood, rtol=1e-12, atol=0)
    _assert_close(found.initial.sum(-1), torch.full((2,), 2.0).double(), atol=1e-7)
    for name in ("state", "initial", "transition", "duration", "tail_stay", "tail_leave"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-7, atol=1e-7)
    shifted = inference.log_partition(replace(p, log_emission=p.log_emission - 1e3), kernel=kernel)
    _assert_close(shifted + 1e3 * p.lengths, inference.log_partition(p, kernel=kernel), atol=1e-8)


def test_float32_agrees_with_float64(kernel: KernelName, options):
    p = random_potentials(12, LENGTHS, left_censored=True, **options)
    single = replace(p, **{name: table.float() for name, table in p.tables().items()})
    require_support(kernel, single)
    found, wanted = (vars(inference.posterior(q, kernel=kernel)) for q in (single, p))
    for name in found:
        torch.testing.assert_close(found[name], wanted[name].float(), rtol=1e-4, atol=1e-4)
    for query in ("filtered", "log_density", "elapsed", "remaining"):
        in_single, in_double = (getattr(inference, query)(q, kernel=kernel) for q in (single, p))
        torch.testing.assert_close(in_single, in_double.float(), rtol=1e-4, atol=1e-4)


def _how_odd(draws: int, n: int, probability: float) -> float:
    """The two-sided tail of the binomial law at this number of draws."""
    law = torch.distributions.Binomial(n, torch.tensor(min(1.0, probability), dtype=torch.float64))
    each = law.log_prob(torch.arange(n + 1, dtype=torch.float64)).exp()
    return 2.0 * min(float(each[: draws + 1].sum()), float(each[draws:].sum()))


def _joint(p: Potentials, states: Tensor, kernel: KernelName) -> Tensor:
    """(R, S) log-probability of state paths (R, N) together with the data: every other state is forbidden."""
    chosen = torch.nn.functional.one_hot(states, p.n_states).bool()
    return inference.log_partition(
        replace(p, log_emission=p.log_emission.masked_fill(~chosen, -math.inf)), kernel=kernel
    )


def _geometric(
    seed: int, lengths: tuple[int, ...], n_columns: int, left_censored: bool
) -> tuple[Potentials, Potentials]:
    """An HMM, and the same process as segments without self-transitions whose last column is a tail."""
    hmm = random_potentials(seed, lengths, n_durations=None)
    stay = hmm.log_transition.diagonal(dim1=-2, dim2=-1)
    leave = torch.log1p(-stay.exp())
    off_diagonal = hmm.log_transition - leave.unsqueeze(-1)
    off_diagonal.diagonal(dim1=-2, dim2=-1).fill_(-math.inf)
    steps = torch.arange(n_columns, dtype=torch.float64)
    log_duration = stay[..., None] * steps + leave[..., None]
    log_duration[..., -1] = stay * (n_columns - 1)
    semi_markov = replace(
        hmm,
        log_transition=off_diagonal,
        log_duration=log_duration,
        log_tail=stay.contiguous(),
        left_censored=left_censored,
    )
    return hmm, semi_markov


def _assert_close(found: Tensor, wanted: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(found, wanted.to(found).expand_as(found), rtol=1e-10, atol=atol)
