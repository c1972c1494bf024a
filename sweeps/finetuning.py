"""Fine-tuning: which checkpoints of a pre-training study are carried on, and the study that does it."""

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sweeps.budget import READING_TOLERANCE, Budget
from sweeps.errors import StudyError
from sweeps.record import RunRecord, Status
from sweeps.study import Pick, Study
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec


@dataclass(frozen=True, kw_only=True)
class FinetuneSpec:
    """How the checkpoints of a study are fine-tuned; their shapes stay what they are."""

    data: DataSpec
    schedule: ScheduleSpec
    recipe: RecipeSpec
    epochs: float
    batch_images: int
    peak_lrs: tuple[float, ...]
    seeds: tuple[int, ...] = (0,)
    rates_per_cell: int = 1
    """Pre-training learning rates of each cell whose checkpoints are carried on, the best first."""


def finetuning_name(study: str, data: str) -> str:
    """Returns the name of the study that fine-tunes the checkpoints of `study` on `data`."""
    return f"{study}_on_{data}"


def best_runs(
    study: Study, budget: Budget, records: Iterable[RunRecord], *, rates_per_cell: int = 1
) -> tuple[RunRecord, ...]:
    """Returns the runs of a study whose weights are worth carrying on, cheapest first.

    Of each cell (a model trained for so many epochs) within the budget: the run with the least selection loss at the
    learning rate that is best in the mean over seeds, then at the next best rates. What was trained on other data or by
    another recipe than the study states now is passed over.
    """
    shapes = {model.name: (study.cohort(model), model.shape) for model in study.models}
    cells: dict[tuple[str, float], dict[tuple[int, float], list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        trial = record.trial
        is_ours = shapes.get(trial.model) == (trial.cohort, trial.shape) and trial.trunk_id is None
        if is_ours and record.status is Status.FINISHED and _is_within(budget, record) and _selection_loss(record):
            cells[trial.model, trial.epochs][trial.batch_images, trial.peak_lr].append(record)
    chosen: list[RunRecord] = []
    for rates in cells.values():
        ranked = sorted(rates.values(), key=lambda runs: statistics.fmean(map(_selection_loss, runs)))
        chosen += [min(runs, key=_selection_loss) for runs in ranked[:rates_per_cell]]
    return tuple(sorted(chosen, key=lambda record: (record.cost.core_hours, record.trial.model, record.trial.peak_lr)))


def finetuning_study(study: Study, spec: FinetuneSpec, trunks: Iterable[RunRecord]) -> Study:
    """Returns the study that starts from each of `trunks` once with every learning rate of `spec`.

    Raises:
        StudyError: the networks cannot take the images, or there are no trunks.
    """
    if spec.data.channels != study.data.channels:
        raise StudyError(
            f"the networks of study {study.name} see {study.data.channels} channels, but {spec.data.name} has "
            f"{spec.data.channels} (try: finetune.data.channels={study.data.channels})"
        )
    picks = tuple(
        Pick(
            model=record.trial.model,
            epochs=spec.epochs,
            batch_images=spec.batch_images,
            peak_lr=peak_lr,
            trunk_id=record.trial.id,
        )
        for record in trunks
        for peak_lr in spec.peak_lrs
    )
    if not picks:
        raise StudyError(f"study {study.name} has no checkpoint to fine-tune (try: make sweep STUDY={study.name})")
    used = {pick.model for pick in picks}
    return dataclasses.replace(
        study,
        name=finetuning_name(study.name, spec.data.name),
        title=f"Checkpoints of {study.name}, fine-tuned on {spec.data.name}",
        models=tuple(model for model in study.models if model.name in used),
        epochs=(spec.epochs,),
        batch_images=(spec.batch_images,),
        peak_lrs=spec.peak_lrs,
        seeds=spec.seeds,
        data=spec.data,
        schedule=spec.schedule,
        recipe=spec.recipe,
        families=(),
        picks=picks,
    )


def _is_within(budget: Budget, record: RunRecord) -> bool:
    return record.cost.core_hours <= READING_TOLERANCE * budget.core_hours


def _selection_loss(record: RunRecord) -> float:
    """Returns the loss on which runs are chosen [nats]; 0, which no run has, where it is missing."""
    return (record.outcome.selection_loss if record.outcome else None) or 0.0
