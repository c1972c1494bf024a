"""At which of its reports a run measures the held-out loss: a function of the trial alone."""

from sweeps.curve import curve_steps
from sweeps.trial import Trial

EVALUATE_EVERY_HELD_OUT = 12
"""The held-out loss is measured on the way once this many times the held-out set was trained on (some 3 % of time)."""


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
