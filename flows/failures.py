"""What the server starts when one of the other deployments fails: a note where an operator looks, nothing outside."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

ARTIFACT = "failures"


@flow(name="failure", validate_parameters=True)
def failure(run: str, state: str = "Failed", reason: str = "") -> str:
    """Log which run failed and why, and keep it as the newest version of the artifact ``failures``."""
    note = (
        f"**{run}** is {state}: {reason or 'no reason was given'}\n\nRun it again: what was finished is not repeated."
    )
    get_run_logger().error("%s is %s: %s", run, state, reason)
    create_markdown_artifact(markdown=note, key=ARTIFACT, description="The runs that failed, newest first.")
    return note
