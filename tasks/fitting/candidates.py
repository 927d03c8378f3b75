"""The candidates of a configuration: every combination of its lists, as estimators that are not fitted yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch

import hsmm
from hsmm.components.emission import Product
from hsmm.components.initial import Initial
from hsmm.components.register import resolve
from hsmm.components.transition import Transition
from hsmm.selection import CRITERIA
from hsmm.training.trainers import resolve_trainer
from tasks.config.components import Choice, label, made
from tasks.config.errors import ConfigurationError
from tasks.config.laws import emission_of
from tasks.config.settings import Settings

NAMED = ("n_states", "emission", "duration", "transition", "initial", "context")
"""The columns of a ranking that name a candidate; the last three are there where candidates differ in them."""
_LISTS = ("estimator", "n_states", "emission", "duration", "transition", "initial", "context")


def naming(row: Mapping[str, Any]) -> dict[str, Any]:
    """What names the candidate of a ranking's row."""
    return {name: row[name] for name in NAMED if row.get(name) is not None}


@dataclass(frozen=True)
class Candidate:
    """An estimator, and what sets it apart from the others: the columns of the ranking that name it."""

    estimator: hsmm.Estimator
    described: dict[str, Any]


def candidates(settings: Settings) -> list[Candidate]:
    """Every combination of the configuration's lists; an HMM has no duration, and counts once for all of them."""
    found = {repr(candidate.described): candidate for candidate in _combinations(settings)}
    return list(found.values())


def check_candidates(settings: Settings) -> None:
    """Raises ``ConfigurationError`` if a candidate could be fitted to no data."""
    try:
        for candidate in candidates(settings):
            candidate.estimator.check_options()
            _check_sizes(candidate.estimator)
            _check_encoder(candidate.estimator, settings.select.criterion)
            _check_dwell_times(candidate.estimator)
            if settings.fit.pool == "shared":
                _check_sharing(candidate.estimator)
        _check_context([candidate.estimator for candidate in candidates(settings)], settings)
        for choice in settings.model.emission:
            _check_width(choice, settings)
    except ValueError as error:
        raise ConfigurationError(f"model or fit: {error}") from None


def _combinations(settings: Settings) -> Iterator[Candidate]:
    model = settings.model
    varied = {name for name in _LISTS if len(getattr(model, name)) > 1}
    lists = (getattr(model, name) or (None,) for name in _LISTS)
    for kind, n_states, emission, duration, transition, initial, encoder in product(*lists):
        if kind == "factorial":
            continue
        if kind == "dssm":
            emission, transition, encoder = "neural", "neural", None
        choices = {"transition": transition, "initial": initial}
        if encoder is not None:
            choices["context"] = encoder
        described: dict[str, Any] = {"n_states": n_states, "emission": label(emission), "duration": "none"}
        if kind == "hsmm":
            described["duration"] = label(duration)
        described |= {name: label(choice) for name, choice in choices.items() if name in varied}
        parts = {**choices, "emission": emission, **({"duration": duration} if kind == "hsmm" else {})}
        yield Candidate(_estimator(settings, kind, n_states, parts), described)
    for chains in model.chains if "factorial" in model.estimator else ():
        own = {"chains": list(chains)}
        moves: dict[str, Choice] = {name: {"name": "factorial", **own} for name in ("transition", "initial")}
        emission = {"name": "additive", **own}
        described = {"n_states": prod(chains), "emission": label(emission), "duration": "none"}
        described |= {name: "factorial" for name in moves if name in varied}
        yield Candidate(_estimator(settings, "factorial", prod(chains), {**moves, "emission": emission}), described)


def _estimator(settings: Settings, kind: str, n_states: int, parts: dict[str, Choice]) -> hsmm.Estimator:
    model, how = settings.model, settings.fit
    options: dict[str, Any] = {
        name: made(name, choice, settings.value_columns, settings.context_columns) for name, choice in parts.items()
    }
    options |= {"n_states": n_states, "n_init": how.n_init, "max_iter": how.max_iter, "tol": how.tol}
    options |= {"random_state": how.seed, "device": how.device, "frozen": how.frozen}
    options["trainer"] = how.trainer if isinstance(how.trainer, str) else resolve_trainer(how.trainer)
    if kind == "dssm" and "trainer" not in how.model_fields_set:
        options["trainer"] = hsmm.DSSM(max_iter=how.max_iter).trainer
    if kind != "hsmm":
        return hsmm.HMM(**options)
    return hsmm.HSMM(
        **options,
        max_duration=model.max_duration,
        min_duration=model.min_duration,
        left_censored=model.left_censored,
        right_censored=model.right_censored,
    )


