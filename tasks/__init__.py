"""The steps of the job, in folders that know only what stands before them: a pure function and its Prefect task."""
