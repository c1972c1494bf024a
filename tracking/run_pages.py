"""Where MLflow shows each run: the part of its address behind the server's own, read straight out of runs.sqlite."""

from tracking.paths import ProjectPaths
from tracking.run_table import TRIAL_ID_TAG, open_runs

_PAGES = """
    SELECT trial.value, experiments.experiment_id, runs.run_uuid
    FROM experiments
    JOIN runs ON runs.experiment_id = experiments.experiment_id AND runs.lifecycle_stage = 'active'
    JOIN tags AS trial ON trial.run_uuid = runs.run_uuid AND trial.key = :trial
    WHERE experiments.lifecycle_stage = 'active' AND experiments.name = :study
"""


def run_pages(paths: ProjectPaths, study: str) -> dict[str, str]:
    """Returns trial ID -> `experiments/ID/runs/ID` for every run of a study; raises StudyError as read_records does."""
    with open_runs(paths) as connection:
        rows = connection.execute(_PAGES, {"study": study, "trial": TRIAL_ID_TAG}).fetchall()
    return {str(trial): f"experiments/{experiment}/runs/{run}" for trial, experiment, run in rows}
