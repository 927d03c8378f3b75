"""A GPU that is not there: tensors that say they are on one, while the CPU computes with them.

As on a real one, tensors of two devices do not mix, a generator of the CPU draws nothing for it, and what makes the
host wait for it, or copies between the two, is counted with the place that asked for it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from hsmm.components.emission.glm.layout import layout
from hsmm.inference import engine
from hsmm.kernels import native, reference
from hsmm.kernels.gpu import launch
from hsmm.kernels.results import Decoded, Posterior
from hsmm.models import base, devices
from hsmm.potentials import Potentials

CUDA = torch.device("cuda", 0)
_STANDS_FOR_IT = torch.device("lazy", 0)  # torch must know the kind, though none of it is needed
_WAITING = (
    "_local_scalar_dense", "_linalg_check_errors", "_linalg_eigh", "bincount", "equal", "is_nonzero", "masked_select",
    "nonzero", "unique_consecutive", "unique_dim", "_unique", "_unique2",
)  # fmt: skip


class Pretended(Tensor):
    """``there``, as if it were on a GPU."""

    there: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, there: Tensor) -> Pretended:
        made = Tensor._make_wrapper_subclass(
            cls, there.shape, strides=there.stride(), storage_offset=there.storage_offset(), dtype=there.dtype,
            device=_STANDS_FOR_IT,
        )  # fmt: skip
        made.there = there.detach()
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        return self.detach().cpu().numpy()

    def data_ptr(self) -> int:
        raise AssertionError("native code was given the address of numbers on a GPU")

    def __deepcopy__(self, memo: Any) -> Pretended:
        return Pretended(self.there.clone())

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{function} met numbers on a GPU outside of the machine that has one")


class Machine(TorchDispatchMode):
    """What computes with them; ``waits`` counts by place where the host waited, ``n_launches`` what it launched."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.n_launches = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = function.overloadpacket.__name__
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        here, there = _split(given)
        target = kwargs.get("device")
        to_gpu = target is not None and target.type in ("cuda", "lazy")
        to_cpu = target is not None and not to_gpu and target.type != "meta"
        if not there and not to_gpu:
            return function(*args, **kwargs)
        self._check(name, args, kwargs, here, there)
        if self._waits(name, args, kwargs, here, there, crosses=to_cpu if there else bool(here)):
            self.waits[_place(name)] += 1
        self.n_launches += not _is_view(function)
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        args, plain = tree_map(_there, (args, kwargs))
        found = function(*args, **plain)
        if name == "copy_":
            return given[0]
        if name.endswith("_") and not name.startswith("_") and given and isinstance(given[0], Pretended):
            return given[0]
        if to_cpu:
            return found.clone() if found is plain or any(found is x.there for x in there) else found
        return tree_map(lambda x: Pretended(x) if isinstance(x, Tensor) else x, found)

    def _check(self, name: str, args: Any, kwargs: Any, here: list[Tensor], there: list[Pretended]) -> None:
        if any(isinstance(x, torch.Generator) for x in tree_leaves((args, kwargs))):
            raise RuntimeError(f"{name}: expected a 'cuda' device type for generator but found 'cpu'")
        if not there or name in ("copy_", "_to_copy"):
            return
        mixed = [x for x in here if x.ndim > 0]
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            indices = [x for x in args[1] if x is not None]
            mixed = [x for x in mixed if all(x is not index for index in indices)]
            if not isinstance(args[0], Pretended):
                mixed.append(args[0])
        if mixed:
            raise RuntimeError(
                f"{name}: expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu"
            )

    def _waits(
        self, name: str, args: Any, kwargs: Any, here: list[Tensor], there: list[Pretended], *, crosses: bool
    ) -> bool:
        if name in _WAITING:
            return True
        if name in ("_to_copy", "copy_"):
            return crosses if name == "_to_copy" else bool(here) and bool(there)
        if name.startswith(("index", "_index_put_impl")) and name not in (
            "index_select", "index_add", "index_add_", "index_copy", "index_copy_", "index_fill", "index_fill_",
        ):  # fmt: skip
            indices = [x for x in args[1] if x is not None]
            fills = "put" in name and args[2].numel() == 1
            return any(not isinstance(x, Pretended) or (x.dtype == torch.bool and not fills) for x in indices)
        return name == "repeat_interleave" and kwargs.get("output_size") is None


