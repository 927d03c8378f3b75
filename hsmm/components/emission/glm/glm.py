"""Generalised linear models as emissions: the response's mean depends on covariates and the state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Constraint, as_parameter
from hsmm.components.covariates import OnCovariates
from hsmm.components.emission.base import Emission
from hsmm.components.emission.effect import Effect, chances_of, effects_of
from hsmm.components.emission.glm.layout import INTERCEPT, Layout, layout
from hsmm.components.emission.glm.links import Elementwise, InverseLink, inverse_link
from hsmm.components.emission.glm.penalties import REGULARIZERS, Penalty, RegularizerName, penalty
from hsmm.components.emission.glm.problem import Design, Problem, standardised, unstandardised
from hsmm.components.emission.glm.responses import RESPONSES, Response
from hsmm.components.emission.glm.solvers import SOLVERS, SolverName
from hsmm.components.emission.spikes import narrow_axes, widened_about
from hsmm.components.emission.support import Support
from hsmm.components.emission.tails import Tails
from hsmm.numerics import ordered_sum
from hsmm.sequences import Sequences
from hsmm.spelling import nearest
from hsmm.types import StateSeries

Standardise: TypeAlias = bool | Literal["decade"]
FamilyName: TypeAlias = Literal["bernoulli", "poisson", "gamma", "negative_binomial", "gaussian", "categorical"]
ROUGH: tuple[RegularizerName, ...] = ("lasso", "elastic_net", "group_lasso")
_DENSITIES = ("gaussian", "gamma")  # families whose likelihood grows without end where responses are met exactly
_TIES = ("coef", "intercept", "scale")
_UNBOUNDED = ("identity", "one_over_x")
_EMPTY = 1e-8
_OWN_SHARE = 0.7
_EXTREME = 12.0
_LOWEST = -1e290  # of a log-density that is told from impossible
_USUAL = (1e-3, 1e3)  # spreads of covariates whose coefficients a penalty is likely meant for


@dataclass(frozen=True, kw_only=True, eq=False)
class GLM(OnCovariates, Emission):
    """Generalised linear models of Y responses, independent given the state, on F covariates.

    Parameters ``coef`` (R, K, F, Y), ``intercept`` (R, K, Y) and ``scale`` (R, K, Y); coefficients and intercepts of a
    categorical response have a last axis of categories. ``scale`` is the variance of a Gaussian, 1 / shape of a gamma,
    and the α of a negative binomial's variance μ + α μ²; it is 1 elsewhere. ``centre`` and ``spread`` (R, K, F), equal
    in all states, are mean and standard deviation of the covariates last learnt from: learning goes on in these units,
    so that it does not depend on those of the covariates, while coefficients are in the covariates' own.

    - ``family``: "bernoulli", "poisson", "gamma", "negative_binomial", "gaussian" or "categorical".
    - ``inverse_link``: how the predictor becomes the mean; by default logistic, exp, one_over_x, exp, identity,
      log_softmax. A function of tensors is taken too, but a model with one cannot be saved.
    - ``regularizer``, ``strength``: the penalty on coefficients, -log of their prior, in each state:
      "ridge" ½ s Σw², "lasso" s Σ|w|, "elastic_net" s Σ(½ (1 - ``mix``) w² + ``mix`` |w|), "group_lasso"
      s Σ √size ‖w_g‖₂ over the ``groups`` (one number for each column; -1 is free; by default one group of all).
    - ``standardise``: whether w above are coefficients of standardised covariates, ``coef`` · ``spread``, so that no
      unit of a covariate changes what is fitted; else they are ``coef`` itself. With "decade" they are ``coef`` times
      the power of ten nearest to ``spread``: ``coef`` itself where covariates are of the size of one, and the same in
      milli- and kilo-units.
    - ``tied``: which of "coef", "intercept" and "scale" all states share.
    - ``solver``: "newton" (proximal where the penalty has corners), "lbfgs" or "proximal_gradient".
    - ``min_precision``: of a normal prior on the coefficients of standardised covariates and on intercepts at their
      mean, too weak to matter but where data are separable: there it stops the rows nearest to the boundary at a
      predictor of about ± log(rows / min_precision), some 25. Not used with the links identity and one_over_x.
    - ``min_scale``: floor of a Gaussian's variance, relative to that of each response or of its densest part.
    - ``n_categories``: by default, as many as the data show.
    """

    name: ClassVar[str] = "glm"
    state_axes: ClassVar = {"coef": (1,), "intercept": (1,), "scale": (1,), "centre": (1,), "spread": (1,)}
    holdable: ClassVar = frozenset({"coef", "intercept", "scale"})

    family: FamilyName = "bernoulli"
    inverse_link: str | Elementwise | None = None
    regularizer: RegularizerName = "unregularized"
    strength: float = 1.0
    mix: float = 0.5
    groups: Sequence[int] | None = None
    standardise: Standardise = True
    tied: Sequence[str] = ()
    solver: SolverName = "newton"
    min_precision: float = 1e-10
    min_scale: float = 1e-6
    n_categories: int | None = None

    def __post_init__(self) -> None:
        for name, found, known in (
            ("family", self.family, tuple(RESPONSES)),
            ("regularizer", self.regularizer, REGULARIZERS),
            ("solver", self.solver, tuple(SOLVERS)),
        ):
            if found not in known:
                raise ValueError(f"{name} is {found!r}; expected one of {', '.join(known)}{nearest(found, known)}")
        if not isinstance(self.standardise, (bool, np.bool_)) and self.standardise != "decade":
            raise ValueError(f"standardise is {self.standardise!r}; expected True, False or 'decade'.")
        if isinstance(self.tied, str) or set(self.tied) - set(_TIES):
            raise ValueError(f"tied is {self.tied!r}; expected a list of some of {', '.join(_TIES)}.")
        if not self.strength >= 0.0 or not np.isfinite(self.strength):
            raise ValueError(f"strength is {self.strength}; expected a number >= 0.")
        if not 0.0 <= self.mix <= 1.0:
            raise ValueError(f"mix is {self.mix}; expected a share of the absolute penalty between 0 and 1.")
        if not 0.0 <= self.min_precision < 1.0 or not 0.0 < self.min_scale < 1.0:
            raise ValueError(
                f"min_precision is {self.min_precision}, min_scale {self.min_scale}; expected small positive numbers."
            )
        if self.solver == "lbfgs" and self.regularizer in ROUGH:
            raise ValueError(
                f"lbfgs needs a smooth penalty; with {self.regularizer} choose newton or proximal_gradient."
            )
        if (self._link.name == "log_softmax") != (self.family == "categorical"):
            raise ValueError(f"inverse_link {self._link.name} does not fit family {self.family!r}; leave it out.")

    @classmethod
    def from_parameters(cls, coef: Any, intercept: Any, scale: Any = None, **hyperparameters: Any) -> Self:
        """``coef`` (K, F) or (K, F, Y), ``intercept`` and ``scale`` (K,) or (K, Y); categories are a last axis."""
        categories = hyperparameters.get("family") == "categorical"
        slopes = as_parameter(coef, "coef", (3, 4) if categories else (2, 3))
        level = as_parameter(intercept, "intercept", (2, 3) if categories else (1, 2))
        if slopes.ndim == 3 + categories:
            slopes = slopes.unsqueeze(3)
        if level.ndim == 2 + categories:
            level = level.unsqueeze(2)
        spread = torch.ones(level.shape[:3], dtype=level.dtype)
        if scale is not None:
            spread = as_parameter(scale, "scale", (1, 2))
            spread = spread.unsqueeze(2) if spread.ndim == 2 else spread
        tables = {"coef": slopes, "intercept": level, "scale": spread}
        made = cls(**hyperparameters)
        made = made.with_parameters(**made.completed(tables))
        made.check()
        return made

    def completed(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Covariates whose units nobody said are in their own."""
        shape = parameters["coef"].shape[:3]
        units = {"centre": torch.zeros(shape, dtype=torch.float64), "spread": torch.ones(shape, dtype=torch.float64)}
        return {**units, **parameters}

    def check(self) -> None:
        coef, intercept, scale = (self.parameters[name] for name in ("coef", "intercept", "scale"))
        axes = 5 if self.family == "categorical" else 4
        expected = (*coef.shape[:2], *coef.shape[3:])
        if coef.ndim != axes or tuple(intercept.shape) != expected or tuple(scale.shape) != expected[:3]:
            raise ValueError(
                f"coef has shape {tuple(coef.shape[1:])}, intercept {tuple(intercept.shape[1:])}, scale "
                f"{tuple(scale.shape[1:])}; expected (K, F, Y), (K, Y) and (K, Y), categories as a last axis."
            )
        if bool((scale <= 0).any()):
            raise ValueError("scale holds numbers <= 0; expected positive ones.")
        centre, spread = (self.parameters[name] for name in ("centre", "spread"))
        if centre.shape != coef.shape[:3] or spread.shape != coef.shape[:3] or bool((spread <= 0).any()):
            raise ValueError(
                f"centre has shape {tuple(centre.shape[1:])}, spread {tuple(spread.shape[1:])}; expected "
                f"{tuple(coef.shape[1:3])} both, and positive spreads."
            )

    @property
    def support(self) -> Support:  # type: ignore[override]
        return self._response.support

    def example(self, n_rows: int, generator: torch.Generator) -> Sequences:
        covariates = torch.randn((n_rows, 3), generator=generator, dtype=torch.float64)
        return super().example(n_rows, generator).with_covariates(covariates)

    @property
    def n_features(self) -> int:
        return self.parameters["intercept"].shape[2]

    @property
    def coef_(self) -> np.ndarray:
        """(K, F, Y), and categories"""
        return self.fitted("coef")

    @property
    def intercept_(self) -> np.ndarray:
        """(K, Y), and categories"""
        return self.fitted("intercept")

    @property
    def scale_(self) -> np.ndarray:
        """(K, Y)"""
        return self.fitted("scale")

    def particulars(self) -> dict[str, Any]:
        penalised = self.regularizer != "unregularized"
        return {
            "family": self.family,
            "inverse_link": self._link.name,
            "regularizer": self.regularizer,
            "strength": float(self.strength) if penalised else None,
            **({"mix": float(self.mix)} if self.regularizer == "elastic_net" else {}),
        }

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} responses; the model was fitted on {self.n_features}.")
        y, seen = _responses(sequences)
        scale = self.parameters["scale"].transpose(1, 2)[..., None, None]
        predictor = self._predictor(self.design(sequences, self.parameters["coef"].shape[2]))
        density = self._response.log_density(y[:, None, None], predictor, scale, self._link).squeeze(-2)
        supported = self._response.support.contains(y)
        if not bool(supported.all()):
            density = torch.where(supported[:, None], density, -torch.inf)
        if not sequences.is_complete:
            density = torch.where(seen[:, None], density, 0.0)
        table = density.squeeze(1) if density.shape[1] == 1 else ordered_sum(density, 1)
        if bool((table < _LOWEST).any()):
            table = torch.where(table < _LOWEST, -torch.inf, table)
        return table.mT.contiguous() if out is None else out.copy_(table.mT)

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        self._check_responses(sequences)
        start = self._flat_start(sequences, labels.shape[0], n_states)
        own = torch.nn.functional.one_hot(labels, n_states).to(torch.float64)
        return start.maximise(sequences, _OWN_SHARE * own + (1.0 - _OWN_SHARE) / n_states)

    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        y, seen = _responses(sequences)
        weight = counts.mT.unsqueeze(1)
        weight = weight.contiguous() if sequences.is_complete else weight * seen[:, None].to(weight.dtype)
        problem = self._problem(sequences, y, weight.expand(-1, len(y), -1, -1), held)
        mass = problem.weight.sum(-1)
        law = self.in_units_of(sequences)
        if not {"coef", "intercept"} <= set(held):
            stacked = self._stacked()
            start = problem.coordinates(problem.design.standard(stacked))
            found = problem.design.raw(problem.parameters(SOLVERS[self.solver](problem, start)))
            learnt = mass.sum(-1, keepdim=True).expand_as(mass) if len(problem.place) == 1 else mass
            law = law._with_stacked(torch.where((learnt > _EMPTY)[..., None, None], found, stacked))
            law = law.with_parameters(**{name: self.parameters[name] for name in held})
        if not self._response.has_scale or "scale" in held:
            return law
        return law._with_best_scale(problem, mass, sequences)

    def in_units_of(self, sequences: Sequences) -> Self:
        """The same law, to be learnt further in units of these rows' covariates."""
        design = self._design(sequences, centred=self._centres)
        shape = self.parameters["coef"].shape[:3]
        units = {"centre": design.centre, "spread": design.spread}
        return self.with_parameters(**{name: value.expand(shape).clone() for name, value in units.items()})

    def confined(self, sequences: Sequences) -> Self:
        return self.with_parameters(scale=self._bounded(self.parameters["scale"], sequences))

    def collapsed(self, sequences: Sequences) -> Tensor:
        """(R,) whether a state's dispersion lies at its floor although the responses vary."""
        scale = self.parameters["scale"]
        if self.family not in _DENSITIES:
            return torch.zeros(self.n_restarts, dtype=torch.bool, device=scale.device)
        low = scale <= 1.01 * self._bounded(torch.zeros_like(scale), sequences)
        return (low & (sequences.moments[1] > 0)).flatten(1).any(1)

    @property
    def judges_spikes(self) -> bool:
        return True

    def suspects(self, sequences: Sequences) -> Tensor:
        if self.family not in _DENSITIES or "scale" in self.tied:
            return super().suspects(sequences)
        return narrow_axes(self.parameters["scale"], self._levelled(sequences)).flatten(1).any(1)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        """Judged by what the regression leaves; a gamma's by logarithms, whose variance is about its scale."""
        if self.family not in _DENSITIES or "scale" in self.tied:
            return self
        scale, n_columns = self.parameters["scale"], self.parameters["coef"].shape[2]
        mean = self._link.mean(self._predictor(self.design(sequences, n_columns))).squeeze(3).permute(0, 3, 2, 1)
        centre = mean if self.family == "gaussian" else mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        least = self._bounded(torch.zeros_like(scale), sequences)[0, 0]
        wide = widened_about(centre, scale, least, self._levelled(sequences), weights, n_slopes=n_columns)
        return self.with_parameters(scale=torch.maximum(scale, wide))

    def _levelled(self, sequences: Sequences) -> Sequences:
        """The responses where what is left of them has about the same spread whatever their mean."""
        return sequences if self.family == "gaussian" else sequences.logarithms

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        mean = self.means(covariates)
        rows = torch.arange(len(states))
        chosen = mean[rows, states].reshape(len(states), self.n_features, -1).permute(1, 2, 0)
        scale = self.parameters["scale"][0][states].T.unsqueeze(1)
        return self._response.draw(chosen.contiguous(), scale, generator).squeeze(1).T

    def effects(self, sequences: Sequences) -> Sequence[Effect]:
        mean = self.means(sequences.covariates)
        if self.family == "categorical":
            return chances_of(mean)
        if self.family == "bernoulli":
            return [replace(chance, symbol=1) for chance in effects_of("probability", mean, "logit")]
        at_any_number = self.family == "gaussian" or self._link.name == "identity"
        return effects_of("mean", mean, "identity" if at_any_number else "log")

    def means(self, covariates: Tensor | None) -> Tensor:
        """(N, K, Y) mean responses in each state of the first model; (N, K, Y, M) probabilities of categories."""
        if covariates is None:
            raise ValueError("the glm component depends on covariates; give them as context=.")
        first = self.take(torch.tensor([0]))
        blank = torch.zeros(len(covariates), 1, dtype=torch.float64)
        data = Sequences(blank, blank.bool(), torch.tensor([0, len(covariates)]), covariates)
        predictor = first._predictor(first.design(data, first.parameters["coef"].shape[2]))
        mean = self._link.mean(predictor)[0].permute(3, 1, 0, 2)
        return mean if self.family == "categorical" else mean.squeeze(-1)

    def tails(self, sequences: Sequences) -> Tails:
        mean = self.means(sequences.covariates).movedim(1, -1)
        return self._response.tails(sequences.values.unsqueeze(-1), mean, self.parameters["scale"][0].T)

    def order(self) -> Tensor:
        """By the first response's predictor at the covariates' mean, or where states share the intercept by the first
        coefficient, then by scale."""
        regression, scale = self._standard()[0, 0, :, 0], self.parameters["scale"][0, :, 0]
        for name, values in (("intercept", regression[:, 0]), ("coef", regression[:, 1]), ("scale", scale)):
            if name not in self.tied and bool((values != values[0]).any()):
                return values.argsort(stable=True)
        return torch.arange(self.parameters["scale"].shape[1])

    def separated(self, sequences: Sequences) -> list[int]:
        """States of the first model that are (nearly) certain of most responses, so that their estimates are not."""
        if self.family not in ("bernoulli", "categorical"):
            return []
        mean = self.means(sequences.covariates)
        likeliest = torch.maximum(mean, 1.0 - mean) if self.family == "bernoulli" else mean.amax(-1)
        doubt = (1.0 - likeliest).flatten(2).amax(2).median(0).values
        return (doubt < np.exp(-_EXTREME)).nonzero().flatten().tolist()

    def cautions(self, sequences: Sequences) -> list[str]:
        found = []
        if states := self.separated(sequences):
            found.append(
                f"states {states} are certain of most responses: these are (nearly) separable, and the estimates only "
                "as large as a weak prior lets them be; use a stronger regularizer, or fewer states."
            )
        spread = self._design(sequences, centred=True).spread
        odd = ((spread < _USUAL[0]) | (spread > _USUAL[1])).nonzero().flatten().tolist()
        if odd and not self.standardise and self.regularizer != "unregularized" and self.strength > 0:
            sizes = ", ".join(f"{float(spread[column]):.2g}" for column in odd[:5])
            found.append(
                f"{self.regularizer} weighs coefficients in the covariates' own units, and columns {odd[:5]} have "
                f"standard deviations of {sizes}: leave standardise=True, or fit with regularizer 'unregularized'."
            )
        return found

    def n_parameters(self) -> int:
        coef, intercept = self.parameters["coef"], self.parameters["intercept"]
        _, k, f, n_responses = coef.shape[:4]
        each = n_responses * ((intercept.shape[3] - 1) if self.family == "categorical" else 1)
        sizes = {"coef": f * each, "intercept": each, "scale": n_responses * self._response.has_scale}
        return sum(size * (1 if name in self.tied else k) for name, size in sizes.items())

    def log_prior(self) -> Tensor:
        penalty = self._penalty(torch.ones_like(self._layout.first, dtype=torch.float64), 0.0)
        standard = self._coordinates(self._standard())
        centre, spread = self._units()
        weighed = self._coordinates(standardised(self._stacked(), centre, self._unit_of(spread)))
        floor = 0.5 * self._floor * standard.square().sum(-1)
        return -(penalty.smooth(weighed) + penalty.rough(weighed) + floor).sum((-1, -2))

    @property
    def is_smooth(self) -> bool:
        return self._penalty(torch.ones_like(self._layout.first, dtype=torch.float64), 0.0).is_smooth

    def constraints(self) -> Mapping[str, Constraint]:
        kinds: dict[str, Constraint] = {"coef": "real", "intercept": "real"}
        return {**kinds, "scale": "positive"} if self._response.has_scale else kinds

    def shared_axes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(self.tied, (1,))

    def free(self) -> dict[str, Tensor]:
        """Those of standardised covariates, whose size says how much they matter."""
        return {**super().free(), **self._with_stacked(self._standard())._regression()}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        """What is tied is the mean over the states' coordinates."""
        shared = {
            name: value.mean(1, keepdim=True).expand_as(value) if name in self.tied else value
            for name, value in {**self.free(), **coordinates}.items()
        }
        made = super().with_free(shared)
        return made._with_stacked(unstandardised(made._stacked(), *made._units()))

    def sizes(self) -> dict[str, Tensor]:
        if self.family != "gaussian" or self._link.name != "identity":
            return {}
        deviation = self.parameters["scale"].sqrt()
        return {"coef": deviation.unsqueeze(2), "intercept": deviation}

    @property
    def _response(self) -> Response:
        return RESPONSES[self.family]

    @property
    def _link(self) -> InverseLink:
        return inverse_link(self._response.link if self.inverse_link is None else self.inverse_link)

    @property
    def _layout(self) -> Layout:
        coef = self.parameters["coef"]
        m = coef.shape[4] if coef.ndim == 5 else 1
        return layout(coef.shape[1], m, coef.shape[2] + 1, frozenset(self.tied), coef.device)

    @property
    def _floor(self) -> float:
        return 0.0 if self._link.name in _UNBOUNDED else self.min_precision

    @property
    def _centres(self) -> bool:
        """Whether intercepts at the covariates' mean are shared just where those at 0 are."""
        return "intercept" not in self.tied or "coef" in self.tied

    def _penalty(self, unit: Tensor, floor: float) -> Penalty:
        place = self._layout
        return penalty(self.regularizer, self.strength, self.mix, self.groups, floor, place.feature, place.block, unit)

    def _design(self, sequences: Sequences, *, centred: bool) -> Design:
        covariates = self.design(sequences, self.parameters["coef"].shape[2])
        return Design.of(sequences, covariates, None if self.columns is None else tuple(self.columns), centred=centred)

    def _problem(self, sequences: Sequences, y: Tensor, weight: Tensor, held: Collection[str]) -> Problem:
        place, design = self._layout, self._design(sequences, centred=self._centres and "intercept" not in held)
        size = self._unit_of(self._design(sequences, centred=self._centres).spread)
        unit = torch.where(place.feature == INTERCEPT, 1.0, (design.spread / size)[place.feature.clamp(min=0)])
        penalty, fixed = self._penalty(unit, self._floor), None
        if {"coef", "intercept"} & set(held):
            fixed = place.feature == INTERCEPT if "intercept" in held else place.feature != INTERCEPT
            penalty = penalty.without(fixed)
        return Problem(
            design=design,
            response=self._response,
            link=self._link,
            y=y.unsqueeze(1),
            weight=weight,
            scale=self.parameters["scale"].transpose(1, 2)[..., None, None],
            penalty=penalty,
            place=place.place,
            n_coordinates=place.n_coordinates,
            held=fixed,
        )

    def _unit_of(self, spread: Tensor) -> Tensor:
        """What coefficients are multiplied with before the penalty weighs them, of covariates of this spread."""
        if self.standardise == "decade":
            return torch.where(spread > 0, 10.0 ** spread.clamp(min=1e-300).log10().round(), 1.0)
        return spread if self.standardise else torch.ones_like(spread)

    def _stacked(self) -> Tensor:
        """(R, Y, K, M, P) intercept and coefficients."""
        coef, intercept = self.parameters["coef"], self.parameters["intercept"]
        joined = torch.cat([intercept.unsqueeze(2), coef], 2)
        return (joined if joined.ndim == 5 else joined.unsqueeze(4)).permute(0, 3, 1, 4, 2)

    def _standard(self) -> Tensor:
        """(R, Y, K, M, P) those at the mean of the covariates, for a change by their spread."""
        return standardised(self._stacked(), *self._units())

    def _units(self) -> tuple[Tensor, Tensor]:
        """(R, 1, K, 1, F) centre and spread."""
        centre, spread = (self.parameters[name][:, None, :, None] for name in ("centre", "spread"))
        return centre, spread

    def _coordinates(self, stacked: Tensor) -> Tensor:
        """(R, Y, G, Q) what is shared once."""
        place = self._layout
        g, k, q = place.place.shape
        flat = stacked.reshape(*stacked.shape[:2], g, k * q)
        return flat[..., place.first]

    def _with_stacked(self, stacked: Tensor) -> Self:
        joined = stacked.permute(0, 2, 4, 1, 3).contiguous()
        joined = joined if self.family == "categorical" else joined.squeeze(4)
        return self.with_parameters(intercept=joined[:, :, 0].contiguous(), coef=joined[:, :, 1:].contiguous())

    def _regression(self) -> dict[str, Tensor]:
        return {name: self.parameters[name] for name in ("coef", "intercept")}

    def _predictor(self, covariates: Tensor) -> Tensor:
        """(R, Y, K, M, N), one covariate after the other so that a row's bits are its own."""
        stacked = self._stacked().unsqueeze(-1)
        columns = covariates.T.contiguous()
        total = stacked[..., 0, :]
        for feature, column in enumerate(columns, 1):
            total = total + stacked[..., feature, :] * column
        return total if len(columns) else total.expand(*total.shape[:-1], len(covariates))

    def _with_best_scale(self, problem: Problem, mass: Tensor, sequences: Sequences) -> Self:
        predictor = problem.design.predictor(problem.design.standard(self._stacked()))
        y, scale = problem.y.unsqueeze(-3), problem.scale
        weight = problem.weight.unsqueeze(-2)
        if "scale" in self.tied:
            k = scale.shape[2]
            y = y.expand(-1, k, -1, -1).reshape(len(y), 1, 1, -1)
            predictor, weight = (x.reshape(*x.shape[:2], 1, 1, -1) for x in (predictor, weight))
            scale, mass = scale[:, :, :1], mass.sum(-1, keepdim=True)
        best = self._response.best_scale(y, predictor, scale, weight, self._link)
        kept = torch.where((mass > _EMPTY)[..., None, None], best, scale)
        found = kept.expand_as(problem.scale)[..., 0, 0].transpose(1, 2)
        return self.with_parameters(scale=self._bounded(found, sequences).contiguous())

    def _bounded(self, scale: Tensor, sequences: Sequences) -> Tensor:
        if self.family == "gaussian":
            return torch.maximum(scale, self.min_scale * sequences.floor_scale**2)
        return scale.clamp(min=self._response.least_scale) if self._response.has_scale else scale

    def _flat_start(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        """The same law in every state, without slopes."""
        mean, _ = sequences.moments
        variance = sequences.scale**2
        centre = self._response.start_mean(mean)
        level = (
            self._link.predictor(centre)
            if self.family != "categorical"
            else _log_shares(sequences, self._size(sequences))
        )
        n_columns = self.design(sequences).shape[1]
        shape = (n_restarts, n_states, *level.shape)
        tables = {
            "coef": level.new_zeros(n_restarts, n_states, n_columns, *level.shape),
            "intercept": level.expand(shape).clone(),
            "scale": self._response.start_scale(centre, variance).expand(*shape[:2], len(mean)).clone(),
        }
        return self.with_parameters(**self.completed(tables)).in_units_of(sequences)

    def _size(self, sequences: Sequences) -> int:
        """Number of categories."""
        seen = int(sequences.values.max()) + 1
        if self.n_categories is not None and self.n_categories < seen:
            raise ValueError(f"n_categories is {self.n_categories}, but X holds category {seen - 1}; count from 0.")
        return max(self.n_categories or seen, 2)

    def _check_responses(self, sequences: Sequences) -> None:
        outside = sequences.observed & ~self._response.support.contains(sequences.values)
        if bool(outside.any()):
            row, column = outside.nonzero()[0].tolist()
            raise ValueError(
                f"response {float(sequences.values[row, column]):g} at row {row}, column {column} cannot be "
                f"{self.family}; expected {self._response.support.words}."
            )


def _responses(sequences: Sequences) -> tuple[Tensor, Tensor]:
    """(Y, N) responses, 1 where missing, and which are observed (Y, 1, N)."""
    made: tuple[Tensor, Tensor] | None = sequences.__dict__.get("_responses")
    if made is None:
        values = torch.where(sequences.observed, sequences.values, 1.0).T.contiguous()
        made = sequences.__dict__["_responses"] = (values, sequences.observed.T.contiguous())
    return made


def _log_shares(sequences: Sequences, n_categories: int) -> Tensor:
    """(Y, M)"""
    category = torch.arange(n_categories, dtype=torch.float64)
    hits = (sequences.values[..., None] == category) & sequences.observed[..., None]
    share = hits.to(torch.float64).sum(0) + 1.0
    logs = (share / share.sum(-1, keepdim=True)).log()
    return logs - logs.mean(-1, keepdim=True)
