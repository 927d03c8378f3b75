"""One model of many units with tables of their own, which a law of the group holds together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.model import Model
from hsmm.errors import ConvergenceWarning, NotFittedError, warn
from hsmm.io.files import check_whole, read_manifest, read_tables, write
from hsmm.models.base import Estimator
from hsmm.models.hmm import HMM
from hsmm.models.hsmm import HSMM
from hsmm.models.many import load_models, save_models
from hsmm.models.parameters import Parameters, whole
from hsmm.models.queries import check_context
from hsmm.models.series import series_lengths
from hsmm.numerics import ordered_sum
from hsmm.sequences import Sequences
from hsmm.spelling import nearest
from hsmm.training.freezing import check_frozen
from hsmm.training.objective import Objective
from hsmm.training.partial_pooling import KINDS, PartiallyPooled, partially_pooled, unit_potentials
from hsmm.training.supervision import known_states
from hsmm.training.together import alone

FILE = "partial_pooling"
_FORMAT = 1
_MODELS = "models"
_GROUP = ""
_LARGEST = 1 << 24


class PartialPooling(Parameters):
    """Units with common emissions whose transitions, durations and first states are their own, about those of a group.

    Between one model for all and one for each: a unit follows the group's law as far as its own rows say nothing else.
    How far units differ is learnt, too. One that was not in the fit has the group's law.

    Parameters
    ----------
    model : HSMM or HMM
        What is fitted to all units together first, unless it is fitted already; then units go their own ways.
    own : sequence of str or None
        The tables of each unit's own: of "initial", "transition" and "duration". None is all that there are and that
        are learnt without a context.
    concentration : "learnt", float or mapping
        As how many moves, segments or first rows of each state the group's law counts in every unit: large pools
        all, small leaves each alone. A mapping gives it for some of the tables; that of the others is learnt.
    max_iter : int
        M-steps after which it stops.
    tol : float
        It stops when a round of EM gains less, in nats per observed row, and the strengths of the prior stay.

    After :meth:`fit`: ``group_`` (an estimator), ``units_`` (names), ``concentration_`` (by table),
    ``log_likelihood_`` (of all units under their own tables), ``history_`` (the objective, a list for each prior),
    ``n_iter_``, ``converged_``.

    Source: docs/maths/partial-pooling.md; Altman (2007), *Mixed hidden Markov models*, JASA 102.
    """

    def __init__(
        self,
        model: Estimator,
        *,
        own: Sequence[str] | None = None,
        concentration: Literal["learnt"] | float | Mapping[str, float] = "learnt",
        max_iter: int = 1000,
        tol: float = 1e-7,
    ) -> None:
        self.model = model
        self.own = own
        self.concentration = concentration
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, units: Any, lengths: Any = None, *, context: Any = None, states: Any = None) -> Self:
        """Learn the group's law and each unit's.

        ``units`` (n_samples,) name the unit of each row; the rows of one stand together. They are one series, or those
        that ``lengths`` cuts all rows into. ``context`` is what emissions read, ``states`` (n_samples,) are the states
        that are known, -1 where they are not.

        Raises ``ValueError`` for options and data that cannot be fitted; warns where it did not converge.
        """
        names, n_rows = _runs(units, len(X))
        sequences = Sequences.from_arrays(X, n_rows if lengths is None else lengths, context)
        owners = _owners(n_rows, sequences)
        return self.fit_sequences(sequences, [names[place] for place in owners.tolist()], states)

    def fit_sequences(self, sequences: Sequences, units: Sequence[Any], states: Any = None) -> Self:
        """:meth:`fit` for packed data, ``units`` being the name of each series."""
        self._check_numbers()
        names = list(dict.fromkeys(units))
        place = {name: i for i, name in enumerate(names)}
        owners = torch.tensor([place[name] for name in units])
        known = known_states(states, sequences, self.model.n_states)
        pooled: Estimator = self.model if "_model" in self.model.__dict__ else self._pooled(sequences, known)
        model = pooled._fitted_model()
        check_context(model, sequences)
        frozen = check_frozen(pooled._fitted_with.get("frozen", ()), model)
        kinds = self._kinds(model, frozen)
        found = partially_pooled(
            model,
            Objective(sequences, known, frozen=frozen),
            owners,
            kinds,
            self._strengths(kinds),
            max_iter=int(self.max_iter),
            tol=float(self.tol),
        )
        self._adopt(pooled, found, names, sequences)
        if not found.converged:
            warn(f"EM of the units stopped after {found.n_iter} steps; raise max_iter or tol.", ConvergenceWarning)
        return self

    def of(self, unit: Any) -> Estimator:
        """The estimator of a unit; of one that was not in the fit the group's."""
        own = self._fitted()
        return own.get(unit, self.group_)

    @property
    def units_(self) -> list[Any]:
        """The names of the units in the fit."""
        return list(self._fitted())

    def score(self, X: Any, units: Any, lengths: Any = None, *, context: Any = None) -> float:
        """Σ log p(series) under the tables of their units, in nats; of a new unit under the group's."""
        return float(sum(self.scores(X, units, lengths, context=context).values()))

    def scores(self, X: Any, units: Any, lengths: Any = None, *, context: Any = None) -> dict[Any, float]:
        """:meth:`score` of each unit alone."""
        self._fitted()
        names, n_rows = _runs(units, len(X))
        sequences = Sequences.from_arrays(X, n_rows if lengths is None else lengths, context)
        check_context(self.group_._fitted_model(), sequences)
        owners, models = _owners(n_rows, sequences), [self.of(name)._fitted_model() for name in names]
        joined = models[0].joined(*models[1:]).components()
        own = {kind: joined[kind] for kind in KINDS if kind in joined}
        p = unit_potentials(self.group_._fitted_model(), own, sequences, owners)
        reached = inference.log_partition(p)[0]
        return {name: float(ordered_sum(reached[owners == i])) for i, name in enumerate(names)}

    def permuted(self, order: Any) -> Self:
        """A copy whose state k is this one's state ``order[k]``, in the group and in every unit."""
        own = self._fitted()
        made = copy.copy(self)
        made.group_ = self.group_.permuted(order)
        made._own = _Lazily(list(own), lambda name: own[name].permuted(order))
        return made

    def save(self, folder: str | Path) -> Path:
        """Write what was fitted to a folder of safetensors and JSON; :func:`hsmm.load` reads it back."""
        own = self._fitted()
        if wrong := [name for name in own if not isinstance(name, str) or name == _GROUP]:
            raise ValueError(f"a unit is named {wrong[0]!r}; expected names that are text, to be saved under.")
        path = Path(folder)
        save_models(path / _MODELS, {_GROUP: self.group_, **own})
        told = {"concentration": self.concentration_, "n_iter": self.n_iter_, "converged": self.converged_}
        given = dict(self.concentration) if isinstance(self.concentration, Mapping) else self.concentration
        options = {
            "own": None if self.own is None else list(self.own), "concentration": given,
            "max_iter": int(self.max_iter), "tol": float(self.tol),
        }  # fmt: skip
        manifest = {"format": _FORMAT, "fit": told, "options": options}
        return write(path, FILE, manifest, {"log_likelihood": torch.tensor(self.log_likelihood_, dtype=torch.float64)})

    @classmethod
    def from_saved(cls, folder: str | Path) -> Self:
        """What :meth:`save` wrote. Raises ``ValueError`` for anything else."""
        path = Path(folder)
        told = read_manifest(path / f"{FILE}.json", _FORMAT, {"fit": dict, "options": dict}, largest=_LARGEST)
        models = load_models(path / _MODELS)
        try:
            group = models[_GROUP]
            made = cls(group, **told["options"])
            made._check_numbers()
            made.concentration_ = {str(kind): float(value) for kind, value in told["fit"]["concentration"].items()}
            made.n_iter_, made.converged_ = int(told["fit"]["n_iter"]), bool(told["fit"]["converged"])
            made.log_likelihood_ = float(read_tables(path / f"{FILE}.safetensors")["log_likelihood"])
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{folder} was saved with options that do not fit ({error}).") from None
        check_whole(path / f"{FILE}.safetensors", told)
        made.group_ = group
        made._own = _Lazily([name for name in models if name != _GROUP], models.__getitem__)
        return made

    def _pooled(self, sequences: Sequences, states: Tensor | None) -> Estimator:
        return alone(self.model.clone().fitting(sequences, states=states))

    def _adopt(self, pooled: Estimator, found: PartiallyPooled, names: list[Any], sequences: Sequences) -> None:
        groups = copy.copy(pooled)
        groups._model = found.group
        groups._remember_states(sequences)
        groups.log_likelihood_ = groups.score_sequences(sequences)
        place = {name: i for i, name in enumerate(names)}

        def made(name: Any) -> Estimator:
            one = torch.tensor([place[name]])
            own: dict[str, Any] = {kind: part.take(one) for kind, part in found.own.items()}
            single = pooled.clone()._adopt_loaded(
                replace(found.group, **own),
                {
                    "log_likelihood": float(found.log_likelihood[place[name]]),
                    "n_iter": found.n_iter,
                    "converged": found.converged,
                    "state_share": found.share[place[name]].tolist(),
                },
            )
            single._remember_features(sequences.features)
            return single

        self.group_, self._own = groups, _Lazily(names, made)
        self.concentration_, self.log_likelihood_ = dict(found.concentration), float(found.log_likelihood.sum())
        self.history_, self.n_iter_, self.converged_ = found.history, found.n_iter, found.converged

    def _fitted(self) -> Mapping[Any, Estimator]:
        if "_own" not in self.__dict__:
            raise NotFittedError("this PartialPooling is not fitted yet; call fit first.")
        return self._own

    def _check_numbers(self) -> None:
        if type(self.model) not in (HSMM, HMM):
            raise ValueError(f"model is a {type(self.model).__name__}; expected an hsmm.HSMM or an hsmm.HMM.")
        whole("max_iter", self.max_iter, 1)
        if not isinstance(self.tol, (int, float)) or not self.tol >= 0:
            raise ValueError(f"tol is {self.tol!r}; expected a number >= 0, in nats per observation.")
        if isinstance(self.own, str):
            raise ValueError(f"own is {self.own!r}; expected a list of names, such as [{self.own!r}].")
        given = self.concentration
        for value in given.values() if isinstance(given, Mapping) else [] if given == "learnt" else [given]:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < float("inf"):
                raise ValueError(f"concentration is {value!r}; expected a finite number > 0, or 'learnt'.")

    def _kinds(self, model: Model, frozen: frozenset[str]) -> tuple[str, ...]:
        """The tables of each unit's own. Raises ``ValueError`` for those that cannot be."""
        if model.context is not None or model.initial.follows_transition:
            what = f"initial {model.initial.name!r}" if model.context is None else f"an encoder ({model.context.name})"
            raise ValueError(f"the model has {what}, for which units cannot have tables of their own; leave it out.")
        parts = {kind: part for kind, part in model.components().items() if kind in KINDS}
        if together := [kind for kind, part in parts.items() if not part.states_are_apart]:
            raise ValueError(
                f"the {together[0]} is {parts[together[0]].name!r}, whose states share their parameters, so that units "
                "cannot have tables of their own; choose another family, such as 'dense'."
            )
        able = [
            kind
            for kind, part in parts.items()
            if not part.uses_covariates and part.n_parameters() > 0 and kind not in frozen
        ]
        if self.own is not None:
            for kind in self.own:
                if kind not in able:
                    raise ValueError(
                        f"own names {kind!r}; expected some of {', '.join(able) or 'none'}, the tables of this model "
                        f"that are learnt and read no context{nearest(kind, able)}"
                    )
        kinds = tuple(kind for kind in KINDS if kind in (able if self.own is None else self.own))
        reading = [kind for kind, part in parts.items() if part.uses_covariates]
        if reading or not kinds:
            raise ValueError(
                f"the {reading[0]} follows a context, which the tables of units cannot yet stand beside; let the "
                "emission read it."
                if reading
                else "no table can be a unit's own: none is learnt; leave some of them free."
            )
        return kinds

    def _strengths(self, kinds: tuple[str, ...]) -> dict[str, float]:
        given = self.concentration
        if given == "learnt":
            return {}
        if not isinstance(given, Mapping):
            return dict.fromkeys(kinds, float(given))
        if unknown := [kind for kind in given if kind not in kinds]:
            raise ValueError(f"concentration names {unknown[0]!r}; expected some of {', '.join(kinds)}.")
        return {kind: float(value) for kind, value in given.items()}


