"""What a record looks like as an MLflow run: its params, its metrics and its tags; knows nothing of databases.

Every metric of a curve is logged over optimiser steps. `core_hours`, `flops`, `images` and `wall_s` are logged at the
same steps, so that MLflow draws any loss over any of them: in the charts of a run or an experiment choose Configure
charts, X-axis, Metric, `core_hours`. Where a held-out loss was measured, `log10_core_hours` is logged as well, because
its axes over a metric are linear. Times of points are those of a run trained without a break, so the axis Time
(relative) shows training time.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sweeps.canonical import canonical_json
from sweeps.certificate import certificate_text
from sweeps.record import Outcome, Progress, RunRecord, Status
from sweeps.trial import Trial
from tracking.record_json import record_to_json
from tracking.run_table import DIGEST_TAG, OWN_TAINT, RECORD_TAG, TAINTED_TAG, TRIAL_ID_TAG, TRIAL_TAG

FORM_VERSION = 3
"""Part of every digest: a new form is written over the old one by the next ingestion."""
MAX_POINTS = 200
"""Points of a curve that MLflow gets; the journal keeps all."""
MAX_TAG_LETTERS = 8000
MAX_SAMPLING_LETTERS = 2000
"""Of the certificate's own tag, which is for people."""
_ERROR_LETTERS = 4000

_MLFLOW_STATUS = {
    Status.RUNNING: "RUNNING",
    Status.FINISHED: "FINISHED",
    Status.DIVERGED: "FAILED",
    Status.OUT_OF_MEMORY: "FAILED",
    Status.FAILED: "FAILED",
    Status.STOPPED: "KILLED",
    Status.KILLED: "KILLED",
}


@dataclass(frozen=True, kw_only=True)
class MetricPoint:
    """One value of one metric."""

    key: str
    value: float
    unix_ms: int
    step: int


@dataclass(frozen=True, kw_only=True)
class RunForm:
    """Everything that MLflow is to know of a run."""

    trial_id: str
    name: str
    status: str
    """As MLflow says it."""
    start_unix_ms: int
    end_unix_ms: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    """The digest is among them."""
    metrics: tuple[MetricPoint, ...]


def digest(study: str, record: RunRecord) -> str:
    """Returns what changes when a record does: the hash of all of it but the middle of its curve."""
    ends = (*record.curve[:1], *record.curve[-1:])
    words = (str(FORM_VERSION), study, record.trial.id, record_text(record), str(len(record.curve)), repr(ends))
    return hashlib.sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest()[:32]


def record_text(record: RunRecord) -> str:
    """Returns the record without trial and curve as JSON that fits into a tag.

    Of a long error the end remains. Of a certificate whose epochs differ so much that it does not fit, the first ones
    remain: it was faulty and stays so, and the journal keeps all of it.
    """
    letters, epochs = _ERROR_LETTERS, len(record.outcome.certificate) if record.outcome else 0
    while len(text := record_to_json(record, error_letters=letters, epochs=epochs)) > MAX_TAG_LETTERS:
        if not letters and not epochs:
            break
        letters, epochs = letters // 2, epochs if letters else epochs // 2
    return text


def run_form(study: str, record: RunRecord) -> RunForm:
    """Returns the MLflow run of a record."""
    ended = None if record.status is Status.RUNNING else record.ended_unix_s
    return RunForm(
        trial_id=record.trial.id,
        name=record.trial.name,
        status=_MLFLOW_STATUS[record.status],
        start_unix_ms=_unix_ms(record.started_unix_s),
        end_unix_ms=None if ended is None else _unix_ms(ended),
        params=_params(record.trial),
        tags=_tags(study, record),
        metrics=tuple(_metrics(record)),
    )


def _params(trial: Trial) -> dict[str, str]:
    return {
        "model": trial.model,
        "family": trial.family,
        "epochs": _number(trial.epochs),
        "peak_lr": _number(trial.peak_lr),
        "seed": str(trial.seed),
        "batch_images": str(trial.batch_images),
        "data": trial.data.name,
        "schedule": trial.schedule.name,
        "steps": str(trial.steps),
        "images": str(trial.images),
        "params": str(
            trial.shape.params(image_px=trial.data.image_px, channels=trial.data.channels, classes=trial.data.classes)
        ),
    }


def _tags(study: str, record: RunRecord) -> dict[str, str]:
    tags = {
        TRIAL_ID_TAG: record.trial.id,
        TRIAL_TAG: canonical_json(record.trial),
        RECORD_TAG: record_text(record),
        DIGEST_TAG: digest(study, record),
        "loglog.study": study,
        "loglog.status": record.status.value,
        "loglog.attempts": str(record.attempts),
        "loglog.code_version": record.code_version,
        "loglog.device": record.device,
        TAINTED_TAG: _taint(record),
    }
    if record.outcome is not None and record.outcome.certificate:
        text = certificate_text(record.outcome.certificate)
        tags["loglog.sampling"] = text if len(text) <= MAX_SAMPLING_LETTERS else f"{text[:MAX_SAMPLING_LETTERS]} [...]"
    if record.budget_core_hours is not None:
        tags["loglog.budget_core_hours"] = _number(record.budget_core_hours)
    return tags


