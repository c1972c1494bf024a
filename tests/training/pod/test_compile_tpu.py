import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from sweeps.hardware import CompiledStep
from sweeps.trial import RecipeSpec, ScheduleSpec
from tests.training.small_nets import PARTS, SMALL, changed
from training.pod import compile_tpu, compiled_step
from training.pod.compiled_step import Compiled, Request
from training.pod.generation import GENERATIONS, generation

CHECKOUT = Path(__file__).resolve().parents[3]
STEP = CompiledStep(
    model="f0",
    family="nfnet",
    image_px=224,
    batch_images_per_core=64,
    flops=3.5e12,
    traffic_bytes=2.0e10,
    memory_bytes=4.0e9,
    floor_s=0.04,
    fits=True,
    source="a compiler",
)


def compiled(**changes: object) -> Compiled:
    """What a compile gave, with other values of some fields of the step."""
    return Compiled(
        step=changed(STEP, **changes),
        cores=8,
        touched_bytes=3e10,
        arguments_bytes=1e9,
        temporaries_bytes=3e9,
        compile_s=60.0,
        text="",
    )


@pytest.mark.parametrize(("word", "family"), [("f3", "nfnet"), ("nfnet/f7p", "nfnet"), ("vit_g14", "vit")])
def test_a_model_is_named_as_everywhere_else(word: str, family: str) -> None:
    """By its name alone, or with its folder; scale models are not among them."""
    model = compile_tpu.find_model(word)
    assert (model.family, model.name) == (family, word.rpartition("/")[2])


def test_an_unknown_model_is_told_what_there_is() -> None:
    """One message with a name to type."""
    with pytest.raises(StudyError, match=r"MODEL=f99 is unknown; there are .*f0.*\(try: MODEL="):
        compile_tpu.find_model("f99")


def test_each_family_is_trained_as_in_its_study() -> None:
    """NFNets with clipped SGD, the others with AdamW, whose state is twice as large; bfloat16 all of them."""
    assert compile_tpu.recipe_of("nfnet").optimiser == "sgd_agc"
    assert compile_tpu.recipe_of("vit").optimiser == "adamw"
    assert {compile_tpu.recipe_of(family).compute_dtype for family in ("nfnet", "vit")} == {"bfloat16"}


def test_figures_are_json_and_a_missing_number_is_null() -> None:
    """A step that does not fit has no traffic and no floor, never 0."""
    found = compile_tpu.figures(compiled(), "a command")
    assert found["images_per_s_per_core_at_most"] == 1600
    large = compiled(traffic_bytes=math.nan, floor_s=math.nan, memory_bytes=math.inf, fits=False)
    text = json.dumps(compile_tpu.figures(large, "a command"), allow_nan=False)
    assert json.loads(text)["floor_s"] is None and json.loads(text)["memory_bytes"] is None


def test_a_step_that_is_too_large_says_what_to_try() -> None:
    """Both where the compiler refused and where its figure is above what a core has."""
    assert "try:" not in compile_tpu.sentence(compile_tpu.figures(compiled(), ""))
    above = compile_tpu.figures(compiled(fits=False), "")
    refused = {**above, "complaint": "RESOURCE_EXHAUSTED: 20 GiB"}
    assert all("--remat blocks" in compile_tpu.sentence(found) for found in (above, refused))


def test_without_libtpu_one_line_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the command that installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert compile_tpu.main(["f0"]) == 2
    assert "pip install '.[tpu]'" in capsys.readouterr().err


def test_an_unknown_generation_is_told_what_there_is() -> None:
    """Before the compiler is asked."""
    with pytest.raises(StudyError, match=r"TOPOLOGY=v3:2x2 is of no known TPU generation; they are v4,"):
        generation("v3:2x2")
    assert generation("v5e:4x4") is GENERATIONS["v5e"]


SCRIPT = """
import sys, json, warnings
warnings.simplefilter("ignore")
from tests.training.pod.test_compile_tpu import small_request
from training.pod.compile_tpu import figures
from training.pod.compiled_step import compile_step
print(json.dumps(figures(compile_step(small_request(sys.argv[1])), "")))
"""


def small_request(sharding: str) -> Request:
    """A small net's step on eight cores."""
    from sweeps.study import Model

    return Request(
        model=Model(name="small", family="nfnet", shape=changed(SMALL, stage_depths=(1, 3), stage_widths=(64, 128))),
        topology="v4:2x2x1",
        batch_images_per_core=8,
        compute=ComputeSpec(sharding=sharding),
        data=changed(PARTS, image_px=32),
        recipe=RecipeSpec(compute_dtype="bfloat16"),
        schedule=ScheduleSpec(name="cosine", warmup_steps=4),
    )


@pytest.mark.real
@pytest.mark.endurance
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install '.[tpu]'")
def test_a_sharded_step_compiles_for_tpus_that_are_not_there() -> None:
    """The trainer's own step, for eight cores, with whole and with spread parameters: the latter take less memory."""
    found = {}
    for sharding in ("data", "fsdp"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, sharding],
            cwd=CHECKOUT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[sharding] = json.loads(done.stdout.splitlines()[-1])
    data, fsdp = found["data"], found["fsdp"]
    assert data["cores"] == 8 and data["fits"] and data["flops"] == fsdp["flops"] > 0
    assert fsdp["arguments_bytes"] < data["arguments_bytes"]
    for one in (data, fsdp):
        assert 0 < one["traffic_bytes"] <= one["touched_bytes"]
        device = GENERATIONS["v4"]
        floor_s = max(one["flops"] / device.peak_flops_per_s, one["traffic_bytes"] / device.bytes_per_s)
        assert one["floor_s"] == pytest.approx(floor_s)


def test_the_memory_of_a_step_that_the_compiler_refused_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message is kept; nothing is made up."""
    monkeypatch.setattr(compiled_step, "_version", lambda package: "1")
    mesh = type("Mesh", (), {"size": 8})()
    refused = compiled_step._too_large(small_request("data"), mesh, 1e12, "x\nRESOURCE_EXHAUSTED: 20 GiB\ny", 3.0)
    assert not refused.step.fits and refused.complaint == "RESOURCE_EXHAUSTED: 20 GiB"
    assert math.isnan(refused.step.traffic_bytes) and math.isnan(refused.step.floor_s)
