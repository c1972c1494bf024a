"""What a sweep says when somebody presses Ctrl-C: what is saved, and what to type to go on."""

from collections.abc import Iterator, Sequence

from launcher.settings.request import Request, SlurmCluster
from sweeps.plan import Plan
from sweeps.record import RunRecord, Status
from tracking.paths import ProjectPaths

MOST_RUNS = 8
"""Runs under way that are named."""


def interruption_text(
    request: Request, plan: Plan, records: Sequence[RunRecord], paths: ProjectPaths, *, command: str
) -> str:
    """Returns the lines: runs recorded, those under way with the step that they go on from, and the command.

    Args:
        request: what was interrupted.
        plan: of it, with these records counted.
        records: of the study, as they are now.
        paths: where its checkpoints lie.
        command: as it was typed.
    """
    return "\n".join(_lines(request, plan, records, paths, command))


def _lines(
    request: Request, plan: Plan, records: Sequence[RunRecord], paths: ProjectPaths, command: str
) -> Iterator[str]:
    is_kept = isinstance(request.cluster, SlurmCluster)
    trials = {trial.id for trial in plan.trials()}
    is_by_rounds = request.strategy.is_by_rounds
    own = [record for record in records if record.trial.id in trials]
    done = sum(record.is_settled for record in own)
    cut = [record for record in own if not record.is_settled and record.status in (Status.RUNNING, Status.KILLED)]
    of_all = "" if is_by_rounds else f" of {len(trials):,}"
    yield f"interrupted: {done:,}{of_all} runs are recorded, and all of that is kept"
    if done == len(trials):
        yield "all runs are there; only the law is still to be fitted"
    elif is_kept:
        yield "jobs that are queued or run stay with Slurm; make stop ends them"
    else:
        for record in cut[:MOST_RUNS]:
            step = saved_step(paths, request.study.name, record)
            where = (
                f"saved at step {step:,} of {record.trial.steps:,}" if step else "begins anew, nothing was saved yet"
            )
            yield f"  {record.trial.name}: {where}"
        if len(cut) > MOST_RUNS:
            yield f"  ... and {len(cut) - MOST_RUNS:,} more, each from its own checkpoint"
        if not is_by_rounds and (fresh := len(trials) - done - len(cut)):
            yield f"  {fresh:,} more have not begun"
    yield f"go on with: {command}"


def saved_step(paths: ProjectPaths, study: str, record: RunRecord) -> int:
    """Returns the step of a run's newest checkpoint; 0 where there is none."""
    folder = paths.checkpoint_dir(study, record.trial.id)
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)
