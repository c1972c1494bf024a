"""How fast a model was measured to train on the devices at hand, and what that says of a kind of hardware."""

import dataclasses
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from sweeps.compute import ComputeSpec
from sweeps.hardware import Hardware, Throughput
from sweeps.trial import Trial


@dataclass(frozen=True, kw_only=True)
class CalibrationTask:
    """What is to be measured: the step that this trial would be trained with."""

    trial: Trial
    compute: ComputeSpec
    steps: int = 50
    """Steps that are timed, at the least."""
    turns: int = 5
    """Parts into which they fall; their differences are the spread."""
    shortest_turn_s: float = 1.0
    """Turns of fast models have more steps, until they take so long [s]."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured of one model."""

    model: str
    family: str
    image_px: int
    device: str
    """As JAX names its kind."""
    cores: int
    """JAX devices that trained together; every figure per core is one of these."""
    batch_images: int
    compute: ComputeSpec
    compute_dtype: str
    images: str
    """Where they came from."""
    steps: int
    """That were timed."""
    turns: int
    gradients: int
    """A step takes."""
    images_per_s_per_core: float
    relative_spread: float
    """Relative standard deviation of a turn."""
    compile_s: float
    peak_memory_bytes: int | None
    """The most that one device had in use; absent where it does not tell."""
    compiled_memory_bytes: int | None
    """What the compiler says one device needs: arguments, results and temporaries."""
    model_flops_per_image: float
    """6 x forward multiply-accumulates, for each gradient."""
    traced_flops_per_image: float
    """Of all convolutions and matrix products that the step does, loops as often as they run: more where something is
    computed twice to save memory."""
    compiler_flops_per_step: float | None
    """The compiler's own count of the step on one device; it takes the body of a loop once."""
    peak_flops_per_s_per_core: float | None
    peak_source: str
    versions: str
    """Of what compiled it."""

    @property
    def relative_error(self) -> float:
        """Relative standard error of the mean over all turns."""
        return self.relative_spread / self.turns**0.5

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: what the model asks for over what the devices could do."""
        return self._share_of_peak(self.model_flops_per_image)

    @property
    def hfu(self) -> float | None:
        """Hardware FLOPs utilisation: what the step computes over what the devices could do."""
        return self._share_of_peak(self.traced_flops_per_image)

    def _share_of_peak(self, flops_per_image: float) -> float | None:
        peak = self.peak_flops_per_s_per_core
        return None if peak is None else flops_per_image * self.images_per_s_per_core / peak

    def throughput(self, source: str) -> Throughput:
        """Returns what plans read of it: the speed of steps with one gradient."""
        return Throughput(
            model=self.model,
            family=self.family,
            image_px=self.image_px,
            images_per_s_per_core=_rounded(self.images_per_s_per_core * self.gradients),
            relative_spread=_rounded(self.relative_spread),
            batch_images_per_core=self.batch_images // self.cores,
            source=source,
        )


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """A model that could not be measured."""

    model: str
    family: str
    reason: str


def with_one_peak(measured: Iterable[Calibration], before: Hardware | None) -> list[Calibration]:
    """Returns the calibrations of like devices with the highest peak that any of them, or the hardware before, saw.

    A peak that was timed is what the device had to spare just then.
    """
    found = list(measured)
    seen = [one.peak_flops_per_s_per_core for one in found] + [before.peak_flops_per_s_per_core if before else None]
    peak = max((value for value in seen if value is not None), default=None)
    return [dataclasses.replace(one, peak_flops_per_s_per_core=peak) for one in found]


def with_measured(
    before: Hardware | None, measured: Iterable[tuple[Calibration, str]], *, name: str, machine: str
) -> Hardware:
    """Returns the hardware with these calibrations in place of its older ones of the same models and sizes.

    The assumed MFU, for models that nobody measured, is the median of those just measured.

    Args:
        before: what was known of it; absent: nothing.
        measured: each with the source that its throughput shall name.
        machine: where it was measured.
    """
    found = list(measured)
    fresh = [calibration.throughput(source) for calibration, source in found]
    keys = {(item.family, item.model, item.image_px) for item in fresh}
    kept = [item for item in (before.throughputs if before else ()) if _key(item) not in keys]
    peaks = [one.peak_flops_per_s_per_core for one, _ in found if one.peak_flops_per_s_per_core is not None]
    reached = [one.mfu for one, _ in found if one.mfu is not None]
    return Hardware(
        name=name,
        measured_on=machine,
        throughputs=(*kept, *fresh),
        peak_flops_per_s_per_core=_rounded(max(peaks))
        if peaks
        else (before.peak_flops_per_s_per_core if before else None),
        assumed_mfu=_rounded(statistics.median(reached)) if reached else (before.assumed_mfu if before else None),
    )


def _key(item: Throughput) -> tuple[str, str, int]:
    return item.family, item.model, item.image_px


def _rounded(value: float) -> float:
    """Returns five digits of it: more are no measurement."""
    return float(f"{value:.5g}")
