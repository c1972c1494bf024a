"""A trial: one cell of a study, complete, so that nothing is ever recovered from a run's name."""

import dataclasses
import functools
from dataclasses import dataclass, field

from sweeps.canonical import SILENT_AT_DEFAULT, short_hash
from sweeps.shape import Shape


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
    evaluation_px: int | None = field(default=None, metadata=SILENT_AT_DEFAULT)
    """Side of a held-out image [pixels]; absent: image_px."""


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

    def warmup_of(self, steps: int) -> float:
        """Returns the warm-up of a run of `steps` steps, never more than its allowed part of the run [steps]."""
        return min(float(self.warmup_steps), self.warmup_max_fraction * steps)


@dataclass(frozen=True, kw_only=True)
class RecipeSpec:
    """Everything else about training.

    The optimiser is SGD with Nesterov momentum and adaptive gradient clipping (arXiv:2102.06171), or AdamW.
    """

    momentum: float = 0.9
    agc_clipping: float = 0.01
    """Largest ratio of a unit's gradient norm to its weight norm; the classifier is never clipped."""
    agc_eps: float = 1e-3
    weight_decay: float = 0.0
    """L2 in the gradient, added after clipping; not on gains, biases and SkipInit."""
    skip_init: float = 0.0
    """Where the learnable gain of each residual branch starts."""
    compute_dtype: str = "float32"
    """float32 | bfloat16: activations and gradients; parameters and optimiser state are always float32."""
    optimiser: str = field(default="sgd_agc", metadata=SILENT_AT_DEFAULT)
    """sgd_agc | adamw."""
    adam_b1: float = field(default=0.9, metadata=SILENT_AT_DEFAULT)
    adam_b2: float = field(default=0.999, metadata=SILENT_AT_DEFAULT)
    gradient_norm_clip: float | None = field(default=None, metadata=SILENT_AT_DEFAULT)
    """adamw only: largest norm of the whole gradient; absent: not clipped."""
    label_smoothing: float = field(default=0.0, metadata=SILENT_AT_DEFAULT)
    dropout: float = field(default=0.0, metadata=SILENT_AT_DEFAULT)
    """Part of the features before the classifier that is dropped in training."""
    stochastic_depth: float = field(default=0.0, metadata=SILENT_AT_DEFAULT)
    """Chance that the last residual branch is dropped in training; it grows linearly from 0 over the blocks."""
    sam_radius: float = field(default=0.0, metadata=SILENT_AT_DEFAULT)
    """rho of sharpness-aware minimisation (arXiv:2010.01412); 0: plain gradients."""
    ema_decay: float = field(default=0.0, metadata=SILENT_AT_DEFAULT)
    """Decay of the average of weights that is evaluated, at most (1 + steps) / (10 + steps); 0: no average."""
    augmentation_multiplicity: int = field(default=1, metadata=SILENT_AT_DEFAULT)
    """Augmented copies of an image in one batch (arXiv:2105.13343): a batch holds 1/multiplicity as many images."""
    mixup_alpha: float = field(default=0.0, metadata=SILENT_AT_DEFAULT)
    """Beta parameter of MixUp on the first half of a batch (arXiv:1710.09412); 0: none."""
    cutmix_alpha: float = field(default=0.0, metadata=SILENT_AT_DEFAULT)
    """Beta parameter of CutMix on the second half of a batch (arXiv:1905.04899); 0: none."""
    randaugment_layers: int = field(default=0, metadata=SILENT_AT_DEFAULT)
    """Random distortions of an image one after the other (arXiv:1909.13719); 0: none."""
    randaugment_magnitude: float = field(default=10.0, metadata=SILENT_AT_DEFAULT)
    """Strength of each, 0 to 30."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run to be made: its id is the hash of all of it."""

    model: str
    """The short name people use: f0 ... f7p."""
    family: str
    """nfnet | vit | separable | hybrid: the shape's kind, a key of sweeps.shape.FAMILIES."""
    shape: Shape
    data: DataSpec
    epochs: float
    batch_images: int
    peak_lr: float
    schedule: ScheduleSpec
    recipe: RecipeSpec
    seed: int
    """Initialisation and sample order."""
    trunk_id: str | None = None
    """The trial whose final weights this one starts from, if any: its classifier is new where classes differ."""
    program: str | None = field(default=None, metadata=SILENT_AT_DEFAULT)
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
    def of_program(self) -> "Trial":
        """The trial that stands for all of its compiled program: without what the program takes as traced arguments."""
        return dataclasses.replace(self, epochs=1.0, peak_lr=1.0, seed=0, trunk_id=None)

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
