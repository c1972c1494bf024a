"""What was compiled for pods stands in conf/hardware as it was found."""

import json
from pathlib import Path

import pytest

from launcher.calibrate.compiled_figures import FILES, MARKER, RESULTS, steps_of, with_figures
from launcher.settings.compose import CONFIG_DIR, compose

FOUND = {
    "family": "nfnet",
    "image_px": 224,
    "batch_images_per_core": 64,
    "flops": 3.5655273e12,
    "traffic_bytes": 2.26e10,
    "memory_bytes": 4264199168.0,
    "floor_s": 0.0377,
    "fits": True,
    "source": "libtpu, v4:2x2x1 (8 cores), remat none",
    "cores": 8,
    "command": "python -m training.pod.compile_tpu",
}


@pytest.mark.parametrize("name", FILES)
def test_the_file_holds_what_was_found(name: str) -> None:
    """Every committed figure of the topology is in the file, and the efficiency is the one that they teach."""
    text = (CONFIG_DIR / "hardware" / name).read_text()
    assert text == with_figures(text, FILES[name]), "python -m launcher.calibrate.compiled_figures brings it up to date"
    assert steps_of(FILES[name])


def test_figures_survive_hydra() -> None:
    """Hydra reads every number as it was found, to five digits."""
    hardware = compose(["study=jft", "budget=110k"]).study.hardware
    found = steps_of(FILES["tpu_v4.yaml"], RESULTS)
    assert len(hardware.compiled) == len(found)
    for step, original in zip(hardware.compiled, found, strict=True):
        assert (step.model, step.fits, step.source) == (original.model, original.fits, original.source)
        for key in ("flops", "traffic_bytes", "memory_bytes", "floor_s"):
            assert getattr(step, key) == pytest.approx(getattr(original, key), rel=1e-4)


def test_what_did_not_compile_is_left_out(tmp_path: Path) -> None:
    """A step without a floor and one of another topology are not there; written twice, the text stays as it is."""
    for name, change in (
        ("f1-v4_2x2x1-64", {"model": "f1", "floor_s": 0.05}),
        ("f0-v4_2x2x1-64", {"model": "f0"}),
        ("f7-v4_2x2x1-64", {"model": "f7", "floor_s": None, "traffic_bytes": None, "fits": False}),
        ("f3-v5e_2x2-64", {"model": "f3"}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(FOUND | change))
    assert [step.model for step in steps_of("v4_2x2x1", tmp_path)] == ["f0", "f1"]
    rate = {"family": "nfnet", "image_px": 224, "relative_spread": 0.1, "source": "x"}
    throughputs = [
        rate | {"model": "f0", "images_per_s_per_core": 800},
        rate | {"model": "f1", "images_per_s_per_core": 600},
    ]
    text = with_figures(f"name: x\nthroughputs: {json.dumps(throughputs)}\n", "v4_2x2x1", tmp_path)
    mean = (800 * 0.0377 + 600 * 0.05) / 64 / 2
    assert f"assumed_efficiency: {mean:.4f}\n" in text and text.count("- model: ") == 2
    assert with_figures(text, "v4_2x2x1", tmp_path) == text
    assert with_figures(text, "v6e_2x2", tmp_path / "none").count(MARKER.format(topology="v6e_2x2")) == 0
