"""Brings what `make compile-tpu` has found into conf/hardware: `python -m launcher.calibrate.compiled_figures`.

Everything below a marker in the file of a hardware is written by this command, from the JSON files of its topologies
that lie in benchmarks/results/tpu; a test holds the two equal.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from sweeps.canonical import from_jsonable, to_jsonable
from sweeps.hardware import CompiledStep, Hardware
from sweeps.pricing import learned_efficiency
from sweeps.trial import DataSpec
from tracking.paths import CHECKOUT

CONFIG_DIR = CHECKOUT / "conf"
RESULTS = CHECKOUT / "benchmarks" / "results" / "tpu"
MARKER = "# Below: python -m launcher.calibrate.compiled_figures, from benchmarks/results/tpu/*-{topology}-*.json\n"
FILES = {"tpu_v4.yaml": "v4_2x2x1"}
"""File of conf/hardware -> topology whose figures it holds."""


def steps_of(topology: str, results: Path = RESULTS) -> tuple[CompiledStep, ...]:
    """Returns the compiled steps of a topology, by floor an image; without what did not compile."""
    known = {field.name for field in dataclasses.fields(CompiledStep)}
    found: list[CompiledStep] = []
    for path in sorted(results.glob(f"*-{topology}-*.json")):
        answer: dict[str, Any] = json.loads(path.read_text())
        if answer["floor_s"] is not None:
            found.append(from_jsonable(CompiledStep, {key: answer[key] for key in answer.keys() & known}))
    return tuple(sorted(found, key=lambda step: (step.floor_s / step.batch_images_per_core, step.model)))


def with_figures(text: str, topology: str, results: Path = RESULTS) -> str:
    """Returns the text of a hardware file with these figures below the marker, and the efficiency that they teach."""
    marker = MARKER.format(topology=topology)
    head = text.split(marker)[0].rstrip("\n") + "\n"
    steps = steps_of(topology, results)
    if not steps:
        return head
    measured = from_jsonable(Hardware, yaml.safe_load(head))
    learned = learned_efficiency(dataclasses.replace(measured, compiled=steps), _data())
    told = [] if learned is None else [f"assumed_efficiency: {learned[0]:.4f}", f"efficiency_spread: {learned[1]:.4f}"]
    return head + marker + "".join(f"{line}\n" for line in (*told, "compiled:", *_lines(steps)))


def _data() -> DataSpec:
    """Returns the data of the reference study, whose models were measured."""
    return from_jsonable(DataSpec, yaml.safe_load((CONFIG_DIR / "data" / "jft4b.yaml").read_text()))


def _lines(steps: Sequence[CompiledStep]) -> Iterator[str]:
    for step in steps:
        for key, value in to_jsonable(step).items():
            yield f"{'  - ' if key == 'model' else '    '}{key}: {_word(value)}"


def _word(value: str | float | bool) -> str:
    """Returns a value as YAML has it: plain names, five digits, everything else in quotes."""
    if isinstance(value, float):
        return f"{value:.4e}" if value >= 1e5 else f"{value:.5g}"
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value)


def main() -> int:
    """Rewrites every file of FILES."""
    for name, topology in FILES.items():
        path = CONFIG_DIR / "hardware" / name
        path.write_text(with_figures(path.read_text(), topology))
        print(f"{path.relative_to(CHECKOUT)}: {len(steps_of(topology))} compiled steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
