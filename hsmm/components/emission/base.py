"""What every emission law offers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.emission.effect import Effect
from hsmm.components.emission.support import NUMBERS, POSITIVE, Support
from hsmm.components.emission.tails import Tails
from hsmm.components.register import KINDS
from hsmm.sequences import Sequences
from hsmm.types import StateSeries

Sufficient: TypeAlias = Literal["rows", "mean", "moments"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Emission(Component):
    """log p(y_t | state). Missing cells are marginalised; a row with none observed has log-density 0."""

    kind: ClassVar[str] = "emission"
    support: ClassVar[Support]
    """What values each feature may have."""
    is_location_scale: ClassVar[bool] = False
    """Whether the fit to features shifted and scaled is the fit to these, in other units."""
    takes_units: ClassVar[bool] = False
    """Whether :meth:`log_potentials`, :meth:`maximise` and :meth:`confined` also take :class:`hsmm.units.Units`."""
    sufficient: ClassVar[Sufficient] = "rows"
    """What of each state's rows the M-step looks at: their mean, mean and covariance ("moments"), or the rows."""

    @abstractmethod
    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        """(R, N, K) log-density of each row under each state, the same bits whatever else is in the batch.

        Written into ``out`` where it is given.
        """

    def log_density_of(self, sequences: Sequences, columns: Collection[int]) -> StateSeries:
        """(R, N, K) log-density of these features of each row; the rows before are known as they are."""
        return self.log_potentials(sequences.observing(columns))

    def climb(self, sequences: Sequences, weights: StateSeries) -> Tensor:
        """(R,) numbers whose slope in the parameters, at these, is that of Σ weights · log-density."""
        density = self.log_potentials(sequences)
        return torch.where(weights > 0, weights * density, 0.0).sum((1, 2))

    @abstractmethod
    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        """Parameters from a rough assignment of rows to states, ``labels`` (R, N) int64."""

    @abstractmethod
    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        """Parameters that do not lower Σ counts · log-density + log-prior, for posteriors (R, N, K) of the states."""

    @abstractmethod
    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        """One row (N, F) for each state of ``states`` (N,), from the first model; ``covariates`` are (N, H)."""

    @abstractmethod
    def order(self) -> Tensor:
        """(K,) states of the first model in their canonical order, so that equal fits have equal names."""

    def moments(self) -> tuple[Tensor, Tensor] | None:
        """(R, K, F) mean and standard deviation of each feature; None where numbers are names, or not all is given."""
        return None

    def effects(self, sequences: Sequences) -> Sequence[Effect]:
        """What of the first model's law follows the context of each row."""
        return []

    def particulars(self) -> dict[str, Any]:
        """What tells laws of this name apart in a table of candidates, each a column: text or numbers."""
        return {}

    def governing(self, n_features: int) -> Sequence[Emission]:
        """The family of each of so many features, without parameters; one family but for products."""
        return [self.bare()] * n_features

    def takes_any_number(self, n_features: int) -> bool:
        """Whether values may be moved a little and still be values of the law."""
        return all(law.support in (NUMBERS, POSITIVE) for law in self.governing(n_features))

    def example(self, n_rows: int, generator: torch.Generator) -> Sequences:
        """Rows from the support, two features unless the family says how many: what its tests are run on."""
        return Sequences.from_arrays(self.support.example(n_rows, 2, generator))

    def points(self, sequences: Sequences) -> Tensor:
        """(N, P) points that lie near each other where rows are alike: in these rough states are sought."""
        return standardised(sequences)

    def in_units_of(self, sequences: Sequences) -> Self:
        """The same law, to be learnt further in units of what these rows depend on."""
        return self

    def confined(self, sequences: Sequences) -> Self:
        """This law moved to where :meth:`maximise` could have put it, had a leap gone beyond."""
        return self

    def is_proper(self) -> Tensor:
        """(R,) models whose parameters, each in range, make a density together."""
        return self._of_restarts(True)

    def collapsed(self, sequences: Sequences) -> Tensor:
        """(R,) models whose likelihood feeds on a degenerate state."""
        return self._of_restarts(False)

    def degeneracy(self, sequences: Sequences) -> str:
        """What a collapsed first model lives on, and the remedy."""
        return "tied or constant values feed the likelihood; use fewer states"

    @property
    def judges_spikes(self) -> bool:
        """Whether :meth:`sobered` takes back what a degenerate state gains, so that restarts compare without it.

        By default of a family that has no degenerate states: there is nothing to take back.
        """
        return type(self).collapsed is Emission.collapsed

    def suspects(self, sequences: Sequences) -> Tensor:
        """(R,) models with a state so narrow that :meth:`sobered` might widen it."""
        return self._of_restarts(False)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        """This law, for posterior weights (R, N, K), without what states gain by living on few distinct values."""
        return self

    @property
    def least_dof(self) -> float | None:
        """Degrees of freedom of the heaviest tail that a state may have; None of a family without such tails."""
        return None

    def alone(self, sequences: Sequences, weights: StateSeries) -> Self:
        """Laws of rows of few values, for weights (R, N, K) of 0 or 1, that hold no others."""
        return self.maximise(sequences, weights)

    def cautions(self, sequences: Sequences) -> list[str]:
        """What should be known of the first model's fit to these data, one sentence each."""
        return []

    def tails(self, sequences: Sequences) -> Tails:
        """(N, F, K) where each cell lies in the law of its feature in each state of the first model.

        What stands for missing cells has no meaning. Raises ``ValueError`` for a family without distribution function.
        """
        raise ValueError(
            f"a {self.name} emission has no distribution function, as values without order have none; choose an "
            "emission for numbers, or one whose family defines tails."
        )

    def _of_restarts(self, flag: bool) -> Tensor:
        """(R,) the same of every model."""
        return torch.full((self.n_restarts,), flag, device=next(iter(self.parameters.values())).device)

    @property
    def n_before(self) -> int:
        """Rows before a row that its density depends on, besides its state."""
        return 0

    @property
    def is_smooth(self) -> bool:
        """Whether density and prior have a gradient everywhere; a penalty that selects has not."""
        return True

    @property
    @abstractmethod
    def n_features(self) -> int: ...


def standardised(sequences: Sequences) -> Tensor:
    """(N, F) each feature about its mean in units of its standard deviation, wild values drawn in; 0 where missing."""
    tamed = sequences.tamed
    mean, _ = tamed.moments
    return torch.where(tamed.observed, (tamed.values - mean) / tamed.scale, 0.0)


EMISSIONS: dict[str, type[Emission]] = KINDS["emission"].families
