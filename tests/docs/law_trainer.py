"""A trainer of microseconds whose losses follow a known surface, with a best learning rate and noise between seeds.

The highest rate diverges in long runs, so that a recorded study has failures too.
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

from sweeps.certificate import faultless
from sweeps.curve import curve_steps
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import DataSpec, Trial

BEST_RATE = 0.2
NOISE = 0.01
"""Relative standard deviation of a run's loss."""


def train(
    trial: Trial,
    *,
    data_dir: Path,
    checkpoint_dir: Path | None,
    report: Callable[[Progress], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Returns the loss of the surface for the trial's size, images, rate and seed."""
    params = trial.shape.params(image_px=trial.data.image_px, channels=trial.data.channels, classes=trial.data.classes)
    off = 1 + 0.02 * math.log2(trial.peak_lr / BEST_RATE) ** 2
    scale = off * (1 + NOISE * _standard_normal(trial.id))
    for step in curve_steps(trial.steps):
        images = step * trial.batch_images
        loss = scale * _surface(params, images)
        report(Progress(step=step, images=images, train_loss=loss, val_loss=None, wall_s=1e-3 * step))
    has_diverged = trial.peak_lr > 0.3 and trial.epochs > 3
    loss = None if has_diverged else scale * _surface(params, trial.images)
    return Outcome(
        status=Status.DIVERGED if has_diverged else Status.FINISHED,
        steps=trial.steps,
        val_loss=loss,
        selection_loss=loss and loss * (1 + NOISE * _standard_normal(trial.id + "selection") / 4),
        train_loss=loss,
        wall_s=1e-3 * trial.steps,
        compile_s=0.0,
        certificate=()
        if has_diverged
        else faultless(images=trial.images, images_per_epoch=trial.data.images_per_epoch),
    )


def prepare_data(data: DataSpec, data_dir: Path) -> None:
    """There is none to prepare."""


def _surface(params: float, images: float) -> float:
    """Returns the loss of a size and so many images [nats]."""
    return 20.0 * params**-0.5 + 25.0 * images**-0.5


def _standard_normal(text: str) -> float:
    """Returns what looks like a draw from the standard normal distribution, the same for the same text."""
    digest = hashlib.sha256(text.encode()).digest()
    return sum(byte / 255 - 0.5 for byte in digest[:12])
