"""Densities and moments of blocks of rows in C++, on the CPU; same names and results as ``reference``."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from hsmm.components.emission.geometry import Geometry, Moments, Radial
from hsmm.native.interface import DensityOut, Law, MomentsOut, Rows
from hsmm.native.interface import Units as UnitsOut
from hsmm.native.library import available, call
from hsmm.sequences import Block, Sequences
from hsmm.units import SharedBlock, Units

_OF_ROWS = ("weight", "scaled", "spread", "share", "share_squared")


def supports(sequences: Sequences | Units, geometry: Geometry) -> bool:
    """Whether the library is there, and nobody asks for derivatives."""
    learnt = geometry.mean.requires_grad or geometry.precision.requires_grad
    if isinstance(sequences, Units):
        return not learnt
    values = sequences.values
    return values.device.type == "cpu" and values.is_contiguous() and not learnt and available()


def fill_log_density(density: Tensor, sequences: Sequences | Units, geometry: Geometry, radial: Radial) -> None:
    """Write the log-densities of the block's rows into ``density`` (R, N, K)."""
    parameters = _parameters(geometry, radial)
    _call(
        "hsmm_elliptical_density",
        sequences,
        geometry,
        _law(geometry, radial, parameters),
        DensityOut(density.data_ptr()),
    )


def moments(sequences: Sequences | Units, geometry: Geometry, radial: Radial, weights: Tensor) -> Moments:
    """Moments of the block's rows for posterior weights (R, N, K) of all rows."""
    f = geometry.mean.shape[-1]
    sizes = [f, f if geometry.by_axis else f * (f + 1) // 2, 2 * f if geometry.block.is_gappy else 0]
    of_rows = _OF_ROWS[:1] if radial.dof is None else _OF_ROWS
    weights, parameters = weights.contiguous(), _parameters(geometry, radial)
    sums = weights.new_zeros(*geometry.mean.shape[:2], len(of_rows) + sum(sizes))
    _call(
        "hsmm_elliptical_moments",
        sequences,
        geometry,
        _law(geometry, radial, parameters),
        MomentsOut(weights.data_ptr(), sums.data_ptr(), sums.shape[-1]),
    )
    found = dict(zip(of_rows, sums[..., : len(of_rows)].unbind(-1), strict=True))
    found.setdefault("scaled", found["weight"])
    first, second, cells = sums[..., len(of_rows) :].split(sizes, -1)
    return Moments(
        **found,
        first=first,
        second=second if geometry.by_axis else _symmetric(second, f),
        cell_weight=cells[..., ::2] if geometry.block.is_gappy else found["weight"].unsqueeze(-1),
        cell_scaled=cells[..., 1::2] if geometry.block.is_gappy else found["scaled"].unsqueeze(-1),
    )


def _call(function: str, sequences: Sequences | Units, geometry: Geometry, *others: ctypes.Structure) -> None:
    if isinstance(sequences, Units):
        assert isinstance(geometry.block, SharedBlock)
        call(f"{function}_of_units", _units(sequences, geometry.block), *others)
    else:
        call(function, _rows(sequences, geometry.block), *others)


def _units(units: Units, block: SharedBlock) -> ctypes.Structure:
    """Made once for all iterations, as what it points into lasts as long as the units."""
    made = block.__dict__.get("_made")
    if made is None:
        rows = [_kept_rows(one, own) for one, own in zip(units.sequences, block.of_units, strict=True)]
        packed = (Rows * len(rows))(*rows)
        n_models = torch.tensor(units.n_models)
        made = block.__dict__["_made"] = (packed, n_models, units.first_model, units.first_row)
    packed, n_models, first_model, first_row = made
    return UnitsOut(
        rows=ctypes.addressof(packed),
        n_models=n_models.data_ptr(),
        first_model=first_model.data_ptr(),
        first_row=first_row.data_ptr(),
        n_units=len(packed),
        n_threads=torch.get_num_threads(),
    )


def _kept_rows(sequences: Sequences, block: Block) -> ctypes.Structure:
    """Made once for all that a unit is packed with, as what it points into lasts as long as the block."""
    made = block.__dict__.get("_made")
    if made is None or made[0] is not sequences:
        made = block.__dict__["_made"] = (sequences, _rows(sequences, block))
    return made[1]


def _rows(sequences: Sequences, block: Block) -> ctypes.Structure:
    return Rows(
        values=sequences.values.data_ptr(),
        observed=sequences.observed.data_ptr() if block.is_gappy else None,
        rows=None if isinstance(block.rows, slice) else block.rows.data_ptr(),
        features=block.features.data_ptr(),
        n_table_rows=sequences.n_rows,
        n_columns=sequences.n_features,
        n_rows=sequences.n_rows if isinstance(block.rows, slice) else len(block.rows),
        n_features=len(block.features),
        n_threads=torch.get_num_threads(),
    )


def _law(geometry: Geometry, radial: Radial, parameters: Tensor) -> ctypes.Structure:
    return Law(
        parameters=parameters.data_ptr(),
        n_restarts=parameters.shape[0],
        n_states=parameters.shape[1],
        n_parameters=parameters.shape[2],
        by_axis=geometry.by_axis,
        has_dof=radial.dof is not None,
        n_observed=geometry.block.n_observed,
    )


def _parameters(geometry: Geometry, radial: Radial) -> Tensor:
    """(R, K, P), in the order that the library's header gives."""
    precision = geometry.precision
    if not geometry.by_axis:
        precision = precision[(..., *torch.tril_indices(*precision.shape[-2:]))]
    of_distance = (radial.peak,) if radial.dof is None else (radial.peak, radial.dof)
    return torch.cat([geometry.mean, precision, *(x.unsqueeze(-1) for x in of_distance), geometry.log_variance], -1)


def _symmetric(triangle: Tensor, size: int) -> Tensor:
    """(..., size, size) matrices from their packed lower triangles."""
    row, column = torch.tril_indices(size, size)
    position = torch.empty(size, size, dtype=torch.int64)
    position[row, column] = position[column, row] = torch.arange(len(row))
    return triangle[..., position]
