"""Exceptions and warnings a caller may catch; everything else a user can cause is a ``ValueError``."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_LIBRARY = f"{Path(__file__).parent}{os.sep}"


def warn(message: str, category: type[Warning]) -> None:
    """Warn of the line that called the library, however deep in it this is."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_LIBRARY):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


class NotFittedError(ValueError, AttributeError):
    """The estimator was asked for something that only a fitted model has."""


class UnknownOptionError(TypeError, ValueError):
    """An estimator or a component was given an option that it does not have."""


class ImpossibleDataError(ValueError):
    """A series has probability zero under the model."""


class DeviceMemoryError(ValueError, MemoryError):
    """A GPU has too little memory for the data, even with one model at a time."""


class DataWarning(UserWarning):
    """The data are usable, but something in them limits what can be learnt."""


class ConvergenceWarning(UserWarning):
    """The fit ended before its stopping rule was met, or its objective fell."""


class DurationWallWarning(UserWarning):
    """Expected durations press against ``max_duration``."""


class IntervalWarning(UserWarning):
    """Some standard errors are unknown, or not to be trusted."""


class KernelWarning(UserWarning):
    """A slower kernel is in use than could be."""
