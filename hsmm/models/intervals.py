"""How well the data determine each parameter."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any, Literal, Protocol, Self

import numpy as np
import polars as pl
import torch
from scipy.special import expit, logit, ndtri, stdtrit

from hsmm import inference
from hsmm.components.model import Model
from hsmm.errors import IntervalWarning
from hsmm.identity import match_states
from hsmm.sequences import Sequences
from hsmm.training.coordinates import Coordinates
from hsmm.training.information import curvature
from hsmm.training.objective import Objective
from hsmm.training.profile import profile
from hsmm.training.together import Fitting, alone

Method = Literal["information", "profile", "bootstrap"]
METHODS = ("information", "profile", "bootstrap")
_CLIMB = 0.05


class Refittable(Protocol):
    """A fitted estimator that can be fitted again to other data."""

    def clone(self) -> Self: ...
    def set_params(self, **params: Any) -> Self: ...
    def fitting(self, sequences: Sequences, *, start: Any = None) -> Fitting[Self]: ...
    def frozen_names(self) -> frozenset[str]: ...
    def permuted(self, order: Any) -> Self: ...
    def _fitted_model(self) -> Model: ...


def information_table(
    model: Model, sequences: Sequences, frozen: frozenset[str], level: float, *, profiled: bool
) -> pl.DataFrame:
    """Intervals of the normal law around the estimate, on a scale where each parameter is free; or, ``profiled``, of
    the parameters from which the profiled objective has not fallen too low, where such ends are found."""
    objective, model = Objective(sequences, frozen=frozen), model.in_units_of(sequences)
    found = curvature(model, objective)
    for names, what in (
        (found.flat, "are not determined by these data: the likelihood is flat along them"),
        (found.boundary, "have estimates on the boundary of what is possible"),
    ):
        if names:
            _warn(f"{', '.join(names)} {what}; their standard errors are NaN. A bootstrap may tell more.")
    if found.climb > _CLIMB:
        _warn(
            f"the objective would gain {found.climb:.2g} nats by one more Newton step: the model is not at the top for "
            "these data, or at a floor; give the data of the fit, or fit to a smaller tol."
        )
    reach = _reach(model, sequences, found.std_error, level, profiled=profiled)
    ends = profile(model, objective, found, reach) if profiled else None
    rows = []
    for name, error in found.std_error.items():
        part, parameter = _part(model, name)
        estimate = part.parameters[parameter][0].numpy()
        low, high = _bounds(estimate, error.numpy(), reach[name].numpy(), part.constraints()[parameter])
        if ends is not None:
            sides = (ends.low[name].numpy(), low), (ends.high[name].numpy(), high)
            low, high = (np.where(np.isnan(side), normal, side) for side, normal in sides)
        rows += list(_rows(name, part.state_axes[parameter], estimate, error.numpy(), low, high))
    return _table(rows)


def _reach(
    model: Model, sequences: Sequences, errors: dict[str, torch.Tensor], level: float, *, profiled: bool
) -> dict[str, torch.Tensor]:
    """How many standard errors an end lies away, by parameter in its shape: by the normal law; of places that have a
    spread beside them, which rests on the same n rows or segments of the state, by Student's.

    As it is for a normal sample, of which n log(1 + t² / (n - p)) is twice the fall of the profile at an end, and
    t √(n / (n - p)) its distance in errors by the curvature: p places are estimated.
    """
    upper = 0.5 + level / 2.0
    made = {name: torch.full_like(error, float(ndtri(upper))) for name, error in errors.items()}
    if not any(_places(model, name) is not None for name in made):
        return made
    p = inference.posterior(model.potentials(sequences))
    seen = {"emission": p.state[0].sum(0), "duration": p.transition[0].sum(1)}
    for name, reach in made.items():
        if (places := _places(model, name)) is None:
            continue
        n = seen[name.partition(".")[0]].clamp(min=places + 1.0)
        freedom = n - places
        t = torch.from_numpy(stdtrit(freedom.numpy(), upper))
        wide = (n * (t.square() / freedom).log1p()).sqrt() if profiled else t * (n / freedom).sqrt()
        numbers = reach.view(len(n), -1)[:, : 1 if name.startswith("duration") else None]
        numbers.copy_(wide[:, None].expand_as(numbers))
    return made


def _places(model: Model, name: str) -> int | None:
    """How many places of a state a parameter is one of, by feature; None where it is none, or no spread is learnt."""
    kind, (part, parameter) = name.partition(".")[0], _part(model, name)
    own = {other: what for other, what in part.constraints().items() if part.state_axes.get(other) == (1,)}
    if own.get(parameter) != "real" or kind not in ("emission", "duration"):
        return None
    if kind == "duration":
        return 1 if part.parameters[parameter].shape[-1] > 1 else None
    numbers = sum(part.parameters[other][0, 0].numel() for other, what in own.items() if what == "real")
    return numbers // part.n_features if len({*own.values()}) > 1 else None


def bootstrap_table(
    estimator: Refittable, sequences: Sequences, level: float, n_samples: int, random_state: int
) -> pl.DataFrame:
    """Quantiles of refits, from the fitted parameters, to data that the model simulates."""
    model = estimator._fitted_model()
    bare = {kind: part.bare() for kind, part in model.components().items()}
    again = estimator.clone().set_params(**bare, n_init=1, verbose=0)
    generator = torch.Generator().manual_seed(random_state)
    learnt = list(Coordinates(model, estimator.frozen_names()).blocks)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in learnt}
    for _ in range(n_samples):
        simulated = _simulated(model, sequences, generator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refit = alone(again.clone().fitting(simulated, start=estimator))
        X = torch.where(simulated.observed, simulated.values, torch.nan)
        lengths, context = simulated.lengths.numpy(), simulated.covariates
        match = match_states(estimator, refit, X, lengths, context=context)
        matched = match.apply(refit)._fitted_model()
        for name in learnt:
            part, parameter = _part(matched, name)
            drawn[name].append(part.parameters[parameter][0].numpy())
    rows, outside = [], []
    tails = [0.5 - level / 2.0, 0.5 + level / 2.0]
    for name, values in drawn.items():
        part, parameter = _part(model, name)
        table = np.stack(values)
        low, high = np.quantile(table, tails, axis=0)
        estimate = part.parameters[parameter][0].numpy()
        outside += [name] * bool(((estimate < low) | (estimate > high)).any())
        rows += list(_rows(name, part.state_axes[parameter], estimate, table.std(0, ddof=1), low, high))
    if outside:
        _warn(
            f"some intervals of {', '.join(outside)} do not hold the estimate: refits to simulated data lie elsewhere, "
            "as they do where estimates are biased or refits are few. Raise n_samples, or take method='profile'."
        )
    return _table(rows)


def _simulated(model: Model, sequences: Sequences, generator: torch.Generator) -> Sequences:
    """Series as long as these, with the same cells missing."""
    values = []
    for s in range(sequences.n_series):
        one = sequences.series([s])
        states = inference.simulate_states(model.potentials(one), one.n_rows, generator)
        values.append(model.emission.sample(states, generator, one.covariates))
    drawn = torch.where(sequences.observed, torch.cat(values), 0.0)
    return Sequences(drawn, sequences.observed, sequences.offsets, sequences.covariates)


def _bounds(estimate: np.ndarray, error: np.ndarray, z: np.ndarray, constraint: str) -> tuple[np.ndarray, np.ndarray]:
    """Ends that stay within what is possible: on the scale of logits or logarithms where there is one."""
    reach = z * error
    with np.errstate(all="ignore"):
        if constraint == "simplex":
            centre, slope = logit(estimate), estimate * (1.0 - estimate)
            ends = [expit(centre + sign * reach / slope) for sign in (-1, 1)]
            fixed = (error == 0.0) | (slope == 0.0)
            return tuple(np.where(fixed, np.where(np.isnan(error), np.nan, estimate), end) for end in ends)  # type: ignore[return-value]
        positive = np.zeros_like(estimate, dtype=bool)
        if constraint == "positive":
            positive[...] = True
        elif constraint == "matrix":
            positive[...] = np.eye(estimate.shape[-1], dtype=bool)
        factor = np.exp(reach / np.where(positive, estimate, 1.0))
        low = np.where(positive, estimate / factor, estimate - reach)
        return low, np.where(positive, estimate * factor, estimate + reach)


def _rows(name: str, state_axes: tuple[int, ...], *columns: np.ndarray) -> Iterator[dict[str, Any]]:
    """One row for each number; ``state`` is the index along the first axis of states, ``index`` are the others."""
    axis = state_axes[0] - 1 if state_axes else None
    for place in itertools.product(*map(range, columns[0].shape)):
        others = [i for position, i in enumerate(place) if position != axis]
        numbers = dict(zip(("estimate", "std_error", "low", "high"), (c[place] for c in columns), strict=True))
        yield {"parameter": name, "state": None if axis is None else place[axis], "index": others, **numbers}


def _table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    numbers = dict.fromkeys(("estimate", "std_error", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema={"parameter": pl.String, "state": pl.Int64, "index": pl.List(pl.Int64), **numbers})


def _part(model: Model, name: str) -> tuple[Any, str]:
    kind, _, parameter = name.partition(".")
    return model.components()[kind], parameter


def _warn(message: str) -> None:
    warnings.warn(message, IntervalWarning, stacklevel=4)
