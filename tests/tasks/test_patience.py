"""Storage and tracking are tried again; what would fail again is not."""

from __future__ import annotations

import pytest

from tasks.config.errors import GateError, OutputError, PublishError, TrackingError
from tasks.config.patience import PATIENTLY


class _Ended:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "again"),
    [(PublishError("x"), True), (TrackingError("x"), True), (GateError("x"), False), (OutputError("x"), False)],
)
def test_only_storage_and_tracking_are_tried_again(error: Exception, again: bool) -> None:
    assert PATIENTLY["retry_condition_fn"](None, None, _Ended(error)) is again
    assert PATIENTLY["retries"] > 0
