"""What a fit reads: one point for each run that has a loss, and what was set aside with the reason."""

import functools
import math
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.tables.costs import ModelCost, costs_of
from analysis.tables.judged import JudgedPrediction, judge
from sweeps.prediction import Prediction
from sweeps.record import RunRecord, Status
from sweeps.shape import Shape
from sweeps.trial import Trial

TAINTED_WEIGHT = 0.25
"""Of a tainted run in a fit: the standard deviation of its loss counts as twice that of the others."""
NAME_CHARACTERS = 80
"""Longest name of a curve: what a line of a report and a legend can hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One run that ended with a usable loss."""

    model: str
    """The curve it belongs to: a model's name, or the group of a table; see `clean_name`."""
    loss: float
    """Reported held-out loss [nats]."""
    selection_loss: float | None = None
    """Loss on which learning rates are chosen [nats]."""
    core_hours: float | None = None
    flops: float | None = None
    params: float | None = None
    tokens: float | None = None
    """Training examples: tokens, or images."""
    epochs: float | None = None
    batch_images: int | None = None
    peak_lr: float | None = None
    seed: int | None = None
    unique_tokens: float | None = None
    """Distinct training examples, where some were seen more than once."""
    error: float | None = None
    """Error on a downstream task, in any unit."""
    loss_sd: float | None = None
    """Standard deviation of the noise of `loss`, in its unit."""
    isoflop: float | None = None
    """Nominal compute budget that the run was made for [FLOPs]."""
    taint: str | None = None
    """What is known to be wrong with the run; None where nothing is."""


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """Rows that no fit uses."""

    reason: str
    count: int
    rows: tuple[int, ...] = ()
    """The first of them in the table, counted from 1 for the first row below the header; empty for recorded runs."""


@dataclass(frozen=True, kw_only=True)
class UnstableRate:
    """A peak learning rate at which at least one run diverged: data about the stable range, not about the loss."""

    model: str
    epochs: float | None
    batch_images: int | None
    peak_lr: float


@dataclass(frozen=True, kw_only=True)
class PointSet:
    """All points of one study or table."""

    points: tuple[Point, ...]
    set_aside: tuple[SetAside, ...]
    unstable: frozenset[UnstableRate] = frozenset()
    outrun: frozenset[UnstableRate] = frozenset()
    """Rates at which a run was stopped early, since others of its cell were ahead: they bound the optimum too."""
    study: str | None = None
    """The study in runs.sqlite; None for a table."""
    cohort: str | None = None
    """The data, schedule and recipe of its runs; None for a table."""
    source: str
    """Where they were read, for people."""
    has_models: bool = True
    """Whether points name the curve they belong to; without, only measured cells can be compared."""
    budgets_core_hours: tuple[float, ...] = ()
    """The budgets that the runs were launched for."""
    code_versions: tuple[str, ...] = ()
    costs: tuple[ModelCost, ...] = ()
    """What runs were predicted to cost, and did, by model; empty where no trainer kept a clock."""
    derived: tuple[str, ...] = ()
    """Kinds (params, tokens, flops) that were computed for at least one row from the rule C = 6 N D."""
    columns: tuple[tuple[str, str], ...] = ()
    """The kinds that were read from a table, each with its column."""
    judged: tuple[JudgedPrediction, ...] = ()
    """Predictions that were frozen before their cell was trained, with what it reached."""
    data_unit: str = "tokens"
    """What `tokens` counts: tokens | images | epochs."""

    @property
    def taints(self) -> tuple[SetAside, ...]:
        """How many points have something known to be wrong, by what it is, most frequent first."""
        return count_reasons(Counter(point.taint for point in self.points if point.taint is not None))

    @property
    def tainted(self) -> int:
        """How many points have something known to be wrong."""
        return sum(item.count for item in self.taints)

    @property
    def tainted_weight(self) -> float:
        """How much a tainted point counts in a fit: as much as any other where there is none to prefer."""
        return TAINTED_WEIGHT if self.tainted < len(self.points) else 1.0


_STATUS_REASONS = {
    Status.RUNNING: "still running",
    Status.DIVERGED: "diverged",
    Status.OUT_OF_MEMORY: "out of memory",
    Status.STOPPED: "stopped early, behind other learning rates",
    Status.FAILED: "failed",
    Status.KILLED: "killed",
}


