"""The only module that imports mlflow, and only when it is used."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config.errors import GoneError, TrackingError, UnreachableError
from tasks.registry.local import (
    PATIENCE,
    artifact_location,
    check_local_database,
    is_there,
    make_local_database,
    patient,
    resolved,
)
from tasks.registry.signature import as_pandas, signature

if TYPE_CHECKING:
    import polars as pl

_MOST_METRICS = 1000
_MOST_PARAMS = 100
_MOST_BYTES = 1 << 30
_PARENT = "mlflow.parentRunId"
_MOST_VERSIONS = 10_000
_ALREADY = "RESOURCE_ALREADY_EXISTS"
CHAMPION, PREVIOUS, ROLLED_BACK = "champion", "previous_champion", "rolled_back"
_PASSED_OVER = "mlflow-artifacts:/passed-over"
_OF_MODELS = "Regimes of time series. The version that bears the alias `champion` makes the rows of the state table."
SERVED_MODEL = Path(__file__).with_name("served_model.py")
"""What is logged as the code of every registered model."""
FOLLOWED, LINEAGE, TABLE = "followed_champion", "lineage", "states_table"
_KIND = "mlflow.experimentKind"  # what MLflow's pages open on: runs, not traces of language models
_RUNS_AND_MODELS = "custom_model_development"
_NOTE = "mlflow.note.content"
_LINE = "nights_of"
_ANCHOR = "n_series"


@dataclass(frozen=True)
class Version:
    """A registered version and what was noted about it."""

    number: int
    tags: dict[str, str]


class Registry:
    """Runs and models of one experiment on one tracking server."""

    def __init__(self, uri: str, experiment: str, *, make: bool = True) -> None:
        """Raises ``TrackingError`` at once if the server or its database cannot be used, or is not to be made."""
        self.uri = uri
        check_local_database(uri)
        with _one_sentence(uri):
            from mlflow import MlflowClient

            make_local_database(uri)
            self._patient_uri = patient(uri)
            self._client = MlflowClient(tracking_uri=self._patient_uri, registry_uri=self._patient_uri)
            self.experiment_id = self._experiment(experiment, make=make)

    @property
    def place(self) -> str:
        """Where it is from anywhere, without passwords."""
        return resolved(self.uri)

    def start_run(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """The id of a new run, nested under ``parent`` if there is one."""
        nesting = {} if parent is None else {_PARENT: parent}
        with _one_sentence(self.uri):
            run = self._client.create_run(self.experiment_id, run_name=name, tags={**tags, **nesting})
        return str(run.info.run_id)

    def end_run(self, run_id: str, status: str = "FINISHED") -> None:
        """Close a run."""
        with _one_sentence(self.uri):
            self._client.set_terminated(run_id, status)

    def close_stopped(self, key: str) -> None:
        """Close what runs of this key left open that were killed: nobody else will."""
        with _one_sentence(self.uri):
            for run in self._open_runs(f"tags.run_key = '{key}'"):
                for child in self._open_runs(f"tags.`{_PARENT}` = '{run}'"):
                    self._client.set_terminated(child, "KILLED")
                self._client.set_terminated(run, "KILLED")

    def _open_runs(self, condition: str) -> list[str]:
        found = self._client.search_runs([self.experiment_id], f"{condition} and attributes.status = 'RUNNING'")
        return [str(run.info.run_id) for run in found]

    def log(
        self,
        run_id: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        curves: Mapping[str, Sequence[float]] = {},
        tags: Mapping[str, str] = {},
    ) -> None:
        """Parameters, numbers and whole curves in as few calls as the server takes."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        points = [(name, value, 0) for name, value in metrics.items()]
        points += [(name, value, step) for name, curve in curves.items() for step, value in enumerate(curve)]
        logged = [Metric(name, float(value), now, step) for name, value, step in points if abs(value) < float("inf")]
        named = [Param(name, str(value)[:6000]) for name, value in params.items()]
        with _one_sentence(self.uri):
            for chunk in _batches(named, _MOST_PARAMS):
                self._client.log_batch(run_id, params=chunk)
            for chunk in _batches(logged, _MOST_METRICS):
                self._client.log_batch(run_id, metrics=chunk)
            if tags:
                self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_night(self, lineage: str, moment: datetime, metrics: Mapping[str, float]) -> None:
        """Add a step to the run that holds the line over a lineage's nights; a night that has one keeps it.

        ``metrics`` hold ``n_series``, by which nights are known; steps count nights, and times are theirs.
        """
        from mlflow.entities import Metric

        at = int(moment.timestamp() * 1000)
        with _one_sentence(self.uri):
            found = self._client.search_runs([self.experiment_id], f"tags.{_LINE} = '{lineage}'", max_results=1)
            run_id = str(found[0].info.run_id) if found else self._new_line(lineage)
            steps = self._client.get_metric_history(run_id, _ANCHOR)
            if all(step.timestamp != at for step in steps):
                finite = {name: float(value) for name, value in metrics.items() if abs(value) < float("inf")}
                self._client.log_batch(run_id, [Metric(name, value, at, len(steps)) for name, value in finite.items()])

    def _new_line(self, lineage: str) -> str:
        note = "A step for every night, at the night's own time: open its metrics to see them as lines."
        tags = {_LINE: lineage, _NOTE: note}
        run = self._client.create_run(self.experiment_id, run_name="all nights", tags=tags)
        self._client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def describe_run(self, run_id: str, note: str) -> None:
        """What MLflow's pages show as the run's description."""
        with _one_sentence(self.uri):
            self._client.set_tag(run_id, _NOTE, note)

    def log_dataset(self, run_id: str, name: str, digest: str, source: str, schema: str, profile: str) -> None:
        """Which data a run was fitted on."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest[:36], "local" if "://" not in source else "uri", source, schema, profile)
        with _one_sentence(self.uri):
            self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def log_files(self, run_id: str, paths: Sequence[Path], folder: str | None = None) -> None:
        """Files as artifacts of a run, in a folder of them if one is named."""
        with _one_sentence(self.uri):
            for path in paths:
                self._client.log_artifact(run_id, str(path), folder)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """A text file as an artifact of a run."""
        with _one_sentence(self.uri):
            self._client.log_text(run_id, text, name)

    def register_model(
        self,
        run_id: str,
        name: str,
        bundle: Path,
        code: Path,
        columns: Sequence[str],
        requirements: Sequence[str],
        tags: Mapping[str, str],
        description: str = "",
        example: pl.DataFrame | None = None,
    ) -> int:
        """Log ``bundle`` as a model served by ``code`` and register it; returns its version.

        What it takes is like the ``example``; without one, ids and the model's own ``columns``.
        """
        with _one_sentence(self.uri):
            import mlflow

            mlflow.set_tracking_uri(self._patient_uri)
            with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                info = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(code),
                    artifacts={"bundle": str(bundle)},
                    signature=signature(columns, example),
                    input_example=None if example is None else as_pandas(example),
                    pip_requirements=list(requirements),
                )
            self._ensure_model(name)
            registered = self._client.create_model_version(
                name, info.model_uri, run_id, model_id=info.model_id, tags=dict(tags), description=description
            )
        return int(registered.version)

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        if self._client.search_registered_models(f"name = '{name}'"):
            return
        try:
            self._client.create_registered_model(name, description=_OF_MODELS)
        except MlflowException as error:
            if error.error_code != _ALREADY:  # by another run, a moment ago
                raise

    def pass_over(self, name: str, number: int) -> None:
        """The next version will have a greater number than this, which was borne by one that is lost."""
        with _one_sentence(self.uri):
            self._ensure_model(name)
            while int(self._client.create_model_version(name, _PASSED_OVER).version) < number:
                pass
            for passed in self._client.search_model_versions(f"name = '{name}'", max_results=_MOST_VERSIONS):
                if passed.source == _PASSED_OVER:
                    self._client.delete_model_version(name, passed.version)

    def delete_version(self, name: str, version: int) -> None:
        """Remove a registered version; its files stay with its run."""
        with _one_sentence(self.uri):
            self._client.delete_model_version(name, str(version))

    def versions(self, name: str) -> list[Version]:
        """All registered versions of a model, oldest first."""
        with _one_sentence(self.uri):
            found = self._client.search_model_versions(f"name = '{name}'", max_results=_MOST_VERSIONS)
        return sorted((Version(int(v.version), dict(v.tags)) for v in found), key=lambda version: version.number)

    def champion(self, name: str) -> int | None:
        """The version that bears the alias ``champion``."""
        with _one_sentence(self.uri):
            if not self._client.search_registered_models(f"name = '{name}'"):
                return None
            found = self._client.get_registered_model(name).aliases
        return int(found[CHAMPION]) if CHAMPION in found else None

    def set_champion(self, name: str, version: int) -> None:
        """Move the alias ``champion``; the version that had it is noted, for a rollback."""
        before = self.champion(name)
        if before is not None and before != version:
            self.tag_version(name, version, {PREVIOUS: str(before)})
        self.move_champion(name, version)

    def move_champion(self, name: str, version: int) -> None:
        """Move the alias ``champion``."""
        with _one_sentence(self.uri):
            self._client.set_registered_model_alias(name, CHAMPION, str(version))

    def drop_champion(self, name: str) -> None:
        """Take the alias ``champion`` away: no version bears it."""
        with _one_sentence(self.uri):
            self._client.delete_registered_model_alias(name, CHAMPION)

    def tag_version(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Note something about a version."""
        with _one_sentence(self.uri):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(version), key, value)

    def download(self, name: str, version: int, folder: Path) -> Path:
        """Fetch the bundle registered as this version into ``folder``: its plain files, no more than a gibibyte."""
        with _one_sentence(self.uri):
            where = self._client.get_model_version_download_uri(name, str(version)).rstrip("/")
        return self._fetch(f"{where}/artifacts/bundle", folder)

    def download_artifact(self, run_id: str, name: str, folder: Path) -> Path:
        """Fetch one file that :meth:`log_text` or :meth:`log_files` left with a run; the file's path."""
        with _one_sentence(self.uri):
            where = self._client.get_run(run_id).info.artifact_uri.rstrip("/")
        return self._fetch(where, folder, only=name) / name

    def _fetch(self, where: str, folder: Path, only: str | None = None) -> Path:
        with _one_sentence(self.uri):
            from mlflow.artifacts import download_artifacts

            sizes = {name: size for name, size in _files(where, self._patient_uri) if only in (None, name)}
            if not sizes:
                raise GoneError(f"tracking: found no files at {where}; expected {only or 'a model'}.")
            if sum(sizes.values()) > _MOST_BYTES:
                raise TrackingError(
                    f"tracking: found {len(sizes)} files of {sum(sizes.values())} bytes at {where}; "
                    f"expected {only or 'a model'} of at most {_MOST_BYTES} bytes."
                )
            for name in sizes:
                into = folder / Path(name).parent
                into.mkdir(parents=True, exist_ok=True)
                download_artifacts(artifact_uri=f"{where}/{name}", dst_path=str(into), tracking_uri=self._patient_uri)
        return folder

    def _experiment(self, name: str, *, make: bool) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "active":
            if make and _KIND not in found.tags:
                self._client.set_experiment_tag(found.experiment_id, _KIND, _RUNS_AND_MODELS)
            return str(found.experiment_id)
        if found is not None:
            raise TrackingError(f"tracking: the experiment {name!r} was deleted; restore it, or change `name`.")
        if not make:
            there = ", ".join(sorted(model.name for model in self._client.search_registered_models()))
            raise TrackingError(
                f"tracking.uri: {self.place!r} has no model {name!r}; expected one of: {there or 'none'}."
            )
        return self._created_experiment(name)

    def _created_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            place = artifact_location(self.uri, name)
            return str(self._client.create_experiment(name, place, tags={_KIND: _RUNS_AND_MODELS}))
        except MlflowException as error:
            found = self._client.get_experiment_by_name(name)
            if error.error_code != _ALREADY or found is None:
                raise
            return str(found.experiment_id)  # made by another run, a moment ago


