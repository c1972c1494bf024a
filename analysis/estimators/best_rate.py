"""The best peak learning rate of each cell, and the cell's loss at it.

A cell is a model trained for a number of epochs. Its learning rate is chosen on the mean selection loss over seeds, its
loss is the mean held-out loss over seeds at that rate, on images that had no part in the choice.
"""

import functools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.solver.quantiles import LEVEL, t_quantile
from analysis.tables.points import Point, PointSet, UnstableRate

UNITS = {
    "core_hours": "core-hours",
    "flops": "FLOPs",
    "params": "parameters",
    "tokens": "examples",
    "product": "parameters x data",
}
"""What a law may be of, and what that is counted in; `product` stands for a compute that nobody gave."""


@dataclass(frozen=True, kw_only=True)
class RateTried:
    """All seeds of a cell at one learning rate and batch."""

    peak_lr: float | None
    batch_images: int | None
    losses: tuple[float, ...]
    """Held-out loss of each seed [nats]: of the untainted runs where there are any."""
    selection_losses: tuple[float, ...]
    """Loss of each of those seeds that the choice of rate rests on [nats]."""
    weight: float
    """How much one of `losses` counts in a fit; less than 1 where they are those of tainted runs."""
    is_tainted: bool
    """Whether `losses` are those of tainted runs."""
    doubted: tuple[float, ...]
    """Held-out losses of tainted runs beside untainted ones [nats]."""
    doubted_weight: float
    """How much one of them counts in a fit of single runs; means over seeds leave them out."""
    has_diverged: bool
    """Whether a seed diverged at this rate: what survived is a favourable sample, so the rate is not chosen."""

    @functools.cached_property
    def loss(self) -> float:
        """The mean held-out loss over seeds [nats]."""
        return statistics.fmean(self.losses)

    @functools.cached_property
    def selection_loss(self) -> float:
        """The mean over seeds of the loss on which rates are chosen [nats]."""
        return statistics.fmean(self.selection_losses)

    @property
    def weighted_losses(self) -> tuple[tuple[float, float], ...]:
        """Every run's held-out loss [nats] and how much it counts."""
        return (
            *((loss, self.weight) for loss in self.losses),
            *((loss, self.doubted_weight) for loss in self.doubted),
        )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A model trained for a number of epochs, at its best learning rate."""

    model: str
    epochs: float | None
    core_hours: float | None
    flops: float | None
    params: float | None
    tokens: float | None
    best: RateTried
    tried: tuple[RateTried, ...]
    """Every rate with a usable loss, `best` among them, by rising rate."""
    edge: str | None
    """Where the best rate is censored: `low` or `high` edge of the rates tried, `single` when only one was."""
    parabola_peak_lr: float | None
    """Vertex of the parabola in log2 of the rate through the best rate and its neighbours; None when censored."""
    unique_tokens: float | None = None
    """Distinct training examples among `tokens`."""
    isoflop: float | None = None
    """Nominal budget that the cell was run for [FLOPs]."""
    error: float | None = None
    """Downstream error at the best rate, mean over seeds."""
    loss_sd: float | None = None
    """Stated noise of `loss` [nats]."""
    precision: float = 1.0
    """How much more than in the middle cell a run tells, by the inverse of the variance over seeds."""
    place: int = 0
    """Of its first run among all points: resamples are drawn in the order in which runs were given."""

    @property
    def loss(self) -> float:
        """Mean held-out loss over seeds at the best rate [nats]."""
        return self.best.loss

    @property
    def weight(self) -> float:
        """How much `loss` counts in a fit: less than 1 where only tainted runs say it."""
        return self.best.weight

    @property
    def fit_weight(self) -> float:
        """How much it counts in a fit: by taint and by noise."""
        return self.weight * self.precision

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation of the loss over seeds [nats]; missing with one seed."""
        return statistics.stdev(self.best.losses) if len(self.best.losses) > 1 else None

    @property
    def is_tainted(self) -> bool:
        """Whether only tainted runs say `loss`."""
        return self.best.is_tainted

    def compute(self, axis: str) -> float | None:
        """Returns what the cell cost on an axis of UNITS."""
        if axis == "product":
            data = self.tokens if self.tokens is not None else self.epochs
            return self.params * data if self.params and data else None
        return {"core_hours": self.core_hours, "flops": self.flops, "params": self.params, "tokens": self.tokens}[axis]


