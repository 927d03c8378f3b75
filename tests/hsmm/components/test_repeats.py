"""Spreading, gathering and linear tables: the compiled functions against torch, bit for bit."""

from __future__ import annotations

import pytest
import torch

from hsmm.components.emission import repeats
from hsmm.components.emission.repeats import gathered, linear, spread

pytestmark = pytest.mark.skipif(not repeats.available(), reason="no native library was built")

SHAPES = [(1, 1, 1, 1), (3, 100, 2, 7), (2, 20_000, 3, 40), (5, 9_000, 9, 300), (1, 33, 8, 33), (2, 0, 3, 4)]


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> tuple[int, int, int, int]:
    return request.param


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_native_is_torch(shape: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    r, n, k, u = shape
    of_row = torch.randint(u, (n,), generator=torch.Generator().manual_seed(0))
    table, weights, there = numbers(r, u, k), numbers(r, n, k), numbers(r, n, k)
    slopes, of_rows = [numbers(r, k), numbers(k, r).mT], [numbers(n), numbers(n, 2)[:, 1]]

    def answers() -> list[torch.Tensor]:
        return [
            spread(table, of_row),
            spread(table, of_row, torch.full_like(there, torch.nan)),
            spread(table, of_row, there.clone(), adds=True),
            spread(there, None, there.clone(), adds=True),
            spread(table.mT.contiguous().mT, of_row),
            gathered(weights, of_row, u),
            gathered(weights.mT.contiguous().mT, of_row, u),
            linear(numbers(r, k), slopes, of_rows),
        ]

    native = answers()
    monkeypatch.setattr(repeats, "available", lambda: False)
    for found, expected in zip(native, answers(), strict=True):
        assert torch.equal(found, expected)


def test_threads_change_no_bits() -> None:
    of_row, table, weights = torch.arange(50_000) % 90, numbers(3, 90, 3), numbers(3, 50_000, 3)
    found = []
    threads = torch.get_num_threads()
    for n in (1, 3):
        torch.set_num_threads(n)
        found.append(
            (
                spread(table, of_row),
                gathered(weights, of_row, 90),
                linear(table[:, 0], [table[:, 1]], [weights[0, :, 0]]),
            )
        )
    torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*found, strict=True))
