"""What can be asked of a fitted model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.model import Model
from hsmm.errors import DataWarning, ImpossibleDataError, NotFittedError, warn
from hsmm.inference import Causal, CausalName, FilterState, Posterior
from hsmm.io import digest
from hsmm.models.ahead import check_alone, foretold, reads_itself, sampled
from hsmm.models.frames import Framed
from hsmm.models.parameters import RandomState, seed_from, whole
from hsmm.models.routing import y_may_stand_second
from hsmm.models.series import series_lengths, series_weight
from hsmm.models.streaming import StreamState, check_state
from hsmm.numerics import ordered_sum
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences

_BY_STEPS = ("elapsed", "remaining", "filter_state")
_TABLES: tuple[CausalName, ...] = ("filtered", "log_density", "elapsed", "remaining")


@dataclass(frozen=True, eq=False)
class Decoding:
    """What is known at each row t of a series from its rows up to t, in arrays or frames as of each question alone.

    - ``filter_proba`` (n_samples, n_states): p(state_t | the series up to t)
    - ``log_density`` (n_samples,): log p(y_t | the series before t), in nats
    - ``elapsed_duration``, ``remaining_duration`` (n_samples, max_duration): column r - 1 is P(r steps so far) and
      P(r steps left), both counting t; the last column is P(r >= max_duration)
    - ``filter_state``: give it as ``after`` with the next rows; None unless it was to be kept
    """

    filter_proba: Any
    log_density: Any
    elapsed_duration: Any
    remaining_duration: Any
    filter_state: StreamState | None = None


class Queries(Framed, ABC):
    """Questions to a fitted model, answered in NumPy arrays, or in frames where :meth:`set_output` says so.

    X, ``lengths``, ``groups`` and ``context`` are as in ``fit``. Causal answers to the rows that come ``after`` a state
    of :meth:`filter_state` have the same bits as those of one pass over all rows; all of these rows may be missing.
    """

    random_state: RandomState
    _model: Model

    @y_may_stand_second
    def score(
        self,
        X: Any,
        lengths: Any = None,
        y: None = None,  # noqa: ARG002 - there for scikit-learn
        *,
        context: Any = None,
        groups: Any = None,
        sample_weight: Any = None,
    ) -> float:
        """Σ log p(series), in nats; -inf, with a warning that says where, if a series is impossible.

        Each series counts as often as its ``sample_weight`` says, as in ``fit``.
        """
        sequences = self._sequences(X, lengths, context, groups)
        total = self.score_sequences(sequences, series_weight(sample_weight, sequences))
        if total == -np.inf:
            warn(_impossible(self._potentials(sequences)), DataWarning)
        return total

    def score_sequences(self, sequences: Sequences, weight: Tensor | None = None) -> float:
        """:meth:`score` for packed data and the ``weight`` (S,) of each series."""
        of_series = inference.log_partition(self._potentials(sequences))
        return float((of_series if weight is None else torch.where(weight > 0, weight * of_series, 0.0)).sum())

    def log_joint(self, sequences: Sequences) -> float:
        """Σ log p(series, its most probable segments), in nats."""
        return float(inference.viterbi(self._potentials(sequences)).log_probability.sum())

    def predict(self, X: Any, lengths: Any = None, *, context: Any = None, groups: Any = None) -> Any:
        """States of the most probable segments (Viterbi): int64 (n_samples,)."""
        p = self._query(X, lengths, context, groups)
        return self._answer(X, _most_probable(p).numpy(), "state")

    def predict_proba(
        self, X: Any, lengths: Any = None, *, context: Any = None, groups: Any = None, lag: int | None = None
    ) -> Any:
        """p(state_t | all of the series): (n_samples, n_states). Uses the future: never for decisions at t.

        With a ``lag``, p(state_t | the series up to t + lag), the part of it that exists: known ``lag`` rows later and
        never revised. A lag of 0 is :meth:`filter_proba`.
        """
        p = self._query(X, lengths, context, groups)
        if lag is not None:
            self._refuse_encoder()
            states = inference.smoothed(p, whole("lag", lag, 0))
            refuse_impossible(p, states.any(-1))
            return self._by_state(X, states[0])
        return self._by_state(X, _smoothed(p))

    def sample_paths(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        n_paths: int = 1,
        random_state: RandomState = 0,
    ) -> np.ndarray:
        """Paths drawn from p(states | all of the series): (n_paths, n_samples). Uses the future, as hindsight does.

        Unlike the most probable path they have as many and as short stays as the model says.
        """
        generator = torch.Generator().manual_seed(seed_from(random_state))
        p = self._query(X, lengths, context)
        paths = inference.sample_paths(p, whole("n_paths", n_paths, 1), generator)[:, 0]
        refuse_impossible(p, paths[:1].T >= 0)
        return paths.numpy()

    def filter_proba(
        self, X: Any, lengths: Any = None, *, context: Any = None, after: StreamState | None = None
    ) -> Any:
        """p(state_t | the series up to t), causal: (n_samples, n_states)."""
        known = self._causal(self._causal_query(X, lengths, context, after), ["filtered"], after)
        return self._by_state(X, known["filtered"][0])

    def log_density(self, X: Any, lengths: Any = None, *, context: Any = None, after: StreamState | None = None) -> Any:
        """log p(y_t | the series before t), causal, in nats: (n_samples,); -inf from the first impossible row on."""
        known = self._causal(self._causal_query(X, lengths, context, after), ["log_density"], after)
        return self._answer(X, known["log_density"][0].numpy(), "log_density")

    def log_density_sequences(self, sequences: Sequences) -> Tensor:
        """(N,) :meth:`log_density` for packed data."""
        self._refuse_encoder()
        return inference.log_density(self._potentials(sequences))[0]

    def log_density_given(self, sequences: Sequences, believed: Sequences) -> Tensor:
        """(N,) log p(y_n | the rows of ``believed`` before n), causal: of rows that nothing else is to follow from."""
        self._refuse_encoder()
        before = inference.predicted(self._potentials(believed))[0]
        return (self._potentials(sequences).log_emission[0] + before).logsumexp(-1)

    def elapsed_duration(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        max_duration: int | None = None,
        after: StreamState | None = None,
    ) -> Any:
        """P(the state has lasted r steps so far, counting t | the series up to t), column r - 1, causal.

        (n_samples, max_duration), by default the model's, or 100 for an HMM; the last column is P(r >= max_duration).
        Counts steps within the series.
        """
        p, columns = self._causal_query(X, lengths, context, after), self._columns(max_duration)
        return self._by_steps(X, self._causal(p, ["elapsed"], after, columns)["elapsed"], columns)

    def remaining_duration(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        max_duration: int | None = None,
        after: StreamState | None = None,
    ) -> Any:
        """P(the state has r steps left, counting t | the series up to t), column r - 1, causal.

        (n_samples, max_duration), by default the model's, or 100 for an HMM; the last column is P(r >= max_duration).
        Warns, once, of a fit that saw so few stays end that its law is too sure of itself.
        """
        self._warn_of_few_stays()
        p, columns = self._causal_query(X, lengths, context, after), self._columns(max_duration)
        return self._by_steps(X, self._causal(p, ["remaining"], after, columns)["remaining"], columns)

    def filter_state(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        max_duration: int | None = None,
        after: StreamState | None = None,
    ) -> StreamState:
        """What the rows of each series say about the rows to come: give it as ``after`` with the next rows.

        The work of the next call is then that of the new rows alone. The state answers :meth:`elapsed_duration` and
        :meth:`remaining_duration` with the ``max_duration`` it was made for. Raises ``ValueError`` for a state of
        another model, of other series or for another ``max_duration``, and where moves depend on context: the step out
        of the last row needs that of a row to come.
        """
        self._refuse_moves_by_context()
        self._refuse_encoder(continues=True)
        sequences, columns = self._causal_sequences(X, lengths, context, after), self._columns(max_duration)
        p = self._potentials(sequences, begun=after is not None)
        return self._stream_state(self._causal(p, ["filter_state"], after, columns), sequences)

    def decode(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        max_duration: int | None = None,
        after: StreamState | None = None,
        keep_state: bool = False,
    ) -> Decoding:
        """All that is known at each row from the series up to it: see :class:`Decoding`.

        The answers of :meth:`filter_proba`, :meth:`log_density`, :meth:`elapsed_duration` and
        :meth:`remaining_duration`, and where ``keep_state`` of :meth:`filter_state`, to the last bit, in one pass over
        the rows; in two where ``max_duration`` asks for more columns than the model has.
        """
        if keep_state:
            self._refuse_moves_by_context()
            self._refuse_encoder(continues=True)
        sequences, columns = self._causal_sequences(X, lengths, context, after), self._columns(max_duration)
        p = self._potentials(sequences, begun=after is not None)
        state: list[CausalName] = ["filter_state"] if keep_state else []
        known = self._causal(p, [*_TABLES, *state], after, columns)
        return Decoding(
            filter_proba=self._by_state(X, known["filtered"][0]),
            log_density=self._answer(X, known["log_density"][0].numpy(), "log_density"),
            elapsed_duration=self._by_steps(X, known["elapsed"], columns),
            remaining_duration=self._by_steps(X, known["remaining"], columns),
            filter_state=self._stream_state(known, sequences) if keep_state else None,
        )

    def forecast(
        self,
        X: Any,
        horizon: int,
        lengths: Any = None,
        *,
        context: Any = None,
        future_context: Any = None,
        after: StreamState | None = None,
        n_paths: int = 100,
        random_state: RandomState = 0,
    ) -> np.ndarray:
        """p(state_{T+h} | the series), h = 1..horizon: (n_series, horizon, n_states).

        A model with context needs it for the steps ahead too: ``future_context`` (n_series · horizon, n_context).
        Of one whose encoder reads the series itself, steps after the first are a mean over ``n_paths`` continuations.
        """
        steps = whole("horizon", horizon, 1)
        sequences = self._causal_sequences(X, lengths, context, after).extended(steps, future_context)
        model = self._fitted_model()
        if steps > 1 and reads_itself(model):
            check_alone(model)
            laws = foretold(model, sequences, steps, whole("n_paths", n_paths, 1), seed_from(random_state))
            if not bool(laws.any(-1).all()):
                refuse_impossible(self._potentials(sequences), laws.any(-1))
            return laws.numpy()
        p = self._potentials(sequences, begun=after is not None)
        states = self._causal(p, ["filtered"], after)["filtered"][0]
        ahead = sequences.offsets[1:, None] + torch.arange(-steps, 0)
        return states[ahead].numpy()

    def sample(self, n_samples: int, random_state: RandomState = None, *, context: Any = None) -> tuple[Any, Any]:
        """One simulated series: X (n_samples, n_features) and its states (n_samples,).

        A model with context needs it for every step, (n_samples, n_context). One whose encoder reads the series itself
        reads what was drawn before.
        """
        model = self._fitted_model()
        whole("n_samples", n_samples, 1)
        self._refuse_encoder()
        seed = seed_from(self.random_state if random_state is None else random_state)
        generator = torch.Generator().manual_seed(seed)
        beside = any(part.uses_covariates for part in model.components().values())
        unseen = self._unseen(n_samples if beside else 1, context)
        if reads_itself(model):
            check_alone(model)
            drawn, states = sampled(model, unseen, generator)
            return self._answer(None, drawn.numpy(), self.feature_labels), self._answer(None, states.numpy(), "state")
        p = self._potentials(unseen)
        if model.initial.uses_covariates:
            p = replace(p, log_initial=model.initial.log_potentials(unseen)[:, 0])
        states = inference.simulate_states(p, n_samples, generator)
        encoded = model.beside(unseen).encoded
        covariates = unseen.covariates if encoded is None else encoded[0]
        X = model.emission.sample(states, generator, covariates).numpy()
        return self._answer(None, X, self.feature_labels), self._answer(None, states.numpy(), "state")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def _fitted_model(self) -> Model:
        if not hasattr(self, "_model"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first.")
        return self._model

    @abstractmethod
    def _default_columns(self) -> int:
        """Columns of answers by number of steps, where none are asked for."""

    @abstractmethod
    def _with_columns(self, p: Potentials, n_columns: int) -> Potentials:
        """The same law in tables that tell ``n_columns`` - 1 steps apart; ``p`` itself if it does."""

    def _sequences(
        self, X: Any, lengths: Any, context: Any = None, groups: Any = None, *, may_be_missing: bool = False
    ) -> Sequences:
        self._fitted_model()
        self._check_features(X)
        sequences = Sequences.from_arrays(X, series_lengths(lengths, groups, X), context, may_be_missing=may_be_missing)
        check_context(self._fitted_model(), sequences)
        return sequences

    def _potentials(self, sequences: Sequences, *, begun: bool = False) -> Potentials:
        return self._fitted_model().potentials(sequences, begun=begun)

    def _query(self, X: Any, lengths: Any, context: Any, groups: Any = None) -> Potentials:
        return self._potentials(self._sequences(X, lengths, context, groups))

    def _causal_query(self, X: Any, lengths: Any, context: Any, after: StreamState | None = None) -> Potentials:
        return self._potentials(self._causal_sequences(X, lengths, context, after), begun=after is not None)

    def _causal_sequences(self, X: Any, lengths: Any, context: Any, after: StreamState | None) -> Sequences:
        """Rows as they come, or as they come ``after`` others: all of them may be missing."""
        self._refuse_encoder(continues=after is not None)
        sequences = self._sequences(X, lengths, context, may_be_missing=True)
        if after is None:
            return sequences
        check_state(after, digest(self._fitted_model()), sequences.n_series)
        return replace(sequences, before=after.rows)

    def smooth_sequences(self, sequences: Sequences) -> Tensor:
        """(N, K) :meth:`predict_proba` for packed data."""
        return _smoothed(self._potentials(sequences))

    def filter_sequences(self, sequences: Sequences) -> Tensor:
        """(N, K) :meth:`filter_proba` for packed data."""
        self._refuse_encoder()
        return self._causal(self._potentials(sequences), ["filtered"], None)["filtered"][0]

    def decode_sequences(self, sequences: Sequences) -> Tensor:
        """(N,) :meth:`predict` for packed data."""
        return _most_probable(self._potentials(sequences))

    def _by_state(self, X: Any, table: Tensor) -> Any:
        return self._answer(X, table.numpy(), [f"state_{k}" for k in range(table.shape[1])])

    def _unseen(self, n_rows: int, context: Any) -> Sequences:
        """One series of missing rows."""
        model = self._fitted_model()
        blank = torch.zeros(n_rows, model.emission.n_features, dtype=torch.float64)
        sequences = Sequences(blank, blank.bool(), torch.tensor([0, n_rows]))
        if context is not None:
            sequences = sequences.with_covariates(context)
        check_context(model, sequences)
        return sequences

    def _warn_of_few_stays(self) -> None:
        """Of models that have been fitted."""

    def _columns(self, max_duration: int | None) -> int:
        return self._default_columns() if max_duration is None else whole("max_duration", max_duration, 1)

    def _by_steps(self, X: Any, answers: Tensor, columns: int) -> Any:
        """In exactly so many columns."""
        names = [f"steps_{r}" for r in range(1, columns + 1)]
        return self._answer(X, _folded(answers[0], columns).numpy(), names)

    def _causal(
        self, p: Potentials, want: list[CausalName], after: StreamState | None, columns: int | None = None
    ) -> _Known:
        """What is wanted of the forward pass, by steps in tables that tell ``columns`` - 1 of them apart."""
        before = None if after is None else after.own()
        wider = p if columns is None else self._with_columns(p, columns)
        if columns is None or wider is p:
            known = _possible(p, want, before)
            return _Known(known, known)
        widened = None if after is None else after.wide(wider, columns)
        return _Known(
            _possible(p, [name for name in want if name not in ("elapsed", "remaining")], before),
            _possible(wider, [name for name in want if name in _BY_STEPS], widened),
        )

    def _stream_state(self, known: _Known, sequences: Sequences) -> StreamState:
        assert known.own.filter_state is not None
        wide = None if known.wide is known.own else known.wide.filter_state
        model = self._fitted_model()
        rows = sequences.last(model.emission.n_before) if model.emission.n_before else None
        return StreamState.of(digest(model), known.own.filter_state, wide, rows)

    def _refuse_encoder(self, *, continues: bool = False) -> None:
        """Raise ``ValueError`` where the encoder reads rows that a causal question, or a later piece of a series, does
        not have."""
        encoder = self._fitted_model().context
        if encoder is None:
            return
        if not encoder.is_causal:
            raise ValueError(
                f"the {encoder.name} encoder is bidirectional: what it makes of a row depends on rows after it, so no "
                "answer would be causal. Ask predict or predict_proba, or fit with bidirectional=False."
            )
        if continues and (encoder.has_memory or encoder.source != "context"):
            raise ValueError(
                f"the {encoder.name} encoder reads the rows before, which no state of the filter holds; give all rows "
                "of the series at once."
            )

    def _refuse_moves_by_context(self) -> None:
        if (law := self._fitted_model().transition).uses_covariates:
            raise ValueError(
                f"{law.name} transitions read the context of the next row, which the rows so far do not have, so there "
                "is no state to go on from; give all rows of the series at once."
            )


@dataclass(frozen=True, eq=False)
class _Known:
    """Answers from the model's own tables, and from the wider ones that tell more steps apart."""

    own: Causal
    wide: Causal

    def __getitem__(self, name: CausalName) -> Tensor:
        return (self.wide if name in _BY_STEPS else self.own)[name]


