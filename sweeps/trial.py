"""A trial: one cell of a study, complete, so that nothing is ever recovered from a run's name."""

import functools
from dataclasses import dataclass, field

from sweeps.canonical import SILENT_WHEN_ABSENT, short_hash
from sweeps.nfnet_shape import NFNetShape


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """What is learnt and what is held out; where the files lie is not part of a trial."""

    name: str
    """parts | fashion_mnist | cifar10 | jft4b."""
    image_px: int
    """Side of a training image [pixels]."""
    channels: int
    classes: int
    images_per_epoch: int
    """Images counted as one epoch."""
    held_out_images: int
    """Images whose loss is reported as val_loss."""
    selection_images: int
    """Other held-out images, on which the best learning rate is chosen."""
    generator_seed: int = 0
    """Which world a procedural set draws; 0 for sets that are not procedural."""


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """How the learning rate runs from 0 to its peak and down again."""

    name: str
    """cosine | wsd | constant."""
    warmup_steps: int
    """Linear warm-up [steps]."""
    warmup_max_fraction: float = 0.1
    """Warm-up never takes more than this part of a run: a long one bends the law of the short runs."""
    cooldown_fraction: float = 0.2
    """wsd only: the last part of a run, in which the rate falls as 1 - sqrt."""


@dataclass(frozen=True, kw_only=True)
class RecipeSpec:
    """Everything else about training: SGD with Nesterov momentum and adaptive gradient clipping (arXiv:2102.06171)."""

    momentum: float = 0.9
    agc_clipping: float = 0.01
    """Largest ratio of a unit's gradient norm to its weight norm; the classifier is never clipped."""
    agc_eps: float = 1e-3
    weight_decay: float = 0.0
    """L2 in the gradient, added after clipping; not on gains, biases and SkipInit."""
    skip_init: float = 0.0
    """Where the learnable gain of each residual branch starts."""
    compute_dtype: str = "float32"
    """float32 | bfloat16: activations and gradients; parameters and momentum are always float32."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run to be made: its id is the hash of all of it."""

    model: str
    """The short name people use: f0 ... f7p."""
    family: str
    """nfnet | vit ...: the shape's kind."""
    shape: NFNetShape
    data: DataSpec
    epochs: float
    batch_images: int
    peak_lr: float
    schedule: ScheduleSpec
    recipe: RecipeSpec
    seed: int
    """Initialisation and sample order."""
    trunk_id: str | None = None
    """The trial whose weights this one starts from, if any."""
    program: str | None = field(default=None, metadata={SILENT_WHEN_ABSENT: True})
    """The user's own program that trains it (trainer=command), with its version; absent: this project's training."""

    @functools.cached_property
    def id(self) -> str:
        """Sixteen hexadecimal digits: the hash of the trial's canonical JSON."""
        return short_hash(self)

    @functools.cached_property
    def cohort(self) -> str:
        """Eight hexadecimal digits: the hash of data, schedule, recipe and program, which all runs of one law share."""
        return cohort_of(data=self.data, schedule=self.schedule, recipe=self.recipe, program=self.program)

    @property
    def name(self) -> str:
        """The alias for people, `f3-e2-lr0.8-s0`; never parsed."""
        return f"{self.model}-e{self.epochs:g}-lr{self.peak_lr:g}-s{self.seed}"

    @property
    def steps(self) -> int:
        """Optimiser steps: whole batches within the epoch budget, at least one."""
        return max(1, round(self.epochs * self.data.images_per_epoch / self.batch_images))

    @property
    def images(self) -> int:
        """Training images seen."""
        return self.steps * self.batch_images


@functools.cache
def cohort_of(*, data: DataSpec, schedule: ScheduleSpec, recipe: RecipeSpec, program: str | None = None) -> str:
    """Returns the name of the cohort of all trials with this data, schedule and recipe, trained by this program."""
    return short_hash((data, schedule, recipe, program) if program else (data, schedule, recipe), digits=8)
