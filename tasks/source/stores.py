"""What object stores (``s3://``, ``gs://``, ``az://``) answer, in plain words.

Credentials, region and endpoint come from the environment alone, by the names that the stores' own tools read.
"""

from __future__ import annotations

_SIGNS = (
    "object-store error",
    "Error performing",
    "Generic S3 error",
    "Generic GCS error",
    "Generic MicrosoftAzure error",
    "error sending request",
)
_CAUSES = (
    (("NoSuchBucket", "ContainerNotFound", "bucket does not exist"), "there is no such bucket"),
    (
        ("latest/api/token", "169.254.169.254", "metadata.google.internal", "metadata/identity"),
        "no credentials were found; set them in the environment, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403 Forbidden", "401 Unauthorized"),
        "the store refuses the credentials of the environment",
    ),
    (
        (
            *("Connection refused", "dns error", "timed out", "connection closed", "Connection reset"),
            "error sending request",
        ),
        "the store does not answer; expected a network that reaches it, and in the environment its region or endpoint, "
        "for S3 AWS_REGION or AWS_ENDPOINT_URL",
    ),
    (("HTTP error", "500 Internal", "503 Service"), "the store does not answer as it should"),
)


def cause_at_store(error: BaseException) -> str | None:
    """Why an object store did not do what was asked, as the end of a sentence; None for every other error."""
    said = str(error)
    if not any(sign in said for sign in _SIGNS):
        return None
    return next((words for marks, words in _CAUSES if any(mark in said for mark in marks)), None)
