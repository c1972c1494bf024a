"""`make compile-tpu MODEL=f3 TOPOLOGY=v4:4x4x4`: compiles the training step for a TPU pod, on any machine.

Prints what the compiler says: arithmetic, traffic and memory of a core, whether the step fits, and the images a second
that no core can beat. It takes minutes: one model at a time.
"""

import argparse
import dataclasses
import difflib
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sweeps.canonical import from_jsonable, to_jsonable
from sweeps.compute import REMATS, SHARDINGS, ComputeSpec
from sweeps.errors import StudyError
from sweeps.study import Model
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec

CONF = Path(__file__).resolve().parents[2] / "conf"
RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "tpu"
BATCHES = (128, 64, 32, 16)
"""Images a core that are tried in turn until one fits."""
_GIB = 2**30


def find_model(word: str) -> Model:
    """Returns the model that f3, nfnet/f3 or vit_g14 names, at full size.

    Raises:
        StudyError: there is none.
    """
    known = {path.stem: path for path in sorted(CONF.glob("model/*/*.yaml")) if path.parent.name != "scale"}
    name = word.rpartition("/")[2]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3) or ["f3"]
        raise StudyError(f"MODEL={word} is unknown; there are {', '.join(known)} (try: MODEL={close[0]})")
    return from_jsonable(Model, yaml.safe_load(known[name].read_text()))


def recipe_of(family: str) -> RecipeSpec:
    """Returns how the reference studies train a family: SGD with clipped gradients, or AdamW for all but NFNets."""
    study = yaml.safe_load((CONF / "study" / "jft.yaml").read_text())["study"]
    recipe = from_jsonable(RecipeSpec, study["recipe"])
    return recipe if family == "nfnet" else dataclasses.replace(recipe, optimiser="adamw", gradient_norm_clip=1.0)


def request(options: argparse.Namespace) -> Any:
    """Returns what is to be compiled.

    Raises:
        StudyError: a word is unknown.
    """
    from training.pod.compiled_step import Request

    model = find_model(options.model)
    return Request(
        model=model,
        topology=options.topology,
        batch_images_per_core=options.batch or 64,
        compute=ComputeSpec(sharding=options.sharding, remat=options.remat, microbatches=options.microbatches),
        data=from_jsonable(DataSpec, yaml.safe_load((CONF / "data" / "jft4b.yaml").read_text())),
        recipe=recipe_of(model.family),
        schedule=ScheduleSpec(name="cosine", warmup_steps=5000),
    )


def figures(compiled: Any, command: str) -> dict[str, Any]:
    """Returns the one JSON object that programs read; a missing number is null."""
    step = {key: _number(value) for key, value in to_jsonable(compiled.step).items()}
    rest = ("cores", "touched_bytes", "arguments_bytes", "temporaries_bytes", "compile_s", "complaint")
    floor_s, batch = step["floor_s"], step["batch_images_per_core"]
    return {
        **step,
        **{key: _number(getattr(compiled, key)) for key in rest},
        "images_per_s_per_core_at_most": None if floor_s is None else batch / floor_s,
        "command": command,
    }


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sentence(found: dict[str, Any]) -> str:
    """Returns the figures as a person reads them."""
    head = (
        f"{found['family']} {found['model']} at {found['image_px']} px, {found['batch_images_per_core']} images a core"
    )
    lines = [f"{head}: {found['source']}", f"  arithmetic  {found['flops'] / 1e12:.3f} TFLOP a step"]
    if found["complaint"]:
        return "\n".join([*lines, f"  does not fit: {found['complaint']}", _ADVICE])
    lines += [
        f"  traffic     {found['traffic_bytes'] / _GIB:.2f} GiB of main memory, "
        f"{found['touched_bytes'] / _GIB:.2f} GiB with what stays on the chip",
        f"  memory      {found['memory_bytes'] / _GIB:.2f} GiB: {found['arguments_bytes'] / _GIB:.2f} arguments, "
        f"{found['temporaries_bytes'] / _GIB:.2f} temporaries",
        f"  floor       {found['floor_s'] * 1e3:.1f} ms, at most {found['images_per_s_per_core_at_most']:.0f} images/s "
        "a core",
        f"  {'fits' if found['fits'] else 'does not fit'}; compiled in {found['compile_s']:.0f} s",
    ]
    return "\n".join(lines if found["fits"] else [*lines, _ADVICE])


_ADVICE = "  try: EXTRA='--remat blocks', a smaller EXTRA='--batch 32', or EXTRA='--sharding fsdp'"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make compile-tpu", description=__doc__)
    parser.add_argument("model", nargs="?", default="f0", help="f0 ... f7p, vit_l16 ...; MODEL=f3")
    parser.add_argument("--topology", default="v4:2x2x1", help="GENERATION:CHIPS; TOPOLOGY=v4:4x4x4")
    parser.add_argument("--batch", type=int, default=None, help="images a core (default: 64)")
    parser.add_argument("--search", action="store_true", help="find the most images a core that fit: 128, 64, 32, 16")
    parser.add_argument("--sharding", choices=SHARDINGS, default="data")
    parser.add_argument("--remat", choices=REMATS, default="none")
    parser.add_argument("--microbatches", type=int, default=1)
    parser.add_argument(
        "--save",
        type=Path,
        nargs="?",
        const=RESULTS,
        default=None,
        help="keep the figures there (benchmarks/results/tpu)",
    )
    parser.add_argument("--text", type=Path, default=None, help="write the optimised program there")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 where the step fits, 1 where it does not, 2 for a word that cannot be served."""
    options = _parser().parse_args(argv)
    os.environ["JAX_PLATFORMS"] = "cpu"  # read by JAX when it is loaded: the TPU is not here
    command = " ".join(["python -m training.pod.compile_tpu", *(sys.argv[1:] if argv is None else argv)])
    try:
        wanted = request(options)
        found = _found(wanted, options, command)
    except StudyError as error:
        print(f"make compile-tpu: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found) if options.format == "json" else sentence(found))
    if options.save is not None:
        save(found, options)
    return 0 if found["fits"] else 1


def _found(wanted: Any, options: argparse.Namespace, command: str) -> dict[str, Any]:
    from training.pod.compiled_step import compile_step

    found: dict[str, Any] = {}
    for batch in BATCHES if options.search else (wanted.batch_images_per_core,):
        compiled = compile_step(dataclasses.replace(wanted, batch_images_per_core=batch))
        found = figures(compiled, command)
        if options.text is not None:
            options.text.write_text(compiled.text)
        if found["fits"]:
            break
    return found


def save(found: dict[str, Any], options: argparse.Namespace) -> Path:
    """Writes the figures, one file for each model, topology and way of computing, and returns where."""
    words = [found["model"], options.topology.replace(":", "_"), str(found["batch_images_per_core"])]
    words += [word for word, plain in ((options.sharding, "data"), (options.remat, "none")) if word != plain]
    options.save.mkdir(parents=True, exist_ok=True)
    path = options.save / f"{'-'.join(words)}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
