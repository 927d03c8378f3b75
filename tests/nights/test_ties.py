"""The pipeline promotes the right number of states where rows are tied, or states differ in size by powers of ten."""

from __future__ import annotations

import numpy as np
import pytest

from hsmm.metrics import aligned_accuracy
from tests.hsmm.ties import PLANTED, tied_levels, watts


def published(place, toy, X: np.ndarray, sizes: list[int]) -> tuple[int, np.ndarray]:
    """How many states the champion has that a run promotes, and the states that it publishes."""
    toy.frame(X).write_parquet(place.source)
    said = place.command("run", "--json", "--set", f"model.n_states={sizes}", "--set", "fit.n_init=16")
    assert said.status == 0, said.err
    assert place.registry.champion("toy") == 1
    return said.last_json["best"]["n_states"], place.table().sort("time")["viterbi"].to_numpy()


def test_a_meter_that_is_off_idle_and_on_has_three_states(place_at, toy) -> None:
    X, states = watts()
    n_states, found = published(place_at("meter"), toy, X, [2, 3])
    assert n_states == 3
    assert aligned_accuracy(states, found) == 1.0


@pytest.mark.parametrize("planted", PLANTED)
def test_ties_are_not_promoted_as_a_state(place_at, toy, planted: str) -> None:
    X, states = tied_levels(planted)
    n_states, found = published(place_at(planted), toy, X, [2, 3])
    assert n_states == 2
    assert aligned_accuracy(states, found) > 0.99