def _taint(record: RunRecord) -> str:
    if record.is_marked:
        return "true"
    return "false" if record.taint is None else f"{OWN_TAINT}{record.taint}"


def _metrics(record: RunRecord) -> Iterator[MetricPoint]:
    start_ms = _unix_ms(record.started_unix_s)
    points = thin_curve(record.curve, trial=record.trial, with_last=record.is_settled)
    last_ms, last = start_ms, dict[str, float]()
    for point in points:
        last_ms, last = start_ms + _ms(point.wall_s), _point_values(record, point)
        for key, value in last.items():
            yield MetricPoint(key=key, value=value, unix_ms=last_ms, step=point.step)
    if record.outcome is None:
        return
    # Later than every point: MLflow takes the latest value at the last step for the run's own.
    end_ms = max(last_ms + 1, start_ms + _ms(record.outcome.wall_s))
    is_same_step = bool(points) and points[-1].step == record.outcome.steps
    for key, value in _outcome_values(record, record.outcome).items():
        if not (is_same_step and last.get(key) == value):
            yield MetricPoint(key=key, value=value, unix_ms=end_ms, step=record.outcome.steps)


def _point_values(record: RunRecord, point: Progress) -> dict[str, float]:
    values = {"train_loss": point.train_loss, "val_loss": point.val_loss, "wall_s": point.wall_s}
    values["shared_steps"] = point.shared_steps or None
    spent = _spent(record, point.step)
    if point.val_loss is not None:
        values["log10_core_hours"] = _log10(spent["core_hours"])
    return _present({**values, "images": float(point.images), **spent})


def _outcome_values(record: RunRecord, outcome: Outcome) -> dict[str, float]:
    values = {
        "val_loss": outcome.val_loss,
        "selection_loss": outcome.selection_loss,
        "train_loss": outcome.train_loss,
        "wall_s": outcome.wall_s,
        "compile_s": outcome.compile_s,
        "steps_per_s": (outcome.steps - outcome.shared_steps) / outcome.wall_s if outcome.wall_s > 0 else None,
        "val_error": outcome.val_error,
        "peak_memory_bytes": outcome.peak_memory_bytes,
        "shared_steps": outcome.shared_steps or None,
        **_billed(outcome),
        **(spent := _spent(record, outcome.steps)),
    }
    if outcome.val_loss is not None:
        values |= {"log10_core_hours": _log10(spent["core_hours"]), "log10_val_loss": _log10(outcome.val_loss)}
    return _present(values)


def _log10(value: float) -> float | None:
    """Returns the logarithm, for charts whose axes MLflow cannot make logarithmic; missing where there is none."""
    return math.log10(value) if value > 0 else None


def _billed(outcome: Outcome) -> dict[str, float | None]:
    """Returns where the run's time went; empty for a trainer that keeps no clock, which counts no images either."""
    if outcome.clock is None:
        return {}
    return {
        **{f"cost_{name}": seconds for name, seconds in vars(outcome.clock).items()},
        "core_hours_billed": outcome.core_hours_billed,
        "corrupt_images": outcome.corrupt_images,
    }


def _spent(record: RunRecord, steps: int) -> dict[str, float]:
    """Returns the part of the trial's price that so many steps are."""
    fraction = steps / record.trial.steps
    return {"core_hours": fraction * record.cost.core_hours, "flops": fraction * record.cost.flops}


def _present(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}


def thin_curve(curve: tuple[Progress, ...], *, trial: Trial, with_last: bool) -> tuple[Progress, ...]:
    """Returns at most MAX_POINTS of a curve, evenly spaced in log step, always the first and, if wanted, the last.

    Which points are kept depends on the trial's length and not on how far it has come: those of a running trial stay.
    """
    if len(curve) <= MAX_POINTS:
        return curve
    kept: dict[int, Progress] = {}
    scale = (MAX_POINTS - 2) / math.log(max(2, trial.steps))
    for point in curve:
        kept.setdefault(math.floor(scale * math.log(min(max(1, point.step), max(2, trial.steps)))), point)
    if with_last:
        kept[MAX_POINTS] = curve[-1]
    return tuple({point.step: point for point in kept.values()}.values())


def _unix_ms(unix_s: float) -> int:
    return round(1000 * unix_s)


def _ms(duration_s: float) -> int:
    return round(1000 * duration_s) if math.isfinite(duration_s) else 0


def _number(value: float) -> str:
    return f"{value:.12g}"
