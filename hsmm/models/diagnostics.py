"""How a fitted model takes each row: residuals, and what its surprise and its changes of state are owed to."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from hsmm import inference
from hsmm.models.parameters import RandomState, seed_from
from hsmm.models.queries import Queries, refuse_impossible
from hsmm.models.residuals import normal_residuals
from hsmm.models.shapley import shapley_shares
from hsmm.sequences import Sequences
from hsmm.spelling import nearest

Ties = Literal["mid", "random"]
TIES = ("mid", "random")


class Diagnostics(Queries):
    """Causal questions about rows rather than states."""

    def pseudo_residuals(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        groups: Any = None,
        ties: Ties = "mid",
        random_state: RandomState = 0,
    ) -> Any:
        """Φ⁻¹ of P(Y ≤ y | the series before), each feature by itself: (n_samples, n_features), NaN where missing.

        Under the model that made the data they are independent over time and standard normal; a row that lies far out
        in its own law is far out here. A value with a probability of its own is a stretch of that scale: "mid" gives
        its middle, "random" a place drawn within it, which alone is exactly normal (Zucchini, MacDonald & Langrock
        2016, chapter 6).

        Raises ``ValueError`` for families without a distribution function, such as those of values without order.
        """
        if ties not in TIES:
            raise ValueError(f"ties is {ties!r}; expected one of {', '.join(TIES)}{nearest(ties, TIES)}")
        sequences = self._sequences(X, lengths, context, groups)
        before = self._predicted(sequences)
        tails = self._fitted_model().emission.tails(self._beside(sequences)).mixed(before.unsqueeze(1))
        share: Tensor | float = 0.5
        if ties == "random":
            drawn = np.random.default_rng(seed_from(random_state)).uniform(size=tuple(sequences.values.shape))
            share = torch.from_numpy(drawn)
        residuals = np.where(sequences.observed.numpy(), normal_residuals(tails, share), np.nan)
        return self._answer(X, residuals, self.feature_labels)

    def contributions(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        groups: Any = None,
        random_state: RandomState = 0,
    ) -> Any:
        """Each feature's share of every row's surprise, and of every change of state: a frame with a row for each.

        - ``surprise``: -log p(y_t | the series before), in nats; ``surprise_…`` each feature's share of it
        - ``state_before``, ``state``: the most probable states before and with this row, causal; null before at the
          beginning of a series
        - ``log_odds``: log p(state | the series up to t) - log p(state_before | the series up to t), 0 where they are
          the same; ``log_odds_past`` what was known of it before this row, ``log_odds_…`` each feature's share

        Shares are Shapley's: what a feature adds to the log-density of the features before it, averaged over all orders
        of the features (above eight, over 64 drawn with ``random_state``). They sum to the whole. In a law whose
        features are independent given one state, a feature's share is its own log-density.
        """
        sequences = self._sequences(X, lengths, context, groups)
        emission, before = self._fitted_model().emission, self._predicted(sequences)
        rows = self._beside(sequences)

        def log_density(columns: frozenset[int]) -> np.ndarray:
            """(N, K + 1) of these columns in each state, and given the past alone."""
            if not columns:
                return np.zeros((sequences.n_rows, before.shape[1] + 1))
            table = emission.log_density_of(rows, columns)[0]
            return torch.cat([table, (table + before).logsumexp(1, keepdim=True)], 1).numpy()

        n_features = sequences.n_features
        shares = shapley_shares(log_density, n_features, seed_from(random_state))
        density = log_density(frozenset(range(n_features)))
        now = before.numpy() + density[:, :-1]
        moves = _Moves.of(now, sequences)
        names = self.feature_labels
        columns: dict[str, Any] = {"surprise": -density[:, -1]}
        columns |= {f"surprise_{name}": -shares[:, -1, f] for f, name in enumerate(names)}
        columns |= {"state_before": moves.before, "state": moves.after, "log_odds": moves.odds(now)}
        columns |= {"log_odds_past": moves.odds(before.numpy())}
        columns |= {f"log_odds_{name}": moves.odds(shares[:, :-1, f]) for f, name in enumerate(names)}
        return self._framed(X, pl.DataFrame(columns).with_columns(pl.col("state_before").replace(-1, None)))

    def _beside(self, sequences: Sequences) -> Sequences:
        """The series with what an encoder makes of all that was seen of them."""
        return self._fitted_model().beside(sequences)

    def _predicted(self, sequences: Sequences) -> Tensor:
        """(N, K) log p(state | the series before)."""
        p = self._potentials(sequences)
        before = inference.predicted(p)
        refuse_impossible(p, before.isfinite().any(-1))
        return before[0]


class _Moves:
    """``before`` and ``after`` (N,): the states that are most probable; -1 before the first row of a series."""

    def __init__(self, before: np.ndarray, after: np.ndarray) -> None:
        self.before, self.after = before, after
        self._rows = np.flatnonzero((before >= 0) & (before != after))

    @classmethod
    def of(cls, log_weights: np.ndarray, sequences: Sequences) -> _Moves:
        after = log_weights.argmax(1)
        before = np.r_[-1, after[:-1]]
        before[sequences.offsets[:-1].numpy()] = -1
        return cls(before, after)

    def odds(self, log_weights: np.ndarray) -> np.ndarray:
        """(N,) log-weight of the state after less that of the state before, of (N, K); 0 where they are one."""
        found, rows = np.zeros(len(log_weights)), self._rows
        found[rows] = log_weights[rows, self.after[rows]] - log_weights[rows, self.before[rows]]
        return found
