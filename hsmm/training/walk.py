"""AdamW on the exact marginal likelihood (Loshchilov & Hutter 2019), over minibatches of series."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hsmm.components.model import Model
from hsmm.training.coordinates import Coordinates
from hsmm.training.gradient import Slope, projected, slope
from hsmm.training.held_back import Looks
from hsmm.training.objective import Objective

Schedule: TypeAlias = Literal["constant", "cosine", "one_cycle"]
SCHEDULES = ("constant", "cosine", "one_cycle")

_MEMORY, _EPSILON = (0.9, 0.999), 1e-8
_WARM_UP = 0.3


@dataclass(frozen=True)
class Stride:
    """How a walk steps: sizes, decay of an encoder's weights, longest gradient of a restart, series in a batch, and how
    hot it begins: emissions count by 1 / ``temperature`` at first and in full from the middle on."""

    n_steps: int
    learning_rate: float
    weight_decay: float
    max_norm: float
    batch: int | None
    schedule: Schedule
    temperature: float

    def rate(self, step: int) -> float:
        share = step / self.n_steps
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "one_cycle" and share < _WARM_UP:
            return self.learning_rate * (0.05 + 0.95 * share / _WARM_UP)
        left = share if self.schedule == "cosine" else (share - _WARM_UP) / (1.0 - _WARM_UP)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * left))

    def heat(self, step: int) -> float:
        return max(1.0, self.temperature ** (1.0 - 2.0 * step / self.n_steps))


@dataclass(eq=False)
class Walk:
    """The restarts of ``start`` on their way up ``objective``; what is drawn depends on ``seed`` alone."""

    start: Model
    objective: Objective
    stride: Stride
    seed: int = 0
    step: int = 0
    _state: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._coordinates = Coordinates(self.start, self.objective.frozen)
        vectors = self._coordinates.of(self.start)
        self._state = {"vectors": vectors, "mean": torch.zeros_like(vectors), "square": torch.zeros_like(vectors)}
        decays = torch.zeros_like(vectors[0])
        for name, block in self._coordinates.blocks.items():
            decays[block] = float(name.startswith("context."))
        self._decays = decays

    def advance(self, n_steps: int) -> tuple[Model, Tensor]:
        """The models after so many steps more, and the objective of the last batch (R,)."""
        for _ in range(n_steps):
            reached = self._one_step()
            self.objective.tell(reached)
        return self.model(), reached

    def model(self) -> Model:
        return self._coordinates.model(self._state["vectors"])

    def restart_at(self, model: Model) -> None:
        """Go on from models that others have moved."""
        self._state["vectors"] = self._coordinates.of(model)

    def _one_step(self) -> Tensor:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) % 2**63)
        batch = self._batch(generator)
        vectors = self._state["vectors"]
        here = self._slope(batch, vectors, generator)
        length = here.gradient.norm(dim=1, keepdim=True)
        gradient = here.gradient * (self.stride.max_norm / length.clamp(min=self.stride.max_norm))
        self.step += 1
        for name, power, value in (("mean", _MEMORY[0], gradient), ("square", _MEMORY[1], gradient**2)):
            self._state[name] = power * self._state[name] + (1.0 - power) * value
        spread = (self._state["square"] / (1.0 - _MEMORY[1] ** self.step)).sqrt() + _EPSILON
        toward = self._state["mean"] / (1.0 - _MEMORY[0] ** self.step) / spread
        rate = self.stride.rate(self.step - 1)
        moved = vectors + rate * (toward - self.stride.weight_decay * self._decays * vectors)
        self._state["vectors"] = projected(self._coordinates, batch, moved)
        return here.value

    def _slope(self, batch: Objective, vectors: Tensor, generator: torch.Generator) -> Slope:  # noqa: ARG002
        return slope(self._coordinates, batch, vectors)

    def _batch(self, generator: torch.Generator) -> Objective:
        """Some series, each counting for all that are left out, with dropout and heat."""
        n_series, wanted = self.objective.sequences.n_series, self.stride.batch
        own = replace(self.objective, drop=generator, temperature=self.stride.heat(self.step), watch=None)
        if wanted is None or wanted >= n_series:
            return own
        drawn = torch.randperm(n_series, generator=generator)[:wanted].sort().values.tolist()
        some = own.chosen(drawn)
        weight = torch.ones(wanted, dtype=torch.float64) if some.weight is None else some.weight
        return replace(some, weight=weight.to(some.sequences.values) * (n_series / wanted))

    def save(self, path: Path, looks: Looks) -> None:
        """Write where the walk is and what looks have told, so that :meth:`resumed` goes on to the same end."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        told = {
            "held": looks.held,
            "n_iter": looks.n_iter,
            "idle": looks.idle,
            "best": self._coordinates.of(looks.best),
        }
        told |= {"curve": torch.stack(looks.curve)}
        told["history"] = torch.stack(looks.history)
        kept = {name: value.detach().cpu().contiguous().clone() for name, value in {**self._state, **told}.items()}
        save_file(kept, new, metadata={"step": str(self.step), "made_for": self._made_for()})
        new.replace(path)

    def resumed(self, path: Path) -> Looks:
        """Go to where a walk of the same models, data and stride was saved; what looks had told by then.

        Raises ``ValueError`` for the file of another, or for none of ours.
        """
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is no checkpoint ({error}); remove it, or choose another folder.") from None
        if told.get("made_for") != self._made_for():
            raise ValueError(
                f"{path} is the checkpoint of another fit: data, model, seed or trainer differ; remove it, or choose "
                "another folder."
            )
        device = self._state["vectors"].device
        found = {name: value.to(device) for name, value in found.items()}
        self.step = int(told["step"])
        self._state = {name: found[name] for name in self._state}
        best, curve, history = (found[name] for name in ("best", "curve", "history"))
        return Looks(
            self._coordinates.model(best), found["held"], found["n_iter"], found["idle"], list(curve), list(history),
            self.step,
        )  # fmt: skip

    def _made_for(self) -> str:
        content = hashlib.sha256(repr(self._told()).encode())
        rows = self.objective.sequences
        for value in (rows.values, rows.observed, rows.offsets, rows.covariates, self._coordinates.origin()):
            if value is not None:
                content.update(value.detach().cpu().contiguous().numpy().tobytes())
        return content.hexdigest()

    def _told(self) -> tuple[object, ...]:
        """What its end depends on, beside data and first models."""
        return self.stride, self.seed, self._coordinates.blocks
