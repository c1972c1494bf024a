"""How trials are computed on the devices at hand: it moves losses by rounding only, so it is no part of a trial.

One thing more: where a recipe has noise (dropout, stochastic depth, MixUp ...), another number of microbatches draws
other noise from the same distribution.
"""

from dataclasses import dataclass

from sweeps.errors import StudyError

SHARDINGS = ("data", "fsdp")
REMATS = ("none", "blocks")
PACKINGS = ("auto", "separate", "scan", "vmap")


@dataclass(frozen=True, kw_only=True)
class ComputeSpec:
    """One mesh over all devices of all hosts; what lies where on it, and what is computed twice to save memory."""

    sharding: str = "data"
    """data: every device holds all parameters. fsdp: parameters and optimiser state are spread over the devices too."""
    microbatches: int = 1
    """Parts of a batch whose gradients are added up one after the other: a large batch on few devices."""
    remat: str = "none"
    """none | blocks: whether the inside of residual blocks is computed again in the backward pass instead of kept."""
    checkpoint_every_s: float = 20.0
    """Training time between checkpoints: a kill loses at most this much [s]."""
    disk_budget_gb: float | None = None
    """What checkpoints and milestones of one study and all final weights may take on disk [GB]; absent: no limit."""
    packing: str = "auto"
    """How trials that differ in learning rate or seed alone are trained on one device.

    separate: one after the other. vmap: all do a step at once, on images that are drawn once a seed. scan: one after
    the other within one dispatch. auto: what was measured to be fastest.
    """

    def __post_init__(self) -> None:
        for key, allowed in (("sharding", SHARDINGS), ("remat", REMATS), ("packing", PACKINGS)):
            value = getattr(self, key)
            if value not in allowed:
                raise StudyError(f"compute.{key} {value!r} is unknown; choose {' or '.join(allowed)}")
        if self.microbatches < 1 or self.checkpoint_every_s <= 0:
            raise StudyError(
                f"compute.microbatches={self.microbatches} must be 1 or more, and compute.checkpoint_every_s="
                f"{self.checkpoint_every_s:g} above zero"
            )
