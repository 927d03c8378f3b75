"""A factorial model's folder: one of a model for each chain, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hsmm.components.emission import Gaussian
from hsmm.io.files import check_dtype, check_whole, read_manifest, read_tables, write
from hsmm.io.model import load_model, save_model
from hsmm.models.factorial.additive import Additive, Chain
from hsmm.models.factorial.parts import alone_of

FILE = "factorial"
_FORMAT = 1
_MOST_CHAINS = 1000


@dataclass(frozen=True, eq=False)
class Stored:
    """The model; ``offset`` (C, F); the estimator's ``options`` and results of its ``fit``, not looked at yet."""

    model: Additive
    offset: Tensor
    options: Mapping[str, Any]
    fit: Mapping[str, Any]


def save(folder: str | Path, stored: Stored) -> Path:
    path, model = Path(folder), stored.model
    for c in range(len(model.chains)):
        save_model(path / f"chain_{c}", alone_of(model, c)._fitted_model(), {})
    told = {"n_chains": len(model.chains), "options": dict(stored.options), "fit": dict(stored.fit)}
    tables = {"base": model.base, "variance": model.variance, "offset": stored.offset}
    return write(path, FILE, {"format": _FORMAT, **told}, tables)


def load(folder: str | Path) -> Stored:
    """Raises ``ValueError`` for anything that :func:`save` did not write."""
    path = Path(folder)
    told = read_manifest(path / f"{FILE}.json", _FORMAT, {"n_chains": int, "options": dict, "fit": dict})
    if not 1 <= told["n_chains"] <= _MOST_CHAINS:
        raise ValueError(f"{folder} has n_chains = {told['n_chains']}; expected 1 to {_MOST_CHAINS}.")
    loaded = [load_model(path / f"chain_{c}")[0] for c in range(told["n_chains"])]
    chains = tuple(
        Chain(one.initial, one.transition, one.duration, one.emission.parameters["mean"])
        for one in loaded
        if isinstance(one.emission, Gaussian)
    )
    if len(chains) != len(loaded):
        raise ValueError(f"{folder} holds chains without levels; expected gaussian ones.")
    tables = _checked(path / f"{FILE}.safetensors", len(chains), chains[0].level.shape[2])
    check_whole(path / f"{FILE}.safetensors", told)
    return Stored(Additive(chains, tables["base"], tables["variance"]), tables["offset"], told["options"], told["fit"])


def _checked(path: Path, n_chains: int, n_features: int) -> dict[str, Tensor]:
    """The tables beside the chains, if they fit these and are numbers to compute with."""
    tables, row = read_tables(path), (1, n_features)
    shapes = {"base": row, "variance": row, "offset": (n_chains, n_features)}
    found = {name: tuple(table.shape) for name, table in tables.items()}
    if found != shapes:
        raise ValueError(f"{path} holds tables of shapes {found}; expected {shapes}.")
    for name, table in tables.items():
        check_dtype(path, name, table)
        if not bool(table.isfinite().all()) or (name == "variance" and not bool((table > 0).all())):
            raise ValueError(f"{path}: {name} holds numbers that cannot be; expected finite ones, variances above 0.")
    return tables
