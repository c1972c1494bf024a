"""Approach 2: the best size at each compute budget, and how it grows with compute (arXiv:2203.15556 sec. 3.2).

Known bias, said wherever the result is printed: where losses rise more steeply on one side than on the other, a
parabola's minimum is off, the more the wider the sizes and the farther they lie from the optimum (arXiv:2603.22339).
Curves may therefore be less stiff than a parabola where the runs say so, and the parabolas' answer is printed beside.
A budget whose least loss is at its smallest or largest size is refused: its optimum was not seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.best_rate import Cell
from analysis.estimators.frontier import cell_weights
from analysis.estimators.line import Line, line_through
from analysis.estimators.smooth_valley import LEAST_SIZES, Smoother, Valley, choose_smoother, minimum_of
from analysis.laws import Floats

LEAST_BUDGETS = 3
_SAME_BUDGET = 0.12
"""Largest step of log FLOPs between neighbours of one budget: digitised budgets scatter by a tenth."""
_WIDEST_BUDGET = 0.45
"""Largest spread of log FLOPs within a budget; a chain of small steps beyond it is no budget."""
_LEAST_SHARE = 0.3
"""Part of the runs that budgets must hold: a few runs that happen to cost the same are no isoFLOP study."""
_DRAWS = 400
_MOST_SIZES = 64
_SHARPEST = 1e-3
"""Least standard deviation of a log optimum: no grid of sizes tells it better."""


@dataclass(frozen=True, kw_only=True)
class IsoFlop:
    """The runs of one compute budget and the size that is best at it."""

    log_flops: float
    cells: tuple[Cell, ...]
    """By rising size."""
    valley: Valley
    log_params: float | None
    """Of the best size; None when it was not seen."""
    log_loss: float | None
    """At the best size."""
    sd: float | None
    """Standard deviation of `log_params`."""
    refused: str | None
    """too_few_sizes | edge_minimum | downward_parabola."""


@dataclass(frozen=True, kw_only=True)
class IsoFlopFit:
    """N*(C) = coefficient C^a through the best sizes of the budgets."""

    budgets: tuple[IsoFlop, ...]
    smoother: Smoother
    line: Line
    """Log best size on log FLOPs."""
    parabola: Line | None
    """The same with parabolas throughout; None where fewer than three have a minimum."""

    @property
    def used(self) -> tuple[IsoFlop, ...]:
        """The budgets whose optimum was seen."""
        return tuple(budget for budget in self.budgets if budget.refused is None)


def isoflop_groups(cells: Sequence[Cell]) -> list[tuple[float, tuple[Cell, ...]]]:
    """Returns (log FLOPs, cells by rising size) of each budget; empty where runs do not come in budgets.

    A column of nominal budgets decides where there is one; otherwise runs whose FLOPs follow each other closely.
    """
    priced = [cell for cell in cells if cell.flops and cell.params]
    if priced and all(cell.isoflop for cell in priced):
        nominal = sorted({cell.isoflop or 0.0 for cell in priced})
        groups = [[cell for cell in priced if cell.isoflop == value] for value in nominal]
        return [(math.log(value), _by_size(group)) for value, group in zip(nominal, groups, strict=True)]
    groups: list[list[Cell]] = []
    for cell in sorted(priced, key=lambda cell: cell.flops or 0.0):
        if groups and math.log((cell.flops or 1.0) / (groups[-1][-1].flops or 1.0)) <= _SAME_BUDGET:
            groups[-1].append(cell)
        else:
            groups.append([cell])
    kept = [
        group
        for group in groups
        if len({cell.params for cell in group}) >= LEAST_SIZES
        and math.log((group[-1].flops or 1.0) / (group[0].flops or 1.0)) <= _WIDEST_BUDGET
    ]
    if sum(len(group) for group in kept) < _LEAST_SHARE * len(priced):
        return []
    return [(float(np.median(np.log([cell.flops or 1.0 for cell in group]))), _by_size(group)) for group in kept]


def _by_size(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Returns the best cell of each size, by rising size."""
    best: dict[float, Cell] = {}
    for cell in cells:
        params = cell.params or math.nan
        if params not in best or cell.loss < best[params].loss:
            best[params] = cell
    sizes = sorted(best)
    if len(sizes) > _MOST_SIZES:
        # A smooth curve through more would cost their cube and look the same: of neighbours the best one stands.
        step = len(sizes) / _MOST_SIZES
        parts = [sizes[int(i * step) : int((i + 1) * step)] for i in range(_MOST_SIZES)]
        sizes = [min(part, key=lambda params: best[params].loss) for part in parts]
    return tuple(best[params] for params in sizes)


