"""Peaks of known kinds of devices, and of those that nobody has written down."""

from types import SimpleNamespace

import jax
import pytest

from training.device_peaks import device_peak


@pytest.mark.parametrize(
    ("kind", "cores", "tflops"),
    [
        ("TPU v4", 1, 275.0),
        ("TPU v4", 2, 137.5),
        ("TPU v3", 2, 61.5),
        ("TPU v5 lite", 1, 197.0),
        ("TPU v6 lite", 1, 918.0),
        ("NVIDIA H100 80GB HBM3", 0, 989.4),
        ("NVIDIA H100 PCIe", 0, 756.0),
        ("NVIDIA H200", 0, 989.4),
        ("NVIDIA A100-SXM4-80GB", 0, 312.0),
    ],
)
def test_known_kinds(kind: str, cores: int, tflops: float) -> None:
    """A TPU chip that shows as two devices has half its peak on each; a GPU is found in its maker's long name."""
    devices = [SimpleNamespace(device_kind=kind, core_on_chip=core) for core in range(cores)]
    devices = devices or [SimpleNamespace(device_kind=kind)]
    assert device_peak(devices, "bfloat16").flops_per_s == pytest.approx(tflops * 1e12)


def test_other_devices_are_timed() -> None:
    """A processor's peak is what it reaches in a matrix product, and says so."""
    peak = device_peak(jax.devices("cpu"), "float32")
    assert peak.flops_per_s > 0
    assert "float32 matrix products" in peak.source and "timed here" in peak.source
