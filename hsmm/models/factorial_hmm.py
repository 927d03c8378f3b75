"""The factorial hidden Markov model: several chains at once, of which only the sum is seen."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.duration import Duration
from hsmm.components.emission import Gaussian
from hsmm.components.initial import Initial
from hsmm.components.model import Model
from hsmm.components.register import resolve
from hsmm.components.transition import Transition
from hsmm.errors import ConvergenceWarning, NotFittedError, warn
from hsmm.io.files import check_dtype, read_manifest, read_tables, write
from hsmm.io.model import load_model, save_model
from hsmm.models.factorial import beam, conditional, exact, mean_field
from hsmm.models.factorial.additive import Additive, Chain, Expected
from hsmm.models.factorial.learning import Climbed, best_of, in_order
from hsmm.models.factorial.starts import Structure, first_models
from hsmm.models.hmm import HMM
from hsmm.models.hsmm import HSMM
from hsmm.models.parameters import Parameters, RandomState, seed_from, whole
from hsmm.sequences import Sequences

Inference = Literal["auto", "exact", "mean_field"]
FILE = "factorial"
_FORMAT = 1
_FIT = {"log_likelihood": float, "n_iter": int, "converged": bool}
_MOST_CHAINS = 1000
_SMALL = 64  # states of the product, up to which "auto" is exact
_SWEEPS, _FEW_SWEEPS, _STILL = 30, 3, 1e-7
_FLOOR = 1e-6  # of a feature's variance
_SEARCHED = 4  # models at once whose paths are searched for along time


class FactorialHMM(Parameters):
    """Chains with states of their own whose levels add up: y_n = base + Σ level of each chain's state + noise.

    What a house draws, from its appliances; a price, from a trend and a season. Each chain is a hidden Markov model or,
    with ``duration``, a hidden semi-Markov model; the noise is normal. The first state of each chain adds nothing.

    Parameters
    ----------
    n_chains : int
        Number of chains.
    n_states : int or sequence of int
        States of every chain, or of each.
    duration : str, Duration or None
        The law of the time in a state, as in :class:`hsmm.HSMM`; None is an HMM's.
    max_duration : int
        Longest duration, in steps, with a probability of its own.
    transition, initial : str or component
        As in :class:`hsmm.HSMM`, for every chain.
    inference : str
        "exact" over the product of all states, whose square a row costs; "mean_field", linear in the chains, a
        lower bound; "auto" is exact where there are at most 64 states together and no durations.
    n_init : int
        Restarts; after 20 iterations the best quarter goes on.
    max_iter, tol : int, float
        EM stops after so many iterations, or when one gains less nats per row.
    random_state : int, numpy.random.Generator or None
        The same seed and data give the same bits on the same machine.

    Source: Ghahramani & Jordan (1997), *Factorial hidden Markov models*, Machine Learning 29.
    """

    def __init__(
        self,
        n_chains: int = 2,
        n_states: int | Sequence[int] = 2,
        *,
        duration: str | Duration | None = None,
        max_duration: int = 100,
        transition: str | Transition = "dense",
        initial: str | Initial = "free",
        inference: Inference = "auto",
        n_init: int = 16,
        max_iter: int = 300,
        tol: float = 1e-6,
        random_state: RandomState = 0,
    ) -> None:
        self.n_chains = n_chains
        self.n_states = n_states
        self.duration = duration
        self.max_duration = max_duration
        self.transition = transition
        self.initial = initial
        self.inference = inference
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, parts: Any = None, *, lengths: Any = None) -> Self:
        """Learn the chains from their sum X (n_samples,) or (n_samples, n_features).

        With ``parts`` (n_samples, n_chains) or (n_samples, n_chains, n_features), what each chain added as it was
        measured alone, chain c is learnt from its own part and keeps its place; only the noise is learnt from X.
        Without, chains are sorted by what they add at most. Missing values are NaN; ``lengths`` cuts rows into series.

        Raises ``ValueError`` for options and shapes that do not fit.
        """
        structure, sequences = self._structure(), Sequences.from_arrays(X, lengths)
        floor = _FLOOR * sequences.moments[1].clamp(min=np.finfo(np.float64).tiny)
        self.offset_ = np.zeros((len(structure.n_states), sequences.n_features))
        if parts is not None:
            model = self._of_parts(structure, sequences, _shaped(parts, structure, sequences), lengths)
            found = Climbed(model, self._expect(model, sequences, None).bound, 0, torch.ones(1, dtype=torch.bool))
        else:
            generator = torch.Generator().manual_seed(seed_from(self.random_state))
            start = first_models(structure, sequences, int(self.n_init), generator)
            found = best_of(start, sequences, self._expect, int(self.max_iter), float(self.tol), floor)
            found = replace(found, model=in_order(found.model, chains_too=True))
        self._adopt(found)
        if not self.converged_:
            warn(f"EM stopped after {self.n_iter_} iterations; raise max_iter or tol.", ConvergenceWarning)
        return self

    def predict(self, X: Any, *, lengths: Any = None) -> np.ndarray:
        """(n_samples, n_chains) likely states: the likeliest together where inference is exact, else paths found by a
        search along time that no chain, nor two together, can improve."""
        model, sequences = self._queried(X, lengths)
        if self._is_exact(model):
            return exact.viterbi(model, sequences).numpy()
        generator = torch.Generator().manual_seed(seed_from(self.random_state))
        return conditional.climb(model, sequences, beam.likely(model, sequences), generator)[0].numpy()

    def predict_proba(self, X: Any, *, lengths: Any = None) -> list[np.ndarray]:
        """For each chain (n_samples, n_states) P(state | all rows), in mean field that of its approximation."""
        model, sequences = self._queried(X, lengths)
        return [counts.state[0].numpy() for counts in self._expect(model, sequences, None).counts]

    def disaggregate(self, X: Any, *, lengths: Any = None) -> np.ndarray:
        """(n_samples, n_chains), with several features (n_samples, n_chains, n_features): what each chain is expected
        to add. With :attr:`base_` they sum to what is expected of X."""
        model, sequences = self._queried(X, lengths)
        counts = self._expect(model, sequences, None).counts
        added = [(found.state @ chain.level)[0] for found, chain in zip(counts, model.chains, strict=True)]
        shares = torch.stack(added, 1).numpy() + self.offset_
        return shares[..., 0] if sequences.n_features == 1 else shares

    def sample_states(
        self, X: Any, n: int = 100, *, burn_in: int = 100, lengths: Any = None, random_state: RandomState = 0
    ) -> np.ndarray:
        """(n, n_samples, n_chains) joint paths from their exact posterior, by blocked Gibbs sampling, one a sweep."""
        model, sequences = self._queried(X, lengths)
        generator = torch.Generator().manual_seed(seed_from(random_state))
        first = torch.from_numpy(self.predict(X, lengths=lengths))[None]
        n, burn_in = whole("n", n, 1), whole("burn_in", burn_in, 0)
        return conditional.drawn(model, sequences, first, n, burn_in, generator)[:, 0].numpy()

    def score(self, X: Any, *, lengths: Any = None) -> float:
        """The exact log-likelihood of X, in nats.

        Raises ``ValueError`` where it cannot be had: chains with durations, or more than 512 states together.
        """
        model, sequences = self._queried(X, lengths)
        exact.check(model, "use lower_bound")
        return float(inference.log_partition(exact.potentials(model, sequences)).sum())

    def lower_bound(self, X: Any, *, lengths: Any = None) -> float:
        """Mean field's lower bound of the log-likelihood of X, in nats."""
        model, sequences = self._queried(X, lengths)
        return float(self._approximated(model, sequences).bound)

    def sample(self, n_samples: int, *, random_state: RandomState = 0) -> tuple[np.ndarray, np.ndarray]:
        """X (n_samples, n_features) and the states (n_samples, n_chains) that made it."""
        model = self._fitted()
        generator = np.random.default_rng(seed_from(random_state))
        drawn = [self._alone(model, c).sample(n_samples, random_state=generator)[1] for c in range(len(model.chains))]
        states = np.stack(drawn, 1)
        total = model.base.unsqueeze(1) + sum(model.along(torch.from_numpy(states)[None]))
        noise = generator.normal(size=total.shape[1:]) * model.variance[0].sqrt().numpy()
        return total[0].numpy() + noise, states

    @property
    def levels_(self) -> list[np.ndarray]:
        """For each chain (n_states, n_features) what its states add."""
        return [chain.level[0].numpy() for chain in self._fitted().chains]

    @property
    def base_(self) -> np.ndarray:
        """(n_features,) what is there while every chain is in its first state, but for what :attr:`offset_` holds."""
        return self._fitted().base[0].numpy() - self.offset_.sum(0)

    @property
    def noise_(self) -> np.ndarray:
        """(n_features,) standard deviation of the noise."""
        return self._fitted().variance[0].sqrt().numpy()

    @property
    def transition_prob_(self) -> list[np.ndarray]:
        """For each chain (n_states, n_states) P(next state | state)."""
        return [chain.transition.log_potentials()[0].exp().numpy() for chain in self._fitted().chains]

    @property
    def mean_duration_(self) -> list[np.ndarray]:
        """For each chain (n_states,) expected steps of a stay."""
        model = self._fitted()
        return [self._alone(model, c).mean_duration_ for c in range(len(model.chains))]

    @property
    def n_parameters_(self) -> int:
        """Free parameters."""
        return self._fitted().n_parameters()

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model to a folder of safetensors and JSON; :func:`hsmm.load` reads it back."""
        model, path = self._fitted(), Path(folder)
        options = {name: getattr(self, name) for name in ("inference", "n_init", "max_iter", "tol", "random_state")}
        if not isinstance(self.random_state, (int, type(None))):
            options["random_state"] = None
        fit = {name: getattr(self, f"{name}_") for name in _FIT}
        manifest = {"format": _FORMAT, "n_chains": len(model.chains), "options": options, "fit": fit}
        for c in range(len(model.chains)):
            save_model(path / f"chain_{c}", self._alone(model, c)._fitted_model(), {})
        tables = {"base": model.base, "variance": model.variance, "offset": torch.from_numpy(self.offset_.copy())}
        return write(path, FILE, manifest, tables)

    @classmethod
    def from_saved(cls, folder: str | Path) -> Self:
        """The model that :meth:`save` wrote. Raises ``ValueError`` for anything that is not such a model."""
        path = Path(folder)
        manifest = read_manifest(path / f"{FILE}.json", _FORMAT, {"n_chains": int, "options": dict, "fit": dict})
        if not 1 <= manifest["n_chains"] <= _MOST_CHAINS:
            raise ValueError(f"{folder} has n_chains = {manifest['n_chains']}; expected 1 to {_MOST_CHAINS}.")
        loaded = [load_model(path / f"chain_{c}")[0] for c in range(manifest["n_chains"])]
        chains = tuple(
            Chain(one.initial, one.transition, one.duration, one.emission.parameters["mean"])
            for one in loaded
            if isinstance(one.emission, Gaussian)
        )
        if len(chains) != len(loaded):
            raise ValueError(f"{folder} holds chains without levels; expected gaussian ones.")
        tables = _checked(path / f"{FILE}.safetensors", len(chains), chains[0].level.shape[2])
        first = chains[0]
        families = {"initial": first.initial, "transition": first.transition, "duration": first.duration}
        options: dict[str, Any] = {kind: None if part is None else part.bare() for kind, part in families.items()}
        try:
            made = cls(
                len(chains),
                [chain.n_states for chain in chains],
                max_duration=100 if first.duration is None else first.duration.max_duration,
                **options,
                **manifest["options"],
            )
            made._structure()
            for name, kind in _FIT.items():
                setattr(made, f"{name}_", kind(manifest["fit"][name]))
        except (TypeError, KeyError) as error:
            raise ValueError(f"{folder} was saved with options that do not fit ({error}).") from None
        made._model = Additive(chains, tables["base"], tables["variance"])
        made.offset_ = tables["offset"].numpy()
        return made

    def _structure(self) -> Structure:
        n_chains = whole("n_chains", self.n_chains, 1)
        given = [self.n_states] * n_chains if isinstance(self.n_states, (int, np.integer)) else list(self.n_states)
        n_states = [whole("n_states", k, 2) for k in given]
        if len(n_states) != n_chains:
            raise ValueError(f"n_states has {len(n_states)} entries for {n_chains} chains; expected one for each.")
        if self.inference not in ("auto", "exact", "mean_field"):
            raise ValueError(f"inference is {self.inference!r}; expected 'auto', 'exact' or 'mean_field'.")
        whole("n_init", self.n_init, 1)
        whole("max_iter", self.max_iter, 1)
        duration = None if self.duration is None else resolve("duration", self.duration)
        if duration is not None:
            if self.inference == "exact":
                raise ValueError("inference is 'exact', but chains with a duration have none here; use 'mean_field'.")
            duration = replace(duration, max_duration=whole("max_duration", self.max_duration, 1))
        return Structure(n_states, resolve("initial", self.initial), resolve("transition", self.transition), duration)

    def _of_parts(self, structure: Structure, sequences: Sequences, parts: np.ndarray, lengths: Any) -> Additive:
        """Each chain learnt from its own part, the noise from what their sum leaves."""
        chains, total = [], np.zeros(parts.shape[::2])
        for c, k in enumerate(structure.n_states):
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", ConvergenceWarning
                )  # of how narrow states are: their spread is not used
                alone = self._untrained(structure, k).fit(parts[:, c], lengths=lengths)
            fitted = alone._fitted_model()
            level = fitted.emission.parameters["mean"]
            self.offset_[c] = level[0, 0].numpy()
            chains.append(Chain(fitted.initial, fitted.transition, fitted.duration, level - level[:, :1]))
            total += alone.emission_.parameters["mean"][0].numpy()[alone.predict(parts[:, c], lengths=lengths)]
        left = np.where(sequences.observed.numpy(), sequences.values.numpy() - total, np.nan)
        rest, spread = np.nanmean(left, 0), np.nanvar(left, 0)
        floor = _FLOOR * sequences.moments[1].numpy()
        base = torch.from_numpy(rest + self.offset_.sum(0))[None]
        return Additive(tuple(chains), base, torch.from_numpy(np.maximum(spread, floor))[None])

    def _untrained(self, structure: Structure, n_states: int) -> HMM | HSMM:
        shared: dict[str, Any] = {
            "emission": Gaussian(covariance="tied"),
            "transition": structure.transition,
            "initial": structure.initial,
            "n_init": self.n_init,
            "random_state": self.random_state,
        }
        if structure.duration is None:
            return HMM(n_states, **shared)
        return HSMM(n_states, **shared, duration=self.duration or "", max_duration=self.max_duration)

    def _alone(self, model: Additive, c: int) -> HMM | HSMM:
        """One chain as a model of what it adds, with all the noise."""
        chain = model.chains[c]
        spread = model.variance.unsqueeze(1).expand_as(chain.level)
        law = Gaussian(covariance="diag").with_parameters(mean=chain.level, covariance=spread)
        whole_model = Model(chain.initial, chain.transition, chain.duration, law)
        kind = HMM if chain.duration is None else HSMM
        return kind(chain.n_states, emission=law.name)._adopt_loaded(whole_model, None)

    def _is_exact(self, model: Additive) -> bool:
        small = model.is_markov and math.prod(model.n_states) <= _SMALL
        return self.inference == "exact" or (self.inference == "auto" and small)

    def _expect(self, model: Additive, sequences: Sequences, before: Expected | None) -> Expected:
        if self._is_exact(model):
            exact.check(model, "use inference='mean_field'")
            return exact.expected(model, sequences)
        if before is not None:
            return mean_field.expected(model, sequences, _states(before), sweeps=_FEW_SWEEPS, tol=_STILL)
        return self._approximated(model, sequences)

    def _approximated(self, model: Additive, sequences: Sequences) -> Expected:
        """Mean field from nothing, or from likely paths if that ends higher."""
        first = mean_field.expected(model, sequences, sweeps=_SWEEPS, tol=_STILL)
        generator = torch.Generator().manual_seed(seed_from(self.random_state))
        paths = beam.likely(model, sequences) if len(model.base) <= _SEARCHED else _likely(first)
        paths = conditional.climb(model, sequences, paths, generator)
        certain = [torch.nn.functional.one_hot(paths[..., c], k).double() for c, k in enumerate(model.n_states)]
        other = mean_field.expected(model, sequences, certain, sweeps=_SWEEPS, tol=_STILL)
        return first.where(first.bound >= other.bound, other)

    def _adopt(self, found: Climbed) -> None:
        self._model = found.model
        self.log_likelihood_ = float(found.bound)
        self.n_iter_, self.converged_ = found.n_iter, bool(found.converged.all())

    def _fitted(self) -> Additive:
        if "_model" not in self.__dict__:
            raise NotFittedError("this FactorialHMM is not fitted yet; call fit first.")
        return self._model

    def _queried(self, X: Any, lengths: Any) -> tuple[Additive, Sequences]:
        model, sequences = self._fitted(), Sequences.from_arrays(X, lengths)
        if sequences.n_features != model.base.shape[1]:
            raise ValueError(f"X has {sequences.n_features} features; the model was fitted on {model.base.shape[1]}.")
        return model, sequences


def _checked(path: Path, n_chains: int, n_features: int) -> dict[str, Tensor]:
    """The tables beside the chains, if they fit these and are numbers to compute with."""
    tables, row = read_tables(path), (1, n_features)
    shapes = {"base": row, "variance": row, "offset": (n_chains, n_features)}
    found = {name: tuple(table.shape) for name, table in tables.items()}
    if found != shapes:
        raise ValueError(f"{path} holds tables of shapes {found}; expected {shapes}.")
    for name, table in tables.items():
        check_dtype(path, name, table)
        if not bool(table.isfinite().all()) or (name == "variance" and not bool((table > 0).all())):
            raise ValueError(f"{path}: {name} holds numbers that cannot be; expected finite ones, variances above 0.")
    return tables


def _states(expected: Expected) -> list[Tensor]:
    return [counts.state for counts in expected.counts]


def _likely(expected: Expected) -> Tensor:
    """(R, N, C) the likeliest state of each row and chain."""
    return torch.stack([state.argmax(-1) for state in _states(expected)], -1)


def _shaped(parts: Any, structure: Structure, sequences: Sequences) -> np.ndarray:
    found, n_chains = np.asarray(parts, dtype=np.float64), len(structure.n_states)
    expected = (sequences.n_rows, n_chains, sequences.n_features)
    if sequences.n_features == 1 and found.shape == expected[:2]:
        found = found[..., None]
    if found.shape != expected:
        raise ValueError(f"parts has shape {found.shape}; expected {expected}, what each chain adds to each row of X.")
    return found
