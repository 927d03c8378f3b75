"""What every estimator does: scikit-learn's manners over components, training and inference."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.emission import Emission
from hsmm.components.families import resolve
from hsmm.components.initial import Initial
from hsmm.components.model import Model
from hsmm.components.transition import Dense
from hsmm.errors import ConvergenceWarning, DataWarning, ImpossibleDataError, NotFittedError
from hsmm.io import save_model
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences
from hsmm.training.em import FALL_TOLERANCE
from hsmm.training.restarts import BestFit, fit_restarts

Device = Literal["auto", "cpu", "cuda"]

_SUMMARY = ("log_likelihood", "n_iter", "converged")


class Estimator:
    """Base of the estimators: parameters by introspection, fitting by EM from many starts, and every query.

    X is (n_samples, n_features): NumPy, torch or polars; one dimension is one feature, NaN is missing. ``lengths``
    cuts it into series, which never influence each other but for sharing parameters.
    """

    n_states: int
    emission: str | Emission
    transition: str | Dense
    initial: str | Initial
    n_init: int
    max_iter: int
    tol: float
    random_state: int
    device: Device

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - components are values, not estimators
        """Constructor arguments by name."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; the fit, if any, stays as it was."""
        known = self._parameter_names()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; expected one of {', '.join(known)}."
                )
            setattr(self, name, value)
        return self

    def clone(self) -> Self:
        """An unfitted copy."""
        return type(self)(**copy.deepcopy(self.get_params()))

    def fit(self, X: Any, lengths: Any = None, y: None = None) -> Self:
        """Estimate all parameters by EM, keeping the best of ``n_init`` restarts.

        ``y`` is there for scikit-learn and must be None: give its searches no target.

        Raises ``ValueError`` for data or options that cannot be fitted; warns of odd data, of a fit that has not
        converged, and of durations that press against a wall.
        """
        if y is not None:
            raise ValueError("y is given, but hidden states are not known in advance; leave it out.")
        return self.fit_sequences(Sequences.from_arrays(X, lengths))

    def fit_sequences(self, sequences: Sequences) -> Self:
        """:meth:`fit` for packed data."""
        self.check_options()
        if sequences.n_rows < self.n_states:
            raise ValueError(
                f"X has {sequences.n_rows} rows for {self.n_states} states; give more data or fewer states."
            )
        sequences.warn_of_odd_data()
        packed = sequences.in_canonical_order().to(self._torch_device())
        best = fit_restarts(
            self._structure(),
            packed,
            n_states=self.n_states,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
            seed=self.random_state,
        )
        self._adopt(best)
        self._warn_of_fit(best, packed)
        return self

    def check_options(self) -> None:
        """Raise ``ValueError`` for an option that no data could make right."""
        self._check_numbers()
        self._structure()

    def _check_numbers(self) -> None:
        whole("n_states", self.n_states, 1)
        whole("n_init", self.n_init, 1)
        whole("max_iter", self.max_iter, 1)
        whole("random_state", self.random_state, 0)
        if not isinstance(self.tol, (int, float)) or not self.tol >= 0:
            raise ValueError(f"tol is {self.tol!r}; expected a number >= 0, in nats per observation.")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device is {self.device!r}; expected 'auto', 'cpu' or 'cuda'.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is 'cuda', but this machine has none that torch can use; choose 'auto' or 'cpu'.")

    def score(self, X: Any, lengths: Any = None) -> float:
        """Σ log p(series), in nats; -inf, with a warning that says where, if a series is impossible."""
        sequences = self._sequences(X, lengths)
        total = self.score_sequences(sequences)
        if total == -np.inf:
            warnings.warn(_impossible(self._potentials(sequences)), DataWarning, stacklevel=2)
        return total

    def score_sequences(self, sequences: Sequences) -> float:
        """:meth:`score` for packed data."""
        return float(inference.log_partition(self._potentials(sequences)).sum())

    def log_joint(self, sequences: Sequences) -> float:
        """Σ log p(series, its most probable segments), in nats."""
        return float(inference.viterbi(self._potentials(sequences)).log_probability.sum())

    def predict(self, X: Any, lengths: Any = None) -> np.ndarray:
        """States of the most probable segments (Viterbi): int64 (n_samples,)."""
        p = self._query(X, lengths)
        decoded = inference.viterbi(p)
        refuse_impossible(p, decoded.log_probability.isfinite())
        return decoded.states[0].numpy()

    def predict_proba(self, X: Any, lengths: Any = None) -> np.ndarray:
        """p(state_t | all of the series): (n_samples, n_states). Uses the future: never for decisions at t."""
        p = self._query(X, lengths)
        posterior = inference.posterior(p)
        refuse_impossible(p, posterior.log_likelihood.isfinite())
        return posterior.state[0].numpy()

    def filter_proba(self, X: Any, lengths: Any = None) -> np.ndarray:
        """p(state_t | the series up to t), causal: (n_samples, n_states)."""
        return self._filtered(self._query(X, lengths)).numpy()

    def log_density(self, X: Any, lengths: Any = None) -> np.ndarray:
        """log p(y_t | the series before t), causal, in nats: (n_samples,); -inf from the first impossible row on."""
        return inference.log_density(self._query(X, lengths))[0].numpy()

    def forecast(self, X: Any, horizon: int, lengths: Any = None) -> np.ndarray:
        """p(state_{T+h} | the series), h = 1..horizon: (n_series, horizon, n_states)."""
        steps = whole("horizon", horizon, 1)
        sequences = self._sequences(X, lengths).extended(steps)
        states = self._filtered(self._potentials(sequences))
        ahead = sequences.offsets[1:, None] + torch.arange(-steps, 0)
        return states[ahead].numpy()

    def sample(self, n_samples: int, random_state: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """One simulated series: X (n_samples, n_features) and its states (n_samples,)."""
        model = self._fitted_model()
        whole("n_samples", n_samples, 1)
        generator = torch.Generator().manual_seed(self.random_state if random_state is None else random_state)
        states = inference.simulate_states(self._potentials_of_missing(1), n_samples, generator)
        return model.emission.sample(states, generator).numpy(), states.numpy()

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model to a folder of safetensors and JSON; :func:`hsmm.load` reads it back."""
        model = self._fitted_model()
        params = {name: v.item() if isinstance(v, np.generic) else v for name, v in self._fitted_with.items()}
        options = {name: value for name, value in params.items() if isinstance(value, (int, float, str))}
        summary = {name: getattr(self, f"{name}_") for name in _SUMMARY} if hasattr(self, "log_likelihood_") else None
        return save_model(folder, model, {"estimator": type(self).__name__, "options": options, "fit": summary})

    def describe(self) -> dict[str, Any]:
        """What sets this candidate apart: number of states and the families' names."""
        return {"n_states": self.n_states, "emission": _name(self.emission), "duration": "none"}

    @property
    def emission_(self) -> Emission:
        """The fitted emission component."""
        return self._fitted_model().emission

    @property
    def initial_prob_(self) -> np.ndarray:
        """(K,) P(first state)."""
        return self._fitted_model().initial.fitted("probability")

    @property
    def transition_prob_(self) -> np.ndarray:
        """(K, K) P(next state | state)."""
        return self._fitted_model().transition.fitted("probability")

    @property
    def n_features_in_(self) -> int:
        """Features seen in fit."""
        return self._fitted_model().emission.n_features

    @property
    def n_parameters_(self) -> int:
        """Free parameters, for the information criteria."""
        return self._fitted_model().n_parameters()

    @property
    def restarts_(self) -> pl.DataFrame:
        """One row a restart: seed, kind of start, iterations, objective, why it stopped."""
        return pl.DataFrame([vars(restart) for restart in self._best_fit().restarts])

    @property
    def history_(self) -> np.ndarray:
        """Objective (penalised log-likelihood) of the best restart before each M-step and at the end."""
        return self._best_fit().history.numpy()

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        shown = {name: value for name, value in self.get_params().items() if value != defaults[name]}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def _structure(self) -> Model:
        raise AssertionError("every estimator builds its own structure")

    def _shared_components(self) -> dict[str, Any]:
        return {kind: resolve(kind, getattr(self, kind)) for kind in ("initial", "transition", "emission")}

    def _torch_device(self) -> torch.device:
        """The GPU only on request: no kernel is written for it yet, and the reference launches every step by itself."""
        return torch.device("cuda" if self.device == "cuda" else "cpu")

    def _adopt(self, best: BestFit) -> None:
        self._fitted_with = self.get_params()
        model = best.model.to(torch.device("cpu"))
        self._model = model.permuted(model.emission.order()) if model.initial.is_exchangeable else model
        self._best = best
        self.log_likelihood_ = best.log_likelihood
        self.n_iter_ = best.n_iter
        self.converged_ = best.converged

    def _adopt_loaded(self, model: Model, summary: Mapping[str, Any] | None) -> Self:
        self._model, self._fitted_with = model, self.get_params()
        if summary is not None:
            self.log_likelihood_ = float(summary["log_likelihood"])
            self.n_iter_ = int(summary["n_iter"])
            self.converged_ = bool(summary["converged"])
        return self

    def _warn_of_fit(self, best: BestFit, sequences: Sequences) -> None:  # noqa: ARG002 - some models look at the data
        if not best.converged and self.tol > 0:
            warnings.warn(
                f"the best restart made {best.n_iter} iterations without converging to tol={self.tol:g}; "
                "raise max_iter, or tol.",
                ConvergenceWarning,
                stacklevel=4,
            )
        if best.fall > FALL_TOLERANCE:
            warnings.warn(
                f"the objective fell by {best.fall:.1e} relative in one iteration, more than rounding explains.",
                ConvergenceWarning,
                stacklevel=4,
            )
        if best.collapsed:
            warnings.warn(
                "every restart ended with a state of floored variance: tied or constant values feed the likelihood; "
                "raise min_covariance, or use fewer states.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _fitted_model(self) -> Model:
        if not hasattr(self, "_model"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first.")
        return self._model

    def _best_fit(self) -> BestFit:
        if not hasattr(self, "_best"):
            raise NotFittedError("only a model fitted in this process knows its restarts; call fit.")
        return self._best

    def _sequences(self, X: Any, lengths: Any) -> Sequences:
        return Sequences.from_arrays(X, lengths)

    def _potentials(self, sequences: Sequences) -> Potentials:
        return self._fitted_model().potentials(sequences)

    def _query(self, X: Any, lengths: Any) -> Potentials:
        return self._potentials(self._sequences(X, lengths))

    def _potentials_of_missing(self, n_rows: int) -> Potentials:
        n_features = self._fitted_model().emission.n_features
        blank = torch.zeros(n_rows, n_features, dtype=torch.float64)
        return self._potentials(Sequences(blank, blank.bool(), torch.tensor([0, n_rows])))

    def _filtered(self, p: Potentials) -> Tensor:
        states = inference.filtered(p)
        refuse_impossible(p, states.any(-1))
        return states[0]

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]


def _name(choice: Any) -> str:
    return choice if isinstance(choice, str) else getattr(choice, "name", str(choice))


def refuse_impossible(p: Potentials, possible: Tensor) -> None:
    """Raise ``ImpossibleDataError``, naming series and rows, unless all is ``possible``."""
    if not bool(possible.all()):
        raise ImpossibleDataError(_impossible(p))


def _impossible(p: Potentials) -> str:
    rows = inference.impossible_rows(p)[0]
    series = (rows >= 0).nonzero().flatten()
    named = ", ".join(f"series {s} at its row {rows[s]}" for s in series[:5].tolist())
    more = f" and {len(series) - 5} more" if len(series) > 5 else ""
    return (
        f"probability zero under the model: {named}{more} (both count from 0); look there for values outside the "
        "emission's range or runs that no duration allows, and mend or leave out those series."
    )


def whole(name: str, value: Any, least: int) -> int:
    """``value`` as an int, if it is a whole number of at least ``least``."""
    integral = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not integral or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number >= {least}.")
    return int(value)


__all__: Sequence[str] = ["Device", "Estimator", "refuse_impossible", "whole"]
