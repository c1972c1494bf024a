"""What a page shows beside the fit: every run however it ended, its page in MLflow, and what was fine-tuned from it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.tables.points import PointSet
from analysis.transfer.checkpoint import Checkpoint, checkpoints_of
from sweeps.record import RunRecord
from tracking.paths import ProjectPaths
from tracking.run_pages import run_pages
from tracking.run_table import read_records


@dataclass(frozen=True, kw_only=True)
class Background:
    """What is known beside the fit; of a table nothing but what was typed."""

    records: tuple[RunRecord, ...] = ()
    """Of the fit's cohort, however they ended."""
    mlflow_pages: Mapping[str, str] = field(default_factory=dict[str, str])
    """Trial ID -> its page in MLflow, behind the server's address."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """Of the study's runs that were fine-tuned."""
    fine_tuned_on: str = ""
    typed: tuple[str, ...] = ()
    """The words behind fit_scaling.py."""
    pick_file: str | None = None
    """pick.yaml as `make sweep PICK=` takes it; None where there is none."""


def background_of(
    points: PointSet, paths: ProjectPaths, *, typed: Sequence[str], pick_file: str | None = None
) -> Background:
    """Returns what runs.sqlite says beside the points of a study."""
    if points.study is None:
        return Background(typed=tuple(typed))
    everything = read_records(paths, None)
    own = {record.trial.id: record for record in read_records(paths, points.study)}
    records = tuple(record for record in own.values() if record.trial.cohort == points.cohort)
    tuned = [record for record in everything if record.trial.trunk_id in own]
    cohorts = Counter(record.trial.cohort for record in tuned).most_common(1)
    latest = [record for record in tuned if record.trial.cohort == cohorts[0][0]] if cohorts else []
    return Background(
        records=records,
        mlflow_pages=run_pages(paths, points.study),
        checkpoints=checkpoints_of(latest, own)[0] if latest else (),
        fine_tuned_on=latest[0].trial.data.name if latest else "",
        typed=tuple(typed),
        pick_file=pick_file,
    )
