"""Shapes by name.

The axes, in the order in which they appear:

- ``restart``: independent models fitted side by side
- ``series``: time series of one data set
- ``time``: rows of all series, packed one after the other
- ``state``: hidden states; two in a row are (from, to)
- ``duration``: steps a segment lasts, column ``d - 1`` for duration ``d``
- ``feature``: columns of one observation
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from jaxtyping import Bool, Float, Int
from torch import Tensor

Values: TypeAlias = Float[Tensor, "time feature"]
Observed: TypeAlias = Bool[Tensor, "time feature"]
Covariates: TypeAlias = Float[Tensor, "time context"]
Offsets: TypeAlias = Int[Tensor, "boundary"]

PerSeries: TypeAlias = Float[Tensor, "restart series"]
StateVector: TypeAlias = Float[Tensor, "restart state"]
StateMatrix: TypeAlias = Float[Tensor, "restart state state"]
StateMatrixSeries: TypeAlias = Float[Tensor, "restart time state state"]
DurationTable: TypeAlias = Float[Tensor, "restart state duration"]
DurationTablePerSeries: TypeAlias = Float[Tensor, "restart series state duration"]
DurationTableSeries: TypeAlias = Float[Tensor, "restart time state duration"]
StateSeries: TypeAlias = Float[Tensor, "restart time state"]
DurationSeries: TypeAlias = Float[Tensor, "restart time duration"]
StatePaths: TypeAlias = Int[Tensor, "restart time"]

KernelName: TypeAlias = Literal["auto", "reference", "native", "gpu"]
