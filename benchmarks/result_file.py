"""Writes what a benchmark measured to benchmarks/results/NAME.json and says each figure beside its bar."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number and the bar it is held against."""

    name: str
    value: float | None
    """Missing where it could not be measured."""
    bar: float | str | None
    """Absent: told for information."""
    unit: str


def write_result(name: str, figures: Sequence[Figure], *, command: str, folder: Path = RESULTS) -> Path:
    """Returns the file that now holds the figures; prints one line for each."""
    result = {
        "name": name,
        "figures": {item.name: {"value": item.value, "bar": item.bar, "unit": item.unit} for item in figures},
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    for item in figures:
        value = "not measured" if item.value is None else f"{item.value:.4g} {item.unit}"
        print(f"{item.name:<36} {value:<20}" + _against(item))
    return path


def _against(item: Figure) -> str:
    if item.bar is None:
        return ""
    return f" bar {item.bar}" if isinstance(item.bar, str) else f" bar {item.bar:g} {item.unit}"


def machine() -> str:
    """Returns what the benchmark ran on: system, processor kind, cores, Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}"
