"""Data frames in and out: names of columns, and answers in the kind that was asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from hsmm.errors import DataWarning, warn
from hsmm.sequences import column_names
from hsmm.spelling import nearest

Output = Literal["default", "input", "pandas", "polars"]
OUTPUTS = ("default", "input", "pandas", "polars")


class Framed:
    """An estimator that knows the names of its features and answers in frames where it is told to."""

    feature_names_in_: np.ndarray

    @property
    @abstractmethod
    def n_features_in_(self) -> int:
        """Features seen in fit."""

    def set_output(self, transform: Output | None = None) -> Self:
        """What answers with a row for each row of X come as.

        "default" is NumPy; "pandas" and "polars" are frames, one column a state ("state_0", …), a step or a feature,
        and series where there is one column, with the index of X where X is of pandas; "input" is the kind of X. None
        changes nothing.

        Raises ``ValueError`` for another name, and where pandas is not installed.
        """
        if transform is None:
            return self
        if transform not in OUTPUTS:
            raise ValueError(
                f"transform is {transform!r}; expected one of {', '.join(OUTPUTS)}{nearest(transform, OUTPUTS)}"
            )
        if transform == "pandas" and find_spec("pandas") is None:
            raise ValueError("pandas is not installed; install it, or choose 'polars'.")
        self._sklearn_output_config = {"transform": transform}
        return self

    def _remember_features(self, names: Sequence[str] | None) -> None:
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)

    @property
    def feature_labels(self) -> list[str]:
        """Names of the features; x0, x1, … where the fit saw none."""
        known = self.__dict__.get("feature_names_in_")
        return [f"x{i}" for i in range(self.n_features_in_)] if known is None else [str(name) for name in known]

    def _check_features(self, X: Any) -> None:
        """Raise ``ValueError`` where X names other columns than the fit did, or these in another order."""
        known, found = self.__dict__.get("feature_names_in_"), column_names(X)
        if known is None:
            return
        if found is None:
            warn(
                f"X has no feature names, but {type(self).__name__} was fitted with {', '.join(known)}; give a frame "
                "with these columns, or make sure that they stand in this order.",
                DataWarning,
            )
        elif list(found) != known.tolist():
            raise ValueError(
                f"X has the columns {', '.join(found)}; expected {', '.join(known)}, in this order, as in fit."
            )

    def _framed(self, X: Any, made: pl.DataFrame) -> Any:
        """A frame of columns of several kinds, which no array could hold: of polars, unless pandas is asked for."""
        wanted = self.__dict__.get("_sklearn_output_config", {}).get("transform", "default")
        kind = _kind(X) if wanted == "input" else wanted
        return _of_pandas(X, made) if kind == "pandas" else made

    def _answer(self, X: Any, table: np.ndarray, names: str | list[str]) -> Any:
        """``table`` (N,) or (N, C), by the name or the names of its columns, in the kind that was asked for."""
        wanted = self.__dict__.get("_sklearn_output_config", {}).get("transform", "default")
        return framed(wanted, X, table, names)


def framed(wanted: str, X: Any, table: np.ndarray, names: str | list[str]) -> Any:
    """An array as what is ``wanted``, with the index of X."""
    kind = _kind(X) if wanted == "input" else wanted
    if kind not in ("pandas", "polars"):
        return table
    if isinstance(names, str):
        made: Any = pl.Series(names, table)
    else:
        made = pl.DataFrame(table, schema=names)
    return made if kind == "polars" else _of_pandas(X, made)


def _of_pandas(X: Any, made: pl.Series | pl.DataFrame) -> Any:
    """The same in pandas, with the index of X."""
    moved: Any = made.to_pandas()
    if _kind(X) == "pandas":
        moved.index = X.index
    return moved


def _kind(X: Any) -> str:
    """The package that an object is of."""
    return type(X).__module__.partition(".")[0]
