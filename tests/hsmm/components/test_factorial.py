"""Chains side by side as one chain of what they are in together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hsmm
from hsmm.models.factorial import exact
from hsmm.sequences import Sequences
from hsmm.training.moves import can_move
from hsmm.training.objective import Objective

CHAINS = (2, 3)
LENGTHS = [180, 120]


def _drawn() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    runs = [np.cumsum(rng.random(300) > 0.93) % k for k in CHAINS]
    levels = [np.array([[0.0, 0.0], [9.0, -2.0]]), np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 1.0]])]
    X = 1e4 + sum(level[run] for level, run in zip(levels, runs, strict=True)) + 0.4 * rng.normal(size=(300, 2))
    X[7, 0], X[30] = np.nan, np.nan
    return X, np.stack(runs, 1)


X, RUNS = _drawn()


def together(n_init: int = 4) -> hsmm.HMM:
    return hsmm.HMM(
        6,
        initial=hsmm.initials.FactorialInitial(chains=CHAINS),
        transition=hsmm.transitions.Factorial(chains=CHAINS),
        emission=hsmm.emissions.Additive(chains=CHAINS),
        n_init=n_init,
    )


@pytest.fixture(scope="module")
def fitted() -> hsmm.HMM:
    return together().fit(X, LENGTHS)


def test_it_is_the_factorial_model_whose_likelihood_is_exact(fitted: hsmm.HMM) -> None:
    chains = hsmm.FactorialHMM(2, CHAINS, inference="exact", n_init=4, tol=1e-9).fit(X, LENGTHS)
    assert fitted.log_likelihood_ == pytest.approx(chains.log_likelihood_, abs=1e-3)
    assert fitted.n_parameters_ == chains.n_parameters_
    assert (np.diff(fitted.history_) > -1e-8 * abs(fitted.history_[-1])).all()
    p = exact.potentials(chains._model, Sequences.from_arrays(X, LENGTHS))
    np.testing.assert_allclose(fitted.transition_prob_, p.log_transition[0].exp(), atol=1e-3)
    np.testing.assert_allclose(fitted.emission_.moments()[1][0, 0], chains.noise_, rtol=1e-3)
    own = [fitted.transition_.parameters[f"chain_{c}"][0].numpy() for c in range(2)]
    np.testing.assert_allclose(fitted.transition_prob_, np.kron(*own), rtol=1e-12)


def test_states_are_numbered_by_what_chains_add(fitted: hsmm.HMM) -> None:
    states = fitted.emission_.chain_states()
    assert states.tolist() == [[a, b] for a in range(2) for b in range(3)]
    found = states.numpy()[fitted.predict(X, LENGTHS)]
    assert (found == RUNS)[np.isfinite(X).all(1)].mean() > 0.98
    order = [4, 2, 0, 5, 1, 3]
    other = fitted.permuted(order)
    assert torch.equal(other.emission_.chain_states(), states[order])
    assert other.score(X, LENGTHS) == pytest.approx(fitted.score(X, LENGTHS), rel=1e-12)
    np.testing.assert_allclose(other.transition_prob_, fitted.transition_prob_[np.ix_(order, order)])
    np.testing.assert_allclose(other.initial_prob_, fitted.initial_prob_[order])


def test_no_state_of_chains_is_split_or_merged(fitted: hsmm.HMM) -> None:
    assert not can_move(fitted._model, Objective(Sequences.from_arrays(X, LENGTHS)))
    with pytest.raises(ValueError, match="parameters in common, so none can be left out"):
        hsmm.selection.merge_test(fitted, X, LENGTHS)
    with pytest.raises(ValueError, match="whose states share their parameters"):
        hsmm.PartialPooling(fitted).fit(X, ["a"] * 180 + ["b"] * 120)


@pytest.mark.parametrize("kind", ["initial", "transition", "emission"])
def test_one_part_of_chains_is_enough_to_tie_states_together(kind: str) -> None:
    plain, part = hsmm.HMM(6)._structure(), together()._structure().components()[kind]
    assert plain.is_divisible
    assert not replace(plain, **{kind: part}).is_divisible


def test_sums_without_steps_begin_at_distances_of_rows() -> None:
    rng = np.random.default_rng(2)
    rows = hsmm.Sequences.from_arrays(rng.normal(size=(60, 1)))
    law = hsmm.transitions.Factorial(chains=(2, 2))
    labels = law.first_states(rows, 6, 4, torch.Generator().manual_seed(0))
    assert len({tuple(one) for one in labels.tolist()}) > 3


@pytest.mark.parametrize(
    ("family", "chains", "told"),
    [
        (hsmm.transitions.Factorial, (2, 1), "chains is (2, 1); expected the number of states of each chain"),
        (hsmm.emissions.Additive, 4, "chains is 4"),
        (hsmm.initials.FactorialInitial, (8,) * 4, "make 4,096 states together; expected at most 512"),
    ],
)
def test_chains_that_cannot_be_are_refused(family, chains, told: str) -> None:
    with pytest.raises(ValueError, match="chains") as raised:
        family(chains=chains)
    assert told in str(raised.value)


def test_chains_that_make_another_number_of_states_are_refused() -> None:
    with pytest.raises(ValueError, match=r"chains \[2, 3\] make 6 states together, but the model has n_states=4"):
        together().set_params(n_states=4).fit(X, LENGTHS)
    dwell, rows = torch.full((1, 4), 2.0, dtype=torch.float64), Sequences.from_arrays(X, LENGTHS)
    with pytest.raises(ValueError, match="but the model has n_states=4"):
        hsmm.transitions.Factorial(chains=CHAINS).initialise(rows, dwell, torch.Generator())
    with pytest.raises(ValueError, match="chains that end at different times have no durations together"):
        hsmm.HSMM(6, transition=hsmm.transitions.Factorial(chains=CHAINS)).fit(X, LENGTHS)


@pytest.mark.parametrize("kind", ["initial", "transition", "emission"])
def test_a_file_whose_states_are_not_the_chains_is_refused(fitted: hsmm.HMM, kind: str, tmp_path: Path) -> None:
    folder = fitted.save(tmp_path)
    assert hsmm.load(folder).score(X, LENGTHS) == fitted.score(X, LENGTHS)
    tables = load_file(folder / "model.safetensors")
    tables[f"{kind}.member"][0, 0] = tables[f"{kind}.member"][0, 1]
    save_file(tables, folder / "model.safetensors")
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != "digest"}))
    with pytest.raises(ValueError, match="does not hold each combination"):
        hsmm.load(folder)
