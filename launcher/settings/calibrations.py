"""Files of measured hardware: written by `make calibrate`, read by Hydra as hardware=measured_x."""

import platform
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from sweeps.canonical import from_jsonable, to_jsonable
from sweeps.errors import StudyError
from sweeps.hardware import Hardware
from tracking.paths import ProjectPaths

_SEARCH_PATH = "hydra.searchpath"
_CPU_INFO = Path("/proc/cpuinfo")


def with_calibrations(words: Sequence[str], paths: ProjectPaths) -> list[str]:
    """Returns the words of a command line with the project's calibrations in Hydra's search path."""
    folder = paths.calibrations_dir
    if not folder.is_dir() or any(word.startswith(_SEARCH_PATH) for word in words):
        return list(words)
    quoted = str(folder).replace("\\", "\\\\").replace("'", r"\'")
    return [*words, f"{_SEARCH_PATH}=['file://{quoted}']"]


def typed_words(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line as a person typed them."""
    return [word for word in words if not word.startswith(_SEARCH_PATH)]


def hardware_name(device: str) -> str:
    """Returns the name of measured hardware of this kind: measured_nvidia_h100_80gb_hbm3, measured_cpu_..."""
    words = f"cpu {_cpu_name()}" if device == "cpu" else device
    slug = re.sub(r"[^a-z0-9]+", "_", re.sub(r"\((?:r|tm)\)", "", words.lower())).strip("_")
    return f"measured_{slug}"


def _cpu_name() -> str:
    """Returns the model of this machine's processor, or its architecture where nothing more is said."""
    found = re.search(r"^model name\s*:\s*(.+)$", _CPU_INFO.read_text(), re.MULTILINE) if _CPU_INFO.exists() else None
    return found[1] if found else platform.machine()


def this_machine() -> str:
    """Returns the name under which calibrations remember this machine."""
    return platform.node()


def file_of(name: str, paths: ProjectPaths) -> Path:
    """Returns where the calibration of this name lies."""
    return paths.calibrations_dir / "hardware" / f"{name}.yaml"


def read_calibration(path: Path) -> Hardware:
    """Returns the hardware of one file.

    Raises:
        StudyError: the file is broken.
    """
    try:
        return from_jsonable(Hardware, yaml.safe_load(path.read_text()))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise StudyError(f"{path} cannot be read as hardware ({told}); measure again, or remove it") from error


def write_calibration(hardware: Hardware, paths: ProjectPaths, *, about: Sequence[str]) -> Path:
    """Returns the file, written whole or not at all, with what it is about in comments on top."""
    path = file_of(hardware.name, paths)
    path.parent.mkdir(parents=True, exist_ok=True)
    defaults = to_jsonable(Hardware(name=hardware.name)) | {"name": None}
    settings = {key: value for key, value in to_jsonable(hardware).items() if value != defaults[key]}
    text = "".join(f"# {line}\n" for line in about) + yaml.safe_dump(settings, sort_keys=False, width=100)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.replace(path)
    return path


def hardware_at_hand(paths: ProjectPaths) -> Hardware | None:
    """Returns the newest calibration that was made on this machine; None where there is none that can be read."""
    for path in sorted((paths.calibrations_dir / "hardware").glob("*.yaml"), key=_age, reverse=True):
        try:
            hardware = read_calibration(path)
        except StudyError:
            continue  # no reason to stop a sweep: it only knows less of its time
        if hardware.measured_on == this_machine():
            return hardware
    return None


def _age(path: Path) -> float:
    return path.stat().st_mtime
