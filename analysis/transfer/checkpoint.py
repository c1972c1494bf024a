"""One fine-tuned checkpoint for each pre-training run: its error at the best of the learning rates tried."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from analysis.tables.points import SetAside, count_reasons
from sweeps.record import RunRecord, Status


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A pre-training run, and the error that it reaches after fine-tuning."""

    model: str
    epochs: float
    """Of pre-training."""
    core_hours: float
    """Of pre-training."""
    flops: float | None
    """Of pre-training."""
    loss: float | None
    """Held-out loss at the end of pre-training [nats]."""
    peak_lr: float | None
    """Of pre-training."""
    errors: tuple[float, ...]
    """Top-1 error of each fine-tuning seed at the best rate [per cent]."""
    finetune_peak_lr: float | None = None
    """The best of the rates that it was fine-tuned with."""
    is_at_edge: bool = False
    """Whether that is the lowest or the highest of them."""
    finetune_core_hours: float | None = None
    """Of one fine-tuning run."""
    held_out_images: int | None = None
    """Images that the error is counted on."""

    @property
    def error(self) -> float:
        """Mean top-1 error over seeds [per cent]."""
        return statistics.fmean(self.errors)

    @property
    def error_sd(self) -> float | None:
        """Standard deviation of `error` [per cent]: counted on so few images, a mean over so few seeds."""
        if not self.held_out_images:
            return None
        part = self.error / 100.0
        counting = 100.0 * (part * (1.0 - part) / self.held_out_images) ** 0.5
        seeds = statistics.stdev(self.errors) / len(self.errors) ** 0.5 if len(self.errors) > 1 else 0.0
        return math.hypot(counting, seeds)


def checkpoints_of(
    tuned: Iterable[RunRecord], trunks: Mapping[str, RunRecord]
) -> tuple[tuple[Checkpoint, ...], tuple[SetAside, ...]]:
    """Returns the checkpoint of each pre-training run that was fine-tuned, cheapest first, and what was set aside.

    The fine-tuning rate is chosen on the mean selection loss over seeds; a rate at which a seed diverged is not chosen.

    Args:
        tuned: the fine-tuning runs of one cohort.
        trunks: pre-training runs by the id of their trial.
    """
    aside: Counter[str] = Counter()
    rates: dict[str, dict[float, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    diverged: set[tuple[str, float]] = set()
    for record in tuned:
        trial = record.trial
        if trial.trunk_id is None or trial.trunk_id not in trunks:
            aside["of a pre-training run that has no record here"] += 1
        elif record.status is Status.DIVERGED:
            diverged.add((trial.trunk_id, trial.peak_lr))
            aside["diverged"] += 1
        elif record.status is not Status.FINISHED or record.outcome is None:
            aside["did not finish"] += 1
        elif record.outcome.val_error is None or record.outcome.selection_loss is None:
            aside["error not measured"] += 1
        elif record.outcome.val_error == 0.0:
            aside["no error at all, which has no place on a log axis"] += 1
        else:
            rates[trial.trunk_id][trial.peak_lr].append(record)
    found: list[Checkpoint] = []
    for trunk_id, tried in rates.items():
        stable = {rate: runs for rate, runs in tried.items() if (trunk_id, rate) not in diverged}
        if stable:
            found.append(_checkpoint(trunks[trunk_id], stable))
    return tuple(sorted(found, key=lambda item: (item.core_hours, item.error))), count_reasons(aside)


def best_of_each_cell(checkpoints: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    """Returns, of checkpoints that differ in their pre-training rate alone, the one with the least error."""
    best: dict[tuple[str, float], Checkpoint] = {}
    for item in checkpoints:
        key = item.model, item.epochs
        if key not in best or item.error < best[key].error:
            best[key] = item
    return tuple(sorted(best.values(), key=lambda item: (item.core_hours, item.error)))


def _checkpoint(trunk: RunRecord, tried: Mapping[float, list[RunRecord]]) -> Checkpoint:
    best = min(tried, key=lambda rate: statistics.fmean(_selection_loss(run) for run in tried[rate]))
    runs = sorted(tried[best], key=lambda run: run.trial.seed)
    return Checkpoint(
        model=trunk.trial.model,
        epochs=trunk.trial.epochs,
        core_hours=trunk.cost.core_hours,
        flops=trunk.cost.flops,
        loss=trunk.val_loss,
        peak_lr=trunk.trial.peak_lr,
        errors=tuple(100.0 * run.outcome.val_error for run in runs if run.outcome and run.outcome.val_error),
        finetune_peak_lr=best,
        is_at_edge=len(tried) > 1 and best in (min(tried), max(tried)),
        finetune_core_hours=runs[0].cost.core_hours,
        held_out_images=runs[0].trial.data.held_out_images,
    )


def _selection_loss(record: RunRecord) -> float:
    assert record.outcome is not None and record.outcome.selection_loss is not None, "only such runs reach this"
    return record.outcome.selection_loss
