"""Shapes and trials small enough for tests, shared by the tests of this folder."""

import dataclasses
from typing import TypeVar

from sweeps.nfnet_shape import NFNetShape
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial

T = TypeVar("T")

SMALL = NFNetShape(stage_depths=(1, 2), stage_widths=(4, 8), stage_strides=(1, 2), stem_widths=(4,), stem_strides=(2,))
GROUPED = NFNetShape(
    stage_depths=(2, 1),
    stage_widths=(8, 16),
    stage_strides=(1, 2),
    stem_widths=(4, 6),
    stem_strides=(2, 1),
    group_width=2,
)
SHAPES = {"small": SMALL, "grouped": GROUPED}

PARTS = DataSpec(
    name="parts",
    image_px=16,
    channels=3,
    classes=8,
    images_per_epoch=1024,
    held_out_images=256,
    selection_images=256,
    generator_seed=5,
)

TRIAL = Trial(
    model="tiny",
    family="nfnet",
    shape=SMALL,
    data=PARTS,
    epochs=1.0,
    batch_images=8,
    peak_lr=0.1,
    schedule=ScheduleSpec(name="cosine", warmup_steps=4),
    recipe=RecipeSpec(agc_clipping=0.1, skip_init=0.5),
    seed=0,
)


def changed(noun: T, **fields: object) -> T:
    """Returns the noun with other values of some fields."""
    return dataclasses.replace(noun, **fields)  # type: ignore[type-var]
