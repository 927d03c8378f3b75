"""What can go wrong through no fault of the program, and the exit status each kind deserves."""

from __future__ import annotations

from typing import ClassVar

from tasks.config.secrets import without_secrets


class PipelineError(Exception):
    """One sentence for the user: what was found, what was expected, what to do; never a password."""

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


def plainly(error: Exception) -> str:
    """What the machine said, without the number that it gives it: "No space left on device: 'out/states'"."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.strerror}: {error.filename!r}"


class ConfigurationError(PipelineError):
    """The command or the configuration is wrong."""

    exit_status = 2


class SourceError(PipelineError):
    """The source cannot be read as the configuration describes it."""

    exit_status = 2


class LineageError(PipelineError):
    """Rows mean something else than those that are published."""

    exit_status = 2


class MisreadError(LineageError):
    """No series can be used as rows are read now, which is otherwise than those were that are published."""


class OutputError(PipelineError):
    """The state table cannot be read or written."""

    exit_status = 2


class AllQuarantinedError(PipelineError):
    """No series is left to fit; every reason is in the quarantine table."""

    exit_status = 2


class UnservedError(AllQuarantinedError):
    """The model in force serves none of the series."""

    exit_status = 1


class FitError(PipelineError):
    """No candidate could be fitted to these rows."""


class TrackingError(PipelineError):
    """The tracking server or its database cannot be used."""


class UnreachableError(TrackingError):
    """The tracking server that the configuration names has never been used, and does not answer."""

    exit_status = 2


class GoneError(TrackingError):
    """The tracking server answers, and what was logged there is gone."""


class PublishError(PipelineError):
    """Writing failed; readers see the table as it was before."""


class ModelError(PipelineError):
    """A registered model cannot be used, or there is none."""


class LostChampionError(ModelError):
    """The files of the model in force are gone or damaged, there and beside the table."""

    exit_status = 2


class NoChampionError(ModelError):
    """No model is in force at a moment."""


class PromotionError(PipelineError):
    """The gate does not let a version become the champion."""


class NoVersionError(PromotionError):
    """There is no such version."""

    exit_status = 2


class AnotherTableError(PromotionError):
    """A version was made for another table than the one it is to serve."""

    exit_status = 2


class GateError(PipelineError):
    """No model may be used: the gate let none through, and none was there before."""


class CausalityError(PipelineError):
    """Something that is called causal depends on later rows."""