def _possible(p: Potentials, want: list[CausalName], after: FilterState | None) -> Causal:
    """Raises ``ImpossibleDataError`` unless every row that a state is asked for is possible."""
    if not want:
        return Causal()
    found = inference.causal(p, want, after=after)
    tables = [found[name] for name in want if name in ("filtered", "elapsed", "remaining")]
    if found.filter_state is not None:
        tables.append(found.filter_state.steps_left.isfinite().flatten(-2))
    if tables:
        refuse_impossible(p, tables[0].any(-1), after)
    return found


def check_context(model: Model, sequences: Sequences) -> None:
    """Raise ``ValueError`` where context is missing, or given to a model that would ignore it."""
    if model.uses_covariates and sequences.covariates is None:
        raise ValueError("this model depends on context; give context=, one row for each row of X.")
    if not model.uses_covariates and sequences.covariates is not None:
        raise ValueError(
            "context is given, but no component of this model uses it; leave it out, or choose one that does."
        )


def _most_probable(p: Potentials) -> Tensor:
    decoded = inference.viterbi(p)
    refuse_impossible(p, decoded.log_probability.isfinite())
    return decoded.states[0]


def known_states_of(p: Potentials) -> Posterior:
    """Posterior counts. Raises ``ImpossibleDataError`` for a series that cannot be."""
    posterior = inference.posterior(p)
    refuse_impossible(p, posterior.log_likelihood.isfinite())
    return posterior


