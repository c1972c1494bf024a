"""One family of a study: its cells at their own best learning rates, and what they cost on every axis."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.estimators.best_rate import Cell, cells_of
from analysis.refusal import FitRefused
from analysis.tables.points import points_from_records
from sweeps.record import RunRecord, Status
from sweeps.trial import DataSpec

LEAST_CELLS = 8
"""Fewer say nothing of how loss depends on size and on data at once."""
_CellKey = tuple[str, float | None]
"""Model and epochs."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A cell of a family, with what it costs beyond what a cell knows."""

    cell: Cell
    rank: int
    """Place of its model among the family's sizes, 0 for the smallest: cells of two families match by it."""
    forward_macs: float
    """Multiply-accumulates of one held-out image."""
    billed_core_hours: float | None
    """What a run of it kept busy, mean over its runs [core-hours of the machine it ran on]; missing without clocks."""

    @property
    def key(self) -> tuple[int, float]:
        """What it shares with the cell of another family that saw the same images in the same order."""
        return self.rank, round(self.cell.epochs or 0.0, 6)


@dataclass(frozen=True, kw_only=True)
class Family:
    """All that a study holds of one family."""

    name: str
    members: tuple[Member, ...]
    """Its cells, cheapest first."""
    study: str | None
    source: str
    """Where its runs were read, for people."""
    data: DataSpec
    """What it was trained on and held against."""
    runs: int
    """Finished runs with a usable loss."""
    diverged: int
    """Runs that diverged, and count as bounds of the stable learning rate."""
    devices: tuple[str, ...]
    code_versions: tuple[str, ...]
    cohort: str
    """Of the runs that are used: their data, schedule and recipe."""
    cohorts: int
    """Recipes and schedules under which it was run; those of one are used."""
    set_aside: int
    """Runs of it that no fit uses, diverged ones left out."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Its cells, cheapest first."""
        return tuple(member.cell for member in self.members)

    @property
    def seeds(self) -> float:
        """Seeds in its middle cell."""
        return statistics.median(len(cell.best.losses) for cell in self.cells)


def families_of(records: Sequence[RunRecord], *, study: str | None, source: str) -> tuple[Family, ...]:
    """Returns the families of a study, by name, each with the runs of its own largest cohort.

    Raises:
        FitRefused: there are fewer than two, one has too few cells, or they were trained on different data.
    """
    by_family: defaultdict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        by_family[record.trial.family].append(record)
    finished = [name for name, own in by_family.items() if any(record.val_loss is not None for record in own)]
    if len(finished) < 2:
        found = f"only {finished[0]}" if finished else "no finished run"
        raise FitRefused(
            code="one_family",
            reason=f"{source} holds {found}, and a comparison needs two families of models",
            next="try: make sweep BUDGET=10k STUDY=families, or --study NAME of a study with several",
        )
    families = tuple(_family(name, by_family[name], study=study, source=source) for name in sorted(finished))
    _refuse_different_data(families)
    return families


def _family(name: str, records: Sequence[RunRecord], *, study: str | None, source: str) -> Family:
    points = points_from_records(records, study=study, source=source)
    own = [record for record in records if record.trial.cohort == points.cohort]
    cells = cells_of(points)
    cells = tuple(cell for cell in cells if cell.params and cell.tokens and cell.core_hours and cell.flops)
    if len(cells) < LEAST_CELLS:
        again = f"make sweep BUDGET=10k STUDY={study}, or --families A,B without it" if study else "give more runs"
        raise FitRefused(
            code="too_few_cells",
            reason=f"{name} has {len(cells)} cells with a usable loss in {source}; a comparison needs {LEAST_CELLS} "
            "of each family",
            next=f"try: {again}",
        )
    sizes = sorted({(cell.params or 0.0, cell.model) for cell in cells})
    ranks = {model: rank for rank, (_, model) in enumerate(sizes)}
    macs, billed = _macs(own), _billed(own)
    return Family(
        name=name,
        members=tuple(
            Member(
                cell=cell,
                rank=ranks[cell.model],
                forward_macs=macs[cell.model],
                billed_core_hours=billed.get((cell.model, cell.epochs)),
            )
            for cell in cells
        ),
        study=study,
        source=source,
        data=own[0].trial.data,
        runs=len(points.points),
        diverged=sum(record.status is Status.DIVERGED for record in own),
        devices=tuple(sorted({record.device for record in own})),
        code_versions=points.code_versions,
        cohort=own[0].trial.cohort,
        cohorts=len({record.trial.cohort for record in records}),
        set_aside=sum(item.count for item in points.set_aside if item.reason != "diverged"),
    )


def _macs(records: Sequence[RunRecord]) -> dict[str, float]:
    """Returns the forward multiply-accumulates of each model, on images of the size that held-out ones have."""
    found: dict[str, float] = {}
    for record in sorted(records, key=lambda record: record.started_unix_s):
        trial = record.trial
        image_px = trial.data.evaluation_px or trial.data.image_px
        found[trial.model] = float(
            trial.shape.forward_macs(image_px=image_px, classes=trial.data.classes, channels=trial.data.channels)
        )
    return found


def _billed(records: Sequence[RunRecord]) -> dict[_CellKey, float]:
    """Returns what a run of each cell was billed for, mean over its finished runs that kept a clock [core-hours]."""
    found: defaultdict[_CellKey, list[float]] = defaultdict(list)
    for record in records:
        billed = record.outcome.core_hours_billed if record.outcome else None
        if record.status is Status.FINISHED and billed:
            found[record.trial.model, record.trial.epochs].append(billed)
    return {key: statistics.fmean(values) for key, values in found.items()}


def _refuse_different_data(families: Sequence[Family]) -> None:
    """Raises FitRefused unless all families are held against the same images; losses of others do not compare."""
    if len({family.data for family in families}) > 1:
        words = "; ".join(f"{f.name}: {f.data.name} at {f.data.image_px} px" for f in families)
        raise FitRefused(
            code="different_data",
            reason=f"the families were trained on different data ({words}), so their losses do not compare",
            next="try: --study NAME of a study in which all families see the same images",
        )
