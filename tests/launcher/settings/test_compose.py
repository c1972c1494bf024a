"""From words to a Request: overrides, the studies in conf/, and the message for every mistake."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launcher.settings import schema
from launcher.settings.compose import CONFIG_DIR, SMALL_MODELS, compose
from launcher.settings.request import CLUSTERS, LocalCluster, TrainerSpec
from sweeps.errors import StudyError
from sweeps.hardware import Hardware
from sweeps.plan import make_plan
from sweeps.shape import FAMILIES
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec

STUDIES = sorted(path.stem for path in (CONFIG_DIR / "study").glob("*.yaml"))
OF_ONE_LADDER = [study for study in STUDIES if study not in ("families", "edge", "edge_few", "edge_parts")]
MODELS = sorted(
    str(path.relative_to(CONFIG_DIR / "model").with_suffix("")) for path in (CONFIG_DIR / "model").rglob("*.yaml")
)
LADDER = ("f0", "f1", "f3", "f3p", "f7", "f7p")
NOUNS = [
    (DataSpec, schema.DataConfig),
    (ScheduleSpec, schema.ScheduleConfig),
    (RecipeSpec, schema.RecipeConfig),
    (Hardware, schema.HardwareConfig),
    *((shape, schema.SHAPE_CONFIGS[family]) for family, shape in FAMILIES.items()),
    (TrainerSpec, schema.TrainerConfig),
    *((spec, schema.CLUSTER_CONFIGS[name]) for name, spec in CLUSTERS.items()),
]

MISTAKES = [
    # words, and what the message must say
    (["budget=10kk"], r"budget '10kk' not understood; .*12\.5k"),
    (["budget=-1"], "budget '-1' not understood"),
    (["budget=0"], "budget '0' not understood"),
    (["budget="], "the budget is empty"),
    ([], r"no budget is given; .*BUDGET=10k"),
    (["model=scale/f3"], "no budget is given"),
    (["budget=10k", "spend=lots"], "spend cap 'lots' not understood"),
    (["budget=10k", "study=jtf"], r"study 'jtf' is unknown; choose cifar10, .*did you mean jft\?"),
    (["budget=10k", "model=f3"], r"model 'f3' is unknown; did you mean nfnet/f3 or scale/f3\?"),
    (["budget=10k", "model=scale/f9"], r"model 'scale/f9' is unknown; did you mean scale/f"),
    (["budget=10k", "study.models=[scale/f9]"], r"model 'scale/f9' is unknown; did you mean scale/f"),
    (["budget=10k", "cluster=slrum"], "cluster 'slrum' is unknown; choose inline, local"),
    (["budget=10k", "strategy=luck"], "strategy 'luck' is unknown; choose asha, grid"),
    (["budget=10k", "colour=red"], "key colour is unknown; allowed here: action, pick, budget"),
    (["budget=10k", "+colour=red"], "key colour is unknown; allowed here: action, pick, budget"),
    (["budget=10k", "epoch=2"], r"key epoch is unknown; .*did you mean epochs\?"),
    (["budget=10k", "peak_lrs=[1]"], r"did you mean study\.peak_lrs or finetune\.peak_lrs\?"),
    (["budget=10k", "schedule.warmup=2"], r"key schedule\.warmup is unknown; allowed here: schedule\.name"),
    (["budget=10k", "+schedule.warmup=2"], r"key schedule\.warmup is unknown; allowed here: schedule\.name"),
    (["budget=10k", "+model.shape.depth=2", "model=scale/f3"], r"key model\.shape\.depth is unknown"),
    (["budget=10k", "model=scale/f3", "model.shape.depth=2"], r"key model\.shape\.depth is unknown; .*stage_depths"),
    (["budget=10k", "model=scale/f3", "+model.shape.patch_px=4"], r"key model\.shape\.patch_px is unknown; .*se_ratio"),
    (["budget=10k", "model=vit/vit_b16", "model.shape.stage_depths=[1]"], "stage_depths is unknown; .*shape.patch_px"),
    (["budget=10k", "model=vit/vit_b16", "model.shape.mlp_widht=8"], r"did you mean model\.shape\.mlp_width"),
    (
        ["budget=10k", "model=vit/vit_b16", "model.shape.depth=deep"],
        r"model\.shape\.depth=deep cannot be; it has to be a whole number",
    ),
    (
        ["budget=10k", "model=vit/vit_b16", "model.shape.depth=null"],
        r"model\.shape\.depth cannot be used",
    ),
    (["budget=10k", "model=vit/vit_b16", "model.shape.heads=5"], "width must be a multiple of heads"),
    (["budget=10k", "model=vit/vit_b16", "model.shape.pooling=max"], "choose token, map or mean"),
    (["budget=10k", "model=vit/vit_b16", "model.shape=null"], r"model\.shape cannot be used"),
    (
        ["budget=10k", "model=hybrid/vitc_1gf", "model.shape.stem_strides=2"],
        "shape.stem_strides must be a list",
    ),
    (["epochs=1", "model=vit/vit_b16", "model.shape.patch_px=32"], "a patch of 32 px does not fit"),
    (["epochs=1", "model=separable/convnext_t"], "need an image of 32 px; it has 16"),
    (
        ["budget=10k", "model=scale/f3", "model.family=vti"],
        r"model\.family 'vti' is unknown; .* mean vit\?",
    ),
    (
        ["budget=10k", "model=scale/f3", "model.family=vit"],
        r"key model\.shape\.\w+ is unknown; .*shape\.patch_px",
    ),
    (["budget=10k", "schedule.warmup_steps=few"], r"schedule\.warmup_steps=few cannot be; it has to be a whole number"),
    (["budget=10k", "study.epochs=3"], r"study\.epochs must be a list \(try: study\.epochs=\[\.\.\.\]\)"),
    (["budget=10k", "study=null"], "a group cannot be set to null"),
    (["budget=10k", "seeds=0"], "seeds=0 runs nothing"),
    (["budget=10k", "seeds=2", "seed=1"], "both seed and seeds are given"),
    (["budget=10k", "schedule.name=linear"], r"schedule\.name 'linear' is unknown; choose cosine, wsd, constant"),
    (["budget=10k", "study.recipe.compute_dtype=fp16"], "choose float32, bfloat16"),
    (["budget=10k", "action=fly"], "action 'fly' is unknown; choose plan, sweep, rehearse, finetune, .*models"),
    (["budget=10k", "format=xml"], "format 'xml' is unknown; choose table, json"),
    (["budget=10k", "model=scale/f3", "model.shape.stage_depths=[1]"], "same number of stages"),
    (["budget=[1"], "settings are written key=value"),
    (["~study", "budget=1k"], "study.name"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_mistakes_are_explained(words: Sequence[str], message: str) -> None:
    """A wrong word gives one StudyError that says what was got and what is allowed."""
    with pytest.raises(StudyError, match=message):
        compose(words)


@pytest.mark.parametrize("study", OF_ONE_LADDER)
def test_every_ladder_composes(study: str) -> None:
    """Each study of one ladder gives six sizes by six epoch counts by three rates, priced in its own hardware."""
    request = compose([f"study={study}", "budget=10k"])
    assert request.study.name == study
    assert tuple(model.name for model in request.study.models) == LADDER
    assert request.study.epochs == (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    assert len(request.study.peak_lrs) == 3
    assert request.budget.hardware == request.study.hardware.name
    assert request.spend_cap_core_hours is None
    assert make_plan(request.study, request.budget).require_cells()


@pytest.mark.parametrize("model", MODELS)
def test_every_model_composes(model: str) -> None:
    """Each model file names itself and its family, and stands in for the ladder."""
    folder, name = model.split("/")
    study = compose([f"model={model}", "budget=1000000k", *([] if folder in SMALL_MODELS else ["study=jft"])]).study
    assert [item.name for item in study.models] == [name]
    family = study.models[0].family
    assert folder in (family, *SMALL_MODELS)
    assert type(study.models[0].shape) is FAMILIES[family]


@pytest.mark.parametrize("text", ["400", "0.4k", "12.5k", "110k"])
def test_budgets_of_the_manual(text: str) -> None:
    """The ways of writing a budget that the manual shows all parse."""
    expected = {"400": 400, "0.4k": 400, "12.5k": 12_500, "110k": 110_000}[text]
    assert compose([f"budget={text}"]).budget.core_hours == pytest.approx(expected)


def test_overrides_name_one_cell() -> None:
    """Single values take the place of their axes; one cell needs no budget but its own cost."""
    request = compose(["model=scale/f3", "epochs=2", "peak_lr=0.8", "seed=1"])
    plan = make_plan(request.study, request.budget)
    assert [trial.name for trial in plan.trials()] == ["f3-e2-lr0.8-s1"]
    assert plan.total.core_hours == pytest.approx(request.budget.core_hours)


def test_values_reach_the_study() -> None:
    """Seeds, batch, spend cap, cluster, schedule and nested values arrive where they belong."""
    words = "budget=1k seeds=3 batch_images=64 spend=20k cluster.workers=2 schedule=wsd format=json"
    request = compose([*words.split(), "study.recipe.momentum=0.8", "hardware.price_per_core_hour=1.5"])
    assert request.study.seeds == (0, 1, 2)
    assert request.study.batch_images == (64,)
    assert request.spend_cap_core_hours == 20_000
    assert request.cluster == LocalCluster(workers=2)
    assert request.study.schedule.name == "wsd"
    assert request.study.recipe.momentum == 0.8
    assert request.study.hardware.price_per_core_hour == 1.5
    assert request.json


def test_identity_does_not_depend_on_how_a_number_is_written() -> None:
    """epochs=2 and epochs=2.0 are one trial."""
    plans = [compose(["model=scale/f0", f"epochs={text}", "peak_lr=1", "seed=0"]) for text in ("2", "2.0")]
    ids = [[trial.id for trial in make_plan(plan.study, plan.budget).trials()] for plan in plans]
    assert ids[0] == ids[1]


def test_recipe_of_the_reference_study() -> None:
    """The jft study carries the stated recipe: batch 4096, rates 0.4 to 1.6, Nesterov 0.9, AGC 0.01, decay 1e-6."""
    study = compose(["study=jft", "budget=10k"]).study
    assert (study.batch_images, study.peak_lrs) == ((4096,), (0.4, 0.8, 1.6))
    recipe = study.recipe
    assert (recipe.momentum, recipe.agc_clipping, recipe.weight_decay) == (0.9, 0.01, 1e-6)
    assert (study.schedule.name, study.schedule.warmup_steps) == ("cosine", 5000)


@pytest.mark.parametrize(("noun", "config"), NOUNS)
def test_schema_has_the_fields_of_its_noun(noun: type, config: type) -> None:
    """What may be configured is exactly what the noun holds, with its defaults."""
    fields = {item.name: item.default for item in dataclasses.fields(noun)}
    assert [item.name for item in dataclasses.fields(config)] == list(fields)
    written = OmegaConf.structured(config)
    for name, default in fields.items():
        if default is dataclasses.MISSING:
            assert OmegaConf.is_missing(written, name)
        elif not isinstance(default, tuple):
            assert written[name] == default


def launcher(*words: str, folder: Path, flags: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Returns what `python -m launcher` did with these words in an empty folder."""
    command = [sys.executable, *flags, "-m", "launcher", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        (["--help"], 0, "budget: null", ""),
        (["study=jft", "--cfg", "job", "--resolve"], 0, "weight_decay: 1.0e-06", ""),
        (["action=models"], 0, "f7p", ""),
        (["budget=10kk"], 2, "", "loglog: budget '10kk' not understood"),
        (["colour=red"], 2, "", "loglog: key colour is unknown"),
        (["study=jft", "budget=100"], 2, "", "holds no cell of study jft; the cheapest, f0-e0.25, costs 403"),
    ],
)
def test_the_application(tmp_path: Path, words: list[str], code: int, out: str, err: str) -> None:
    """A command answers on stdout or refuses in one line on stderr with code 2, and leaves nothing in its folder."""
    done = launcher(*words, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert out in done.stdout
    assert err in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == (1 if err else 0)
    assert list(tmp_path.iterdir()) == []


def test_planning_loads_nothing_heavy(tmp_path: Path) -> None:
    """`plan` answers one JSON object without importing jax, mlflow, ray, scipy or pandas."""
    words = ["study=jft", "budget=10k", "format=json"]
    done = launcher(*words, folder=tmp_path, flags=["-X", "importtime"])
    assert done.returncode == 0, done.stderr
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "numpy" in imported
    assert not imported & {"jax", "mlflow", "ray", "scipy", "pandas", "submitit", "matplotlib"}
    assert len(json.loads(done.stdout)["cells"]) == 63


def test_models_as_one_json_object(tmp_path: Path) -> None:
    """`models` names every architecture at full size with the counts of the published table."""
    done = launcher("action=models", "format=json", folder=tmp_path)
    models = {model["name"]: model for model in json.loads(done.stdout)["models"]}
    assert set(models) == {name.split("/")[1] for name in MODELS if name.split("/")[0] not in SMALL_MODELS}
    assert {model["family"] for model in models.values()} == set(FAMILIES)
    assert next(iter(models)) == min(models, key=lambda name: models[name]["params_1k_classes"])
    assert models["vit_b16"]["params_1k_classes"] == 86_567_656
    assert models["f0"] == {
        "name": "f0",
        "family": "nfnet",
        "params": 160_606_284,
        "params_1k_classes": 71_489_284,
        "forward_macs": 9_576_574_976,
        "image_px": 224,
    }


def test_tab_completion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell is told the studies there are."""
    monkeypatch.setenv("COMP_LINE", "loglog study=")
    done = launcher("-sc", "query=bash", folder=tmp_path)
    assert done.stdout.split() == [f"study={study}" for study in STUDIES]


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONFIG_DIR / "finetune").glob("*.yaml")))
def test_every_fine_tuning_composes(name: str) -> None:
    """Each file of conf/finetune names data, recipe and learning rates; the other settings are those of the study."""
    spec = compose([f"finetune={name}", "budget=10k", "action=finetune"]).finetune
    assert spec is not None
    assert spec.data.name == name
    assert spec.data.channels == 3
    assert spec.recipe.sam_radius == 0.05
    assert len(spec.peak_lrs) == 3
    assert (spec.seeds, spec.rates_per_cell) == ((0,), 1)
    more = compose([f"finetune={name}", "budget=10k", "action=finetune", "seeds=3", "finetune.rates_per_cell=2"])
    assert more.finetune == dataclasses.replace(spec, seeds=(0, 1, 2), rates_per_cell=2)
    assert more.study == compose(["budget=10k", "seeds=3"]).study


def test_fine_tuning_needs_no_budget() -> None:
    """Without one, every checkpoint is meant; those of the reference study go to ImageNet, as the paper states."""
    request = compose(["study=jft", "action=finetune"])
    assert request.budget.core_hours == pytest.approx(106_800, rel=0.01)
    assert request.finetune is not None
    assert (request.finetune.data.name, request.finetune.data.image_px, request.finetune.data.evaluation_px) == (
        "imagenet", 384, 480,
    )  # fmt: skip
    assert (request.finetune.epochs, request.finetune.batch_images) == (50.0, 2048)
