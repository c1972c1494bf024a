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


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A kind of core. Cost comes from a throughput, else from flops_per_core_hour, else from peak x assumed MFU."""

    name: str
    throughputs: tuple[Throughput, ...] = ()
    flops_per_core_hour: float | None = None
    """The scale of a scale model: training FLOPs that count as one core-hour."""
    peak_flops_per_s_per_core: float | None = None
    assumed_mfu: float | None = None
    """Model FLOPs utilisation assumed where nothing was measured; said aloud in every plan."""
    price_per_core_hour: float | None = None
    currency: str = "USD"
