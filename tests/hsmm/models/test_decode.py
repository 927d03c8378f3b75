"""``decode`` is the single causal questions in one pass: the same bits, in pieces too."""

from __future__ import annotations

import numpy as np
import pytest

from hsmm import inference
from hsmm.models import Estimator
from tests.hsmm.models.cases import fitted, regimes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*single row:hsmm.errors.DataWarning", "ignore::hsmm.errors.DurationWallWarning"
)

LENGTHS, CUT = [31, 12, 22], [10, 11, 3]
X = regimes(5, lengths=LENGTHS)
BY_STEPS = ("elapsed_duration", "remaining_duration")
SINGLE = ("filter_proba", "log_density", *BY_STEPS)
BEGINS = np.cumsum([0, *LENGTHS[:-1]])
HEAD = np.concatenate([np.arange(b, b + n) for b, n in zip(BEGINS, CUT, strict=True)])
REST = np.setdiff1d(np.arange(len(X)), HEAD)
LEFT = [n - cut for n, cut in zip(LENGTHS, CUT, strict=True)]


@pytest.fixture(params=["hmm", "hsmm", "hsmm censored", "hsmm categorical", "one state"])
def model(request: pytest.FixtureRequest) -> Estimator:
    return fitted(request.param)


def options(name: str, max_duration: int | None) -> dict[str, int | None]:
    return {"max_duration": max_duration} if name in BY_STEPS else {}


@pytest.mark.filterwarnings("ignore:state . was seen to end:hsmm.errors.IntervalWarning")
@pytest.mark.parametrize("max_duration", [None, 2, 40])
def test_it_has_the_bits_of_the_single_questions(model, max_duration):
    found = model.decode(X, LENGTHS, max_duration=max_duration)
    for name in SINGLE:
        single = getattr(model, name)(X, LENGTHS, **options(name, max_duration))
        assert np.array_equal(getattr(found, name), single), name
    assert found.filter_state is None


@pytest.mark.parametrize("max_duration", [None, 40])
def test_in_pieces_it_has_the_bits_of_the_whole(model, max_duration):
    whole = model.decode(X, LENGTHS, max_duration=max_duration, keep_state=True)
    head = model.decode(X[HEAD], CUT, max_duration=max_duration, keep_state=True)
    rest = model.decode(X[REST], LEFT, max_duration=max_duration, after=head.filter_state, keep_state=True)
    for name in SINGLE:
        assert np.array_equal(getattr(rest, name), getattr(whole, name)[REST]), name
    for name, state in whole.filter_state.states.items():
        pairs = zip(vars(state).values(), vars(rest.filter_state.states[name]).values(), strict=True)
        assert all(one.equal(other) for one, other in pairs), name


@pytest.mark.parametrize(("max_duration", "passes"), [(None, 1), (40, 2)])
def test_it_asks_the_kernel_once_or_where_tables_are_widened_twice(max_duration, passes, monkeypatch):
    model, asked, causal = fitted("hsmm"), [], inference.causal
    monkeypatch.setattr(inference, "causal", lambda *args, **named: asked.append(args[1]) or causal(*args, **named))
    model.decode(X, LENGTHS, max_duration=max_duration, keep_state=True)
    assert len(asked) == passes
