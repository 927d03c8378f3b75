"""Impossible data are traced to the series and the row that made them so."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from hsmm import inference
from tests.hsmm.inference.cases import random_potentials

LENGTHS = (4, 1, 5, 6)
MODELS = {
    "segments": {"n_durations": 4},
    "tail": {"n_durations": 4, "tail": True, "left_censored": True},
    "time_varying": {"n_durations": 4, "time_varying": True},
    "hmm": {"n_durations": None},
}


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_the_row_that_no_state_allows_is_named(options):
    p = random_potentials(0, LENGTHS, **options)
    emission = p.log_emission.clone()
    emission[0, 12] = emission[0, 14] = emission[1, 4] = emission[1, 9] = -math.inf
    found = inference.impossible_rows(replace(p, log_emission=emission))
    assert found.tolist() == [[-1, -1, -1, 2], [-1, 0, 4, -1]]
    assert inference.first_impossible(replace(p, log_emission=emission)) == (0, 3, 2)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_possible_data_have_no_such_row(options):
    p = random_potentials(1, LENGTHS, **options)
    assert inference.first_impossible(p) is None
    assert (inference.impossible_rows(p) == -1).all()


def test_a_series_that_may_not_end_where_it_does_is_impossible_at_its_last_row():
    p = random_potentials(2, LENGTHS, right_censored=False)
    duration = p.log_duration.clone()
    duration[1, :, [0, 2]] = -math.inf
    found = inference.impossible_rows(replace(p, log_duration=duration))
    assert found.tolist() == [[-1] * 4, [-1, 0, 4, -1]]


def test_the_row_before_which_everything_was_possible():
    """Each row alone is possible; the way from one to the next is not."""
    p = random_potentials(3, (6,), n_restarts=1, n_durations=3)
    emission = torch.zeros_like(p.log_emission)
    emission[0, 0, 1:] = -math.inf
    emission[0, 3:, 1:] = -math.inf
    emission[0, 1:3, 0] = -math.inf
    transition = p.log_transition.clone()
    transition[:, 1:, 0] = -math.inf
    blocked = replace(p, log_emission=emission, log_transition=transition)
    assert inference.first_impossible(blocked) == (0, 0, 3)
    assert inference.log_density(blocked)[0, :3].isfinite().all()