class _Lazily(Mapping[Any, Estimator]):
    """Estimators by name, each made when it is asked for."""

    def __init__(self, names: Sequence[Any], make: Callable[[Any], Estimator]) -> None:
        self._names, self._make = dict.fromkeys(names), make

    def __getitem__(self, name: Any) -> Estimator:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[Any]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _runs(units: Any, n_rows: int) -> tuple[list[Any], np.ndarray]:
    """The units in the order of their rows, and how many rows each has."""
    lengths = series_lengths(None, units, range(n_rows), "units")
    starts = np.r_[0, lengths.cumsum()[:-1]]
    return np.asarray(units)[starts].tolist(), lengths


def _owners(n_rows: np.ndarray, sequences: Sequences) -> Tensor:
    """(S,) the place of each series' unit. Raises ``ValueError`` where a series has rows of two."""
    ends = np.r_[0, n_rows.cumsum()]
    bounds = sequences.offsets.numpy()
    found = np.searchsorted(ends, bounds[:-1], side="right") - 1
    for series, (place, (_, stop)) in enumerate(zip(found, pairwise(bounds.tolist()), strict=True)):
        if stop > ends[place + 1]:
            raise ValueError(f"series {series} has rows of two units; cut series where units end.")
    return torch.from_numpy(found)
