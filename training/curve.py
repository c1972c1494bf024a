"""At which steps a run reports, and at which of those it measures the held-out loss: functions of the trial alone."""

import math

from sweeps.trial import Trial

POINTS_PER_DOUBLING = 2
"""Points of a curve per doubling of steps."""
EVALUATE_EVERY_HELD_OUT = 12
"""The held-out loss is measured on the way once this many times the held-out set was trained on (some 3 % of time)."""


def curve_steps(steps: int) -> list[int]:
    """Returns the steps at which a run of `steps` steps reports: log-spaced, ending with the last."""
    halvings = math.log2(max(steps, 2))
    spaced = {round(steps * 2 ** (-k / POINTS_PER_DOUBLING)) for k in range(int(POINTS_PER_DOUBLING * halvings))}
    return sorted(step for step in spaced | {steps} if step >= 1)


def is_scored(trial: Trial, images: int, evaluated_images: int) -> bool:
    """Returns whether the held-out loss is measured at a point, enough having been trained since it last was."""
    return images - evaluated_images >= EVALUATE_EVERY_HELD_OUT * trial.data.held_out_images


def evaluated_images(trial: Trial, step: int) -> int:
    """Returns the training images at which a run that is at `step` has last measured the held-out loss; 0: never."""
    evaluated = 0
    for point in curve_steps(trial.steps):
        images = point * trial.batch_images
        if point <= step and is_scored(trial, images, evaluated):
            evaluated = images
    return evaluated