def _check_sizes(estimator: hsmm.Estimator) -> None:
    """Options that speak of every state must speak of as many as there are."""
    k = estimator.n_states
    initial: Initial = resolve("initial", estimator.initial)
    initial.initialise(1, k)
    transition: Transition = resolve("transition", estimator.transition)
    if not transition.uses_covariates:
        blank = hsmm.Sequences.from_arrays(np.zeros((k, 1)))
        transition.initialise(blank, torch.full((1, k), 2.0, dtype=torch.float64), torch.Generator().manual_seed(0))


def _check_encoder(estimator: hsmm.Estimator, criterion: str) -> None:
    """The state table says what was known at each row: nothing that reads later rows can fill it. And where parameters
    do not count a model's freedom, only rows that it has not seen can rank it."""
    encoder = estimator._structure().context
    if encoder is not None and not encoder.is_causal:
        raise ValueError(
            f"the {encoder.name} encoder is bidirectional, so states would depend on rows to come, and the state table "
            "is causal; leave bidirectional out."
        )
    if encoder is not None and CRITERIA[criterion].counts_parameters:
        raise ValueError(
            f"select.criterion is {criterion!r}, which counts parameters, and those of the {encoder.name} encoder do "
            'not say how closely it can follow data; choose "held_out".'
        )


def _check_dwell_times(estimator: hsmm.Estimator) -> None:
    """The state table says how long states last, which without durations is known of moves that no row changes."""
    structure = estimator._structure()
    if structure.duration is None and structure.transition.uses_covariates:
        raise ValueError(
            f"transition {structure.transition.name!r} of an HMM reads the context, and the state table says how long "
            'states last, which is not known then; choose estimator "hsmm", whose durations and transitions may be '
            '"contextual", or let the emission read the context.'
        )


def _check_sharing(estimator: hsmm.Estimator) -> None:
    """Series can have only such tables of their own as depend on nothing else."""
    structure, what = estimator._structure(), ""
    parts = structure.components()
    if structure.context is not None:
        what = f"context is the encoder {structure.context.name!r}"
    elif structure.initial.follows_transition:
        what = f"initial is {structure.initial.name!r}"
    elif not structure.transition.states_are_apart:
        what = f"the moves are {structure.transition.name}, of chains that share their tables"
    for kind in ("initial", "transition", "duration"):
        if kind in parts and parts[kind].uses_covariates:
            what = f"the {kind} follows a context"
    if what:
        raise ValueError(
            f'fit.pool is "shared", but {what}, beside which series cannot have tables of their own; choose "pooled", '
            "or let only the emission follow a context."
        )


def _check_context(estimators: list[hsmm.Estimator], settings: Settings) -> None:
    """A context is declared where a candidate reads one, and only there."""
    readers = [estimator for estimator in estimators if estimator.uses_context]
    if readers and not settings.context:
        structure = readers[0]._structure()
        heads = (part for part in structure.components().values() if part.uses_covariates)
        part = structure.context or next(heads)
        raise ValueError(f"{part.name} reads a context, but none is declared; add its columns under [context].")
    if settings.context and not readers:
        raise ValueError("[context] is declared, but no candidate reads it; leave it out, or add one that does.")


def _check_width(choice: Choice, settings: Settings) -> None:
    law, n_features = emission_of(choice, settings), len(settings.value_columns)
    if isinstance(law, Product) and sum(map(len, law.columns or ())) != n_features:
        raise ValueError(
            f"emission {label(choice)} describes {sum(map(len, law.columns or ()))} columns, but there are "
            f"{n_features} features ({', '.join(settings.value_columns)}); give a part to each."
        )
