"""The figures in benchmarks/results/tpu and what they teach about measured models."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.canonical import from_jsonable
from sweeps.hardware import Hardware
from sweeps.pricing import FLOPS_PER_MAC, learned_efficiency
from sweeps.trial import DataSpec
from training.pod.compile_tpu import CONF, RESULTS, find_model
from training.pod.generation import GENERATIONS

FILES = sorted(RESULTS.rglob("*.json"))
HARDWARE = from_jsonable(Hardware, yaml.safe_load((CONF / "hardware" / "tpu_v4.yaml").read_text()))
DATA = from_jsonable(DataSpec, yaml.safe_load((CONF / "data" / "jft4b.yaml").read_text()))


def kept(path: Path) -> dict[str, Any]:
    """The figures of one compile."""
    return json.loads(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_kept_compile_is_whole_and_follows_from_its_own_figures(path: Path) -> None:
    """The floor is that of its arithmetic and traffic; what does not fit has neither, and says why."""
    found = kept(path)
    assert found["command"].startswith("python -m training.pod.compile_tpu ") and "libtpu" in found["source"]
    if not found["fits"]:
        assert found["complaint"] and found["floor_s"] is None and found["traffic_bytes"] is None
        return
    v4 = GENERATIONS["v4"]
    bounds = found["flops"] / v4.peak_flops_per_s, found["traffic_bytes"] / v4.bytes_per_s
    assert found["floor_s"] == pytest.approx(max(bounds))
    assert found["memory_bytes"] <= v4.memory_bytes
    assert found["traffic_bytes"] < found["touched_bytes"]


@pytest.mark.parametrize("path", [path for path in FILES if "blocks" not in path.stem], ids=lambda path: path.stem)
def test_their_arithmetic_is_the_closed_form_less_what_falls_off_the_edge(path: Path) -> None:
    """Six FLOPs a multiply-accumulate, less taps in the padding and the gradient of the images."""
    found = kept(path)
    shape = find_model(found["model"]).shape
    macs = shape.forward_macs(image_px=found["image_px"], classes=DATA.classes, channels=DATA.channels)
    closed = FLOPS_PER_MAC * macs * found["batch_images_per_core"]
    assert 0.95 * closed < found["flops"] < 1.02 * closed


def test_the_efficiency_is_that_of_the_measured_models() -> None:
    """Paper's images a second over the floor's: what the hardware states, and a spread that a prior can live with."""
    learned = learned_efficiency(HARDWARE, DATA)
    assert learned is not None and HARDWARE.assumed_efficiency is not None
    assert learned == pytest.approx((HARDWARE.assumed_efficiency, HARDWARE.efficiency_spread), rel=5e-3)
    floors = {step.model: step.batch_images_per_core / step.floor_s for step in reversed(HARDWARE.compiled)}
    reached = [one.images_per_s_per_core / floors[one.model] for one in HARDWARE.throughputs if one.model in floors]
    assert len(reached) >= 5 and statistics.mean(reached) == pytest.approx(learned[0])
    assert max(reached) < 1 and learned[1] < 0.15
