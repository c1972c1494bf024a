"""Learning rates in two trials: the best rate falls slowly and monotonically with size and epochs.

That is the assumption of arXiv:2310.16764 (sec. 2, Fig. 3), and what follows from it: of a cell whose next smaller and
next shorter neighbours are tuned, the best rate is the lower of theirs or one octave below. So the first trial takes
the lower of theirs and the second half of it, where the study's rates are spaced by octaves: one octave beyond the
lowest that the study names, if need be. The smallest, shortest cell has no neighbours and is tried at every rate of the
study, and one octave beyond the edge where its best one lies there. A rate at which a run diverged bounds from above.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from strategy.belief import MOST_CELLS, Belief, believe
from strategy.evidence import Evidence, best_rates
from strategy.field import Field


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Which rates a cell needs by the two-trial rule."""

    rates: tuple[int, ...]
    """Positions in the field's rates, the first trial first."""
    is_decided: bool
    """Whether all of them were tried, or are known to diverge."""


def tunings(field: Field, evidence: Evidence, cells: Iterable[int] | None = None) -> dict[int, Tuning]:
    """Returns the rates of every cell whose neighbours are decided; cells that wait for a neighbour are left out.

    Args:
        field: the cells and rates there are.
        evidence: what was run.
        cells: those that matter; all trainable ones by default. Neighbours are looked for among them.
    """
    wanted = [cell for cell in (range(len(field.cells)) if cells is None else cells) if field.is_trainable[cell]]
    tried, best = _tried(evidence), tuned_rates(field, evidence)
    found: dict[int, Tuning] = {}
    for cell in sorted(wanted, key=lambda cell: (field.log_images[cell], field.log_params[cell])):
        neighbours = [other for other in _neighbours(field, cell, wanted) if other != cell]
        if any(other not in found or not found[other].is_decided for other in neighbours):
            continue
        known = [best[other] for other in neighbours if other in best]
        first = min(known) if known else None
        found[cell] = _tuning(field, evidence, cell, first, tried.get(cell, set()), best.get(cell))
    return found


def admissible(field: Field, evidence: Evidence, belief: Belief | None = None) -> dict[int, tuple[int, ...]]:
    """Returns which rates of each cell the rule would try next or has tried, whatever its neighbours still owe.

    For strategies that do not walk from neighbour to neighbour: the nearest tuned cells that are no larger and no
    longer take the place of neighbours.
    """
    tried, best = _tried(evidence), tuned_rates(field, evidence, belief)
    found: dict[int, tuple[int, ...]] = {}
    for cell in range(len(field.cells)):
        below = [
            other
            for other in best
            if other != cell
            and field.family[other] == field.family[cell]
            and field.log_params[other] <= field.log_params[cell] + 1e-9
            and field.log_images[other] <= field.log_images[cell] + 1e-9
        ]
        own = tried.get(cell, set())
        first = min((best[other] for other in below), default=None)
        tuning = _tuning(field, evidence, cell, first, own, best.get(cell))
        found[cell] = tuple(sorted({*tuning.rates, *own}))
    return found


def tuned_rates(field: Field, evidence: Evidence, belief: Belief | None = None) -> dict[int, int]:
    """Returns the best of the rates that each cell was tried at, as believed: neighbouring cells speak for one another.

    Where single runs scatter as much as rates differ, the best of two or three is mostly luck. A field too large for a
    belief is read cell by cell.

    Args:
        field: whose cells.
        evidence: what was run.
        belief: what follows from it, where that is known already.
    """
    if not len(evidence):
        return {}
    if belief is None and len(field.cells) > MOST_CELLS:
        return best_rates(evidence)
    mean = (believe(field, evidence) if belief is None else belief).mean
    found: dict[int, int] = {}
    for cell, rate, _ in evidence.runs.tolist():
        if (cell, rate) in evidence.diverged:
            continue
        if cell not in found or mean[cell, rate] < mean[cell, found[cell]]:
            found[cell] = rate
    return found


def _tuning(
    field: Field, evidence: Evidence, cell: int, first: int | None, tried: set[int], best: int | None
) -> Tuning:
    asked = [int(rate) for rate in field.asked_rates]
    if first is not None:
        # A second look at its neighbours may move the first trial: two trials are two all the same.
        spent = len(tried | {rate for other, rate in evidence.diverged if other == cell})
        rates = [*sorted(tried), *(rate for rate in (first, first - 1) if rate >= 0 and rate not in tried)]
        rates = rates[: max(2, spent)]
    else:
        rates = sorted(asked, key=lambda rate: abs(rate - asked[len(asked) // 2]))
        has_tried_all = all(rate in tried or (cell, rate) in evidence.diverged for rate in rates)
        if has_tried_all and best in (asked[0], asked[-1]) and field.rate_count > len(asked):
            rates.append(asked[0] - 1 if best == asked[0] else asked[-1] + 1)
    unstable = {rate for other, rate in evidence.diverged if other == cell}
    rates = [rate for rate in dict.fromkeys(rates) if not any(rate > bad for bad in unstable)]
    return Tuning(rates=tuple(rates), is_decided=all(rate in tried or rate in unstable for rate in rates))


def _neighbours(field: Field, cell: int, wanted: list[int]) -> list[int]:
    """Returns the next smaller cell as long, and the next shorter one as large, of the same family."""
    own = [other for other in wanted if field.family[other] == field.family[cell]]
    same_model = [other for other in own if field.model[other] == field.model[cell]]
    shorter = [other for other in same_model if field.log_images[other] < field.log_images[cell] - 1e-9]
    smaller = [
        other
        for other in own
        if abs(field.epochs[other] - field.epochs[cell]) < 1e-9
        and field.log_params[other] < field.log_params[cell] - 1e-9
    ]
    return [
        *([max(shorter, key=lambda other: field.log_images[other])] if shorter else []),
        *([max(smaller, key=lambda other: field.log_params[other])] if smaller else []),
    ]


def _tried(evidence: Evidence) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for cell, rate, _ in evidence.runs.tolist():
        found.setdefault(cell, set()).add(rate)
    return found
