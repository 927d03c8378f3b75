"""The ``hsmm`` command: results on standard output, progress on standard error, 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from flows.commands.alerts import alerts
from flows.commands.backfill import backfill
from flows.commands.check import check
from flows.commands.decode import decode
from flows.commands.init import init
from flows.commands.maintain import maintain
from flows.commands.name import name
from flows.commands.promote import promote
from flows.commands.report import report
from flows.commands.rollback import rollback
from flows.commands.run import run
from flows.commands.states import states
from flows.commands.try_ import try_
from flows.signals import cleared_away
from tasks.config.errors import PipelineError, plainly

_VERBS = (
    init,
    try_,
    run,
    decode,
    backfill,
    check,
    promote,
    rollback,
    name,
    states,
    alerts,
    maintain,
    report,
)


def _version() -> str:
    from importlib.metadata import version

    return version("hsmm-flows")


app = App(
    name="hsmm",
    help="Hidden semi-Markov regimes for time series, as a nightly job.",
    version=_version,
    result_action="return_value",
)
for verb in _VERBS:
    app.command(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        with cleared_away():
            app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _complain(str(error).strip(), 2)
    except PipelineError as error:
        return _complain(str(error), error.exit_status)
    except KeyboardInterrupt:
        return _complain("stopped by the user; nothing further is published.", 1)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stays open until the interpreter ends
    except OSError as error:
        return _complain(f"the machine refused: {plainly(error)}.", 1)
    return 0


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"hsmm: {message}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
