"""The compute-optimal model in MLflow's registry: the weights of a pick's best run, with where they come from."""

import contextlib
import hashlib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.canonical import canonical_json
from sweeps.record import RunRecord, Status
from sweeps.trial import cohort_of
from tracking.paths import ProjectPaths, folder_name
from tracking.study_summary import PickSummary, StudySummary

ARTIFACT_FOLDER = "weights"
"""Among the artifacts of the trial's run."""
TRIAL_FILE = "trial.json"
_EPOCHS_TOLERANCE = 1e-3
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A pick and the run that was trained of it, whose weights are there."""

    pick: PickSummary
    record: RunRecord
    weights: Path


def choose(
    paths: ProjectPaths, study: str, records: Iterable[RunRecord], pick: PickSummary, *, cohort: str | None
) -> Chosen | str:
    """Returns the run whose weights are the pick's model, or why there is none.

    Of the runs of the pick's model and epochs it is the one with the least selection loss: the held-out loss is for
    reporting alone.
    """
    if pick.refused is not None or pick.model is None or pick.epochs is None:
        return f"no model is registered for {pick.budget}: {pick.refused or 'the fit names none'}"
    what = f"{pick.model} x {pick.epochs:g} epochs"
    runs = [record for record in records if _is_of(record, pick, cohort)]
    if not runs:
        return (
            f"no model is registered for {pick.budget}: its pick, {what}, was not trained "
            f"(type: make sweep PICK=reports/{folder_name(study)}/pick.yaml)"
        )
    best = min(runs, key=lambda record: (_selection_loss(record), record.trial.id))
    weights = paths.weights_file(best.trial.id)
    if not weights.is_file():
        return f"no model is registered for {pick.budget}: the weights of {best.trial.name} are not kept ({weights})"
    return Chosen(pick=pick, record=best, weights=weights)


def _is_of(record: RunRecord, pick: PickSummary, cohort: str | None) -> bool:
    trial = record.trial
    own = cohort_of(data=trial.data, schedule=trial.schedule, recipe=trial.recipe, program=trial.program)
    return (
        record.status is Status.FINISHED
        and math.isfinite(_selection_loss(record))
        and not record.is_marked
        and trial.model == pick.model
        and math.isclose(trial.epochs, pick.epochs or 0.0, rel_tol=_EPOCHS_TOLERANCE)
        and pick.batch_images in (None, trial.batch_images)
        and cohort in (None, own)
    )


def _selection_loss(record: RunRecord) -> float:
    outcome = record.outcome
    value = None if outcome is None else outcome.val_loss if outcome.selection_loss is None else outcome.selection_loss
    return math.inf if value is None else value


def model_name(study: str) -> str:
    """Returns the name of a study's registered model: MLflow takes no slash and no colon in it."""
    return re.sub(r"[/:]", "-", study)


@contextlib.contextmanager
def open_registry(uri: str, credentials: Any | None) -> Generator[Any]:
    """Opens the registry of a database, or of a server with what gives its user and password."""
    if credentials is not None:
        from mlflow.store.model_registry.rest_store import RestStore

        yield RestStore(credentials)
        return
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    store: Any = SqlAlchemyStore(uri)
    try:
        yield store
    finally:
        store.engine.dispose()


def register(
    registry: Any, study: str, chosen: Chosen, *, run: Any, home: str, repository: Any, summary: StudySummary
) -> str:
    """Returns the version that holds the chosen weights, under the pick's alias; it is made when there is none.

    Args:
        registry: an open one.
        study: the study's name.
        chosen: the pick, its run and its weights.
        run: MLflow's run of the trial.
        home: the address of its artifacts, as the store knows it.
        repository: the same, open; it gets the weights.
        summary: the report that the pick is of.
    """
    from mlflow.entities.model_registry import ModelVersionTag
    from mlflow.exceptions import MlflowException

    name = model_name(study)
    weights_hash = _sha256(chosen.weights)
    tags = _tags(study, chosen, summary, weights_hash)
    try:
        registry.get_registered_model(name)
    except MlflowException:
        about = f"Weights of the compute-optimal runs of the study {study}; aliases name the budget."
        registry.create_registered_model(name, description=about)
    version = _existing(registry, name, str(run.info.run_id), weights_hash)
    if version is None:
        source = _keep(chosen, home, repository)
        own = [ModelVersionTag(key, value) for key, value in tags.items()]
        made = registry.create_model_version(
            name, source, run_id=run.info.run_id, tags=own, description=f"{chosen.record.trial.name}: {chosen.pick}"
        )
        version = str(made.version)
    else:
        for key, value in tags.items():
            registry.set_model_version_tag(name, version, ModelVersionTag(key, value))
    registry.set_registered_model_alias(name, chosen.pick.alias, version)
    return version


def _existing(registry: Any, name: str, run_id: str, weights_hash: str) -> str | None:
    found = registry.search_model_versions(f"name = '{name.replace(chr(39), chr(39) * 2)}'", 1000)
    same = [v for v in found if v.run_id == run_id and v.tags.get("loglog.weights_sha256") == weights_hash]
    return str(max(int(v.version) for v in same)) if same else None


def _keep(chosen: Chosen, home: str, repository: Any) -> str:
    """Returns the folder in which MLflow finds the weights and what they are of."""
    folder = getattr(repository, "artifact_dir", None)
    if folder is None:
        repository.log_artifact(str(chosen.weights), ARTIFACT_FOLDER)
    else:
        _link(chosen.weights, Path(folder) / ARTIFACT_FOLDER / chosen.weights.name)
    with tempfile.TemporaryDirectory(prefix="loglog-trial-") as scratch:
        path = Path(scratch) / TRIAL_FILE
        path.write_text(canonical_json(chosen.record.trial) + "\n", encoding="utf-8")
        repository.log_artifact(str(path), ARTIFACT_FOLDER)
    return f"{home.rstrip('/')}/{ARTIFACT_FOLDER}"


def _link(source: Path, target: Path) -> None:
    """Gives the file a second name, which takes no space; where the disk has none, it is copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _tags(study: str, chosen: Chosen, summary: StudySummary, weights_hash: str) -> Mapping[str, str]:
    record, pick = chosen.record, chosen.pick
    tags = {
        "loglog.study": study,
        "loglog.trial_id": record.trial.id,
        "loglog.data": record.trial.data.name,
        "loglog.code_version": record.code_version,
        "loglog.budget_core_hours": f"{pick.core_hours:.12g}",
        "loglog.predicted_loss": pick.prediction,
        "loglog.law": summary.law,
        "loglog.fit_sha256": summary.fit_hash,
        "loglog.val_loss": None if record.val_loss is None else f"{record.val_loss:.12g}",
        "loglog.weights_sha256": weights_hash,
    }
    return {key: value for key, value in tags.items() if value}


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()
