"""The benchmarks measure what they say: tiny works, in this process."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import accuracy, clock, gate, memory, picture, report, run, scaling
from benchmarks.peers import ours
from benchmarks.peers.serve import answers
from benchmarks.peers.table import PEERS
from benchmarks.side_by_side import OURS, Entrant, Figures, entrants, find_peers, measure
from benchmarks.targets import TARGETS, verdicts
from benchmarks.timing import Timing, interleave
from benchmarks.works import WORKS, Task, Work, make_task
from hsmm.kernels import native

pytestmark = pytest.mark.skipif(not native.available(), reason="no native kernel was built")

TINY = [Work("hmm", 2, 0, 2, 20, 2), Work("hsmm", 3, 5, 2, 30, 2, n_restarts=3)]


@pytest.fixture(params=TINY, ids=lambda work: work.name)
def task(request: pytest.FixtureRequest) -> Task:
    return make_task(request.param)


def figures(work: str, name: str, seconds: float, n_restarts: int = 1, question: str = "iterate") -> Figures:
    made = Figures(work, name, name, n_restarts, n_rows=10)
    made.seconds = {question: {"median": seconds * n_restarts}}
    return made


def test_a_task_is_the_same_after_a_file(task: Task, tmp_path: Path) -> None:
    task.save(tmp_path / "task.npz")
    again = Task.load(tmp_path / "task.npz")
    assert again.work == task.work
    np.testing.assert_array_equal(again.X, task.X)
    np.testing.assert_array_equal(again.X, make_task(task.work).X)
    np.testing.assert_array_equal(again.duration, task.duration)


def test_a_task_is_drawn_from_its_model() -> None:
    task = make_task(Work("long", 2, 6, 1, 4_000, 3))
    other = replace(task, mean=task.mean[::-1].copy(), variance=2 * task.variance)
    assert ours.true_model(task).score(task.X) > ours.true_model(other).score(task.X)
    np.testing.assert_allclose(task.duration.sum(1), 1.0)


def test_the_tables_are_those_of_the_true_model(task: Task) -> None:
    from hsmm import inference

    score = ours.true_model(task).score(task.X, task.lengths)
    assert float(inference.log_partition(ours.potentials(task)).sum()) == pytest.approx(score, rel=1e-12)


@pytest.mark.parametrize("n_restarts", [1, 3])
def test_a_library_answers_every_question(task: Task, tmp_path: Path, n_restarts: int) -> None:
    threads = torch.get_num_threads()
    task.save(tmp_path / "task.npz")
    requests = [
        {"ask": "open", "task": str(tmp_path / "task.npz"), "n_restarts": n_restarts, "distribution": None},
        *({"ask": question, "n": 2} for question in ("iterate", "decode", "e_step")),
        {"ask": "log_likelihood"},
        {"ask": "peak"},
    ]
    opened, *timed, likelihood, peak = answers("ours", iter(requests))
    torch.set_num_threads(threads)
    assert set(opened["can"]) == {"iterate", "decode", "e_step", "log_likelihood"}
    assert all(answer["seconds"] > 0 for answer in timed)
    assert likelihood["value"] == ours.true_model(task).score(task.X, task.lengths)
    assert peak["megabytes"] > 0


def test_a_failure_is_an_answer() -> None:
    (answer,) = answers("no_such_peer", iter([{"ask": "open", "task": "", "n_restarts": 1, "distribution": None}]))
    assert "ModuleNotFoundError" in answer["error"]


def test_what_happens_once_cancels() -> None:
    timing = Timing.calibrated(lambda n: 5.0 + 0.25 * n, enough=1.0)
    interleave({"it": timing}, repeats=3, budget=1e9)
    assert len(timing.samples) == 3
    assert timing.median == pytest.approx(0.25)
    assert timing.least == pytest.approx(0.25)


def test_calibration_makes_differences_long_enough() -> None:
    timing = Timing.calibrated(lambda n: 1e-3 * n, enough=0.1)
    assert (timing.many - timing.few) * 1e-3 == pytest.approx(0.1, rel=0.05)
    assert Timing.calibrated(lambda n: 1e-3 * n, most=10).many == 10


def test_the_budget_ends_sampling() -> None:
    timing = Timing(lambda n: float(n), 1, 2)
    interleave({"it": timing}, repeats=100, budget=9.0)
    assert len(timing.samples) == 3


def test_one_that_fails_does_not_stop_the_others() -> None:
    def broken(_: int) -> float:
        raise OSError("it ended by itself")

    well = Timing(lambda n: float(n), 1, 2)
    faults = interleave({"broken": Timing(broken, 1, 2), "well": well}, repeats=4, budget=1e9)
    assert faults == {"broken": "it ended by itself"}
    assert well.median == 1.0


@pytest.mark.costly
def test_libraries_take_turns_in_processes_of_their_own() -> None:
    several = [Entrant(OURS, "ours", sys.executable), Entrant("absent", "no_such_peer", sys.executable)]
    found, absent = measure(TINY[1], several, core=min(os.sched_getaffinity(0)), repeats=1, budget=5.0)
    assert set(found.seconds) == {"iterate", "e_step", "decode"}
    assert found.log_likelihood == pytest.approx(
        ours.true_model(make_task(TINY[1])).score(make_task(TINY[1]).X, [30, 30])
    )
    assert "ModuleNotFoundError" in absent.failed["open"]


def test_every_target_has_a_verdict() -> None:
    measured = [figures("a", OURS, 1.0), figures("a", OURS, 0.25, 32), figures("a", "hmmlearn", 2.5)]
    judged = {(v.work, v.n_restarts, v.peer): v for v in verdicts(measured, {"pyhsmm": "does not build"})}
    assert len(judged) == sum(len(target.works) for target in TARGETS) + 1
    assert judged["a", 1, "hmmlearn"].ratio == 2.5
    assert judged["a", 1, "hmmlearn"].met is False
    assert judged["a", 32, "hmmlearn"].met is True
    assert judged["d", 8, "pyhsmm"].met is None
    assert judged["d", 8, "pyhsmm"].reason == "does not build"


def test_the_fastest_peer_may_work_one_by_one() -> None:
    measured = [
        figures("f", OURS, 0.001, 20),
        figures("f", "batched", 3.0, 20),
        figures("d", "alone", 0.9),
        figures("d", OURS, 0.002),
    ]
    verdict = list(verdicts(measured, {}))[-1]
    assert (verdict.peer, verdict.ratio) == ("alone", pytest.approx(900.0))


def test_peers_are_measured_or_named() -> None:
    here, missing = find_peers(PEERS)
    assert {peer.name for peer, _ in here} | set(missing) == {peer.name for peer in PEERS}
    assert all(missing.values())
    assert all((Path(run.__file__).parent / "peers" / f"{peer.adapter}.py").exists() for peer in PEERS)


def test_every_work_is_done_alone_and_with_restarts() -> None:
    for work in WORKS.values():
        counts = [entrant.n_restarts for entrant in entrants(work, [])]
        assert work.n_restarts in counts
        assert len(set(counts)) == len(counts)


def test_the_gate_opens_and_shuts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert not list(gate.exact_values_missed())
    assert not list(gate.kernels_disagree(make_task(TINY[1])))
    monkeypatch.setattr(gate, "tests_fail", lambda: iter([]))
    monkeypatch.setitem(gate.EXACT, "open", -7372.0)
    assert run.main([]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "open" in captured.err


def test_float32_is_close_to_float64() -> None:
    for row in accuracy.accuracy(steps=(50,)):
        assert 0 < row["state"] < 1e-4
        assert row["log_likelihood"] < 1e-6


def test_an_e_step_needs_no_array_of_durations() -> None:
    (row,) = memory.memory(steps=(100_000,))
    every_duration = 100_000 * memory.N_STATES * memory.MAX_DURATION * 8 / 1e6
    assert 0 < row["megabytes"] < every_duration / 4


def test_the_bound_of_stores_is_three_per_cell() -> None:
    assert clock.store_bound(5, 100, 8, 3.69) == pytest.approx(0.1936, abs=1e-4)
    assert clock.store_bound(5, 100, 4, 3.69) == pytest.approx(0.0968, abs=1e-4)


def test_the_curves_are_drawn_and_the_tables_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "CURVES", [replace(curve, values=curve.values[:2]) for curve in scaling.CURVES])
    monkeypatch.setattr(scaling, "least", lambda work, **_: [work(), 1e-3][1])
    n_threads = torch.get_num_threads()
    curves, cells, threads = scaling.curves(), scaling.per_cell(3.7, n_steps=20), scaling.threads(2, n_steps=5)
    assert torch.get_num_threads() == n_threads
    assert {curve["axis"] for curve in curves} == {"T", "K", "D", "restarts"}
    assert picture.draw(curves, cells, threads, tmp_path / "curves.png").stat().st_size > 10_000
    text = "\n".join([*report.cells(cells, 3.7), *report.threads(threads), *report.cells(cells, None)])
    assert "GHz, measured" in text
    assert "nan" not in text
    assert len(list(report.bound(cells))) == 1
    json.dumps([curves, cells, threads])


def test_the_report_names_what_failed_and_what_is_missing() -> None:
    base, slow = figures("d", OURS, 0.5), figures("d", "other", 1.0)
    slow.failed["decode"], slow.stretch = "it ended by itself", 4.0
    text = "\n".join(report.side_by_side([base, slow], {"absent": "does not build"}))
    assert "could not decode: it ended by itself" in text
    assert "not measured: absent (does not build)" in text
    assert "1*" in text
