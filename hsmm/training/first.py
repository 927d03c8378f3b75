"""The models that restarts begin with."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.sequences import Sequences
from hsmm.training.freezing import frozen_parts
from hsmm.training.objective import Objective
from hsmm.training.starts import draw_starts, initial_model, longest_dwell
from hsmm.training.supervision import respecting


def first_models(
    structure: Model, objective: Objective, *, n_states: int, n_init: int, seed: int, start: Model | None = None
) -> tuple[Model, list[str]]:
    """``n_init`` models of this structure, and the kinds of their starts.

    Components of ``structure`` that have parameters keep them in every model. ``start`` (one model) stands for the
    first model, and gives the others what is frozen. Raises ``ValueError`` where something frozen has no value, or
    where a start does not fit.
    """
    sequences = objective.sequences
    if start is not None and n_init == 1 and _is_all(start, structure, sequences, n_states):
        parts = structure.components()
        values = {kind: parts[kind].with_parameters(**part.parameters) for kind, part in start.components().items()}
        return replace(structure, **values).to(sequences.values.device).in_units_of(sequences), ["start"]
    longest = longest_dwell(structure, sequences, n_states)
    starts = draw_starts(sequences, n_states, n_init, longest, seed, structure.emission)
    generator = torch.Generator().manual_seed(seed % 2**63)
    if (labels := structure.transition.first_states(sequences, n_init, n_states, generator)) is not None:
        starts = replace(starts, labels=labels, kinds=[structure.transition.first_kind] * n_init)
    if objective.states is not None:
        starts = respecting(starts, objective.states)
    drawn = initial_model(structure, sequences, starts, seed)
    kinds = list(starts.kinds)
    given = {kind: part.parameters for kind, part in structure.components().items() if part.parameters}
    _check_frozen_have_values(structure, objective.frozen, set(given), start)
    model = drawn
    for kind, parameters in given.items():
        model = _with_values(model, kind, parameters, f"the {kind} given")
    if start is not None:
        for kind, part in start.components().items():
            names = set(part.parameters) if kind in objective.frozen else frozen_parts(objective.frozen, kind)
            fixed = {name: part.parameters[name] for name in names}
            model = _with_values(model, kind, fixed, "start")
        first = model.take(torch.tensor([0]))
        for kind, part in start.components().items():
            if kind not in given:
                first = _with_values(first, kind, part.parameters, "start")
        rest = torch.arange(1, n_init)
        model = first.joined(model.take(rest)) if n_init > 1 else first
        kinds[0] = "start"
    return model.to(sequences.values.device).in_units_of(sequences), kinds


def _is_all(start: Model, structure: Model, sequences: Sequences, n_states: int) -> bool:
    """Whether a start of this size says everything, so that nothing need be drawn."""
    given = any(part.parameters for part in structure.components().values())
    return not given and (start.transition.n_states, start.emission.n_features) == (n_states, sequences.n_features)


def check_start(structure: Model, start: Model) -> None:
    """Raise ``ValueError`` where ``start`` is of another structure."""
    ours, theirs = structure.components(), start.components()
    if set(ours) != set(theirs):
        found, wanted = ("an HMM" if model.duration is None else "an HSMM" for model in (start, structure))
        raise ValueError(f"start is {found}, the model to be fitted {wanted}; give one of the same structure.")
    for kind, part in ours.items():
        if set(part.state_axes) != set(theirs[kind].state_axes):
            raise ValueError(
                f"the {kind} of start is {theirs[kind].name}, that of the model {part.name}; "
                "give one of the same family."
            )


def has_values(structure: Model) -> bool:
    """Whether a component was given with parameters, whose states have numbers that mean something."""
    return any(part.parameters for part in structure.components().values())


def _check_frozen_have_values(structure: Model, frozen: frozenset[str], given: set[str], start: Model | None) -> None:
    for name in sorted(frozen):
        kind = name.partition(".")[0]
        part = structure.components()[kind]
        if start is None and kind not in given and part.constraints():
            raise ValueError(
                f"frozen names {name!r}, but nothing says its value; give fit a start=, or give the model a {kind} "
                f"that has parameters, such as {type(part).__name__}.from_parameters(...)."
            )


def _with_values(model: Model, kind: str, parameters: dict[str, Tensor], source: str) -> Model:
    """``model`` with these parameters (restart axis of one) of one component in all its restarts."""
    part = model.components()[kind]
    changed = {}
    for name, value in parameters.items():
        drawn = part.parameters.get(name)
        if drawn is not None and drawn.shape[1:] != value.shape[1:]:
            raise ValueError(
                f"{kind}.{name} of {source} has shape {tuple(value.shape[1:])}, but the model needs "
                f"{tuple(drawn.shape[1:])}."
            )
        changed[name] = value[:1].expand(model.emission.n_restarts, *value.shape[1:]).clone()
    return replace(model, **{kind: part.with_parameters(**changed)})
