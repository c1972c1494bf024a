"""What a trial costs: FLOPs, core-hours and wall-hours are three different columns."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The price of training one trial, without evaluation and compilation."""

    flops: float
    """Training FLOPs: 6 x forward multiply-accumulates x images (forward 2 a MAC, backward twice that)."""
    core_hours: float
    """Core-hours of the study's reference hardware."""
    wall_hours: float | None
    """Hours by the clock on the cluster at hand; missing where its speed is unknown."""
    relative_spread: float
    """Relative standard deviation of core_hours; 0 where core-hours are defined by FLOPs."""
