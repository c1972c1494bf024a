"""Which checkpoint a budget buys: the one with the least pre-training loss, and the one with the least error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.transfer.checkpoint import Checkpoint
from sweeps.budget import READING_TOLERANCE, format_core_hours

CERTAIN_SD = 2.0
"""A difference of errors counts as seen from so many of its standard deviations on."""
_MOST = 5
"""Budgets named in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The best checkpoints within one pre-training budget."""

    budget_core_hours: float
    by_loss: Checkpoint
    by_error: Checkpoint

    @property
    def differs(self) -> bool:
        """Whether loss and error name different checkpoints."""
        return self.by_loss is not self.by_error

    @property
    def excess(self) -> float:
        """Error left on the table by taking the checkpoint with the least loss [points]."""
        return self.by_loss.error - self.by_error.error

    @property
    def is_certain(self) -> bool | None:
        """Whether the excess is beyond the noise of images and seeds; None where that is unknown.

        The two are counted on the same images, so that their noise is smaller than assumed here.
        """
        sds = [self.by_loss.error_sd, self.by_error.error_sd]
        if not self.differs or any(sd is None for sd in sds):
            return None
        return self.excess > CERTAIN_SD * math.hypot(*(sd or 0.0 for sd in sds))


def contests(checkpoints: Sequence[Checkpoint], budgets: Sequence[float] = ()) -> tuple[Contest, ...]:
    """Returns the contest of each budget [core-hours]; without budgets, of each doubling from the cheapest pair on.

    Only checkpoints with a pre-training loss take part; a budget that buys fewer than two is left out.
    """
    known = [item for item in checkpoints if item.loss is not None]
    found: list[Contest] = []
    for budget in budgets or _doublings(known):
        within = [item for item in known if item.core_hours <= READING_TOLERANCE * budget]
        if len(within) < 2:
            continue
        found.append(
            Contest(
                budget_core_hours=budget,
                by_loss=min(within, key=lambda item: item.loss or math.inf),
                by_error=min(within, key=lambda item: item.error),
            )
        )
    return tuple(found)


def sentence(found: Sequence[Contest]) -> str:
    """Returns whether loss and error agree on what to pre-train, in one sentence."""
    if not found:
        return "no pre-training budget buys two checkpoints whose loss and error are both known"
    differing = [contest for contest in found if contest.differs]
    count = f"{len(found)} pre-training budget{'s' if len(found) > 1 else ''}"
    if not differing:
        return f"the checkpoint with the least pre-training loss is the one with the least error at all {count}"
    named = "; ".join(
        f"{format_core_hours(c.budget_core_hours)}: {_name(c.by_error)} instead of {_name(c.by_loss)}, "
        f"{c.excess:.2g} points better" + (" but within the noise" if c.is_certain is False else "")
        for c in differing[:_MOST]
    )
    more = f"; and {len(differing) - _MOST} more" if len(differing) > _MOST else ""
    return (
        f"the least pre-training loss names another checkpoint than the least error at {len(differing)} of {count} "
        f"({named}{more})"
    )


def _doublings(checkpoints: Sequence[Checkpoint]) -> list[float]:
    costs = sorted(item.core_hours for item in checkpoints)
    if len(costs) < 2:
        return []
    count = max(0, math.floor(math.log2(costs[-1] / costs[1]) + 1e-9))
    rungs = [costs[1] * 2.0**k for k in range(count + 1)]
    return rungs if rungs[-1] >= costs[-1] / READING_TOLERANCE else [*rungs, costs[-1]]


def _name(item: Checkpoint) -> str:
    return f"{item.model} x {item.epochs:g}" + ("" if item.peak_lr is None else f" at lr {item.peak_lr:g}")
