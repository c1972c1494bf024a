"""The points of a study that was recorded here."""

from analysis.refusal import FitRefused
from analysis.tables.points import PointSet, points_from_records
from tracking.paths import project_paths
from tracking.predictions import read_predictions
from tracking.run_table import list_studies, read_records


def recorded_points(study: str | None, cohort: str | None) -> PointSet:
    """Returns the points of a study in runs.sqlite, by default the one that a run was started in last."""
    paths = project_paths()
    if not paths.runs_sqlite.is_file():
        reason = f"there is no {paths.runs_sqlite.name} yet: nothing was run"
        raise FitRefused(code="no_runs", reason=reason, next="try: make sweep BUDGET=10k")
    studies = list_studies(paths)
    if not studies:
        reason = f"{paths.runs_sqlite.name} holds no runs"
        raise FitRefused(code="no_runs", reason=reason, next="try: make sweep BUDGET=10k")
    if study is not None and study not in studies:
        reason = f"no study called {study!r} in {paths.runs_sqlite.name}; it has {', '.join(studies)}"
        raise FitRefused(code="unknown_study", reason=reason, next=f"try: --study {studies[-1]}")
    recorded = {name: read_records(paths, name) for name in ([study] if study else studies)}
    latest = max(recorded, key=lambda name: max((r.started_unix_s for r in recorded[name]), default=0.0))
    cohorts = sorted({record.trial.cohort for record in recorded[latest]})
    if cohort is not None and cohort not in cohorts:
        reason = f"no cohort {cohort!r} in study {latest}; it has {', '.join(cohorts)}"
        raise FitRefused(code="unknown_cohort", reason=reason, next=f"try: --cohort {cohorts[-1]}")
    source = f"study {latest} in {paths.runs_sqlite.name}"
    predictions = read_predictions(paths, latest)
    return points_from_records(recorded[latest], study=latest, source=source, cohort=cohort, predictions=predictions)
