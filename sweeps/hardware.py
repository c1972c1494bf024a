"""Hardware in whose core-hours a study counts, and how fast a model was measured to train on it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """A calibration: how many training images a core takes per second."""

    model: str
    family: str
    image_px: int
    images_per_s_per_core: float
    relative_spread: float
    """Relative standard deviation of the figure."""
    source: str
    batch_images_per_core: int | None = None
    """Images a core took at once when it was measured; noted, not used: a throughput counts for every batch."""


@dataclass(frozen=True, kw_only=True)
class CompiledStep:
    """What a compiler says of one training step of a model, on one core that nobody need have at hand."""

    model: str
    family: str
    image_px: int
    batch_images_per_core: int
    """Images a core takes in the step that was compiled."""
    flops: float
    """Of one step, on one core: the compiler's own count, loop bodies as often as they run."""
    traffic_bytes: float
    """Read from and written to the core's main memory in one step, counted likewise."""
    memory_bytes: float
    """The most that one core holds at a time: arguments, results and temporaries."""
    floor_s: float
    """Seconds that one step cannot beat: the longer of its arithmetic at peak and its traffic at full bandwidth."""
    fits: bool
    """Whether memory_bytes is within what a core has."""
    source: str
    """What was compiled, with which compiler, for how many cores."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A kind of core.

    Cost comes from a throughput, else from flops_per_core_hour, else from a compiled step's floor / assumed efficiency,
    else from peak x assumed MFU.
    """

    name: str
    throughputs: tuple[Throughput, ...] = ()
    compiled: tuple[CompiledStep, ...] = ()
    assumed_efficiency: float | None = None
    """Compiled floor / measured time of models that have both: what a model that was only compiled is assumed to
    reach of its floor."""
    efficiency_spread: float | None = None
    """Relative standard deviation of assumed_efficiency over those models."""
    flops_per_core_hour: float | None = None
    """The scale of a scale model: training FLOPs that count as one core-hour."""
    peak_flops_per_s_per_core: float | None = None
    assumed_mfu: float | None = None
    """Model FLOPs utilisation assumed where nothing was measured; said aloud in every plan."""
    measured_on: str | None = None
    """The machine whose devices the throughputs were measured on, where it was a single one; there they also say how
    long a run takes by the clock."""
    price_per_core_hour: float | None = None
    currency: str = "USD"