def _files(where: str, tracking_uri: str, inside: str = "") -> Iterator[tuple[str, int]]:
    """Every file under an artifact folder: its path within and its size."""
    from mlflow.artifacts import list_artifacts

    for entry in list_artifacts(artifact_uri=f"{where}/{inside}".rstrip("/"), tracking_uri=tracking_uri):
        name = Path(entry.path).name
        if name in ("", ".", ".."):
            continue
        if entry.is_dir:
            yield from _files(where, tracking_uri, f"{inside}{name}/")
        else:
            yield f"{inside}{name}", int(entry.file_size or 0)


def load_mlflow() -> None:
    """Import mlflow ahead of its first use."""
    _set_environment()
    import mlflow.pyfunc  # noqa: F401


def _batches(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


@contextmanager
def _one_sentence(uri: str) -> Iterator[None]:
    _set_environment()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for logger in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        cause = (str(error).strip().splitlines() or [repr(error)])[0].split(" failed with exception")
        reason = cause[0].split(" See http")[0].rstrip(".")[:300] + (
            " found no server that answers" if len(cause) > 1 else ""
        )
        raise TrackingError(f"tracking.uri: {uri!r} cannot be used: {reason}; try 'sqlite:///mlflow.db'.") from None


def _set_environment() -> None:
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE // 3),
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)


def reach_registry(uri: str, name: str) -> Registry | None:
    """The tracking server, or None while one elsewhere does not answer; a local database that is wrong is an error."""
    check_local_database(uri)
    try:
        return Registry(uri, name)
    except TrackingError:
        return None


def answering_registry(uri: str, name: str) -> Registry:
    """The tracking server; raises ``UnreachableError`` where it does not answer."""
    try:
        return Registry(uri, name)
    except TrackingError as error:
        raise UnreachableError(str(error)) from None


def existing_registry(uri: str, name: str) -> Registry:
    """The tracking server; raises ``TrackingError`` where it, or what was logged there, is not, and makes neither."""
    if not is_there(uri):
        raise TrackingError(
            f"tracking.uri: found nothing at {resolved(uri)!r}; expected a database or a server with models."
        )
    return Registry(uri, name, make=False)
