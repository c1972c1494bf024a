"""One command of `make calibrate`: what it has measured so far."""

import datetime
from dataclasses import dataclass, field

from sweeps.calibration import Calibration, Unmeasured
from sweeps.hardware import Hardware
from tracking.code_version import code_version

INCOMPLETE, INTERRUPTED = 1, 130
"""Exit codes: a model could not be measured; somebody pressed Ctrl-C."""


@dataclass(kw_only=True)
class Session:
    """One command: what it has measured so far."""

    study: str
    command: str
    code: str = field(default_factory=code_version)
    today: str = field(default_factory=lambda: datetime.date.today().isoformat())
    measured: list[Calibration] = field(default_factory=list[Calibration])
    unmeasured: list[Unmeasured] = field(default_factory=list[Unmeasured])
    hardware: Hardware | None = None
    """As it is on disk by now."""
    is_interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 where every model was measured."""
        return INTERRUPTED if self.is_interrupted else INCOMPLETE if self.unmeasured else 0

    def source(self, one: Calibration) -> str:
        """Returns what a throughput says of where it comes from."""
        compute = one.compute
        return (
            f"{self.command}; {self.today}, code {self.code}, {one.versions}; {one.steps} steps in {one.turns} turns, "
            f"batch {one.batch_images} on {one.cores} x {one.device}, {one.compute_dtype}, "
            f"sharding {compute.sharding}, microbatches {compute.microbatches}, remat {compute.remat}; "
            f"images: {one.images}"
        )