def cells_of(points: PointSet) -> tuple[Cell, ...]:
    """Returns one cell for each model and number of epochs (in a table: and compute), cheapest first."""
    grouped: defaultdict[tuple[object, ...], list[Point]] = defaultdict(list)
    places: dict[tuple[object, ...], int] = {}
    for place, point in enumerate(points.points):
        # A study's batches cost slightly different amounts for the same epochs; a table's rows are told apart by cost.
        spent = () if points.study else (point.core_hours, point.flops, point.tokens)
        key = (point.model, point.epochs, point.params, point.unique_tokens, point.isoflop, spent)
        places.setdefault(key, place)
        grouped[key].append(point)
    unstable, outrun = _by_cell(points.unstable), _by_cell(points.outrun)
    cells: list[Cell] = []
    for key, group in grouped.items():
        where = (group[0].model, group[0].epochs)
        cells.append(
            _cell(group, unstable[where], outrun[where], place=places[key], tainted_weight=points.tainted_weight)
        )
    return tuple(sorted(cells, key=lambda cell: (cell.core_hours or cell.flops or 0.0, cell.loss)))


_Rates = set[tuple[int | None, float]]
"""Batch and learning rate."""


def _by_cell(rates: Iterable[UnstableRate]) -> defaultdict[tuple[str, float | None], _Rates]:
    found: defaultdict[tuple[str, float | None], _Rates] = defaultdict(set)
    for rate in rates:
        found[rate.model, rate.epochs].add((rate.batch_images, rate.peak_lr))
    return found


def _rate_tried(points: list[Point], *, has_diverged: bool, tainted_weight: float) -> RateTried:
    trusted = [point for point in points if point.taint is None]
    doubted = [point for point in points if point.taint is not None] if trusted else []
    trusted = trusted or points
    return RateTried(
        peak_lr=points[0].peak_lr,
        batch_images=points[0].batch_images,
        losses=tuple(p.loss for p in trusted),
        selection_losses=tuple(p.loss if p.selection_loss is None else p.selection_loss for p in trusted),
        weight=tainted_weight if trusted[0].taint is not None else 1.0,
        is_tainted=trusted[0].taint is not None,
        doubted=tuple(p.loss for p in doubted),
        doubted_weight=tainted_weight,
        has_diverged=has_diverged,
    )


def _cell(points: list[Point], bad: _Rates, outrun: _Rates, *, place: int, tainted_weight: float) -> Cell:
    first = points[0]
    grouped: defaultdict[tuple[int | None, float | None], list[Point]] = defaultdict(list)
    for point in points:
        grouped[point.batch_images, point.peak_lr].append(point)
    tried = tuple(
        _rate_tried(group, has_diverged=(batch, peak_lr) in bad, tainted_weight=tainted_weight)
        for (batch, peak_lr), group in sorted(grouped.items(), key=lambda item: (item[0][0] or 0, item[0][1] or 0.0))
    )
    best = min([rate for rate in tried if not rate.has_diverged] or tried, key=lambda rate: rate.selection_loss)
    rivals = [rate for rate in tried if rate.batch_images == best.batch_images and not rate.has_diverged]
    bounds = [peak_lr for batch, peak_lr in bad | outrun if batch == best.batch_images]
    edge = _edge(best, rivals or [best], unstable_peak_lrs=bounds)
    same_batch = [p for p in points if p.batch_images == best.batch_images]
    return Cell(
        model=first.model,
        epochs=first.epochs,
        core_hours=_mean_or_none(p.core_hours for p in same_batch),
        flops=_mean_or_none(p.flops for p in same_batch),
        params=first.params,
        tokens=_mean_or_none(p.tokens for p in same_batch),
        best=best,
        tried=tried,
        edge=edge,
        parabola_peak_lr=None if edge else _vertex(best, rivals),
        unique_tokens=_mean_or_none(p.unique_tokens for p in same_batch),
        isoflop=first.isoflop,
        error=_mean_or_none(p.error for p in same_batch if p.peak_lr == best.peak_lr),
        place=place,
        loss_sd=_mean_or_none(p.loss_sd for p in same_batch if p.peak_lr == best.peak_lr),
    )


