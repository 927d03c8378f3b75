"""The steps of the job: one verb per file, a pure function and its Prefect task."""
