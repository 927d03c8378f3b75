"""Whole fits of work g are measured as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import fits
from benchmarks.fits import OURS, Fits
from benchmarks.peers.serve import answers
from benchmarks.regressions import Regression, make_regression

TINY = make_regression(n_steps=200, n_states=2, n_features=1)


def test_a_task_is_the_same_after_a_file(tmp_path: Path) -> None:
    TINY.save(tmp_path / "g.npz")
    again = Regression.load(tmp_path / "g.npz")
    assert vars(again).keys() == vars(TINY).keys()
    assert all(np.array_equal(value, getattr(TINY, name)) for name, value in vars(again).items())


def test_a_fit_is_answered_with_seconds_and_likelihood(tmp_path: Path) -> None:
    TINY.save(tmp_path / "g.npz")
    threads = torch.get_num_threads()
    opening = {"ask": "open", "task": str(tmp_path / "g.npz"), "n_restarts": 1, "distribution": None}
    opened, first, second = answers("ours_glm", iter([opening, {"ask": "fit"}, {"ask": "fit"}]))
    torch.set_num_threads(threads)
    assert opened["can"] == ["fit"]
    assert first["value"] == second["value"] < 0
    assert min(first["seconds"], second["seconds"]) > 0
    assert first["n_iter"] > 1


def test_the_table_says_how_many_times_as_long() -> None:
    ours, other, broken = Fits(OURS, [1.0], [0.5]), Fits("other", [4.0, 4.0], [1.0, 1.0]), Fits("broken", failed="why")
    text = list(fits.table([ours, other, broken]))
    assert text[2].split()[1:5] == ["4", "4", "1", "2"]
    assert text[3].endswith("why")


@pytest.mark.costly
def test_this_library_is_measured_in_a_process_of_its_own() -> None:
    (found,) = fits.measure(TINY, repeats=1, core=0, peers=())
    assert not found.failed
    assert len(found.cold) == len(found.warm) == 1
    assert found.log_likelihood < 0
