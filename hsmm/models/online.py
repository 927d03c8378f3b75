"""Learning from a stream, batch by batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from hsmm.components.model import Model
from hsmm.models.queries import Queries
from hsmm.models.routing import y_may_stand_second
from hsmm.training.freezing import check_frozen
from hsmm.training.online import Averages, averages, check_averageable, learn


class OnlineLearning(Queries):
    """``partial_fit``: stepwise EM (Cappé & Moulines 2009)."""

    frozen: Sequence[str]
    log_likelihood_: float
    n_iter_: int
    converged_: bool

    @abstractmethod
    def fit(self, X: Any, lengths: Any = None, y: None = None, *, context: Any = None) -> Self: ...

    @y_may_stand_second
    def partial_fit(
        self, X: Any, lengths: Any = None, y: None = None, *, context: Any = None, decay: float = 0.7
    ) -> Self:
        """Learn from one batch more of a stream, whose rows need not be kept.

        The batch moves the averages of the sufficient statistics (t + 2)^-``decay`` of the way to its own, t the number
        of batches before it; 0.5 < ``decay`` <= 1, more forgets less. A model that is not fitted yet is fitted to the
        first batch, which should be large enough for that; one that is takes a full EM step on it. States keep their
        numbers. ``log_likelihood_`` is that of the latest batch; what the averages are is not saved with the model.

        Raises ``ValueError`` for families whose statistics cannot be added up, and Gaussian data with missing cells.
        """
        if y is not None:
            raise ValueError("y is given, but hidden states are not known in advance; leave it out.")
        if not 0.5 < decay <= 1.0:
            raise ValueError(f"decay is {decay!r}; expected a number above 0.5 and at most 1.")
        if not hasattr(self, "_model"):
            self.fit(X, lengths, context=context)
            sequences = self._sequences(X, lengths, context)
            check_averageable(self._model, sequences)
            self._stream = (self._model, averages(self._model, sequences))
            return self
        sequences = self._sequences(X, lengths, context)
        check_averageable(self._model, sequences)
        frozen = check_frozen(self.frozen, self._model)
        model, known = learn(self._model, self._known(), sequences, decay=decay, frozen=frozen)
        self._model, self._stream = model, (model, known)
        self.log_likelihood_ = self.score_sequences(sequences)
        self.n_iter_, self.converged_ = known.n_batches, False
        for name in ("_best", "state_share_", "exits_"):
            self.__dict__.pop(name, None)
        return self

    def _known(self) -> Averages | None:
        """What the stream has taught, if the model is still the one it made."""
        stream: tuple[Model, Averages] | None = self.__dict__.get("_stream")
        return stream[1] if stream is not None and stream[0] is self._model else None
