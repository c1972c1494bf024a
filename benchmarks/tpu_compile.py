"""What a TPU-v4 core can reach on the paper's models at most, from the compiled step, and how much of that was reached.

Reads the figures in benchmarks/results/tpu; with `--compile`, compiles what is missing there first: hours.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from result_file import RESULTS, Figure, write_result

from launcher.settings.compose import compose
from sweeps.hardware import Hardware
from sweeps.pricing import find_compiled, learned_efficiency
from sweeps.trial import DataSpec

TOPOLOGY = "v4:2x2x1"
PLAIN = {"nfnet": ("f0", "f1", "f3", "f3p", "f7", "f7p"), "vit": ("vit_l16", "vit_g14")}
"""Compiled at 64 images a core, data-parallel, nothing computed twice."""


def committed() -> list[dict[str, Any]]:
    """Returns the figures of every compile that is kept."""
    return [json.loads(path.read_text()) for path in sorted((RESULTS / "tpu").rglob("*.json"))]


def compile_missing() -> None:
    """Compiles, one after the other, the plain steps that are not there yet."""
    have = {found["model"] for found in committed()}
    for model in (name for names in PLAIN.values() for name in names):
        if model not in have:
            words = [sys.executable, "-m", "training.pod.compile_tpu", model, "--topology", TOPOLOGY, "--save"]
            subprocess.run(words, check=False)


def efficiency(hardware: Hardware, data: DataSpec) -> list[Figure]:
    """Returns the part of its floor that each measured model reached, their mean, and their relative spread."""
    lines: list[Figure] = []
    for measured in hardware.throughputs:
        if (step := find_compiled(hardware, measured.family, measured.model, data)) is not None:
            part = measured.images_per_s_per_core * step.floor_s / step.batch_images_per_core
            lines.append(Figure(name=f"{step.model}_efficiency", value=part, bar=None, unit="of the floor"))
    mean, spread = learned_efficiency(hardware, data) or (None, None)
    return [
        *lines,
        Figure(name="efficiency", value=mean, bar=None, unit="of the floor, mean over models"),
        Figure(name="efficiency_spread", value=spread, bar=None, unit="relative, over models"),
    ]


def figures(all_found: list[dict[str, Any]]) -> list[Figure]:
    """Returns what each compile says, in units that a person reads."""
    lines: list[Figure] = []
    for found in all_found:
        name = f"{found['model']}_{found['batch_images_per_core']}_on_{found['cores']}"
        if "sharding fsdp" in found["source"]:
            name += "_fsdp"
        traffic, floor_s = found["traffic_bytes"], found["floor_s"]
        memory = found["memory_bytes"]
        lines += [
            Figure(name=f"{name}_arithmetic", value=found["flops"] / 1e12, bar=None, unit="TFLOP"),
            Figure(name=f"{name}_traffic", value=traffic and traffic / 2**30, bar=None, unit="GiB"),
            Figure(name=f"{name}_floor", value=floor_s and floor_s * 1e3, bar=None, unit="ms"),
            Figure(name=f"{name}_memory", value=memory and memory / 2**30, bar=None, unit="GiB"),
        ]
    return lines


def main() -> None:
    """Writes benchmarks/results/tpu_compile.json."""
    if "--compile" in sys.argv[1:]:
        compile_missing()
    study, found = compose(["budget=110k", "study=jft"]).study, committed()
    lines = [*figures(found), *efficiency(study.hardware, study.data)]
    write_result("tpu_compile", lines, command="make bench NAME=tpu_compile")


if __name__ == "__main__":
    main()