def fit_isoflop(cells: Sequence[Cell], *, rng: np.random.Generator, losses: Floats | None = None) -> IsoFlopFit | None:
    """Returns approach 2 on cells that come in budgets; None with fewer than three budgets whose optimum was seen.

    Args:
        cells: any cells; those without parameters or FLOPs are passed over.
        rng: draws the noise from which the weight of each budget comes.
        losses: log losses to take instead of the cells' own, in the order of `cells`.
    """
    taken = {id(cell): math.log(cell.loss) for cell in cells}
    if losses is not None:
        taken = {id(cell): float(loss) for cell, loss in zip(cells, losses, strict=True)}
    groups = isoflop_groups(cells)
    slope = _slope([(log_flops, min(taken[id(cell)] for cell in group)) for log_flops, group in groups])
    valleys = [
        Valley(
            log_params=np.log(np.array([cell.params for cell in group], dtype=np.float64)),
            log_loss=np.array([taken[id(cell)] - slope * (math.log(cell.flops or 1.0) - log_flops) for cell in group]),
            weights=cell_weights(group),
        ).near_minimum()
        for log_flops, group in groups
    ]
    usable = [v for v in valleys if len(v.log_params) >= LEAST_SIZES and v.has_interior_minimum]
    if len(usable) < LEAST_BUDGETS:
        return None
    smoother = choose_smoother(usable)
    budgets = tuple(
        _budget(log_flops, group, valley, smoother, rng)
        for (log_flops, group), valley in zip(groups, valleys, strict=True)
    )
    line = _line(budgets)
    if line is None:
        return None
    parabola = choose_smoother(usable, only_parabola=True)
    stiff = tuple(_budget(f, g, v, parabola, rng) for (f, g), v in zip(groups, valleys, strict=True))
    return IsoFlopFit(budgets=budgets, smoother=smoother, line=line, parabola=_line(stiff))


def _slope(minima: Sequence[tuple[float, float]]) -> float:
    """Returns how log loss falls with log FLOPs from budget to budget; 0 with fewer than two budgets.

    Runs of one budget do not cost quite the same: each loss is moved along this slope to what the budget would give.
    """
    if len(minima) < 2:
        return 0.0
    x, y = np.array(minima, dtype=np.float64).T
    x = x - x.mean()
    spread = float(x @ x)
    return float(x @ y) / spread if spread > 0 else 0.0


def _budget(
    log_flops: float, cells: tuple[Cell, ...], valley: Valley, smoother: Smoother, rng: np.random.Generator
) -> IsoFlop:
    refused = None
    found = None
    if len(valley.log_params) < LEAST_SIZES:
        refused = "too_few_sizes"
    elif not valley.has_interior_minimum:
        refused = "edge_minimum"
    else:
        found = minimum_of(valley, smoother, _DRAWS, rng)
        refused = None if found else "downward_parabola"
    return IsoFlop(
        log_flops=log_flops,
        cells=cells,
        valley=valley,
        log_params=found[0] if found else None,
        log_loss=found[1] if found else None,
        sd=max(float(found[2].std()), _SHARPEST) if found else None,
        refused=refused,
    )


def _line(budgets: Sequence[IsoFlop]) -> Line | None:
    seen = [(b.log_flops, b.log_params, b.sd) for b in budgets if b.log_params is not None and b.sd is not None]
    if len(seen) < LEAST_BUDGETS:
        return None
    x, y, sd = np.array(seen, dtype=np.float64).T
    return line_through(x, y, sd) if np.ptp(x) > 0 else None
