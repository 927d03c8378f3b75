"""A pipeline on a GPU: what is missing is said in a sentence, and one fit at a time has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.concurrency.sync import concurrency
from prefect.testing.utilities import prefect_test_harness

from flows.cli import main
from hsmm.kernels import gpu
from tasks.fitting.slot import gpu_slot, limit_name

MISSING = {
    "no GPU": "PyTorch can use no GPU here (No CUDA GPUs are available)",
    "old driver": "PyTorch can use no GPU here (The NVIDIA driver on your system is too old (found version 11040))",
    "no compiler": "NVIDIA's run-time compiler is missing or fails (libnvrtc.so.13: no such file)",
}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("complaint", MISSING.values(), ids=MISSING)
def test_what_a_gpu_lacks_is_one_sentence_and_status_2(
    complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "complaint", lambda: complaint)
    monkeypatch.chdir(ROOT)
    wanted = [f"output.states={tmp_path}/states", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", "fit.device=cuda"]
    given = [part for choice in wanted for part in ("--set", choice)]
    assert main(["run", "configs/markets.toml", *given]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"device is 'cuda', but {complaint}; or choose 'auto' or 'cpu'." in said.err
    assert "Traceback" not in said.err
    assert len([line for line in said.err.splitlines() if line.startswith("hsmm:")]) == 1


@pytest.mark.costly
def test_the_slot_of_a_gpu_is_held_by_one_at_a_time() -> None:
    with prefect_test_harness(server_startup_timeout=120):
        with gpu_slot("cuda"), pytest.raises(TimeoutError), concurrency(limit_name(), timeout_seconds=0.5):
            pass
        with gpu_slot("cuda"), gpu_slot("cpu"):
            pass
