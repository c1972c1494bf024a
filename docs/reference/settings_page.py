"""The page of settings: every key of conf/ with its type, its default and its meaning."""

import dataclasses
import typing
from collections.abc import Iterator

import yaml
from field_docs import CHECKOUT, field_docs, one_line, sentence, shown_default, shown_type, table, yaml_comments

from launcher.settings import schema
from launcher.settings.conditions import Conditions
from launcher.settings.request import CLUSTERS, TrainerSpec
from strategy.spec import SETTINGS, StrategySpec
from sweeps.compute import ComputeSpec
from sweeps.finetuning import FinetuneSpec
from sweeps.hardware import CompiledStep, Hardware, Throughput
from sweeps.shape import FAMILIES
from sweeps.study import Study
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec

CONF = CHECKOUT / "conf"
SAID_HERE = {
    "name": "the file's own name, which runs are recorded with",
    "channels": "colours of an image",
    "classes": "outputs of the classifier",
    "momentum": "Nesterov momentum of sgd_agc",
    "agc_eps": "least weight norm that clipping counts with",
    "adam_b1": "adamw only: decay of the mean gradient",
    "adam_b2": "adamw only: decay of the mean squared gradient",
    "label_smoothing": "part of a label that is spread over all classes",
    "peak_flops_per_s_per_core": "what a core can do at most [FLOP/s]",
    "price_per_core_hour": "money; plans then print it",
    "currency": "of price_per_core_hour",
    "throughputs": "calibrations, as `hardware.throughputs` below",
    "compiled": "compiled steps, as `hardware.compiled` below",
    "family": "a key of the families of models: " + ", ".join(FAMILIES),
    "image_px": "side of an image [pixels]",
    "images_per_s_per_core": "training images that a core takes per second",
    "stage_strides": "of the first block of each stage",
    "stem_strides": "of each convolution of the stem",
    "partition": "Slurm's partition; empty: its default",
    "account": "Slurm's account; empty: yours",
    "qos": "Slurm's quality of service; empty: its default",
    "constraint": "features that nodes must have",
    "models": "files below conf/model, from small to large",
    "epochs": "passes over `data.images_per_epoch`",
    "batch_images": "images of an optimiser step",
    "peak_lrs": "peak learning rates, usually a factor of 2 apart",
    "seeds": "of initialisation and sample order",
    "model": "the model's name",
    "data": "what is learnt, as the group `data`",
    "schedule": "as the group `schedule`",
    "recipe": "as `study.recipe` below",
    "shape": "the architecture's own numbers, as its family has them below",
    "hardware": "as the group `hardware`",
    "source": "where the number comes from",
    "uri": "empty for runs.sqlite, else an MLflow server (http://...) or a database (postgresql://...)",
    "peak_lr": "one peak learning rate in place of the study's axis",
    "seed": "one seed in place of the study's axis",
}  # fmt: skip
"""Of fields whose names say it in the code; the page says it all the same."""


def page() -> list[str]:
    """Returns the lines of the page."""
    lines = [
        "# Settings, key by key", "",
        "What [config](../config.md) explains, complete. A key is typed as `key=value` behind `python -m launcher`,",
        "or in `EXTRA` behind `make`; `group.key=value` sets one value of a group whose file says the rest. *Empty* is",
        "YAML's `null`. Files of a group are words: `study=jft`, `cluster=slurm`.", "",
        "## Top level", "",
    ]  # fmt: skip
    lines += table(("key", "default", "meaning"), list(_top_level()))
    lines += ["", "## Files of each group", ""]
    lines += table(("group", "files"), list(_files()))
    for title, prefix, noun in _groups():
        lines += ["", f"## {title}", "", one_line((noun.__doc__ or "").split("\n\n")[0]), ""]
        lines += table(("key", "type", "default", "meaning"), list(_keys(noun, prefix)))
    lines += ["", "## Which strategy has which settings", ""]
    lines += table(
        ("strategy", "settings"),
        [(f"`{name}`", " ".join(f"`strategy.{key}`" for key in keys)) for name, keys in SETTINGS.items()],
    )
    return lines


def _groups() -> Iterator[tuple[str, str, type]]:
    """Yields title, prefix of keys and noun of each group."""
    yield "study", "study.", Study
    yield "study.recipe", "study.recipe.", RecipeSpec
    yield "data", "data.", DataSpec
    yield "schedule", "schedule.", ScheduleSpec
    yield "hardware", "hardware.", Hardware
    yield "hardware.throughputs", "", Throughput
    yield "hardware.compiled", "", CompiledStep
    yield "compute", "compute.", ComputeSpec
    yield "strategy", "strategy.", StrategySpec
    for name, spec in CLUSTERS.items():
        yield f"cluster={name}", "cluster.", spec
    yield "trainer", "trainer.", TrainerSpec
    yield "finetune", "finetune.", FinetuneSpec
    yield "rehearse", "rehearse.", Conditions
    for family, shape in FAMILIES.items():
        yield f"model.shape of {family}", "model.shape.", shape


def _top_level() -> Iterator[tuple[str, str, str]]:
    """Yields the keys that are values, with the comments that stand above them in conf/config.yaml."""
    comments = yaml_comments(CONF / "config.yaml")
    config = yaml.safe_load((CONF / "config.yaml").read_text())
    for key, value in config.items():
        if key in ("defaults", "hydra") or isinstance(value, dict):
            continue
        text = sentence(comments.get(key) or SAID_HERE[key])
        yield f"`{key}`", "empty" if value is None else f"`{value}`", text
    yield "`tracking.uri`", "empty", sentence(SAID_HERE["uri"])
    for group in ("compute", "rehearse", "tracking"):
        yield f"`{group}`", "", sentence(comments[group])
    for key in ("name", "family", "shape"):
        yield f"`model.{key}`", "of its file", sentence(SAID_HERE[key])


def _files() -> Iterator[tuple[str, str]]:
    for folder in sorted(path for path in CONF.iterdir() if path.is_dir()):
        names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
        yield f"`{folder.name}`", " ".join(f"`{name}`" for name in names)


def _keys(noun: type, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    docs = field_docs(noun)
    noun = schema.StudyConfig if noun is Study else noun  # models are files there, and what a pick says is not said
    hints = typing.get_type_hints(noun)
    for field in dataclasses.fields(noun):
        meaning = sentence(docs.get(field.name) or SAID_HERE[field.name])
        yield f"`{prefix}{field.name}`", shown_type(hints[field.name]), shown_default(field), meaning
