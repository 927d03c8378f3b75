"""The deep state-space model with categorical states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch

from hsmm.components.context import Encoder
from hsmm.components.emission import Neural as NeuralEmission
from hsmm.components.initial import Initial
from hsmm.components.model import Model
from hsmm.components.transition import Neural as NeuralTransition
from hsmm.errors import NotFittedError
from hsmm.io import load_model, save_model
from hsmm.models.devices import Device
from hsmm.models.hmm import Memoryless
from hsmm.models.parameters import RandomState
from hsmm.sequences import Sequences
from hsmm.spelling import nearest
from hsmm.training.guide import lower_bound
from hsmm.training.objective import Objective
from hsmm.training.race import BestFit
from hsmm.training.trainers import AdamW, Trainer, Variational, resolve_trainer

TRAININGS = ("exact", "variational")
GUIDE = "guide"

_PATIENCE = 15  # looks, of a training that is given by name
_BATCH = 32  # series, where a step of it runs through recurrent units


class DSSM(Memoryless):
    """Deep state-space model: categorical states whose moves and normal emissions are made by networks.

    Of a state that is one of K, the network of the moves is a K x K table, so that likelihood, posteriors and likely
    paths are exact however it was learnt. With an encoder of the series' own past as ``context``, such as
    ``hsmm.context.GRU(source="x")``, there is a table for each row, and dynamics switch with a long memory.

    Parameters
    ----------
    n_states : int
        Number of hidden states.
    transition_hidden, emission_hidden : int
        Units of the networks' hidden layers, at least as many as states.
    scale : str or float
        Standard deviations of the values: "state", learnt for each state; "shared", learnt for all together; or a
        number, in the unit of the data.
    penalty : float
        Of a ridge on the weights of networks that read a context, as a log-prior.
    initial : str or Initial
        The name of a family, or an object of ``hsmm.initials``.
    context : str, Encoder or None
        What makes features of the series' past, or of ``fit``'s ``context``, for both networks: the name of a family,
        or an object of ``hsmm.context``.
    training : str or Trainer
        "exact" climbs the marginal likelihood, "variational" a lower bound beside a guide that is learnt, too; or an
        object of ``hsmm.trainers``, such as ``hsmm.trainers.Variational(relaxation="soft")``.
    n_init : int
        Restarts, side by side.
    max_iter : int
        Steps of a training that is given by name.
    tol : float
        By how much, in nats per observed row, a look at the rows held out must be better than all before.
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None
        The same seed and data give the same bits on the same machine.
    device : str
        "cpu", "cuda", or "auto", which is the CPU.
    verbose : int
        1 writes every tenth iteration of a fit to standard output, 2 each, 0 nothing.

    A fifth of the rows is held out, whole series where there are five or more: each restart stops where it foretells
    them best by the exact likelihood, and the best there is kept.

    Source: docs/maths/dssm.md.
    """

    def __init__(
        self,
        n_states: int = 2,
        *,
        transition_hidden: int = 32,
        emission_hidden: int = 32,
        scale: Literal["state", "shared"] | float = "state",
        penalty: float = 0.1,
        initial: str | Initial = "free",
        context: str | Encoder | None = None,
        training: str | Trainer = "exact",
        n_init: int = 8,
        max_iter: int = 300,
        tol: float = 1e-8,
        random_state: RandomState = 0,
        device: Device = "auto",
        verbose: int = 0,
    ) -> None:
        self.n_states = n_states
        self.transition_hidden = transition_hidden
        self.emission_hidden = emission_hidden
        self.scale = scale
        self.penalty = penalty
        self.initial = initial
        self.context = context
        self.training = training
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @property
    def transition(self) -> NeuralTransition:  # type: ignore[override]
        """The network of the moves, as it is before a fit."""
        return NeuralTransition(hidden=self.transition_hidden, **self._reading())

    @property
    def emission(self) -> NeuralEmission:  # type: ignore[override]
        """The network of the values, as it is before a fit."""
        return NeuralEmission(hidden=self.emission_hidden, scale=self.scale, **self._reading())

    @property
    def trainer(self) -> Trainer:  # type: ignore[override]
        """What ``training`` stands for."""
        if self.training == "exact":
            return AdamW(n_steps=self.max_iter, patience=_PATIENCE, batch=None if self.context is None else _BATCH)
        if self.training == "variational":
            return Variational(n_steps=self.max_iter, patience=_PATIENCE, batch=_BATCH)
        if isinstance(self.training, str):
            raise ValueError(
                f"training is {self.training!r}; expected one of {', '.join(TRAININGS)}, or an object of hsmm.trainers"
                f"{nearest(self.training, TRAININGS)}"
            )
        return resolve_trainer(self.training)

    def lower_bound(self, X: Any, lengths: Any = None, *, context: Any = None, groups: Any = None) -> float:
        """Σ E log p(series, states) - E log q(states) over the paths of the guide, in nats: at most :meth:`score`.

        Raises ``NotFittedError`` where no guide was learnt, that is after other training than "variational".
        """
        guide = self._fitted_guide()
        sequences = self._sequences(X, lengths, context, groups)
        return float(lower_bound(self._fitted_model(), guide, sequences).sum())

    def permuted(self, order: Any) -> Self:
        made = super().permuted(order)
        if self._guide is not None:
            made._guide = self._guide.permuted(torch.as_tensor(order))
        return made

    def save(self, folder: str | Path) -> Path:
        path = super().save(folder)
        if self._guide is not None:
            save_model(path / GUIDE, self._guide, {"lower_bound": self.lower_bound_})
        return path

    @classmethod
    def from_saved(cls, folder: str | Path, model: Model, details: Mapping[str, Any]) -> Self:
        """The estimator that :meth:`save` wrote."""
        options = dict(details["options"])
        if isinstance(options["training"], dict):
            options["training"] = resolve_trainer(options["training"])
        context = None if model.context is None else model.context.bare()
        made = cls(**{"initial": model.initial.bare(), "context": context, **options})
        if (Path(folder) / GUIDE).exists():
            made._guide, told = load_model(Path(folder) / GUIDE)
            made.lower_bound_ = float(told["lower_bound"])
        for kind in ("transition", "emission"):
            if type(model.components()[kind]) is not type(getattr(made, kind)):
                raise TypeError(f"its {kind} is {model.components()[kind].name!r}")
        return made._adopt_loaded(model, details["fit"], details["features"])

    def _reading(self) -> dict[str, Any]:
        return {"penalty": self.penalty, "reads_context": self.context is not None}

    def _is_judged_by_rows_held_out(self, structure: Model, frozen: frozenset[str]) -> bool:  # noqa: ARG002 - always
        return True

    def _adopt(self, best: BestFit, structure: Model, objective: Objective) -> None:
        super()._adopt(best, structure, objective)
        self.__dict__.pop("lower_bound_", None)
        if self._guide is not None:
            rows: Sequences = objective.sequences.to(torch.device("cpu"))
            bounds = lower_bound(self._model, self._guide, rows)
            weight = None if objective.weight is None else objective.weight.cpu()
            self.lower_bound_ = float((bounds if weight is None else bounds * weight).sum())

    def _fitted_guide(self) -> Model:
        self._fitted_model()
        if self._guide is None:
            raise NotFittedError("no guide was learnt beside this model; fit it with training='variational'.")
        return self._guide
