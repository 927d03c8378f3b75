"""One fit at a time on the GPU of a machine, whatever else its workers do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def gpu_slot(device: str) -> Iterator[None]:
    """Hold the machine's slot, waiting for it, where ``device`` is a GPU; nothing is held for a CPU.

    It is Prefect's global concurrency limit of :func:`limit_name`, made with one slot where there is none yet: what an
    operator sets stands.
    """
    if device != "cuda":
        yield
        return
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.concurrency.sync import concurrency
    from prefect.exceptions import ObjectAlreadyExists

    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=limit_name(), limit=1, active=True))
    with concurrency(limit_name(), occupy=1, strict=True):
        yield


def limit_name() -> str:
    return f"hsmm-gpu-{socket.gethostname()}"
