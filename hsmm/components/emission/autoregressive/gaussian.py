"""Rows that follow from the rows before: vector autoregression in each state."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Constraint, as_parameter
from hsmm.components.emission.autoregressive.lags import Lagged, Pattern
from hsmm.components.emission.autoregressive.regression import Maps
from hsmm.components.emission.autoregressive.stationary import stationary_moments
from hsmm.components.emission.base import Emission, standardised
from hsmm.components.emission.scatter import floor_eigenvalues
from hsmm.components.emission.spikes import AT_FLOOR, NARROW, widened_noise
from hsmm.components.emission.support import NUMBERS, Support
from hsmm.components.emission.tails import Tails, normal_tails
from hsmm.numerics import eigvalsh
from hsmm.sequences import Rows, Sequences
from hsmm.spelling import nearest
from hsmm.types import StateSeries

Shape = Literal["full", "diag"]

_LOG_2PI = math.log(2.0 * math.pi)
_CELLS = 1 << 16
_TAME = 4.0  # standard deviations at which points are drawn in


@dataclass(frozen=True, kw_only=True, eq=False)
class AutoregressiveGaussian(Emission):
    """Each state's own linear map of the ``lags`` rows before, whatever their states, and normal noise: y_t =
    intercept + Σ coef_l y_{t-l} + noise (Hamilton 1990).

    - ``coefficients``: "full", every feature follows from all; "diag", each from its own past
    - ``covariance`` of the noise: "full" or "diag"; ``min_covariance`` floors its variances (eigenvalues), relative to
      those of what one regression for all rows leaves

    A cell of the rows before that is missing, or that lies before the first row of a series, is a draw of its own from
    the normal law with the mean and standard deviation of its feature in the fit. So every row has a density that
    integrates to one, its past given, and a score is a likelihood from the first row on.

    Parameters are ``level`` (R, K, F), the row expected where the past is at its mean, ``coef`` (R, K, L, F, F), row i
    of lag l what feature i takes from each, or (R, K, L, F) for "diag", ``covariance`` (R, K, F, F) or (R, K, F), and
    ``past_mean``, ``past_sd`` (R, F), which are not learnt. docs/maths/emissions.md.
    """

    name: ClassVar[str] = "autoregressive_gaussian"
    state_axes: ClassVar = {"level": (1,), "coef": (1,), "covariance": (1,), "past_mean": (), "past_sd": ()}
    support: ClassVar[Support] = NUMBERS
    is_location_scale: ClassVar[bool] = True
    holdable: ClassVar = frozenset({"level", "coef", "covariance"})

    lags: int = 1
    coefficients: Shape = "full"
    covariance: Shape = "full"
    min_covariance: float = 1e-6

    def __post_init__(self) -> None:
        if not isinstance(self.lags, int) or isinstance(self.lags, bool) or self.lags < 1:
            raise ValueError(f"lags is {self.lags!r}; expected a whole number >= 1, or emission 'gaussian' for none.")
        for name in ("coefficients", "covariance"):
            value, known = getattr(self, name), get_args(Shape)
            if value not in known:
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}{nearest(value, known)}")
        if not 0.0 < self.min_covariance < 1.0:
            raise ValueError(f"min_covariance is {self.min_covariance}; expected a fraction between 0 and 1.")

    @classmethod
    def from_parameters(
        cls,
        intercept: Any,
        coef: Any,
        covariance: Any,
        *,
        past_mean: Any = None,
        past_sd: Any = None,
        **hyperparameters: Any,
    ) -> Self:
        """``intercept`` (K, F); ``coef`` (K, L, F, F) full or (K, L, F) diag; ``covariance`` (K, F, F) or (K, F).

        ``past_mean``, ``past_sd`` (F,) of what is missing before a row are by default those of all states together,
        where each is stationary. Raises ``ValueError`` for shapes that do not fit, and where a state is not stationary
        and they are left out.
        """
        constant, slopes = as_parameter(intercept, "intercept", (2,)), as_parameter(coef, "coef", (3, 4))
        scatter = as_parameter(covariance, "covariance", (2, 3))
        kinds: dict[str, Any] = {
            "coefficients": "diag" if slopes.ndim == 4 else "full",
            "covariance": "diag" if scatter.ndim == 3 else "full",
        }
        blank = torch.zeros_like(constant[:, 0])
        given = {"level": constant, "coef": slopes, "covariance": scatter, "past_mean": blank, "past_sd": blank}
        made = cls(parameters=given, lags=slopes.shape[2], **kinds, **hyperparameters)
        made.check()
        if past_mean is None or past_sd is None:
            mean, sd = (x[0] for x in made.moments())
            if bool(mean.isnan().any()):
                state = int(mean.isnan().any(1).nonzero()[0])
                raise ValueError(
                    f"state {state} is not stationary, so it has no mean; give past_mean and past_sd (F,), what the "
                    "rows before a series are like."
                )
            own_mean = mean.mean(0)
            own_sd = (sd.square() + (mean - own_mean).square()).mean(0).sqrt()
            past_mean, past_sd = (own if x is None else x for own, x in ((own_mean, past_mean), (own_sd, past_sd)))
        of_past = {"past_mean": past_mean, "past_sd": past_sd}
        before = {name: as_parameter(value, name, (1,)) for name, value in of_past.items()}
        if any(x.shape != blank.shape for x in before.values()) or bool((before["past_sd"] < 0).any()):
            raise ValueError(f"past_mean and past_sd are {past_mean} and {past_sd}; expected (F,), the second >= 0.")
        whole = made.with_parameters(**before)
        return whole.with_parameters(level=constant + (whole._slopes() * whole._past_mean()[:, None, None]).sum(-1))

    def check(self) -> None:
        level, covariance = self.parameters["level"], self.parameters["covariance"]
        k, f = level.shape[1:]
        wanted = {
            "coef": (k, self.lags, f, *[f] * (self.coefficients == "full")),
            "covariance": (k, f, *[f] * (self.covariance == "full")),
            "past_mean": (f,),
            "past_sd": (f,),
        }
        found = {name: tuple(self.parameters[name].shape[1:]) for name in wanted}
        if found != wanted:
            raise ValueError(f"parameters have shapes {found} for an intercept {(k, f)}; expected {wanted}.")
        if self.covariance == "full" and not torch.allclose(covariance, covariance.mT, rtol=1e-6):
            raise ValueError("covariance is not symmetric in every state; give (C + C.T) / 2.")
        smallest = covariance if self.covariance == "diag" else torch.linalg.eigvalsh(covariance)
        if bool((smallest <= 0).any()):
            raise ValueError("covariance is not positive definite in every state.")

    def particulars(self) -> dict[str, Any]:
        return {"lags": self.lags}

    @property
    def n_before(self) -> int:
        return self.lags

    @property
    def n_features(self) -> int:
        return self.parameters["level"].shape[-1]

    @property
    def intercept_(self) -> np.ndarray:
        """(K, F)"""
        self.fitted("level")
        constant = self.parameters["level"] - (self._slopes() * self._past_mean()[:, None, None]).sum(-1)
        return constant[0].cpu().numpy()

    @property
    def coef_(self) -> np.ndarray:
        """(K, L, F, F) full: what a feature takes from each, L rows before; (K, L, F) diag."""
        return self.fitted("coef")

    @property
    def covariance_(self) -> np.ndarray:
        """(K, F, F) full, (K, F) diag: of the noise."""
        return self.fitted("covariance")

    def constraints(self) -> dict[str, Constraint]:
        return {"level": "real", "coef": "real", "covariance": "positive" if self.covariance == "diag" else "matrix"}

    def sizes(self) -> dict[str, Tensor]:
        sd = self._scatter().diagonal(dim1=-2, dim2=-1).sqrt()
        past = self.parameters["past_sd"]
        past = torch.where(past > 0, past, 1.0)[:, None]
        ratio = sd / past if self.coefficients == "diag" else sd.unsqueeze(-1) / past.unsqueeze(-2)
        return {"level": sd, "coef": ratio.unsqueeze(2).expand_as(self.parameters["coef"])}

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} features; the model was fitted on {self.n_features}.")
        return self._table(Lagged.of(sequences, self.lags), out)

    def log_density_of(self, sequences: Sequences, columns: Collection[int]) -> StateSeries:
        whole = Lagged.of(sequences, self.lags)
        return self._table(replace(whole, sequences=sequences.observing(columns)), None)

    def _table(self, lagged: Lagged, out: StateSeries | None) -> StateSeries:
        level, sequences = self.parameters["level"], lagged.sequences
        density = level.new_zeros(len(level), sequences.n_rows, level.shape[1]) if out is None else out.zero_()
        for pattern in lagged.patterns:
            found = self._log_density(lagged, pattern)
            if found.requires_grad or density.requires_grad:
                rows = torch.arange(sequences.n_rows, device=level.device)[pattern.rows]
                density = density.index_copy(1, rows, found)
            else:
                density[:, pattern.rows] = found
        return density

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        """A regression of each state's rows on the rows before, whatever their states."""
        tame = sequences.tamed
        lagged, (mean, unit) = Lagged.of(tame, self.lags), tame.moments
        r, pooled, scale = len(labels), lagged.pooled, lagged.units[1]
        left = pooled.coordinates[:, pooled.n_regressors :] * scale
        noise = left.mT @ left / len(left) if len(left) else torch.diag(scale.square())
        noise = floor_eigenvalues(noise[None], lagged.floor_scale, self.min_covariance)[0]
        start = self._of_maps(
            Maps(
                (pooled.coef).expand(r, n_states, -1, -1),
                (noise / scale / scale[:, None]).expand(r, n_states, -1, -1),
                (scale.new_zeros(r, self.lags * len(mean)), scale.new_ones(r, self.lags * len(mean))),
            ),
            lagged,
            {"past_mean": mean.expand(r, -1).clone(), "past_sd": unit.sqrt().expand(r, -1).clone()},
        )
        weights = torch.nn.functional.one_hot(labels, n_states).to(mean.dtype)
        fitted = start.maximise(tame, weights)
        spread = 0.9 * fitted.parameters["covariance"] + 0.1 * start.parameters["covariance"]
        return fitted.with_parameters(covariance=spread)

    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        lagged = Lagged.of(sequences, self.lags)
        if not lagged.patterns:
            return self
        moves = self._movable(held).to(counts.device)
        made = self._maps(lagged).regressed(lagged, counts, moves, is_dense=not held and self.coefficients == "full")
        found = self._of_maps(made, lagged, self.parameters)
        found = found.with_parameters(**{name: self.parameters[name] for name in held})
        return found if "covariance" in held else found._confined(lagged)

    def confined(self, sequences: Sequences) -> Self:
        return self._confined(Lagged.of(sequences, self.lags))

    def is_proper(self) -> Tensor:
        covariance = self.parameters["covariance"].detach()
        if self.covariance == "diag":
            return (covariance > 0).flatten(1).all(1)
        return (torch.linalg.cholesky_ex(covariance).info == 0).flatten(1).all(1)

    def collapsed(self, sequences: Sequences) -> Tensor:
        """(R,) whether a state's noise lies at its floor although the data vary."""
        return self._floored_states(sequences).any(1)

    @property
    def judges_spikes(self) -> bool:
        return True

    def suspects(self, sequences: Sequences) -> Tensor:
        return self._narrow(Lagged.of(sequences, self.lags)).flatten(1).any(1)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        """Judged by what the rows before leave of a row: values that repeat those before are one."""
        lagged = Lagged.of(sequences, self.lags)
        if (complete := lagged.complete) is None:
            return self
        left = torch.stack(self._residuals(lagged, complete, complete.rows), -1).transpose(1, 2)
        floored, scale = self._floored_states(sequences), lagged.floor_scale
        values, past = sequences.values[complete.rows], lagged.past[complete.rows]
        rows = values, past.unflatten(1, (self.lags, -1))
        wide = widened_noise(left, self._scatter(), floored, rows, weights[:, complete.rows], scale)
        return self.with_parameters(covariance=wide if self.covariance == "full" else wide.diagonal(dim1=-2, dim2=-1))

    def _narrow(self, lagged: Lagged) -> Tensor:
        """(R, K) states whose noise is so small beside that of one regression for all rows."""
        scale = lagged.floor_scale
        return (eigvalsh(self._scatter() / (scale[:, None] * scale)) < NARROW).any(-1)

    def degeneracy(self, sequences: Sequences) -> str:
        states = self._floored_states(sequences)[0].nonzero().flatten().tolist()
        return (
            f"states {states} foretell their rows without error, as {self.lags} lags do of any few rows: use fewer "
            "states or lags, or add noise of the size of the rounding"
        )

    def points(self, sequences: Sequences) -> Tensor:
        """Beside each row, what the pooled regression leaves of it times the rows before: its mean over a state's rows
        is how far the state's coefficients lie from the pooled ones."""
        tame = sequences.tamed
        lagged, own = Lagged.of(tame, self.lags), standardised(sequences)
        left = own.new_zeros(own.shape)
        if (complete := lagged.complete) is not None:
            pooled = lagged.pooled.coordinates[:, lagged.pooled.n_regressors :]
            size = pooled.square().mean(0).sqrt()
            left[complete.rows] = torch.where(size > 0, pooled / size, 0.0)
        mean, unit = lagged.units
        past = torch.where(lagged.known, (lagged.past - mean.repeat(self.lags)) / unit.repeat(self.lags), 0.0)
        moves = left.clamp(-_TAME, _TAME).repeat(1, self.lags) * past.clamp(-_TAME, _TAME)
        return torch.cat([own, left.clamp(-_TAME, _TAME), moves], 1)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Of a state that lasts: mean and standard deviation of its stationary law, NaN where it has none."""
        level, slopes = self.parameters["level"], self._slopes()
        constant = level - (slopes * self._past_mean()[:, None, None]).sum(-1)
        return stationary_moments(constant, slopes, self._scatter())

    def order(self) -> Tensor:
        """By the first feature's level where levels lie apart, else by the noise, calm first."""
        level, variance = self.parameters["level"][0], self._scatter()[0].diagonal(dim1=-2, dim2=-1)
        if bool(level[:, 0].var(unbiased=False) > variance[:, 0].mean()):
            return level[:, 0].argsort(stable=True)
        return variance.log().sum(-1).argsort(stable=True)

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        """Rows (N, F) of one series, each from the rows drawn before it."""
        n, f = len(states), self.n_features
        slopes, scatter = self._slopes()[0].numpy(), self._scatter()[0]
        level, mean = self.parameters["level"][0].numpy(), self.parameters["past_mean"][0]
        factor = torch.linalg.cholesky(scatter)
        noise = torch.randn(n, f, 1, generator=generator, dtype=torch.float64)
        noise = (factor[states] @ noise).squeeze(-1).numpy()
        lost = self.parameters["past_sd"][0] * torch.randn(
            (self.lags, self.lags, f), generator=generator, dtype=torch.float64
        )
        drawn, off, kinds = np.empty((n, f)), np.zeros(self.lags * f), states.tolist()
        for row, state in enumerate(kinds):
            if row < self.lags:
                off[row * f :] = lost[row, row:].flatten().numpy()
            drawn[row] = level[state] + slopes[state] @ off + noise[row]
            off[f:] = off[:-f].copy()
            off[:f] = drawn[row] - mean.numpy()
        return torch.from_numpy(drawn)

    def tails(self, sequences: Sequences) -> Tails:
        lagged, one = Lagged.of(sequences, self.lags), self.take(torch.zeros(1, dtype=torch.int64))
        shape = (sequences.n_rows, self.n_features, self.parameters["level"].shape[1])
        off, sd = torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
        for pattern in lagged.patterns:
            left = one._residuals(lagged, pattern, pattern.rows)
            root = torch.linalg.inv(one._raw_maps().whitener(pattern)[0])
            variance = root.square().sum(-1)
            for place, feature in enumerate(pattern.features):
                off[pattern.rows, feature] = left[place][0].mT
                sd[pattern.rows, feature] = variance[:, place].sqrt()
        return normal_tails(off, torch.zeros_like(off), sd)

    def n_parameters(self) -> int:
        k, f = self.parameters["level"].shape[1:]
        slopes = self.lags * f * (f if self.coefficients == "full" else 1)
        return k * (f + slopes + (f * (f + 1) // 2 if self.covariance == "full" else f))

    def _log_density(self, lagged: Lagged, pattern: Pattern) -> Tensor:
        """(R, n, K) of the rows of a pattern, in pieces that fit into caches: no row's bits depend on the others."""
        level = self.parameters["level"]
        whitener = self._raw_maps().whitener(pattern)
        peak = whitener.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * len(pattern.present) * _LOG_2PI
        pieces = []
        for rows in _pieces(pattern, lagged.sequences.n_rows, max(1, _CELLS // level[..., 0].numel())):
            left = self._residuals(lagged, pattern, rows)
            total = torch.zeros_like(left[0])
            for i in range(len(left)):
                along = whitener[..., i, 0, None] * left[0]
                for j in range(1, i + 1):
                    along = along + whitener[..., i, j, None] * left[j]
                total = total + along.square()
            pieces.append((peak.unsqueeze(-1) - 0.5 * total).mT)
        return torch.cat(pieces, 1)

    def _residuals(self, lagged: Lagged, pattern: Pattern, rows: Rows) -> list[Tensor]:
        """(R, K, n) what is left of each feature that these rows observe, column by column."""
        slopes, level, mean = self._slopes(), self.parameters["level"], self._past_mean()
        values, past = lagged.sequences.values[rows], lagged.past[rows]
        off = {c: (past[:, c] - mean[:, c, None]).unsqueeze(1) for c in pattern.cells}
        n_features, found = self.n_features, []
        for feature in pattern.features:
            left = values[:, feature] - level[..., feature, None]
            for c, x in off.items():
                if self.coefficients == "full" or c % n_features == feature:
                    left = left - slopes[..., feature, c, None] * x
            found.append(left)
        return found

    def _raw_maps(self) -> Maps:
        """In the units of the data, the past about its mean."""
        sd = self.parameters["past_sd"].repeat(1, self.lags)
        coef = torch.cat([self.parameters["level"].unsqueeze(-1), self._slopes()], -1)
        return Maps(coef, self._scatter(), (torch.zeros_like(sd), sd.square()))

    def _slopes(self) -> Tensor:
        """(R, K, F, L · F)"""
        coef = self.parameters["coef"]
        whole = coef if self.coefficients == "full" else torch.diag_embed(coef)
        return whole.movedim(2, 3).flatten(3)

    def _scatter(self) -> Tensor:
        """(R, K, F, F)"""
        covariance = self.parameters["covariance"]
        return covariance if self.covariance == "full" else torch.diag_embed(covariance)

    def _past_mean(self) -> Tensor:
        """(R, L · F)"""
        return self.parameters["past_mean"].repeat(1, self.lags)

    def _movable(self, held: Collection[str]) -> Tensor:
        """(F, 1 + L · F) the numbers of the maps that the M-step may change."""
        f = self.n_features
        own = torch.eye(f, dtype=torch.bool).repeat(1, self.lags)
        slopes = own if self.coefficients == "diag" else torch.ones_like(own)
        level = torch.full((f, 1), "level" not in held)
        return torch.cat([level, slopes & ("coef" not in held)], 1)

    def _maps(self, lagged: Lagged) -> Maps:
        mean, unit = lagged.units
        means, units = mean.repeat(self.lags), unit.repeat(self.lags)
        slopes, level = self._slopes(), self.parameters["level"]
        constant = level - mean + (slopes * (means - self._past_mean())[:, None, None]).sum(-1)
        coef = torch.cat([(constant / unit).unsqueeze(-1), slopes * units / unit[:, None]], -1)
        lost = (self._past_mean() - means) / units, (self.parameters["past_sd"].repeat(1, self.lags) / units).square()
        return Maps(coef, self._scatter() / unit / unit[:, None], lost)

    def _of_maps(self, maps: Maps, lagged: Lagged, before: Any) -> Self:
        """The law of these maps, beside what is known ``before`` the rows."""
        mean, unit = lagged.units
        means, units = mean.repeat(self.lags), unit.repeat(self.lags)
        f = len(mean)
        slopes = maps.coef[..., 1:] * unit[:, None] / units
        past = before["past_mean"].repeat(1, self.lags)
        level = mean + maps.coef[..., 0] * unit - (slopes * (means - past)[:, None, None]).sum(-1)
        coef = slopes.unflatten(-1, (self.lags, f)).movedim(3, 2)
        coef = coef.diagonal(dim1=-2, dim2=-1) if self.coefficients == "diag" else coef
        scatter = maps.covariance * unit * unit[:, None]
        scatter = scatter.diagonal(dim1=-2, dim2=-1) if self.covariance == "diag" else scatter
        own = {"level": level.clone(), "coef": coef.contiguous().clone(), "covariance": scatter.contiguous().clone()}
        return self.with_parameters(**own, **{name: before[name] for name in ("past_mean", "past_sd")})

    def _confined(self, lagged: Lagged) -> Self:
        covariance = self.parameters["covariance"]
        if self.covariance == "full":
            raised = floor_eigenvalues(covariance, lagged.floor_scale, self.min_covariance)
        else:
            raised = covariance.maximum(self.min_covariance * lagged.floor_scale.square())
        return self.with_parameters(covariance=raised)

    def _floored_states(self, sequences: Sequences) -> Tensor:
        """(R, K) whose noise lies at its floor in features that vary."""
        varying, scale = sequences.moments[1] > 0, Lagged.of(sequences, self.lags).floor_scale
        covariance = self._scatter() / scale / scale[:, None]
        kept = covariance[..., varying, :][..., varying]
        if not kept.shape[-1]:
            return torch.zeros(covariance.shape[:2], dtype=torch.bool, device=covariance.device)
        return eigvalsh(kept).amin(-1) <= AT_FLOOR * self.min_covariance


def _pieces(pattern: Pattern, n_rows: int, size: int) -> Iterator[Rows]:
    if isinstance(pattern.rows, slice):
        yield from (slice(first, min(first + size, n_rows)) for first in range(0, n_rows, size))
    else:
        yield from pattern.rows.split(size)
