"""`make finetune`: carries the best checkpoints of a study on to other data, and ends with error against compute."""

import dataclasses
from collections.abc import Callable, Sequence

from launcher.drive.sweep import run_sweep
from launcher.settings.request import Request
from sweeps.budget import Budget, format_core_hours
from sweeps.errors import StudyError
from sweeps.finetuning import best_runs, finetuning_study
from sweeps.grid import Grid
from sweeps.record import RunRecord
from sweeps.trial import Trial
from tracking.paths import ProjectPaths


def run_finetuning(request: Request, paths: ProjectPaths) -> int:
    """Returns the exit code of the sweep that fine-tunes the checkpoints of the request's study within its budget.

    Raises:
        StudyError: nothing of the study can be fine-tuned, or what `run_sweep` refuses.
    """
    from tracking.ledger import load_records

    records = load_records(paths, request.study.name)
    trunks = _trunks(request, records, has_weights=lambda trial: paths.weights_file(trial.id).is_file())
    if not request.json:
        print(f"checkpoints of {request.study.name}, the best learning rate of each model and number of epochs:")
        print("\n".join(_trunk_lines(trunks)), flush=True)
    return run_sweep(finetuning_request(request, trunks), paths)


def finetuning_request(request: Request, trunks: Sequence[RunRecord]) -> Request:
    """Returns what fine-tunes `trunks`: the budget of the request was spent before, each run here is within its own.

    Raises:
        StudyError: the user's own program trains the study, or its networks cannot take the images.
    """
    if request.finetune is None or request.study.program is not None:
        raise StudyError(
            "fine-tuning starts from weights that this project's own training keeps, so it knows no program of yours; "
            "leave trainer=command out"
        )
    study = finetuning_study(request.study, request.finetune, trunks)
    dearest = float(Grid(study=study).columns.core_hours.max())
    return dataclasses.replace(
        request, study=study, budget=Budget(core_hours=dearest, hardware=request.budget.hardware), finetune=None
    )


def _trunks(
    request: Request, records: Sequence[RunRecord], *, has_weights: Callable[[Trial], bool]
) -> tuple[RunRecord, ...]:
    """Returns the checkpoints to carry on, of those whose weights are on disk; says which best ones are not."""
    study, budget = request.study, request.budget
    count = 1 if request.finetune is None else request.finetune.rates_per_cell
    best = best_runs(study, budget, records, rates_per_cell=count)
    if not best:
        raise StudyError(
            f"study {study.name} has no finished run within {budget} core-hours (try: make sweep BUDGET={budget} "
            f"STUDY={study.name})"
        )
    kept = tuple(record for record in best if has_weights(record.trial))
    if not kept:
        raise StudyError(
            f"none of the {len(best)} best runs of study {study.name} has its final weights on disk: they were trained "
            "before weights were kept, elsewhere, or without room in compute.disk_budget_gb "
            "(try: the sweep again, with LOGLOG_ROOT=FOLDER for a new place)"
        )
    lost = [record.trial.name for record in best if record not in kept]
    if lost and not request.json:
        print(f"left out, for their final weights are not on disk: {', '.join(lost)}")
    return kept


def _trunk_lines(trunks: Sequence[RunRecord]) -> list[str]:
    lines: list[str] = []
    for record in trunks:
        loss = "" if record.val_loss is None else f", held-out loss {record.val_loss:.4f}"
        cost = format_core_hours(record.cost.core_hours)
        lines.append(f"  {record.trial.id[:8]}  {record.trial.name}: {cost} core-hours{loss}")
    return lines