def _edge(best: RateTried, rivals: list[RateTried], *, unstable_peak_lrs: list[float]) -> str | None:
    """Returns where the optimum is censored; a rate that diverged above the best one bounds it as well as a loss."""
    if best.peak_lr is None:
        return None
    above = [r.peak_lr for r in rivals if r.peak_lr is not None and r.peak_lr > best.peak_lr]
    below = [r.peak_lr for r in rivals if r.peak_lr is not None and r.peak_lr < best.peak_lr]
    above += [rate for rate in unstable_peak_lrs if rate > best.peak_lr]
    below += [rate for rate in unstable_peak_lrs if rate < best.peak_lr]
    if not above and not below:
        return "single"
    return "high" if not above else "low" if not below else None


def _vertex(best: RateTried, rivals: list[RateTried]) -> float | None:
    """Returns the peak learning rate at the vertex through `best` and its nearest neighbours on both sides."""
    ordered = sorted((r for r in rivals if r.peak_lr is not None), key=lambda r: r.peak_lr or 0.0)
    place = ordered.index(best) if best in ordered else -1
    if not 0 < place < len(ordered) - 1:
        return None
    x = [math.log2(r.peak_lr or math.nan) for r in ordered[place - 1 : place + 2]]
    y = [r.selection_loss for r in ordered[place - 1 : place + 2]]
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    bend = (right - left) / (x[2] - x[0])
    if bend <= 0:
        return best.peak_lr
    # The vertex of Newton's interpolating parabola y0 + left (x - x0) + bend (x - x0)(x - x1).
    return 2.0 ** ((x[0] + x[1]) / 2 - left / (2 * bend))


def _mean_or_none(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None


@dataclass(frozen=True, kw_only=True)
class RateTrend:
    """How the best peak learning rate moves when a run gets twice as long."""

    per_doubling: float
    """Relative change for each doubling of epochs: -0.1 is 10 % lower."""
    low: float
    high: float
    """Interval from the scatter of cells about the trend."""
    cells: int

    @property
    def sentence(self) -> str:
        """What it says, in words."""
        bounds = f"{self.per_doubling:+.0%} ({self.low:+.0%} to {self.high:+.0%}) for each doubling of epochs"
        if self.high < 0:
            return f"the best learning rate falls with epochs: {bounds}"
        if self.low > 0:
            return f"the best learning rate rises with epochs: {bounds}"
        return f"no trend of the best learning rate with epochs is resolved: {bounds}"


def rate_trend(cells: Iterable[Cell], *, level: float = LEVEL) -> RateTrend | None:
    """Returns the common slope of log2 best rate on log2 epochs, each model at a level of its own; None without one.

    The vertex of the parabola stands for the best rate where there is one; a censored optimum stands at its edge, which
    pulls the slope towards zero.
    """
    import numpy as np

    rows = [(c, math.log2(c.epochs), c.parabola_peak_lr or c.best.peak_lr) for c in cells if c.epochs]
    known = [(cell, doublings, math.log2(rate)) for cell, doublings, rate in rows if rate]
    models = sorted({cell.model for cell, _, _ in known})
    table = np.array([[doublings, rate] for _, doublings, rate in known]).reshape(-1, 2)
    names = np.array([cell.model for cell, _, _ in known])
    weights = np.array([cell.fit_weight for cell, _, _ in known])
    for model in models:
        table[names == model] -= np.average(table[names == model], axis=0, weights=weights[names == model])
    doublings, rates = (table * np.sqrt(weights)[:, None]).T
    freedom, spread = len(known) - len(models) - 1, float(doublings @ doublings)
    if freedom < 3 or spread == 0:
        return None
    slope = float(doublings @ rates) / spread
    residual = rates - slope * doublings
    half = t_quantile((1 + level) / 2, freedom) * math.sqrt(float(residual @ residual) / freedom / spread)
    # Cut where a rate would move by more than floating point holds.
    low, middle, high = (2.0 ** max(-999.0, min(value, 999.0)) - 1.0 for value in (slope - half, slope, slope + half))
    return RateTrend(per_doubling=middle, low=low, high=high, cells=len(known))
