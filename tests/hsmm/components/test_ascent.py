"""A step uphill is the longest of those offered that lowers nothing, for each objective by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.components.ascent import choose_entries, longest_step

SIZES = (1.0, 0.5, 0.25)
HERE = torch.zeros(4, dtype=torch.float64)
PEAKS = torch.tensor([1.0, 0.4, 0.2, -1.0], dtype=torch.float64)  # the last lies behind


def value(point: Tensor) -> Tensor:
    return -(point - PEAKS).square()


def stepped(rounding: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    return longest_step(
        HERE, value(HERE), lambda size: torch.full_like(HERE, size), value, SIZES, choose_entries, rounding
    )


def test_each_goes_as_far_as_it_can() -> None:
    point, found, moved = stepped()
    assert point.tolist() == [1.0, 0.5, 0.25, 0.0]
    assert moved.tolist() == [True, True, True, False]
    assert torch.equal(found, value(point))


def test_no_size_is_tried_that_nobody_waits_for() -> None:
    tried: list[float] = []

    def trial(size: float) -> Tensor:
        tried.append(size)
        return torch.full((1,), size, dtype=torch.float64)

    longest_step(HERE[:1], value(HERE)[:1], trial, lambda x: value(x.expand(4))[:1], SIZES, choose_entries)
    assert tried == [1.0]


def test_standing_still_is_a_step_where_rounding_is_forgiven_and_only_there() -> None:
    flat = torch.full((1,), -3.0, dtype=torch.float64)
    for rounding, fall, moves in ((None, 0.0, False), (1e-9, 0.0, True), (1e-9, 2e-9, True), (1e-9, 1e-6, False)):
        *_, moved = longest_step(
            HERE[:1],
            flat,
            lambda size: HERE[:1] + size,
            lambda _, fall=fall: flat - fall,
            SIZES,
            choose_entries,
            rounding,
        )
        assert bool(moved) is moves, (rounding, fall)