def _smoothed(p: Potentials) -> Tensor:
    return known_states_of(p).state[0]


def _folded(answer: Tensor, n_columns: int) -> Tensor:
    """(N, D) → (N, n_columns); what lies beyond is added to the last column."""
    if answer.shape[1] == n_columns:
        return answer
    if answer.shape[1] < n_columns:
        return torch.nn.functional.pad(answer, (0, n_columns - answer.shape[1]))
    last = ordered_sum(answer[:, n_columns - 1 :]).unsqueeze(1)
    return torch.cat([answer[:, : n_columns - 1], last], 1)


def refuse_impossible(p: Potentials, possible: Tensor, after: FilterState | None = None) -> None:
    """Raise ``ImpossibleDataError``, naming series and rows, unless all is ``possible``."""
    if not bool(possible.all()):
        raise ImpossibleDataError(_impossible(p, after))


def _impossible(p: Potentials, after: FilterState | None = None) -> str:
    rows = inference.impossible_rows(p)[0] if after is None else _impossible_rows(p, after)
    series = (rows >= 0).nonzero().flatten()
    named = ", ".join(f"series {s} at its row {rows[s]}" for s in series[:5].tolist())
    more = f" and {len(series) - 5} more" if len(series) > 5 else ""
    counted = "both count from 0" if after is None else "both count from 0, rows after the state"
    return (
        f"probability zero under the model: {named}{more} ({counted}); look there for values outside the "
        "emission's range, runs that no duration allows, or moves that never occurred in the fit, whose probability is "
        "then 0. Mend or leave out those series; a prior keeps every move possible: "
        "transition=hsmm.transitions.Dense(concentration=1.01)."
    )


def _impossible_rows(p: Potentials, after: FilterState) -> Tensor:
    """(S,) the first row, of those after a state, that is impossible; -1 if none is."""
    possible = inference.log_density(p, after=after)[0].isfinite().long()
    n_possible = torch.zeros_like(p.lengths).index_add_(0, p.series_of_row, possible)
    return torch.where(n_possible < p.lengths, n_possible, -1)
