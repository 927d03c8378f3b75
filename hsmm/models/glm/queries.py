"""What can be asked of a GLM-HMM, in nemos' words: the answers are those of the hidden Markov model that it is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.emission.glm import GLM
from hsmm.models.glm.checks import StateFormat, check_format, generator_of
from hsmm.models.glm.fitted import Fitted
from hsmm.models.intervals import Method
from hsmm.models.parameters import RandomState
from hsmm.sequences import Sequences
from hsmm.trials import Trials


class Queries(Fitted):
    """Questions on covariates, responses and sessions."""

    def score(self, X: Any, y: Any, session_starts: Any = None) -> float:
        """Σ log p(session), in nats; -inf if one is impossible."""
        return self.score_sequences(self._trials(X, y, session_starts).sequences)

    def score_sequences(self, sequences: Sequences) -> float:
        """:meth:`score` for packed responses beside their covariates."""
        return self._fitted_chain().score_sequences(sequences)

    def log_joint(self, sequences: Sequences) -> float:
        """Σ log p(session, its most probable states), in nats."""
        return self._fitted_chain().log_joint(sequences)

    def log_density_sequences(self, sequences: Sequences) -> Tensor:
        """(N,) log p(y_t | the session before t), causal, in nats."""
        return self._fitted_chain().log_density_sequences(sequences)

    def smooth_proba(self, X: Any, y: Any, session_starts: Any = None) -> Any:
        """p(state_t | all of the session): (n_time_bins, n_states)."""
        trials = self._trials(X, y, session_starts)
        return self._by_state(X, trials, self._fitted_chain().smooth_sequences(trials.sequences).numpy())

    predict_proba = smooth_proba

    def filter_proba(self, X: Any, y: Any, session_starts: Any = None) -> Any:
        """p(state_t | the session up to t), causal: (n_time_bins, n_states)."""
        trials = self._trials(X, y, session_starts)
        return self._by_state(X, trials, self._fitted_chain().filter_sequences(trials.sequences).numpy())

    def decode_state(self, X: Any, y: Any, session_starts: Any = None, state_format: StateFormat = "one-hot") -> Any:
        """The most probable states (Viterbi): (n_time_bins, n_states) of 0 and 1, or (n_time_bins,) indices."""
        check_format(state_format)
        trials = self._trials(X, y, session_starts)
        states = self._formatted(self._fitted_chain().decode_sequences(trials.sequences), state_format)
        return self._by_state(X, trials, states)

    def predict(self, X: Any, y: Any, session_starts: Any = None) -> Any:
        """The most probable states (Viterbi): (n_time_bins,), as of the other estimators."""
        return self.decode_state(X, y, session_starts, "index")

    def expected_response(self, X: Any, y: Any = None, session_starts: Any = None) -> Any:
        """E(y_t | X_t and the session's responses before t), causal: of choices, the probability of a 1.

        (n_time_bins,), or (n_time_bins, n_responses); categories have an axis of probabilities more. Each state's mean
        counts as much as the state is probable before y_t is seen; without ``y`` no response was seen at all.
        """
        trials = self._trials(X, y, session_starts)
        emission = self._fitted_model().emission
        assert isinstance(emission, GLM)
        before = self._fitted_chain()._predicted(trials.sequences).exp()
        means = emission.means(trials.sequences.covariates)
        expected = torch.einsum("nk,nk...->n...", before, means).numpy()
        expected = expected[:, 0] if self._is_single() else expected
        if expected.ndim == 3:
            return trials.expanded(expected)
        what = "category" if emission.family == "categorical" else "response"
        return self._answered(X, trials, expected, what)

    def summary(
        self, X: Any = None, y: Any = None, session_starts: Any = None, *, std_errors: bool = False
    ) -> pl.DataFrame:
        """One row a state: its share of the rows, how long it lasts on average, and its regression.

        Shares are posterior, of the rows of the fit, or of those given. With ``std_errors`` each of these but the
        shares has a column "…_se", as in :meth:`hsmm.HMM.summary`, for which X and y must be the data of the fit.
        """
        asked = {} if X is None else self._asked(X, y, session_starts)
        table = self._fitted_chain().summary(**asked, std_errors=std_errors)
        return table.rename(self._covariate_name)

    def confidence_intervals(
        self,
        X: Any,
        y: Any,
        session_starts: Any = None,
        *,
        method: Method = "information",
        level: float = 0.95,
        n_samples: int = 200,
        random_state: RandomState = None,
    ) -> pl.DataFrame:
        """How well X and y, the data of the fit, determine each parameter: :meth:`hsmm.HMM.confidence_intervals`."""
        return self._fitted_chain().confidence_intervals(
            **self._asked(X, y, session_starts),
            method=method,
            level=level,
            n_samples=n_samples,
            random_state=random_state,
        )

    def simulate(
        self, random_key: Any, feedforward_input: Any, state_format: StateFormat = "index", session_starts: Any = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Responses, their means given the states, and the states, one for each row of the covariates.

        ``random_key`` is an int, a NumPy or torch generator, or an array of ints; the same key gives the same draws.
        """
        check_format(state_format)
        model = self._fitted_model()
        trials = self._trials(feedforward_input, None, session_starts)
        generator, sequences = generator_of(random_key), trials.sequences
        p = model.potentials(sequences)
        states = inference.sample_paths(p, 1, generator)[0, 0]
        emission = model.emission
        assert isinstance(emission, GLM)
        activity = emission.sample(states, generator, sequences.covariates)
        rates = emission.means(sequences.covariates)[torch.arange(len(states)), states]
        single = self._is_single()
        tables = (activity[:, 0], rates[:, 0]) if single else (activity, rates)
        made = [trials.expanded(table.numpy()) for table in tables]
        return made[0], made[1], trials.expanded(self._formatted(states, state_format))

    def _asked(self, X: Any, y: Any, session_starts: Any) -> dict[str, Any]:
        """The rows in the words of the HMM that this is."""
        if y is None:
            raise ValueError("X is given without y; give the responses too.")
        sequences = self._trials(X, y, session_starts).sequences
        table = torch.where(sequences.observed, sequences.values, torch.nan)
        return {"X": table.numpy(), "lengths": sequences.lengths.numpy(), "context": sequences.covariates}

    def _answered(self, X: Any, trials: Trials, rows: np.ndarray, what: str) -> Any:
        """One row for each given, in the kind that was asked for; of pynapple where the input was and none was."""
        names = what if rows.ndim == 1 else [f"{what}_{k}" for k in range(rows.shape[1])]
        made = self._answer(X, trials.expanded(rows), names)
        return trials.answered(rows, names) if isinstance(made, np.ndarray) else made

    def _by_state(self, X: Any, trials: Trials, rows: np.ndarray) -> Any:
        return self._answered(X, trials, rows, "state")

    def _covariate_name(self, column: str) -> str:
        """A column of the HMM's summary, which speaks of its one feature, with the covariates by their names."""
        known = self.__dict__.get("feature_names_in_")
        short = column.removeprefix("x0.")
        if known is None:
            return short
        return re.sub(r"^coef\[(\d+)", lambda found: f"coef[{known[int(found[1])]}", short)

    def _formatted(self, states: Tensor, state_format: StateFormat) -> np.ndarray:
        if state_format == "index":
            return states.numpy()
        return torch.nn.functional.one_hot(states, self._n_states()).to(torch.int32).numpy()
