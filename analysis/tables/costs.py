"""What runs were predicted to cost, and what they kept busy: by model, from the clocks of the runs that have one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.record import RunRecord

PARTS = ("compile", "input_wait", "step", "evaluation", "checkpoint", "lost")
"""Of a clock, in the order in which they are shown."""


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """All finished runs of one model that kept a clock."""

    model: str
    runs: int
    predicted_core_hours: float
    """What the plan priced them at, in the study's reference hardware."""
    billed_core_hours: float
    """What they kept busy, in cores of the machine that they ran on."""
    shares: dict[str, float]
    """The part of `billed_core_hours` that went into each of PARTS."""


def costs_of(records: Sequence[RunRecord]) -> tuple[ModelCost, ...]:
    """Returns one row for each model, the cheapest run first; runs without a clock are left out."""
    by_model: defaultdict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        if record.outcome is not None and record.outcome.core_hours_billed:
            by_model[record.trial.model].append(record)
    rows = [_row(model, group) for model, group in by_model.items()]
    return tuple(sorted(rows, key=lambda row: row.predicted_core_hours / row.runs))


def cost_ratios(costs: Sequence[ModelCost], *, is_relative: bool) -> list[float | None]:
    """Returns billed over predicted core-hours of each row.

    Args:
        costs: the rows.
        is_relative: whether the two units differ: then each ratio is divided by that of all runs together.
    """
    predicted = sum(row.predicted_core_hours for row in costs)
    unit = sum(row.billed_core_hours for row in costs) / predicted if is_relative and predicted > 0 else 1.0
    return [
        row.billed_core_hours / row.predicted_core_hours / unit if row.predicted_core_hours > 0 else None
        for row in costs
    ]


def _row(model: str, records: Sequence[RunRecord]) -> ModelCost:
    spent = dict.fromkeys(PARTS, 0.0)
    billed = 0.0
    for record in records:
        assert record.outcome is not None and record.outcome.clock is not None, "only runs with a clock reach this"
        clock, cores = record.outcome.clock, record.outcome.cores
        for part in PARTS:
            spent[part] += getattr(clock, f"{part}_s") * cores / 3600
        billed += clock.total_s * cores / 3600
    return ModelCost(
        model=model,
        runs=len(records),
        predicted_core_hours=sum(record.cost.core_hours for record in records),
        billed_core_hours=billed,
        shares={part: hours / billed for part, hours in spent.items()},
    )
