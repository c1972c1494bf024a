"""At which steps a run reports: a function of its length alone, so that what it may have done unseen is bounded."""

import bisect
import functools
import itertools
import math

from sweeps.trial import Trial
from sweeps.trunk import latest_start

POINTS_PER_DOUBLING = 2
"""Points of a curve per doubling of steps."""


@functools.lru_cache(maxsize=4096)
def curve_steps(steps: int) -> tuple[int, ...]:
    """Returns the steps at which a run of `steps` steps reports: log-spaced, ending with the last."""
    halvings = math.log2(max(steps, 2))
    spaced = {round(steps * 2 ** (-k / POINTS_PER_DOUBLING)) for k in range(int(POINTS_PER_DOUBLING * halvings))}
    return tuple(sorted(step for step in spaced | {steps} if step >= 1))


def next_report(step: int, steps: int) -> int:
    """Returns the first step after `step` at which a run of `steps` steps reports; `steps` where there is none.

    An attempt that died without a word after a report may have come as far as that.
    """
    points = curve_steps(steps)
    place = bisect.bisect_right(points, step)
    return points[place] if place < len(points) else steps


def unreported(trial: Trial, last: int | None, *, front: int, began: int = 0) -> int:
    """Returns how many steps an attempt may have trained after its last report, having died without a word.

    Args:
        trial: what it trained.
        last: the step of that report; None where it made none: then it began at a state that was saved before the first
            report beyond `front`, or by a shorter run, and came no farther than one interval between reports.
        front: the furthest step that earlier attempts have told of.
        began: a step that it cannot have begun before, since an earlier attempt has saved it.
    """
    steps = trial.steps
    if trial.program is not None:  # the user's own reports when it likes
        return steps - max(last or 0, began)
    if last is not None:
        return next_report(last, steps) - last
    points = (0, *curve_steps(steps))
    beyond = next_report(max(front, latest_start(trial)), steps)
    widest = max(upper - lower for lower, upper in itertools.pairwise(points) if upper <= beyond)
    return min(widest, steps - began)
