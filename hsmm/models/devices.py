"""Where a model is fitted."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from hsmm.kernels import gpu
from hsmm.spelling import nearest

Device = Literal["auto", "cpu", "cuda"]


def check_device(choice: str) -> None:
    """Raise ``ValueError`` for a device that there is not, or that this machine cannot fit on."""
    known = get_args(Device)
    if choice not in known:
        raise ValueError(f"device is {choice!r}; expected one of {', '.join(known)}{nearest(choice, known)}")
    if choice == "cuda" and (complaint := gpu.complaint()):
        raise ValueError(f"device is 'cuda', but {complaint}; or choose 'auto' or 'cpu'.")


def too_little_memory(choice: str, n_rows: int, n_states: int) -> str:
    """What to say where a GPU cannot hold the tables of one model."""
    free, whole = torch.cuda.mem_get_info(torch_device(choice))
    return (
        f"{device_name(choice)} has too little memory, {free / 2**30:.1f} of {whole / 2**30:.1f} GiB free, to fit "
        f"{n_rows} rows with {n_states} states; fit fewer rows at once, let nothing else use it, or choose 'cpu'."
    )


def device_name(choice: str) -> str:
    """What the device calls itself, "cpu" for the CPU."""
    device = torch_device(choice)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def torch_device(choice: str) -> torch.device:
    """The GPU only on request: small fits are faster on the CPU."""
    return torch.device("cuda" if choice == "cuda" else "cpu")