class Kernels:
    """Stand for those of the GPU: the CPU's, on the same numbers."""

    def supports(self, p: Potentials, query: str) -> bool:
        return p.log_emission.is_cuda and p.owners is None and query in ("log_partition", "expected_counts", "viterbi")

    def log_partition(self, p: Potentials) -> Tensor:
        return Pretended(self._of(p).log_partition(_brought(p)))

    def expected_counts(self, p: Potentials, series_weight: Tensor | None = None) -> Posterior:
        weight = None if series_weight is None else _there(series_weight)
        return _taken(self._of(p).expected_counts(_brought(p), weight))

    def viterbi(self, p: Potentials) -> Decoded:
        return _taken(self._of(p).viterbi(_brought(p)))

    def _of(self, p: Potentials) -> Any:
        return native if native.available() and native.supports(_brought(p), "expected_counts") else reference


def _brought(p: Potentials) -> Potentials:
    return replace(p, **{name: _there(value) for name, value in vars(p).items() if isinstance(value, Tensor)})


def _taken(found: Any) -> Any:
    return type(found)(**{name: Pretended(value) for name, value in vars(found).items()})


@contextmanager
def machine_with_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Within, ``device="cuda"`` is a GPU of this machine."""
    monkeypatch.setattr(devices.gpu, "complaint", lambda: None)
    monkeypatch.setattr(base, "torch_device", lambda choice: CUDA if choice == "cuda" else torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(launch, "free_bytes", lambda _: 2**40)
    monkeypatch.setitem(engine.KERNELS, "gpu", Kernels())
    monkeypatch.setattr(engine, "gpu", engine.KERNELS["gpu"])
    layout.cache_clear()
    with Machine() as machine, _Made(machine):
        yield machine
    layout.cache_clear()  # of what was kept for a GPU that may be there


class _Made(TorchFunctionMode):
    """Tensors of Python's numbers, which torch makes where no dispatch is seen: copied to the GPU they are awaited."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        target = kwargs.get("device")
        if function is Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device, **kwargs}
            function, args, target = torch.tensor, args[1:], kwargs["device"]
        if function in (torch.tensor, torch.as_tensor) and target is not None and torch.device(target).type == "cuda":
            if isinstance(args[0], Tensor):
                return args[0].to(CUDA, kwargs.get("dtype", args[0].dtype))
            self.machine.waits[_place(function.__name__)] += 1
            return Pretended(function(*args, **{**kwargs, "device": torch.device("cpu")}))
        if function in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], Pretended):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(self._index(entry) for entry in index), *args[2:])
        return function(*args, **kwargs)

    def _index(self, entry: Any) -> Any:
        if not isinstance(entry, (list, tuple)):
            return entry
        self.machine.waits[_place("index")] += 1
        return Pretended(torch.tensor(entry))


def _split(tensors: list[Tensor]) -> tuple[list[Tensor], list[Pretended]]:
    there = [x for x in tensors if isinstance(x, Pretended)]
    return [x for x in tensors if not isinstance(x, Pretended)], there


def _there(x: Any) -> Any:
    return x.there if isinstance(x, Pretended) else x


def _is_view(function: Any) -> bool:
    return any(value.alias_info is not None and not value.alias_info.is_write for value in function._schema.returns)


def _place(name: str) -> str:
    """The line of the package that asked for it."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/hsmm/" in path and "/tests/" not in path:
            return f"{name} at hsmm/{path.rpartition('/hsmm/')[2]}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return name
