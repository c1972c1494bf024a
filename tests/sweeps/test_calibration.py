"""What a calibration says of a kind of hardware."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.calibration import Calibration, with_measured, with_one_peak
from sweeps.compute import ComputeSpec
from sweeps.hardware import Hardware

F0 = Calibration(
    model="f0",
    family="nfnet",
    image_px=16,
    device="cpu",
    cores=2,
    batch_images=64,
    compute=ComputeSpec(),
    compute_dtype="float32",
    images="parts",
    steps=50,
    turns=4,
    gradients=1,
    images_per_s_per_core=100.0,
    relative_spread=0.1,
    compile_s=1.0,
    peak_memory_bytes=None,
    compiled_memory_bytes=1000,
    model_flops_per_image=6e6,
    traced_flops_per_image=8e6,
    compiler_flops_per_step=None,
    peak_flops_per_s_per_core=1e9,
    peak_source="told",
    versions="jax 0",
)
F1 = dataclasses.replace(F0, model="f1", images_per_s_per_core=25.0)


def test_utilisation() -> None:
    """MFU counts what the model asks for, HFU what the step computes; without a peak there is neither."""
    assert F0.mfu == pytest.approx(0.6) and F0.hfu == pytest.approx(0.8)
    unknown = dataclasses.replace(F0, peak_flops_per_s_per_core=None)
    assert unknown.mfu is None and unknown.hfu is None


def test_the_mean_is_surer_than_a_turn() -> None:
    """Four turns halve the relative error of their mean."""
    assert F0.relative_error == pytest.approx(0.05)


def test_a_throughput_is_that_of_one_gradient() -> None:
    """A step with two gradients that takes 100 images a second would take 200 with one."""
    found = dataclasses.replace(F0, gradients=2).throughput("here")
    assert found.images_per_s_per_core == 200.0
    assert (found.batch_images_per_core, found.relative_spread, found.source) == (32, 0.1, "here")


def test_measured_again_takes_the_place_of_before() -> None:
    """A model is in the file once; what was not measured again stays, and so does another image size."""
    first = with_measured(None, [(F0, "a"), (F1, "a")], name="h", machine="here")
    faster = dataclasses.replace(F0, images_per_s_per_core=150.0)
    larger = dataclasses.replace(F0, image_px=32)
    second = with_measured(first, [(faster, "b"), (larger, "b")], name="h", machine="here")
    found = {(item.model, item.image_px): (item.images_per_s_per_core, item.source) for item in second.throughputs}
    assert found == {("f1", 16): (25.0, "a"), ("f0", 16): (150.0, "b"), ("f0", 32): (100.0, "b")}
    assert (second.name, second.measured_on) == ("h", "here")


def test_unmeasured_models_get_the_median_of_the_measured() -> None:
    """The assumed MFU is the median of those just measured, below the one peak."""
    hardware = with_measured(None, [(F0, "a"), (F1, "a")], name="h", machine="here")
    assert hardware.assumed_mfu == pytest.approx((0.6 + 0.15) / 2)
    assert hardware.peak_flops_per_s_per_core == 1e9
    unknown = dataclasses.replace(F0, peak_flops_per_s_per_core=None)
    assert with_measured(hardware, [(unknown, "b")], name="h", machine="here").assumed_mfu == hardware.assumed_mfu


@given(peaks=st.lists(st.none() | st.floats(1e6, 1e15), min_size=1), earlier=st.none() | st.floats(1e6, 1e15))
def test_one_peak_is_the_highest_seen(peaks: list[float | None], earlier: float | None) -> None:
    """All calibrations are held against the same peak, none of them below what any was seen to reach."""
    measured = [dataclasses.replace(F0, peak_flops_per_s_per_core=peak) for peak in peaks]
    found = with_one_peak(measured, Hardware(name="h", peak_flops_per_s_per_core=earlier))
    known = [peak for peak in (*peaks, earlier) if peak is not None]
    assert {one.peak_flops_per_s_per_core for one in found} == {max(known, default=None)}
