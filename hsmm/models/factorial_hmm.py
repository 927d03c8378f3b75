"""The factorial hidden Markov model: several chains at once, of which only the sum is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch

from hsmm import inference
from hsmm.components.duration import Duration
from hsmm.components.initial import Initial
from hsmm.components.register import resolve
from hsmm.components.transition import Transition
from hsmm.errors import ConvergenceWarning, NotFittedError, warn
from hsmm.models.factorial import conditional, exact, stored
from hsmm.models.factorial.additive import Additive
from hsmm.models.factorial.inferring import Inference, Inferring
from hsmm.models.factorial.learning import Climbed, Restart, best_of, in_order
from hsmm.models.factorial.parts import FLOOR, alone_of, learnt_alone, shaped
from hsmm.models.factorial.starts import Structure, first_models
from hsmm.models.factorial.stored import Stored
from hsmm.models.parameters import Parameters, RandomState, seed_from, whole
from hsmm.sequences import Sequences

_FIT = {"lower_bound": float, "n_iter": int, "converged": bool}


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
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None
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

    def __repr__(self) -> str:
        return self._head()

    def fit(self, X: Any, lengths: Any = None, *, parts: Any = None) -> Self:
        """Learn the chains from their sum X (n_samples,) or (n_samples, n_features).

        With ``parts`` (n_samples, n_chains) or (n_samples, n_chains, n_features), what each chain added as it was
        measured alone, chain c is learnt from its own part and keeps its place; only the noise is learnt from X.
        Without, chains are sorted by what they add at most. Missing values are NaN; ``lengths`` cuts rows into series.

        Raises ``ValueError`` for options and shapes that do not fit.
        """
        structure, sequences = self._structure(), Sequences.from_arrays(X, lengths)
        seed = seed_from(self.random_state)
        inferring = Inferring(self.inference, seed)
        self._restarts: list[Restart] = []
        if parts is not None:
            measured = shaped(parts, structure, sequences)
            model, offset = learnt_alone(structure, sequences, measured, int(self.n_init), seed)
            bound = inferring.expected(model, sequences).bound
            found = Climbed(model, bound, bound[None], torch.ones(1, dtype=torch.bool))
        else:
            offset = np.zeros((len(structure.n_states), sequences.n_features))
            start = first_models(structure, sequences, int(self.n_init), torch.Generator().manual_seed(seed))
            floor = FLOOR * sequences.moments[1].clamp(min=np.finfo(np.float64).tiny)
            found, self._restarts = best_of(
                start, sequences, inferring.expected, int(self.max_iter), float(self.tol), floor
            )
            found = replace(found, model=in_order(found.model, chains_too=True))
        self._model, self.offset_, self._inferring = found.model, offset, inferring
        self.history_ = found.history[:, 0].numpy()
        self.lower_bound_ = float(found.bound)
        self.n_iter_, self.converged_ = found.n_iter, bool(found.converged.all())
        if not self.converged_:
            warn(f"EM stopped after {self.n_iter_} iterations; raise max_iter or tol.", ConvergenceWarning)
        return self

    def predict(self, X: Any, lengths: Any = None) -> np.ndarray:
        """(n_samples, n_chains) likely states: the likeliest together where inference is exact, else paths found by a
        search along time that no chain, nor two together, can improve."""
        model, sequences = self._queried(X, lengths)
        return self._inferring.paths(model, sequences).numpy()

    def predict_proba(self, X: Any, lengths: Any = None) -> list[np.ndarray]:
        """For each chain (n_samples, n_states) P(state | all rows), in mean field that of its approximation."""
        model, sequences = self._queried(X, lengths)
        return [counts.state[0].numpy() for counts in self._inferring.expected(model, sequences).counts]

    def filter_proba(self, X: Any, lengths: Any = None) -> list[np.ndarray]:
        """For each chain (n_samples, n_states) P(state | rows up to here), causal.

        Raises ``ValueError`` where it cannot be had: chains with durations, or more than 512 states together.
        """
        model, sequences = self._queried(X, lengths)
        exact.check(model, "use predict_proba, which looks ahead")
        return [law[0].numpy() for law in exact.filtered(model, sequences)]

    def disaggregate(self, X: Any, lengths: Any = None) -> np.ndarray:
        """(n_samples, n_chains), with several features (n_samples, n_chains, n_features): what each chain is expected
        to add. With :attr:`base_` they sum to what is expected of X."""
        model, sequences = self._queried(X, lengths)
        counts = self._inferring.expected(model, sequences).counts
        added = [(found.state @ chain.level)[0] for found, chain in zip(counts, model.chains, strict=True)]
        shares = torch.stack(added, 1).numpy() + self.offset_
        return shares[..., 0] if sequences.n_features == 1 else shares

    def sample_states(
        self, X: Any, lengths: Any = None, *, n: int = 100, burn_in: int = 100, random_state: RandomState = 0
    ) -> np.ndarray:
        """(n, n_samples, n_chains) joint paths from their exact posterior, by blocked Gibbs sampling, one a sweep."""
        model, sequences = self._queried(X, lengths)
        generator = torch.Generator().manual_seed(seed_from(random_state))
        first = self._inferring.paths(model, sequences)[None]
        n, burn_in = whole("n", n, 1), whole("burn_in", burn_in, 0)
        return conditional.drawn(model, sequences, first, n, burn_in, generator)[:, 0].numpy()

    def score(self, X: Any, lengths: Any = None) -> float:
        """The exact log-likelihood of X, in nats.

        Raises ``ValueError`` where it cannot be had: chains with durations, or more than 512 states together.
        """
        model, sequences = self._queried(X, lengths)
        exact.check(model, "use lower_bound")
        return float(inference.log_partition(exact.potentials(model, sequences)).sum())

    def lower_bound(self, X: Any, lengths: Any = None) -> float:
        """Mean field's lower bound of the log-likelihood of X, in nats."""
        model, sequences = self._queried(X, lengths)
        return float(self._inferring.approximated(model, sequences).bound)

    def sample(self, n_samples: int, *, random_state: RandomState = 0) -> tuple[np.ndarray, np.ndarray]:
        """X (n_samples, n_features) and the states (n_samples, n_chains) that made it."""
        model = self._fitted()
        generator = np.random.default_rng(seed_from(random_state))
        drawn = [alone_of(model, c).sample(n_samples, random_state=generator)[1] for c in range(len(model.chains))]
        states = np.stack(drawn, 1)
        total = model.base.unsqueeze(1) + sum(model.along(torch.from_numpy(states)[None]))
        noise = generator.normal(size=total.shape[1:]) * model.variance[0].sqrt().numpy()
        return total[0].numpy() + noise, states

    @property
    def log_likelihood_(self) -> float:
        """The exact log-likelihood of the data of the fit, in nats; there is none where inference was not exact."""
        model = self._fitted()
        if not self._inferring.is_exact(model):
            raise AttributeError("inference is not exact, so the fit knows no log-likelihood; use lower_bound_.")
        return self.lower_bound_

    @property
    def restarts_(self) -> pl.DataFrame:
        """One row a restart: iterations, objective, why it stopped; none for chains learnt from their parts."""
        if not hasattr(self, "_restarts"):
            raise NotFittedError("only a model fitted in this process knows its restarts; call fit.")
        return pl.DataFrame([vars(restart) for restart in self._restarts])

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
        return [alone_of(model, c).mean_duration_ for c in range(len(model.chains))]

    @property
    def n_parameters_(self) -> int:
        """Free parameters."""
        return self._fitted().n_parameters()

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model to a folder of safetensors and JSON; :func:`hsmm.load` reads it back."""
        options = {name: getattr(self, name) for name in ("inference", "n_init", "max_iter", "tol")}
        return stored.save(
            folder,
            Stored(
                self._fitted(),
                torch.from_numpy(self.offset_.copy()),
                {**options, "random_state": self._inferring.seed},
                {name: getattr(self, f"{name}_") for name in _FIT},
            ),
        )

    @classmethod
    def from_saved(cls, folder: str | Path) -> Self:
        """The model that :meth:`save` wrote. Raises ``ValueError`` for anything that is not such a model."""
        found = stored.load(folder)
        first = found.model.chains[0]
        families = {"initial": first.initial, "transition": first.transition, "duration": first.duration}
        bare: dict[str, Any] = {kind: None if part is None else part.bare() for kind, part in families.items()}
        longest = 100 if first.duration is None else first.duration.max_duration
        try:
            made = cls(
                len(found.model.chains), list(found.model.n_states), max_duration=longest, **bare, **found.options
            )
            made._structure()
            made._inferring = Inferring(made.inference, seed_from(made.random_state))
            for name, kind in _FIT.items():
                setattr(made, f"{name}_", kind(found.fit[name]))
        except (TypeError, KeyError) as error:
            raise ValueError(f"{folder} was saved with options that do not fit ({error}).") from None
        made._model, made.offset_ = found.model, found.offset.numpy()
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

    def _fitted(self) -> Additive:
        if "_model" not in self.__dict__:
            raise NotFittedError("this FactorialHMM is not fitted yet; call fit first.")
        return self._model

    def _queried(self, X: Any, lengths: Any) -> tuple[Additive, Sequences]:
        model, sequences = self._fitted(), Sequences.from_arrays(X, lengths)
        if sequences.n_features != model.base.shape[1]:
            raise ValueError(f"X has {sequences.n_features} features; the model was fitted on {model.base.shape[1]}.")
        return model, sequences
