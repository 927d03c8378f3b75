"""From nemos' options to our components."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsmm.components.emission.glm import GLM, Standardise
from hsmm.components.initial import FreeInitial
from hsmm.components.model import Model
from hsmm.components.transition import Dense
from hsmm.models.glm import options as words


def structure_of(
    *,
    observation_model: Any,
    inverse_link_function: Any,
    regularizer: Any,
    regularizer_strength: Any,
    standardise: Standardise,
    solver_name: Any,
    dirichlet_initial_proba: Any,
    dirichlet_transition_proba: Any,
) -> Model:
    """The components, without parameters, that nemos' options ask for. Raises where they do not fit each other."""
    kind = words.regularizer(regularizer)
    initial, transition = (
        1.0 if prior is None else np.asarray(prior, dtype=np.float64).tolist()
        for prior in (dirichlet_initial_proba, dirichlet_transition_proba)
    )
    strength, mix = words.strength(kind, regularizer_strength)
    emission = GLM(
        family=words.family(observation_model),  # type: ignore[arg-type]
        inverse_link=inverse_link_function,
        regularizer=kind.name,  # type: ignore[arg-type]
        groups=kind.groups() if isinstance(kind, words.GroupLasso) else None,
        solver=words.solver(solver_name, kind),  # type: ignore[arg-type]
        standardise=standardise if isinstance(standardise, str) else bool(standardise),
        strength=strength,
        mix=mix,
    )
    return Model(
        initial=FreeInitial(concentration=initial),
        transition=Dense(concentration=transition, self_transitions=True),
        duration=None,
        emission=emission,
    )
