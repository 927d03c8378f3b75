"""One forward pass answers several causal questions, each as if it had been asked alone."""

from __future__ import annotations

import itertools

import pytest
import torch

from hsmm import inference
from hsmm.potentials import Potentials
from tests.hsmm.inference.cases import heads, random_potentials, tails

CASES = {
    "hmm": {"n_durations": None},
    "segments": {"left_censored": True},
    "tail": {"tail": True, "residual": True, "left_censored": True},
}
TABLES = ("filtered", "log_density", "elapsed", "remaining")


@pytest.fixture(params=CASES.values(), ids=CASES)
def p(request: pytest.FixtureRequest) -> Potentials:
    return random_potentials(1, (7, 4, 9), **request.param)


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_field_has_the_same_bits_whatever_else_is_wanted(p, kernel, goes_on):
    cuts = (3, 1, 5)
    after = inference.filter_state(heads(p, cuts), kernel=kernel) if goes_on else None
    p = tails(p, cuts)[0] if goes_on else p
    alone = {name: getattr(inference, name)(p, after=after, kernel=kernel) for name in TABLES}
    state = inference.filter_state(p, after=after, kernel=kernel)
    for size in range(1, 6):
        for want in itertools.combinations((*TABLES, "filter_state"), size):
            found = inference.causal(p, want, after=after, kernel=kernel)
            assert {name for name, field in vars(found).items() if field is not None} == set(want)
            assert all(torch.equal(found[name], alone[name]) for name in TABLES if name in want)
            if "filter_state" in want:
                pairs = zip(vars(found.filter_state).values(), vars(state).values(), strict=True)
                assert all(torch.equal(one, other) for one, other in pairs)


def test_what_was_not_asked_for_is_not_there(p):
    found = inference.causal(p, ["filtered"])
    with pytest.raises(KeyError, match="'elapsed' is no table that was asked for; name it in want"):
        found["elapsed"]


@pytest.mark.parametrize("want", ["filtered", ["filtered", "smoothed"]])
def test_an_unknown_question_is_refused(p, want):
    with pytest.raises(ValueError, match=r"want is .*; expected a list of some of 'filtered', 'predicted'"):
        inference.causal(p, want)
