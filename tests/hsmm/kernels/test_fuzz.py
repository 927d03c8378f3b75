"""The fuzzer's first cases, and some that took long to find; ``make fuzz`` runs on."""

from __future__ import annotations

import pytest

from tests import fuzz_kernels


@pytest.mark.parametrize(
    "seed", [*range(24), 10063, 7002515, 8000394, 9000523, 9100155, 20263561, 31000699, 42000227, 500000355]
)
def test_native_and_reference_agree_on_random_tables(seed):
    fuzz_kernels.check(seed)


def test_a_difference_ends_with_the_command_that_repeats_it(monkeypatch):
    monkeypatch.setenv("HSMM_NATIVE_BUILD", "_unheard_of")
    monkeypatch.setattr(fuzz_kernels, "CASES_A_PROCESS", 3)
    with pytest.raises(SystemExit, match=r"exit status 1: python -m tests.fuzz_kernels --seed 7 --cases 1"):
        fuzz_kernels.run_in_children(7, seconds=1)
