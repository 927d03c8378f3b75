"""What every estimator does: scikit-learn's manners over components, training and inference."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from hsmm.components.context import Encoder
from hsmm.components.emission import Emission
from hsmm.components.initial import Initial
from hsmm.components.model import Model
from hsmm.components.register import resolve
from hsmm.components.transition import Transition
from hsmm.errors import (
    ConvergenceWarning,
    DataWarning,
    DeviceMemoryError,
    ImpossibleDataError,
    IntervalWarning,
    NotFittedError,
    warn,
)
from hsmm.io import save_model
from hsmm.models.devices import Device, check_device, too_little_memory, torch_device
from hsmm.models.diagnostics import Diagnostics
from hsmm.models.effects import Effects
from hsmm.models.intervals import METHODS, Method, bootstrap_table, information_table
from hsmm.models.online import OnlineLearning
from hsmm.models.parameters import Parameters, RandomState, check_random_state, seed_from, whole
from hsmm.models.predictive import ENOUGH, exits, seen_exits
from hsmm.models.progress import Callback, check_verbose, watcher
from hsmm.models.queries import check_context, known_states_of
from hsmm.models.routing import Routed, y_may_stand_second
from hsmm.models.series import series_lengths, series_weight
from hsmm.models.shown import Displayed
from hsmm.models.summary import require_data, shares, state_table, with_std_errors
from hsmm.sequences import Sequences
from hsmm.spelling import nearest
from hsmm.training.em import FALL_TOLERANCE
from hsmm.training.encoded import fitting_encoded
from hsmm.training.first import check_start, has_values
from hsmm.training.freezing import check_frozen, n_learnt
from hsmm.training.guide import Guided
from hsmm.training.memory import machine_memory
from hsmm.training.objective import Objective
from hsmm.training.race import BestFit
from hsmm.training.restarts import fitting_restarts
from hsmm.training.supervision import known_states
from hsmm.training.together import Fitting, alone
from hsmm.training.trainers import Trainer, described, resolve_trainer

_SUMMARY = ("log_likelihood", "n_iter", "converged")
_OF_STATES = ("state_share", "exits")


class Estimator(Parameters, Routed, OnlineLearning, Diagnostics, Effects, Displayed):
    """Base of the estimators: parameters by introspection, fitting by EM from many starts, and every query.

    X is (n_samples, n_features): NumPy, torch, polars or pandas; one dimension is one feature, NaN is missing.
    ``lengths`` cuts it into series, which never influence each other but for sharing parameters; ``groups``
    (n_samples,), the name of each row's series, may stand in its place, so that scikit-learn can split by it.
    """

    regresses: ClassVar[bool] = False
    unconverged: ClassVar[type[ConvergenceWarning]] = ConvergenceWarning
    observes: ClassVar[str] = "X"
    routes: ClassVar = {
        "fit": ("lengths", "groups", "context", "states", "sample_weight", "callback"),
        "score": ("lengths", "groups", "context", "sample_weight"),
        **dict.fromkeys(("predict", "predict_proba"), ("lengths", "groups", "context")),
    }

    n_states: int
    emission: str | Emission
    transition: str | Transition
    initial: str | Initial
    context: str | Encoder | None = None
    n_init: int
    max_iter: int
    tol: float
    random_state: RandomState
    device: Device
    trainer: str | Trainer = "em"
    frozen: Sequence[str] = ()
    verbose: int = 0
    _guide: Model | None = None

    @y_may_stand_second
    def fit(
        self,
        X: Any,
        lengths: Any = None,
        y: None = None,
        *,
        groups: Any = None,
        context: Any = None,
        start: Estimator | None = None,
        states: Any = None,
        sample_weight: Any = None,
        callback: Callback | None = None,
    ) -> Self:
        """Estimate the parameters, keeping the best of ``n_init`` restarts.

        ``context`` (n_samples, n_context) is what components that depend on covariates read; it may not be missing.

        ``start``, a fitted estimator of the same structure, stands for the first of the restarts; its values are those
        of the tables named in ``frozen``.

        ``states`` (n_samples,) int are the states that are known, -1 where they are not. Known states keep their
        numbers.

        ``sample_weight`` (n_series,), or (n_samples,) if constant within each series, says how often a series counts.

        ``callback`` is called with a :class:`~hsmm.models.progress.Progress` after each iteration.

        ``y`` is there for scikit-learn and must be None: give its searches no target.

        Raises ``ValueError`` for data or options that cannot be fitted; warns of odd data, of a fit that has not
        converged, and of durations that press against a wall.
        """
        if y is not None:
            raise ValueError("y is given, but hidden states are not known in advance; leave it out.")
        sequences = Sequences.from_arrays(X, series_lengths(lengths, groups, X), context)
        known = known_states(states, sequences, self.n_states)
        weight = series_weight(sample_weight, sequences)
        return alone(self.fitting(sequences, start=start, states=known, weight=weight, callback=callback))

    def fitting(
        self,
        sequences: Sequences,
        *,
        start: Estimator | None = None,
        states: Tensor | None = None,
        weight: Tensor | None = None,
        callback: Callback | None = None,
    ) -> Fitting[Self]:
        """:meth:`fit` for packed data, to be run alone or together with others.

        ``states`` (N,) are the known states, ``weight`` (S,) is that of each series.
        """
        self.check_options()
        structure = self._structure()
        check_context(structure, sequences)
        objective = Objective(sequences, states, weight, check_frozen(self.frozen, structure)).present()
        used = objective.sequences
        if used.n_rows < self.n_states:
            raise ValueError(f"X has {used.n_rows} rows for {self.n_states} states; give more data or fewer states.")
        used.refuse_underflow(self.observes)
        used.warn_of_odd_data(self.observes)
        seed = seed_from(self.random_state)
        try:
            packed = objective.in_canonical_order().to(torch_device(self.device))
            packed = replace(packed, watch=watcher(self.verbose, callback))
            first = None if start is None else start.model_for(structure)
            best = yield from self._searching(structure, packed, seed, first)
        except torch.cuda.OutOfMemoryError:
            raise DeviceMemoryError(too_little_memory(self.device, used.n_rows, self.n_states)) from None
        except ImpossibleDataError as error:
            raise ImpossibleDataError(self._why_impossible(objective) or str(error)) from None
        self._adopt(best, structure, objective)
        self._remember_features(sequences.features)
        self._remember_states(sequences)
        self._fitted_with["random_state"] = seed
        if not objective.is_plain or used is not sequences:
            self.log_likelihood_ = self.score_sequences(sequences)
        self._warn_of_fit(best, packed.sequences)
        return self

    def _remember_states(self, sequences: Sequences) -> None:
        """``state_share_`` and ``exits_`` (K,): each state's part of the rows, and how often it was left."""
        known = known_states_of(self._potentials(sequences))
        self.state_share_, self.exits_ = shares(known.state[0]), exits(self._fitted_model(), known, sequences)

    def _seen_exits(self, X: Any, lengths: Any, context: Any) -> Tensor:
        """(1, K) how often states were left in X, or where it is None in the rows of the fit."""

        def counted() -> np.ndarray:
            sequences = self._sequences(X, lengths, context)
            return exits(self._fitted_model(), known_states_of(self._potentials(sequences)), sequences)

        return seen_exits(self.__dict__.get("exits_"), None if X is None else counted)

    @property
    def can_predict_durations(self) -> bool:
        """Whether :meth:`hsmm.HSMM.with_predictive_durations` can be asked."""
        return False

    def _warn_of_few_stays(self) -> None:
        stays = self.__dict__.get("exits_")
        if stays is None or len(stays) < 2 or stays.min() >= ENOUGH or self.__dict__.get("_told_of_few_stays"):
            return
        self._told_of_few_stays = True
        if self.can_predict_durations:
            warn(
                f"state {stays.argmin()} was seen to end {stays.min():.2g} times, too seldom for the fitted law to "
                "be as sure of the time left as it is; ask model.with_predictive_durations(), which allows for that.",
                IntervalWarning,
            )

    def model_for(self, structure: Model) -> Model:
        """The fitted model, to start one of this structure from. Raises ``ValueError`` where it is of another."""
        model = self._fitted_model()
        check_start(structure, model)
        return model

    def summary(
        self,
        X: Any = None,
        lengths: Any = None,
        *,
        context: Any = None,
        groups: Any = None,
        std_errors: bool = False,
    ) -> pl.DataFrame:
        """One row a state: its share of the rows, how long it lasts on average, and how it emits each feature.

        "mean_…" and "sd_…" of each feature, where the family has them, otherwise its parameters by name. Shares are
        posterior, of the rows of the fit, or of those given.

        With ``std_errors`` each of these but the shares has a column "…_se", from the curvature of the log-likelihood
        and log-prior at the estimate by the delta method, for which X must be the data of the fit. NaN is what these
        do not determine.
        """
        model, features = self._fitted_model(), self.feature_labels
        if X is None:
            if std_errors:
                require_data(X)
            return state_table(model, self.__dict__.get("state_share_"), features)
        sequences = self._sequences(X, lengths, context, groups)
        table = state_table(model, shares(self.smooth_sequences(sequences)), features)
        if not std_errors:
            return table
        return with_std_errors(table, model, sequences, self.frozen_names(), features)

    def confidence_intervals(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        method: Method = "information",
        level: float = 0.95,
        n_samples: int = 200,
        random_state: RandomState = None,
    ) -> pl.DataFrame:
        """How well the data of the fit determine each learnt parameter.

        One row a number: parameter ("table.name"), state (the first index of states), index (the others), estimate,
        std_error, low, high; between low and high with probability ``level``.

        "information" takes the curvature of the log-likelihood and log-prior at the estimate, and intervals on the
        scale of logits for probabilities and of logarithms for positive numbers; what the data do not determine, and
        probabilities on their boundary, are NaN, with an ``IntervalWarning``. "profile" goes to where the objective has
        fallen too low, all other parameters following: dearer, and without a choice of scale.
        "bootstrap" refits ``n_samples`` simulated data sets of the same size from the estimate, matches their states,
        and takes quantiles.
        """
        if method not in METHODS:
            raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}{nearest(method, METHODS)}")
        if not 0.0 < level < 1.0:
            raise ValueError(f"level is {level!r}; expected a probability between 0 and 1.")
        sequences = self._sequences(X, lengths, context)
        if method != "bootstrap":
            profiled = method == "profile"
            return information_table(self._fitted_model(), sequences, self.frozen_names(), level, profiled=profiled)
        seed = seed_from(self.random_state if random_state is None else random_state)
        return bootstrap_table(self, sequences, level, whole("n_samples", n_samples, 2), seed)

    def frozen_names(self) -> frozenset[str]:
        """What the fit left as it was."""
        return check_frozen(self._fitted_with.get("frozen", ()), self._fitted_model())

    def check_options(self) -> None:
        """Raise ``ValueError`` for an option that no data could make right."""
        self._check_numbers()
        structure = self._structure()
        resolve_trainer(self.trainer).check(structure, check_frozen(self.frozen, structure))

    def _check_numbers(self) -> None:
        whole("n_states", self.n_states, 1)
        whole("n_init", self.n_init, 1)
        whole("max_iter", self.max_iter, 1)
        check_random_state(self.random_state)
        check_verbose(self.verbose)
        if not isinstance(self.tol, (int, float)) or not self.tol >= 0:
            raise ValueError(f"tol is {self.tol!r}; expected a number >= 0, in nats per observation.")
        check_device(self.device)

    def _check_memory(self, longest: int = 1) -> None:
        """Raise ``ValueError`` where the tables of all restarts alone need more than half of the machine's memory."""
        needed = 8 * self.n_init * self.n_states * (self.n_states + 8 * (longest + 1))
        memory = machine_memory()
        if needed > memory // 2:
            raise ValueError(
                f"{self.n_init} restarts of {self.n_states} states with {longest} durations need about "
                f"{needed / 1e9:.1f} GB of tables; this machine has {memory / 1e9:.1f} GB. Lower max_duration or "
                "n_init, or the number of states."
            )

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model to a folder of safetensors and JSON; :func:`hsmm.load` reads it back."""
        return save_model(folder, self._fitted_model(), {**self._details(), "fit": self._fit_summary()})

    def _details(self) -> dict[str, Any]:
        """What :func:`hsmm.load` makes an estimator of, besides its model and what its fit came to."""
        params = {name: v.item() if isinstance(v, np.generic) else v for name, v in self._fitted_with.items()}
        options: dict[str, Any] = {
            name: value for name, value in params.items() if isinstance(value, (int, float, str))
        }
        options |= {name: described(params[name]) for name in ("trainer", "training") if name in params}
        options |= {"frozen": list(params["frozen"])} if "frozen" in params else {}
        names = self.__dict__.get("feature_names_in_")
        features = None if names is None else names.tolist()
        return {"estimator": type(self).__name__, "options": options, "features": features}

    def _fit_summary(self) -> dict[str, Any] | None:
        """What its fit came to; None of a model that was made with known parameters."""
        summary = {name: getattr(self, f"{name}_") for name in _SUMMARY} if hasattr(self, "log_likelihood_") else None
        if summary is not None:
            summary |= {name: getattr(self, f"{name}_").tolist() for name in self._known_of_states()}
        return summary

    def _known_of_states(self) -> list[str]:
        return [name for name in _OF_STATES if f"{name}_" in self.__dict__]

    def permuted(self, order: Any) -> Self:
        """A copy of the fitted model whose state k is this one's state ``order[k]``, in every table."""
        model = self._fitted_model()
        wanted = np.asarray(order)
        n_states = model.transition.n_states
        if wanted.ndim != 1 or wanted.tolist() != np.argsort(np.argsort(wanted)).tolist() or len(wanted) != n_states:
            raise ValueError(f"order is {wanted.tolist()}; expected each state from 0 to {n_states - 1} once.")
        made = copy.copy(self)
        made._model = model.permuted(torch.from_numpy(wanted.astype(np.int64)))
        for name in self._known_of_states():
            setattr(made, f"{name}_", getattr(self, f"{name}_")[wanted])
        return made

    @property
    def uses_context(self) -> bool:
        """Whether a component of this model reads ``context``."""
        return self._structure().uses_covariates

    @property
    def is_countable(self) -> bool:
        """Whether the number of free parameters says how closely this model can follow data."""
        return self._structure().is_countable

    def describe(self) -> dict[str, Any]:
        """What sets this candidate apart: number of states, the families' names, and the emission's particulars."""
        law = resolve("emission", self.emission)
        encoder = {} if self.context is None else {"context": _name(self.context)}
        named = {"n_states": self.n_states, "emission": _name(self.emission), "duration": "none", **encoder}
        return {**named, **law.particulars()}

    def for_rows(self, X: Any, y: Any) -> Self:  # noqa: ARG002 - what y is explained by has no further form here
        """This candidate, ready for packed rows of y beside X."""
        return self

    @property
    def emission_(self) -> Emission:
        """The fitted emission component."""
        return self._fitted_model().emission

    @property
    def initial_prob_(self) -> np.ndarray:
        """(K,) P(first state); where it depends on context, that of the mean context in the fit."""
        law = self._fitted_model().initial
        return law.fitted("probability") if "probability" in law.parameters else law.log_potentials()[0].exp().numpy()

    @property
    def transition_prob_(self) -> np.ndarray:
        """(K, K) P(next state | state); where it depends on context, that of the mean context in the fit."""
        return self._fitted_model().transition.typical()[0].numpy()

    @property
    def transition_(self) -> Transition:
        """The fitted transition component."""
        return self._fitted_model().transition

    @property
    def seed_(self) -> int:
        """The seed of the fit."""
        self._fitted_model()
        return seed_from(self._fitted_with["random_state"])

    @property
    def n_features_in_(self) -> int:
        """Features seen in fit."""
        return self._fitted_model().emission.n_features

    @property
    def n_parameters_(self) -> int:
        """Parameters that were learnt, for the information criteria."""
        return n_learnt(self._fitted_model(), self.frozen_names())

    @property
    def restarts_(self) -> pl.DataFrame:
        """One row a restart: seed, kind of start, iterations, objective, why it stopped."""
        return pl.DataFrame([vars(restart) for restart in self._best_fit().restarts])

    @property
    def history_(self) -> np.ndarray:
        """Objective (penalised log-likelihood) of the best restart before each M-step and at the end."""
        return self._best_fit().history.numpy()

    @property
    def curves_(self) -> pl.DataFrame:
        """One row a look of the best restart of a model with an encoder: the objective of the rows that it learnt from,
        and the log-likelihood "held_out" of the others, for which it was chosen. Empty for other models."""
        return pl.DataFrame(self._best_fit().curves or {"objective": [], "held_out": []})

    def _searching(self, structure: Model, objective: Objective, seed: int, start: Model | None) -> Fitting[BestFit]:
        """The best of all restarts."""
        judged = self._is_judged_by_rows_held_out(structure, objective.frozen)
        fitting = fitting_encoded if judged else fitting_restarts
        return fitting(
            structure,
            objective,
            n_states=self.n_states,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
            seed=seed,
            start=start,
            trainer=resolve_trainer(self.trainer),
        )

    def _is_judged_by_rows_held_out(self, structure: Model, frozen: frozenset[str]) -> bool:
        """Whether what is learnt could follow any data, so that restarts are ranked by rows that none has seen."""
        return any(kind not in frozen and not part.is_countable for kind, part in structure.components().items())

    @abstractmethod
    def _structure(self) -> Model:
        """The components and flags, without parameters."""

    def _shared_components(self) -> dict[str, Any]:
        kinds = ["initial", "transition", "emission", *(["context"] if self.context is not None else [])]
        return {kind: resolve(kind, getattr(self, kind)) for kind in kinds}

    def _adopt(self, best: BestFit, structure: Model, objective: Objective) -> None:
        self._fitted_with = self.get_params()
        model = best.model.to(torch.device("cpu"))
        anew = self._numbers_anew(model, structure, objective)
        named = model.permuted(model.emission.order()) if anew else model
        self._model, self._guide = named.apart() if isinstance(named, Guided) else (named, None)
        self._best = best
        self.log_likelihood_ = best.log_likelihood
        self.n_iter_ = best.n_iter
        self.converged_ = best.converged

    def _numbers_anew(self, model: Model, structure: Model, objective: Objective) -> bool:
        """Whether states take the numbers of their order, because none was given one."""
        numbered = objective.states is not None or bool(objective.frozen) or has_values(structure)
        return model.is_exchangeable and not numbered

    def _adopt_loaded(
        self, model: Model, summary: Mapping[str, Any] | None, features: Sequence[str] | None = None
    ) -> Self:
        self._model, self._fitted_with = model, self.get_params()
        self._remember_features(None if features is None else _names(features, model.emission.n_features))
        if summary is not None:
            self.log_likelihood_ = float(summary["log_likelihood"])
            self.n_iter_ = int(summary["n_iter"])
            self.converged_ = bool(summary["converged"])
            for name in _OF_STATES:
                if name in summary:
                    setattr(self, f"{name}_", np.array(summary[name], dtype=np.float64))
        return self

    def _why_impossible(self, objective: Objective) -> str | None:  # noqa: ARG002 - without durations there is no more
        """What in these data no parameters could make possible, in a sentence; None if nothing is known."""
        return None

    def _warn_of_fit(self, best: BestFit, sequences: Sequences) -> None:
        if not best.converged and self.tol > 0:
            warn(
                f"the best restart made {best.n_iter} iterations without converging to tol={self.tol:g}; "
                f"raise {resolve_trainer(self.trainer).limit}, or tol.",
                self.unconverged,
            )
        if best.fall > FALL_TOLERANCE:
            warn(
                f"the objective fell by {best.fall:.1e} relative in one iteration, more than rounding explains.",
                ConvergenceWarning,
            )
        if best.collapsed:
            warn(
                f"the best restart has a state of floored variance: {best.model.emission.degeneracy(sequences)}.",
                ConvergenceWarning,
            )
        if best.set_aside > 0:
            warn(
                f"a restart of objective {best.objective + best.set_aside:.2f} was set aside for one of "
                f"{best.objective:.2f}: it owes its height to a state that lives on few distinct values. If those are "
                "a regime, name their rows by states=; if they are repeats or rounding, mark them missing (NaN).",
                ConvergenceWarning,
            )
        for caution in best.model.emission.cautions(sequences):
            warn(caution, DataWarning)

    def _best_fit(self) -> BestFit:
        if not hasattr(self, "_best"):
            raise NotFittedError("only a model fitted in this process knows its restarts; call fit.")
        return self._best


def _names(features: Any, n_features: int) -> list[str]:
    if len(features) != n_features or not all(isinstance(name, str) for name in features):
        raise TypeError(f"features are {features!r}; expected {n_features} names")
    return list(features)


def _name(choice: Any) -> str:
    return choice if isinstance(choice, str) else getattr(choice, "name", str(choice))
