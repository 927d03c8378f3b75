"""Tables may be reshaped without changing what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hsmm import inference
from hsmm.potentials import equilibrium_residual
from tests.hsmm.inference.cases import random_potentials

LENGTHS = (9, 1, 14)


@pytest.mark.parametrize("n_columns", [4, 5, 11, 40])
@pytest.mark.parametrize("left_censored", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_a_longer_table_is_the_same_law(n_columns: int, left_censored: bool, residual: bool) -> None:
    p = random_potentials(1, LENGTHS, tail=True, residual=residual, left_censored=left_censored)
    longer = p.lengthened(n_columns)
    assert longer.n_durations == n_columns
    _close(inference.log_partition(longer), inference.log_partition(p))
    _close(inference.posterior(longer).state, inference.posterior(p).state)
    _close(inference.remaining(longer)[..., :3], inference.remaining(p)[..., :3])


@pytest.mark.parametrize("max_duration", [1, 2, 20])
def test_dwell_times_are_the_same_chain(max_duration: int) -> None:
    p = random_potentials(2, LENGTHS, n_durations=None)
    timed = p.with_dwell_times(max_duration)
    assert timed.n_durations == max_duration
    _close(inference.log_partition(timed), inference.log_partition(p))
    _close(inference.filtered(timed), inference.filtered(p))
    _close(inference.posterior(timed).state, inference.posterior(p).state)


def test_models_are_taken_whole() -> None:
    p = random_potentials(3, LENGTHS, tail=True, n_restarts=3)
    chosen = p.take(torch.tensor([2, 0]))
    _close(inference.log_partition(chosen), inference.log_partition(p)[[2, 0]])


@pytest.mark.parametrize("n_columns", [1, 4, 9])
def test_the_equilibrium_law_of_a_geometric_one_is_itself(n_columns: int) -> None:
    stay = torch.tensor([[0.9, 0.25]], dtype=torch.float64).log()
    steps = torch.arange(n_columns, dtype=torch.float64)
    law = stay[..., None] * steps
    law[..., :-1] += torch.log1p(-stay.exp())[..., None]
    _close(equilibrium_residual(law, stay), law)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda p: p.lengthened(9), "only tables with a tail"),
        (lambda p: replace(p, log_tail=p.log_initial).lengthened(2), "at least the 4 columns"),
        (lambda p: p.with_dwell_times(3), "stationary transitions"),
    ],
)
def test_what_cannot_be_reshaped_is_refused(ask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(random_potentials(4, LENGTHS))


def _close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
