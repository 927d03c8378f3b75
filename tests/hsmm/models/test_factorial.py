"""Additive chains: every inference against the enumeration of all joint paths, and what is learnt from a sum."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import hsmm
from hsmm.components.duration import NegativeBinomial
from hsmm.components.initial import FreeInitial
from hsmm.components.transition import Dense
from hsmm.models.factorial import beam, conditional, exact, mean_field
from hsmm.models.factorial.additive import Additive
from hsmm.models.factorial.learning import in_order
from hsmm.models.factorial.levels import with_levels
from hsmm.models.factorial.starts import Structure, started
from hsmm.sequences import Sequences

LENGTHS = [3, 2]


def small(duration: bool = False, n_restarts: int = 2, noise: float = 1.5) -> tuple[Additive, Sequences]:
    """Two chains of two and three states over five rows, one of them half missing, in two series."""
    drawn = torch.Generator().manual_seed(3)
    law = NegativeBinomial(max_duration=4) if duration else None
    rows = torch.randn(5, 2, generator=drawn, dtype=torch.float64) * 2.0
    rows[1, 0] = torch.nan
    sequences = Sequences.from_arrays(rows, LENGTHS)
    chains = []
    for k in (2, 3):
        level = torch.randn(n_restarts, k, 2, generator=drawn, dtype=torch.float64)
        dwell = 1.5 + torch.rand(n_restarts, k, generator=drawn, dtype=torch.float64)
        chain = started(Structure([2, 3], FreeInitial(), Dense(), law), dwell, sequences, drawn, level)
        first = torch.rand(n_restarts, k, generator=drawn, dtype=torch.float64)
        chains.append(
            replace(chain, initial=FreeInitial(parameters={"probability": first / first.sum(-1, keepdim=True)}))
        )
    base = torch.randn(n_restarts, 2, generator=drawn, dtype=torch.float64)
    return Additive(tuple(chains), base, torch.full_like(base, noise)), sequences


def every_path(model: Additive, n_rows: int) -> Tensor:
    """(M, N, C)"""
    joint = list(product(*(range(k) for k in model.n_states)))
    return torch.tensor(list(product(joint, repeat=n_rows)))


def enumerated(model: Additive, sequences: Sequences, restart: int) -> tuple[Tensor, Tensor]:
    """All joint paths and their log p(paths, y) under one of the models."""
    paths = every_path(model, sequences.n_rows)
    own = model.take(torch.full((len(paths),), restart))
    return paths, conditional.log_joint(own, sequences, paths)


def house(
    seed: int, n_rows: int = 600, levels: tuple[float, ...] = (100.0, 40.0, 15.0)
) -> tuple[np.ndarray, np.ndarray]:
    """What appliances draw together, and when each is on."""
    rng = np.random.default_rng(seed)
    on = np.zeros((n_rows, len(levels)), dtype=int)
    for n in range(1, n_rows):
        on[n] = np.where(rng.random(len(levels)) < np.where(on[n - 1], 0.05, 0.03), 1 - on[n - 1], on[n - 1])
    return 20.0 + on @ np.array(levels) + rng.normal(0.0, 2.0, n_rows), on


@pytest.mark.parametrize("restart", [0, 1])
def test_exact_inference_is_the_sum_over_all_paths(restart: int) -> None:
    model, sequences = small()
    found = exact.expected(model, sequences)
    paths, joint = enumerated(model, sequences, restart)
    assert float(found.bound[restart]) == pytest.approx(float(joint.logsumexp(0)), abs=1e-10)
    weight = joint.softmax(0)
    for c, k in enumerate(model.n_states):
        hot = torch.nn.functional.one_hot(paths[..., c], k).double()
        torch.testing.assert_close(found.counts[c].state[restart], (weight[:, None, None] * hot).sum(0))
        torch.testing.assert_close(
            found.counts[c].initial[restart], (weight[:, None, None] * hot[:, [0, 3]]).sum((0, 1))
        )
        pairs = torch.einsum("m,mni,mnj->ij", weight, hot[:, [0, 1, 3]], hot[:, [1, 2, 4]])
        torch.testing.assert_close(found.counts[c].transition[restart], pairs)
    best = exact.viterbi(model.take(torch.tensor([restart])), sequences)
    assert torch.equal(best, paths[joint.argmax()])


@pytest.mark.parametrize("duration", [False, True])
def test_mean_field_bounds_the_evidence_and_no_sweep_lowers_it(duration: bool) -> None:
    model, sequences = small(duration)
    evidence = torch.stack([enumerated(model, sequences, r)[1].logsumexp(0) for r in (0, 1)])
    states = None
    reached = torch.full((2,), -torch.inf, dtype=torch.float64)
    for _ in range(6):
        found = mean_field.expected(model, sequences, states, sweeps=1, tol=0.0)
        states = [counts.state for counts in found.counts]
        assert (found.bound >= reached - 1e-10).all()
        assert (found.bound <= evidence + 1e-10).all()
        reached = found.bound
    assert (evidence - reached < 3.0).all()


def test_a_chain_alone_is_a_hidden_markov_model() -> None:
    model, sequences = small()
    one = replace(model, chains=model.chains[1:])
    approximate, known = mean_field.expected(one, sequences, sweeps=2, tol=0.0), exact.expected(one, sequences)
    for name in ("bound", "gram", "cross"):
        torch.testing.assert_close(getattr(approximate, name), getattr(known, name))
    chain = one.chains[0]
    law = hsmm.emissions.Gaussian.from_parameters(
        (chain.level[0] + one.base[0]).numpy(), one.variance[0].expand(3, 2).numpy()
    )
    alone = hsmm.HMM.from_parameters(
        initial_prob=chain.initial.fitted("probability"),
        transition_prob=chain.transition.fitted("probability"),
        emission=law,
    )
    X = torch.where(sequences.observed, sequences.values, torch.nan).numpy()
    assert float(known.bound[0]) == pytest.approx(alone.score(X, lengths=LENGTHS), abs=1e-10)


@pytest.mark.parametrize("expect", ["exact", "mean_field"])
def test_no_m_step_lowers_the_bound(expect: str) -> None:
    model, sequences = small()
    X, _ = house(1, 80)
    sequences = Sequences.from_arrays(np.stack([X, -X], 1))
    model = replace(model, variance=torch.full_like(model.variance, 300.0))
    reached, states = torch.full((2,), -torch.inf, dtype=torch.float64), None
    for _ in range(12):
        if expect == "exact":
            found = exact.expected(model, sequences)
        else:
            found = mean_field.expected(model, sequences, states, sweeps=2, tol=0.0)
            states = [counts.state for counts in found.counts]
        assert (found.bound >= reached - 1e-9 * reached.abs().clamp(max=1e9)).all()
        reached = found.bound
        chains = zip(model.chains, found.counts, strict=True)
        model = replace(model, chains=tuple(chain.maximise(sequences, counts) for chain, counts in chains))
        model = with_levels(model, sequences, found, torch.full((2,), 1e-6, dtype=torch.float64))


@pytest.mark.parametrize("duration", [False, True])
def test_a_climb_ends_where_no_chain_can_do_better_alone(duration: bool) -> None:
    model, sequences = small(duration, n_restarts=1)
    paths, joint = enumerated(model, sequences, 0)
    drawn = torch.Generator().manual_seed(0)
    for start in torch.randint(len(paths), (10,), generator=drawn).tolist():
        found = conditional.climb(model, sequences, paths[start][None], drawn)
        height = conditional.log_joint(model, sequences, found)
        for c in range(2):
            same = (paths[..., 1 - c] == found[..., 1 - c]).all(1)
            assert (joint[same] <= height + 1e-10).all()
        if not duration:
            assert torch.equal(found[0], paths[joint.argmax()])


def test_one_chain_takes_over_from_another_of_nearly_its_level() -> None:
    model, _ = small(n_restarts=1, noise=1.0)
    levels = torch.tensor([[0.0], [100.0]]), torch.tensor([[0.0], [97.0], [200.0]])
    chains = tuple(
        replace(chain, level=level.double()[None]) for chain, level in zip(model.chains, levels, strict=True)
    )
    apart = Additive(chains, torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    sequences = Sequences.from_arrays(np.full(6, 97.0))
    start = torch.tensor([[[1, 0]] * 6])
    found = conditional.climb(apart, sequences, start, torch.Generator().manual_seed(0))
    assert found[0].tolist() == [[0, 1]] * 6


def test_an_order_of_states_and_chains_changes_no_law() -> None:
    model, sequences = small(n_restarts=1)
    ordered = in_order(model, chains_too=True)
    torch.testing.assert_close(exact.expected(ordered, sequences).bound, exact.expected(model, sequences).bound)
    for chain in ordered.chains:
        assert (chain.level[0, 0] == 0).all()
        assert (chain.level[0, :, 0].diff() >= 0).all()
    assert ordered.chains[0].level[0, -1, 0] >= ordered.chains[1].level[0, -1, 0]


def test_a_sum_without_noise_is_learnt() -> None:
    _, on = house(9, 200, (100.0, 40.0))
    X = on @ np.array([100.0, 40.0])
    model = hsmm.FactorialHMM(2, 2, n_init=4).fit(X)
    assert model.noise_[0] >= 1e-3 * X.std() * (1.0 - 1e-9)
    np.testing.assert_allclose([level[1, 0] for level in model.levels_], [100.0, 40.0], atol=0.1)


@pytest.mark.parametrize("duration", [False, True])
def test_paths_are_drawn_from_their_posterior(duration: bool) -> None:
    model, sequences = small(duration, n_restarts=1, noise=4.0)
    paths, joint = enumerated(model, sequences, 0)
    n = 500
    found = conditional.drawn(model, sequences, paths[:1], n, 20, torch.Generator().manual_seed(1))[:, 0]
    weight = joint.softmax(0)
    for c, k in enumerate(model.n_states):
        known = (weight[:, None, None] * torch.nn.functional.one_hot(paths[..., c], k)).sum(0)
        seen = torch.nn.functional.one_hot(found[..., c], k).double().mean(0)
        assert ((seen - known).abs() < 4.5 * (known * (1.0 - known) * 3.0 / n).sqrt() + 1e-9).all()


def test_the_search_along_time_finds_the_likeliest_paths() -> None:
    levels = (100.0, 40.0, 15.0, 60.0)
    X, on = house(5, 200, levels)
    crowded = int(on.sum(1).argmax())
    assert on[crowded].sum() >= 3
    order, lengths = np.r_[crowded:200, :crowded], [200 - crowded, crowded]
    model = hsmm.FactorialHMM(4, 2, n_init=4, inference="mean_field")
    model.fit(X[order], lengths, parts=(on * np.array(levels))[order])
    rows = X[order]
    rows[50] = np.nan
    sequences = Sequences.from_arrays(rows, lengths)
    found = beam.likely(model._model, sequences)
    assert torch.equal(found[0], exact.viterbi(model._model, sequences))


@pytest.mark.parametrize("inference", ["exact", "mean_field"])
def test_chains_are_found_in_their_sum(inference: str) -> None:
    X, on = house(0)
    model = hsmm.FactorialHMM(3, 2, inference=inference, n_init=8).fit(X)
    assert model.converged_
    np.testing.assert_allclose([level[1, 0] for level in model.levels_], [100.0, 40.0, 15.0], atol=1.0)
    np.testing.assert_allclose(model.base_, [20.0], atol=1.0)
    assert (model.predict(X) == on).mean() > 0.99
    shares = model.disaggregate(X)
    assert shares.shape == (600, 3)
    assert hsmm.metrics.energy_assigned(on * np.array([100.0, 40.0, 15.0]), shares) > 0.98
    assert abs(shares.sum(1) + model.base_ - X).mean() < 2.5
    assert model.score(X) == pytest.approx(model.lower_bound_, abs=1.0, rel=1e-9 if inference == "exact" else 0.0)
    assert hasattr(model, "log_likelihood_") == (inference == "exact")
    assert model.lower_bound(X) <= model.score(X) + 1e-6
    assert model.lower_bound(X) == pytest.approx(model.score(X), abs=1.0)


def test_a_fit_tells_how_it_climbed() -> None:
    X, _ = house(0, 200)
    model = hsmm.FactorialHMM(2, 2, n_init=8, max_iter=60, tol=1e-3).fit(X)
    told = model.restarts_
    assert told["restart"].to_list() == list(range(8))
    assert (told["stopped"] == "set aside").sum() == 6
    assert told["objective"].max() == model.lower_bound_ == model.log_likelihood_ == pytest.approx(model.score(X))
    assert model.lower_bound_ == model.history_[-1]
    assert told["iterations"].max() >= model.n_iter_ == len(model.history_) - 1
    assert (np.diff(model.history_) >= -1e-8 * abs(model.lower_bound_)).all()
    assert "converged" in told.filter(told["objective"] == model.lower_bound_)["stopped"].to_list()


@pytest.mark.parametrize("n_states", [(2, 2), (2, 3)])
def test_filtered_states_are_those_of_what_was_seen(n_states: tuple[int, ...]) -> None:
    X, _ = house(1, 60, (100.0, 40.0))
    model = hsmm.FactorialHMM(2, n_states, n_init=2, max_iter=30, tol=1.0).fit(X)
    filtered = model.filter_proba(X)
    for row in (0, 17, 59):
        for law, seen in zip(filtered, model.predict_proba(X[: row + 1]), strict=True):
            np.testing.assert_allclose(law[row], seen[-1], atol=1e-10)


def test_durations_of_chains_are_learnt() -> None:
    rng = np.random.default_rng(2)
    lengths = [np.stack([rng.poisson(20, 60), rng.poisson(mean, 60)], 1).ravel() for mean in (8, 14)]
    stays = [np.repeat(np.tile([0, 1], 60), own) for own in lengths]
    on = np.stack([stay[:900] for stay in stays], 1)
    X = on @ np.array([50.0, 20.0]) + rng.normal(0.0, 1.0, 900)
    model = hsmm.FactorialHMM(2, 2, duration="poisson", max_duration=60, n_init=8).fit(X)
    assert (model.predict(X) == on).mean() > 0.99
    for found, expected in zip(model.mean_duration_, (8.0, 14.0), strict=True):
        np.testing.assert_allclose(found, [20.0, expected], rtol=0.15)
    with pytest.raises(ValueError, match="no exact inference here; use lower_bound"):
        model.score(X)
    with pytest.raises(ValueError, match="use predict_proba, which looks ahead"):
        model.filter_proba(X)
    with pytest.raises(AttributeError, match="use lower_bound_"):
        model.log_likelihood_  # noqa: B018
    assert model.sample_states(X[:50], n=3, burn_in=1).shape == (3, 50, 2)


def test_what_parts_stand_by_with_is_theirs() -> None:
    X, on = house(3, 300, (100.0, 40.0))
    parts = on * np.array([100.0, 40.0]) + np.array([5.0, 0.0])
    model = hsmm.FactorialHMM(2, 2, n_init=4).fit(X + 5.0, parts=parts)
    np.testing.assert_allclose(model.offset_[:, 0], [5.0, 0.0], atol=0.1)
    np.testing.assert_allclose(model.base_, [20.0], atol=1.0)
    np.testing.assert_allclose(model.disaggregate(X + 5.0).mean(0), parts.mean(0), rtol=0.02)


def test_series_and_missing_rows() -> None:
    X, _ = house(4, 400)
    model = hsmm.FactorialHMM(3, 2, n_init=4).fit(X)
    assert model.score(X, lengths=[150, 250]) == pytest.approx(model.score(X[:150]) + model.score(X[150:]), abs=1e-8)
    gap = np.r_[X, np.nan, np.nan]
    assert model.score(gap) == pytest.approx(model.score(X), abs=1e-8)
    assert len(model.predict(gap)) == 402
    assert all(np.isfinite(law).all() for law in model.predict_proba(gap))


def test_a_fitted_model_goes_through_files(tmp_path: Path) -> None:
    X, _ = house(6, 200, (100.0, 40.0))
    for duration in (None, "negative_binomial"):
        model = hsmm.FactorialHMM(2, [2, 3], duration=duration, n_init=2, max_iter=400).fit(X)
        found = hsmm.load(model.save(tmp_path / str(duration)))
        assert repr(found.get_params()["n_states"]) == "[2, 3]"
        assert repr(found.clone()) == repr(found)
        assert np.array_equal(found.predict(X), model.predict(X))
        assert np.array_equal(found.disaggregate(X), model.disaggregate(X))
        assert found.lower_bound_ == model.lower_bound_
        with pytest.raises(AttributeError, match="knows its restarts"):
            found.restarts_  # noqa: B018
        assert np.array_equal(found.sample(30)[0], model.sample(30)[0])


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (lambda saved: saved.told.update(n_chains=10**9), "n_chains = 1000000000; expected 1 to 1000"),
        (lambda saved: saved.told["options"].update(n_int=3), "options that do not fit"),
        (lambda saved: saved.told["options"].update(inference="magic"), "inference is 'magic'"),
        (lambda saved: saved.told["fit"].pop("n_iter"), "options that do not fit"),
        (lambda saved: saved.tables.update(variance=-saved.tables["variance"]), "variances above 0"),
        (lambda saved: saved.tables.update(base=saved.tables["base"] * torch.nan), "base holds numbers that cannot be"),
        (lambda saved: saved.tables.update(base=saved.tables["base"][:, :0]), "tables of shapes"),
        (lambda saved: saved.tables.update(base=saved.tables["base"].float()), "float32"),
        (lambda saved: saved.tables.pop("offset"), "tables of shapes"),
    ],
)
def test_a_folder_that_lies_is_refused(tmp_path: Path, lie: Callable[[SimpleNamespace], object], message: str) -> None:
    X, _ = house(6, 120, (100.0, 40.0))
    folder = hsmm.FactorialHMM(2, n_init=1).fit(X).save(tmp_path)
    told = json.loads((folder / "factorial.json").read_text())
    saved = SimpleNamespace(told=told, tables=load_file(folder / "factorial.safetensors"))
    lie(saved)
    (folder / "factorial.json").write_text(json.dumps(told))
    tables = {name: table.contiguous() for name, table in saved.tables.items()}
    save_file(tables, folder / "factorial.safetensors")
    with pytest.raises(ValueError, match=message):
        hsmm.load(folder)


def test_samples_are_the_model_s() -> None:
    X, _ = house(7, 500, (100.0, 40.0))
    model = hsmm.FactorialHMM(2, 2, n_init=4).fit(X)
    drawn, states = model.sample(4000, random_state=1)
    added = sum(level[states[:, c]] for c, level in enumerate(model.levels_))
    assert np.std(drawn - added - model.base_) == pytest.approx(model.noise_[0], rel=0.06)
    assert model.n_parameters_ == 2 * (1 + 2 + 1) + 2


def test_what_does_not_fit_is_refused() -> None:
    X, on = house(8, 60, (100.0, 40.0))
    refused = {
        "n_states has 3 entries for 2 chains": lambda: hsmm.FactorialHMM(2, [2, 2, 2]).fit(X),
        "n_states is 1; expected a whole number >= 2": lambda: hsmm.FactorialHMM(2, 1).fit(X),
        "inference is 'gibbs'": lambda: hsmm.FactorialHMM(inference="gibbs").fit(X),
        "chains with a duration have none": lambda: hsmm.FactorialHMM(inference="exact", duration="poisson").fit(X),
        "make 1,024 states together": lambda: hsmm.FactorialHMM(10, inference="exact", n_init=1).fit(X),
        "parts has shape": lambda: hsmm.FactorialHMM(3).fit(X, parts=on),
        "is not fitted yet": lambda: hsmm.FactorialHMM().predict(X),
        "X has 2 features": lambda: hsmm.FactorialHMM(n_init=2).fit(X).predict(np.c_[X, X]),
    }
    for message, attempt in refused.items():
        with pytest.raises((ValueError, AttributeError), match=message):
            attempt()


def test_energy_goes_to_whom_it_belongs() -> None:
    truth = np.array([[10.0, 0.0], [10.0, 5.0], [0.0, 5.0], [np.nan, 1.0]])
    swapped = truth[:, ::-1]
    assert hsmm.metrics.energy_assigned(truth, truth) == 1.0
    assert hsmm.metrics.energy_assigned(truth, swapped) == pytest.approx(1.0 - (20.0 + 10.0 + 10.0) / 60.0)
    np.testing.assert_allclose(hsmm.metrics.energy_error(truth, swapped), [0.5, 1.0])
    np.testing.assert_allclose(hsmm.metrics.on_off_f1(truth, swapped, 1.0), [0.5, 0.5])
    np.testing.assert_allclose(hsmm.metrics.on_off_f1(0 * truth, 0 * truth, 1.0), [np.nan, np.nan])
    with pytest.raises(ValueError, match="sums to 0"):
        hsmm.metrics.energy_assigned(0.0 * truth, truth)
    with pytest.raises(ValueError, match=r"expected both \(n_samples, n_parts\)"):
        hsmm.metrics.energy_error(truth[0], truth)
