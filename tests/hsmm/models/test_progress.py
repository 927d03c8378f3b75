"""A fit tells where it stands, and is the same fit whoever listens."""

from __future__ import annotations

import numpy as np
import pytest

import hsmm
from hsmm.models.progress import Progress
from tests.hsmm.models.cases import LENGTHS, regimes

pytestmark = pytest.mark.filterwarnings("ignore:.*single row:hsmm.errors.DataWarning")
X = regimes()


@pytest.mark.filterwarnings("ignore:.*without converging:hsmm.errors.ConvergenceWarning")
@pytest.mark.parametrize(
    "trainer",
    [
        "em",
        "hybrid",
        hsmm.trainers.Gradient(n_steps=9),
        hsmm.trainers.Gradient(optimiser="lbfgs", n_steps=9),
    ],
    ids=["em", "hybrid", "adam", "lbfgs"],
)
def test_every_iteration_is_told(trainer: object) -> None:
    told: list[Progress] = []
    model = hsmm.HMM(2, n_init=4, max_iter=60, tol=1e-4, trainer=trainer)
    model.fit(X, LENGTHS, callback=told.append)
    assert [progress.iteration for progress in told] == list(range(1, len(told) + 1))
    assert len(told) >= model.n_iter_
    assert told[0].n_restarts == 4
    assert all(1 <= progress.n_restarts <= 4 for progress in told)
    assert (np.diff([progress.objective for progress in told]) >= 0).all()
    assert told[-1].objective >= model.history_[:-1].max()
    assert (np.diff([progress.seconds for progress in told]) >= 0).all()
    assert np.array_equal(model.clone().fit(X, LENGTHS).history_, model.history_)


def test_a_race_has_fewer_restarts_at_its_end() -> None:
    told: list[Progress] = []
    hsmm.HMM(2, n_init=8, max_iter=40, tol=0.0).fit(X, LENGTHS, callback=told.append)
    assert told[0].n_restarts == 8
    assert 1 <= told[-1].n_restarts <= 2


def test_verbose_writes_each_or_every_tenth_iteration(capsys: pytest.CaptureFixture[str]) -> None:
    def lines(verbose: int) -> list[str]:
        hsmm.HMM(2, n_init=1, max_iter=20, tol=0.0, verbose=verbose).fit(X, LENGTHS)
        return capsys.readouterr().out.splitlines()

    assert not lines(0)
    assert [int(line.split()[1]) for line in lines(1)] == [10, 20]
    assert [int(line.split()[1]) for line in lines(2)] == list(range(1, 22))


@pytest.mark.filterwarnings("ignore::hsmm.errors.IntervalWarning")  # two refits need not surround the estimate
def test_a_bootstrap_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    model = hsmm.HMM(1, n_init=1, max_iter=3, tol=0.0, verbose=2).fit(X, LENGTHS)
    capsys.readouterr()
    model.confidence_intervals(X, LENGTHS, method="bootstrap", n_samples=2)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("verbose", [-1, 3, 1.5])
def test_other_verbosities_are_refused(verbose: object) -> None:
    with pytest.raises(ValueError, match="verbose is"):
        hsmm.HMM(2, verbose=verbose).fit(X, LENGTHS)
