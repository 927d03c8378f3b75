"""An approximation q of the posterior of the states: a chain whose moves read what a bidirectional encoder makes of the
series, and the lower bound of the likelihood that it gives.

Given a series, the true posterior is such a chain, too: docs/maths/dssm.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.context import GRU, Encoder
from hsmm.components.initial import ContextualInitial
from hsmm.components.model import Model
from hsmm.components.transition import Neural
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences

_ROUNDING = 1e-15  # of what the engine counts of states that cannot be


@dataclass(frozen=True, eq=False, kw_only=True)
class Guided(Model):
    """Models, each beside the chain that approximates the posterior of its states: all are learnt together."""

    guide_initial: ContextualInitial
    guide_transition: Neural
    guide_context: Encoder

    @classmethod
    def beginning(cls, model: Model, sequences: Sequences, hidden: int, seed: int) -> Self:
        """Models with chains that know nothing yet, ``hidden`` units wide."""
        generator = torch.Generator().manual_seed(seed % 2**63)
        r, k = model.emission.n_restarts, model.transition.n_states
        encoder = GRU(hidden=hidden, bidirectional=True).initialise(seen_whole(sequences), r, generator)
        rows = replace(sequences, encoded=encoder.features(seen_whole(sequences, encoder)))
        dwell = torch.full((r, k), float(k), dtype=torch.float64)
        moves = Neural(hidden=max(hidden, k), reads_context=True, self_transitions=True)
        first = ContextualInitial().initialise(r, k).to(sequences.values.device)
        return cls(
            **{name: getattr(model, name) for name in Model.__dataclass_fields__},
            guide_initial=first.beside(rows),
            guide_transition=moves.initialise(rows, dwell, generator),
            guide_context=encoder,
        )

    def components(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("guide_initial", "guide_transition", "guide_context")}
        return super().components() | own

    def apart(self) -> tuple[Model, Model]:
        """The models, and the chains as models, whose emissions say nothing."""
        own = {name: getattr(self, name) for name in Model.__dataclass_fields__}
        return Model(**own), self.guide()

    def guide(self) -> Model:
        return Model(self.guide_initial, self.guide_transition, None, self.emission, context=self.guide_context)


def seen_whole(sequences: Sequences, encoder: Encoder | None = None) -> Sequences:
    """The series as the guide's encoder reads them: their values, which of them are there, and their context.

    Missing values are at the mean of the fit, which the ``encoder`` knows.
    """
    n_features = sequences.n_features
    mean = sequences.moments[0] if encoder is None else encoder.parameters["centre"][0, :n_features]
    parts = [torch.where(sequences.observed, sequences.values, mean), sequences.observed.to(sequences.values)]
    if sequences.covariates is not None:
        parts.append(sequences.covariates)
    return replace(sequences, covariates=torch.cat(parts, 1), encoded=None)


def reading(guide: Model, sequences: Sequences) -> Sequences:
    """The series with what the guide's encoder makes of each as a whole."""
    assert guide.context is not None
    return replace(sequences, encoded=guide.context.features(seen_whole(sequences, guide.context)))


def lower_bound(model: Model, guide: Model, sequences: Sequences) -> Tensor:
    """(R, S) E log p(series, states) - E log q(states) over the guide's paths, at most log p(series).

    The guide being a chain, the mean over all paths is taken exactly.
    """
    p, rows, first = model.potentials(sequences).by_row(), reading(guide, sequences), sequences.offsets[:-1]
    begins = _only_where(p.log_initial.unsqueeze(1), guide.initial.log_potentials(rows))
    moves = _only_where(p.log_transition, guide.transition.log_potentials(rows))
    blank = torch.zeros_like(p.log_emission)
    q = Potentials(
        log_initial=torch.zeros_like(p.log_initial),
        log_transition=moves,
        log_duration=None,
        log_emission=blank.index_add(1, first, begins),
        offsets=sequences.offsets,
    )
    counts = inference.expected_counts(q)
    ours = p.log_transition if p.log_transition.ndim == 4 else p.log_transition.unsqueeze(1)
    of_row = _weighed(counts.state, p.log_emission) + _weighed(counts.transition, ours - moves).sum(-1)
    at_first = _weighed(begins.exp(), p.log_initial.unsqueeze(1) - begins)
    series = torch.arange(sequences.n_series, device=first.device).repeat_interleave(sequences.lengths)
    return at_first.index_add(1, series, of_row)


def _only_where(log_p: Tensor, log_q: Tensor) -> Tensor:
    """log q, normalised over what p allows."""
    log_p = log_p if log_p.ndim == log_q.ndim else log_p.unsqueeze(1)
    return log_q.masked_fill(log_p.isneginf(), -torch.inf).log_softmax(-1)


def _weighed(weight: Tensor, value: Tensor) -> Tensor:
    """Σ weight · value over the last axis, where there is weight beyond rounding."""
    counted = weight > _ROUNDING
    return torch.where(counted, weight * value.masked_fill(~counted, 0.0), 0.0).sum(-1)
