"""What the compiler makes of the kernels, without a GPU: registers, what does not fit them, instructions a step."""

from __future__ import annotations

import io
import re
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.plans import Team, plan_for
from tests.costly import costly_beyond

pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install -e '.[test]'")

# Instructions of the inner loop, a warp and step: what is committed may not grow.
LOOPS = {
    (5, 64, torch.float32, False): {"forward": 285, "backward": 285, "best_segments": 470},
    (5, 64, torch.float64, False): {"forward": 330, "backward": 255, "best_segments": 750},
    (5, 1, torch.float32, False): {"forward": 82, "backward": 132, "best_segments": 132},
    (3, 30, torch.float64, True): {"forward": 300, "backward": 220, "best_segments": 690},
}
MOST_SPILLED = 480  # bytes a thread
CHAINS = {
    torch.float32: {
        "sums": {"forward": 80, "backward": 128},
        "paths": {"best_segments": 72, "decode": 32},
        "causal": {"causal": 168},
    },
    torch.float64: {
        "sums": {"forward": 152, "backward": 240},
        "paths": {"best_segments": 132, "decode": 32},
        "causal": {"causal": 252},
    },
}
# Instructions of a whole kernel, whose loops lie within each other, on sm_90.
LENGTHS = {
    "causal": {"causal": 7600},
    "log_backward": {"smoothed": 5300, "log_score": 3500, "log_counts": 8100},
    "best_segments": {"segments": 2600},
    "sampling": {"sample_paths": 4500},
}
LENGTHS_OF_CHAINS = {
    "sums": {"forward": 1250, "backward": 1950},
    "paths": {"best_segments": 1300, "decode": 1000},
    "causal": {"causal": 3950},
}
TEAMS = {"causal": 110, "log_backward": 96, "best_segments": 64, "sampling": 88}  # registers of a thread


@pytest.mark.parametrize("architecture", costly_beyond(1, ["sm_90", "sm_80"]))
@pytest.mark.parametrize("shape", LOOPS, ids=str)
@pytest.mark.parametrize("paths", costly_beyond(1, [False, True]), ids=["sums", "paths"])
def test_loops_stay_short_and_in_registers(shape, architecture: str, paths: bool, tmp_path: Path):
    n_states, n_durations, dtype, tail = shape
    plan = plan_for(n_states, n_durations, dtype, has_tail=tail, paths=paths)
    assert plan is not None
    logs = io.StringIO()
    image = launch.compiled(plan, architecture, logs=logs)
    for registers in re.findall(r"Used (\d+) registers", logs.getvalue()):
        assert int(registers) <= 512 // plan.blocks
    for spilled in re.findall(r"(\d+) bytes spill stores", logs.getvalue()):
        assert int(spilled) <= MOST_SPILLED
    path = tmp_path / "image.cubin"
    path.write_bytes(image.code)
    loops = shortest_step_loops(path)
    wanted = {name: most for name, most in LOOPS[shape].items() if (name == "best_segments") == paths}
    assert wanted.keys() <= loops.keys()
    assert all(loops[name] <= most for name, most in wanted.items()), loops


@pytest.mark.parametrize(("entries", "what"), [("sums", {}), ("paths", {"paths": True}), ("causal", {"causal": True})])
@pytest.mark.parametrize("dtype", CHAINS, ids=str)
def test_sequences_of_a_chain_stay_in_registers(
    dtype: torch.dtype, entries: str, what: dict[str, bool], tmp_path: Path
):
    plan = plan_for(5, 1, dtype, has_tail=False, paths=False, is_chain=True)
    assert plan is not None
    logs = io.StringIO()
    image = launch.compiled(replace(plan, **what), "sm_90", logs=logs)
    found = dict(re.findall(r"'hsmm_(\w+)'.*?Used (\d+) registers", logs.getvalue(), re.DOTALL))
    assert found.keys() == CHAINS[dtype][entries].keys()
    assert all(int(used) <= CHAINS[dtype][entries][name] for name, used in found.items()), found
    assert not any(map(int, re.findall(r"(\d+) bytes spill stores", logs.getvalue())))
    assert_no_longer(lengths(image, tmp_path), LENGTHS_OF_CHAINS[entries])


@pytest.mark.parametrize("what", TEAMS)
def test_threads_of_teams_keep_to_their_registers(what: str, tmp_path: Path):
    logs = io.StringIO()
    image = launch.compiled(Team(torch.float32, what), "sm_90", logs=logs)
    assert max(map(int, re.findall(r"Used (\d+) registers", logs.getvalue()))) <= TEAMS[what]
    assert max(map(int, re.findall(r"(\d+) bytes spill stores", logs.getvalue()))) <= 32
    assert_no_longer(lengths(image, tmp_path), LENGTHS[what])


def assert_no_longer(found: dict[str, int], most: dict[str, int]) -> None:
    assert found.keys() == most.keys()
    assert all(found[name] <= most[name] for name in most), found


def lengths(image: Any, folder: Path) -> dict[str, int]:
    """Instructions of every kernel."""
    path, found, kernel = folder / "image.cubin", dict[str, int](), ""
    path.write_bytes(image.code)
    for line in disassembled(path).splitlines():
        if section := re.match(r"\.text\.hsmm_(\w+):", line):
            kernel = section[1]
        elif kernel and re.search(r"/\*[0-9a-f]{4,}\*/\s+\S.*;", line):
            found[kernel] = found.get(kernel, 0) + 1
    return found


def shortest_step_loops(path: Path) -> dict[str, int]:
    """Of every kernel, the instructions of its first loop of more than twenty: that over the rows."""
    found: dict[str, int] = {}
    kernel, labels, waiting = "", {}, []
    for line in disassembled(path).splitlines():
        if section := re.match(r"\.text\.hsmm_(\w+):", line):
            kernel, labels, waiting = section[1], {}, []
        elif label := re.match(r"(\.L_x_\d+):", line):
            waiting.append(label[1])
        elif kernel and (instruction := re.search(r"/\*([0-9a-f]{4,})\*/\s+(.*?);", line)):
            address = int(instruction[1], 16)
            labels |= dict.fromkeys(waiting, address)
            waiting = []
            branch = re.search(r"BRA.*`\((\.L_x_\d+)\)", instruction[2])
            length = (address - labels.get(branch[1], address)) // 16 + 1 if branch else 0
            if length > 20:
                found.setdefault(kernel, length)
    return found


def disassembled(path: Path) -> str:
    places = getattr(find_spec("nvidia"), "submodule_search_locations", None) or []
    programs = [program for place in places for program in Path(place).glob("*/bin/nvdisasm")]
    if not programs:
        pytest.skip("nvdisasm is not installed: pip install -e '.[test]'")
    return subprocess.run([programs[0], path], capture_output=True, text=True, check=True).stdout