def points_from_records(
    records: Sequence[RunRecord],
    *,
    study: str | None,
    source: str = "runs.sqlite",
    cohort: str | None = None,
    predictions: Sequence[Prediction] = (),
) -> PointSet:
    """Returns the points of one cohort of recorded runs; whatever has no finite loss is set aside, with its reason.

    Runs on other data, with another schedule or recipe, or with another shape under the same model name follow another
    law: they are set aside too, and named.

    Args:
        records: what is known of the study's runs.
        study: their study.
        source: where they were read, for people.
        cohort: which runs are meant, as `Trial.cohort`; by default those of the largest cohort.
        predictions: that were frozen for the study.
    """
    chosen = cohort or _largest_cohort(records)
    own = [record for record in records if record.trial.cohort == chosen]
    shapes = _latest_shapes(own)
    points: list[Point] = []
    aside: Counter[str] = Counter()
    bounds: dict[Status, set[UnstableRate]] = {Status.DIVERGED: set(), Status.STOPPED: set()}
    seen: set[Trial] = set()
    used: list[RunRecord] = []
    for record in records:
        trial = record.trial
        if trial in seen:
            aside["duplicate of a recorded trial"] += 1
            continue
        seen.add(trial)
        if trial.cohort != chosen:
            aside[f"of another data set, schedule or recipe (see them with --cohort {trial.cohort})"] += 1
            continue
        if trial.shape != shapes[trial.model]:
            aside[f"of an older shape called {trial.model}"] += 1
            continue
        if record.status in bounds:
            bounds[record.status].add(
                UnstableRate(
                    model=trial.model, epochs=trial.epochs, batch_images=trial.batch_images, peak_lr=trial.peak_lr
                )
            )
        reason = _STATUS_REASONS.get(record.status) or why_unusable(
            loss=record.val_loss, compute=(record.cost.core_hours, record.cost.flops)
        )
        if reason:
            aside[reason] += 1
            continue
        used.append(record)
        points.append(_point_of(record))
    return PointSet(
        points=tuple(points),
        set_aside=count_reasons(aside),
        unstable=frozenset(bounds[Status.DIVERGED]),
        outrun=frozenset(bounds[Status.STOPPED]),
        study=study,
        cohort=chosen,
        source=source,
        budgets_core_hours=tuple(sorted({r.budget_core_hours for r in own if r.budget_core_hours})),
        code_versions=tuple(sorted({r.code_version for r in own})),
        costs=costs_of(used),
        judged=judge(predictions, own, cohort=chosen),
        data_unit="images",
    )


def _largest_cohort(records: Sequence[RunRecord]) -> str | None:
    """Returns the cohort with the most finished runs, the later started one of two as large; None without records."""
    sizes: Counter[str] = Counter()
    started: dict[str, float] = {}
    for record in records:
        cohort = record.trial.cohort
        sizes[cohort] += record.status is Status.FINISHED
        started[cohort] = max(record.started_unix_s, started.get(cohort, record.started_unix_s))
    return max(sizes, key=lambda cohort: (sizes[cohort], started[cohort]), default=None)


def _latest_shapes(records: Iterable[RunRecord]) -> dict[str, Shape]:
    """Returns the shape that each model name stood for last."""
    return {r.trial.model: r.trial.shape for r in sorted(records, key=lambda record: record.started_unix_s)}


def _point_of(record: RunRecord) -> Point:
    trial, outcome = record.trial, record.outcome
    selection = outcome.selection_loss if outcome else None
    loss = record.val_loss
    assert loss is not None, "only finished runs reach this"
    return Point(
        model=trial.model,
        loss=loss,
        selection_loss=selection if selection is not None and math.isfinite(selection) else None,
        core_hours=record.cost.core_hours,
        flops=record.cost.flops,
        params=float(_params(trial.shape, trial.data.image_px, trial.data.classes, trial.data.channels)),
        tokens=float(trial.images),
        epochs=trial.epochs,
        batch_images=trial.batch_images,
        peak_lr=trial.peak_lr,
        seed=trial.seed,
        taint=record.taint,
    )


@functools.cache
def _params(shape: Shape, image_px: int, classes: int, channels: int) -> int:
    """Returns the parameters of a model; thousands of runs share a few shapes."""
    return shape.params(image_px=image_px, classes=classes, channels=channels)


def why_unusable(*, loss: float | None, compute: Iterable[float | None]) -> str | None:
    """Returns why a row has no place on log-log axes, or None when it has."""
    if loss is None:
        return "loss missing"
    if not math.isfinite(loss):
        return "loss is not finite"
    if loss <= 0:
        return "loss not above zero"
    for value in compute:
        if value is not None and not (math.isfinite(value) and value > 0):
            return "compute not above zero"
    return None


def count_reasons(aside: Counter[str]) -> tuple[SetAside, ...]:
    """Returns the reasons, most frequent first."""
    return tuple(SetAside(reason=reason, count=count) for reason, count in aside.most_common())


def clean_name(text: str) -> str:
    """Returns a name that every terminal, file and figure can hold: one line, no control characters, not too long.

    What a printer must escape in its own language (`<`, `$`, `[`) stays as it is.
    """
    # Cc: control characters, Cf: invisible ones that turn text round, Cs: halves of characters, which no file can hold.
    cleaned = "".join(" " if c in "\u2028\u2029" or unicodedata.category(c) in _UNPRINTABLE else c for c in text)
    cleaned = " ".join(cleaned.split())
    if len(cleaned) <= NAME_CHARACTERS:
        return cleaned
    # Two long names that begin alike stay two names.
    digest = f"\N{HORIZONTAL ELLIPSIS}{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"
    return cleaned[: NAME_CHARACTERS - len(digest)] + digest


_UNPRINTABLE = ("Cc", "Cf", "Cs")
