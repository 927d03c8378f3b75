"""A signal that ends a run ends it wherever it arrives."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from prefect.exceptions import TerminationSignal

from flows.signals import heard


class Finalised:
    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.fixture(autouse=True)
def _as_prefect_handles_it() -> Iterator[None]:
    def ends(number: int, _: object) -> None:
        raise TerminationSignal(signal=number)

    before = signal.signal(signal.SIGTERM, ends)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGTERM, TerminationSignal), (signal.SIGINT, KeyboardInterrupt)], ids=str
)
def test_one_that_comes_while_something_is_finalised_is_heard(
    number: signal.Signals, ends: type[BaseException]
) -> None:
    def work() -> None:
        made = Finalised(number)
        del made
        time.sleep(5)

    with pytest.raises(ends), heard():
        work()
