"""Files of measured hardware: names, what Hydra reads of them, and which of them is of this machine."""

import os
from pathlib import Path

import pytest

from launcher.settings import calibrations
from launcher.settings.calibrations import (
    file_of,
    hardware_at_hand,
    hardware_name,
    read_calibration,
    this_machine,
    typed_words,
    with_calibrations,
    write_calibration,
)
from launcher.settings.compose import compose
from sweeps.errors import StudyError
from sweeps.hardware import Hardware, Throughput
from sweeps.pricing import Rule
from tracking.paths import ProjectPaths

MEASURED = Throughput(
    model="f0",
    family="nfnet",
    image_px=224,
    images_per_s_per_core=12.5,
    relative_spread=1e-5,
    source="a 'stopwatch': 5 turns, #1",
    batch_images_per_core=64,
)
HARDWARE = Hardware(
    name="measured_x", throughputs=(MEASURED,), peak_flops_per_s_per_core=1e14, assumed_mfu=0.3, measured_on="elsewhere"
)


@pytest.fixture(params=["plain", "it's, a=b [x] 1"])
def paths(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectPaths:
    """A project of its own, under a plain and under an awkward name."""
    root = tmp_path / request.param
    root.mkdir()
    monkeypatch.setenv("LOGLOG_ROOT", str(root))
    return ProjectPaths(root=root)


def test_what_is_written_is_what_hydra_reads(paths: ProjectPaths) -> None:
    """hardware=measured_x is the very noun that was written, and a study is priced by it."""
    path = write_calibration(HARDWARE, paths, about=("Measured here.",))
    assert path.read_text().startswith("# Measured here.\n")
    assert read_calibration(path) == HARDWARE
    request = compose(["study=jft", "budget=100M", "hardware=measured_x"])
    assert request.study.hardware == HARDWARE
    rules = {cell.model.name: cell.rule for cell in request.plan().cells}
    assert rules["f0"] is Rule.MEASURED and rules["f7p"] is Rule.ASSUMED


def test_other_commands_do_without() -> None:
    """Where nothing was calibrated, words stay as they are, and an unknown hardware is refused with those there are."""
    assert with_calibrations(["budget=1k"], ProjectPaths(root=Path("nowhere"))) == ["budget=1k"]
    with pytest.raises(StudyError, match="hardware 'measured_y' is unknown; choose scale_model, tpu_v4"):
        compose(["budget=1k", "hardware=measured_y"])


def test_what_was_typed_is_told_without_the_search_path(paths: ProjectPaths) -> None:
    """The record of a command holds a person's words alone; a search path of their own is left as it is."""
    write_calibration(HARDWARE, paths, about=())
    words = with_calibrations(["study=jft"], paths)
    assert len(words) == 2 and typed_words(words) == ["study=jft"]
    own = ["hydra.searchpath=[file:///x]"]
    assert with_calibrations(own, paths) == own


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "measured_nvidia_h100_80gb_hbm3"),
        ("TPU v4", "measured_tpu_v4"),
        ("cpu", "measured_cpu_intel_xeon_platinum_8488c"),
    ],
)
def test_names(device: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device gives its file a plain name; JAX calls every processor cpu, so that its model is added."""
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8488C\n")
    monkeypatch.setattr(calibrations, "_CPU_INFO", info)
    assert hardware_name(device) == name


def test_a_processor_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system tells no model, the architecture must do."""
    monkeypatch.setattr(calibrations, "_CPU_INFO", tmp_path / "none")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert hardware_name("cpu") == "measured_cpu_arm64"


def test_the_newest_of_this_machine_is_at_hand(tmp_path: Path) -> None:
    """Calibrations of other machines and broken files are passed over."""
    paths = ProjectPaths(root=tmp_path)
    assert hardware_at_hand(paths) is None
    write_calibration(HARDWARE, paths, about=())
    file_of("broken", paths).write_text("name: [")
    assert hardware_at_hand(paths) is None
    for age_s, name in ((50, "old"), (10, "new"), (30, "older")):
        here = Hardware(name=name, throughputs=(MEASURED,), measured_on=this_machine())
        path = write_calibration(here, paths, about=())
        os.utime(path, (1e9 - age_s, 1e9 - age_s))
    found = hardware_at_hand(paths)
    assert found is not None and found.name == "new"


@pytest.mark.parametrize("text", ["name: [", "nam: x", "- 1", ""])
def test_a_broken_file_is_said(text: str, tmp_path: Path) -> None:
    """Whoever asks for a file that holds no hardware is told so, and what to do."""
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"x.yaml cannot be read as hardware .*measure again, or remove it"):
        read_calibration(path)
