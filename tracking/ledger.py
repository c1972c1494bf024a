"""What is known of a study: the union of its journals and of runs.sqlite."""

import dataclasses

from sweeps.record import RunRecord, Status
from tracking.forgiven import forgiven_attempts
from tracking.journal import read_journals
from tracking.paths import ProjectPaths
from tracking.run_table import read_records


def load_records(paths: ProjectPaths, study: str, *, curves: bool = False) -> list[RunRecord]:
    """Returns one record for each trial of a study, oldest first: the more advanced of its journal's and MLflow's.

    Args:
        paths: where the project lies.
        study: the study's name.
        curves: whether records carry their points; MLflow's have at most 200.

    Raises:
        StudyError: there is a runs.sqlite, but not one of MLflow's.
    """
    recorded = read_records(paths, study, curves=curves) if paths.runs_sqlite.exists() else []
    records: dict[str, RunRecord] = {}
    for record in [*recorded, *read_journals(paths, study, curves=curves)]:
        known = records.get(record.trial.id)
        records[record.trial.id] = record if known is None else more_advanced(known, record)
    for trial_id, attempts in forgiven_attempts(paths, study).items():
        record = records.get(trial_id)
        if record is not None and record.status is Status.OUT_OF_MEMORY and record.attempts <= attempts:
            records[trial_id] = dataclasses.replace(record, is_forgiven=True)
    return sorted(records.values(), key=lambda record: (record.started_unix_s, record.trial.id))


def more_advanced(one: RunRecord, other: RunRecord) -> RunRecord:
    """Returns the record that knows more of the same trial, `other` where both know as much.

    A settled one first, then more attempts, then more steps, then what began or ended later. A mark stays in any case.
    """
    best = one if _rank(one) > _rank(other) else other
    return best if best.is_marked == (one.is_marked or other.is_marked) else dataclasses.replace(best, is_marked=True)


def _rank(record: RunRecord) -> tuple[bool, int, int, float]:
    steps = max(
        record.outcome.steps if record.outcome else 0,
        record.curve[-1].step if record.curve else 0,
    )
    return record.is_settled, record.attempts, steps, record.ended_unix_s or record.started_unix_s
