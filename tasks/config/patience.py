"""Retries, with longer and longer waits, of the two things that fail by themselves: storage and tracking."""

from __future__ import annotations

from typing import Any

from prefect.tasks import exponential_backoff

from tasks.config.errors import PublishError, TrackingError


def _may_pass(task: Any, run: Any, state: Any) -> bool:  # noqa: ARG001 - Prefect calls it so
    """Whether what a task failed of may be gone when it is tried again; what was already done is not done twice."""
    try:
        state.result()
    except (PublishError, TrackingError):
        return True
    except Exception:
        return False
    return False


PATIENTLY: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=1),
    "retry_condition_fn": _may_pass,
}
