"""Structured configs: what conf/ may hold. Keys and defaults are those of the nouns in sweeps/, by construction."""

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from launcher.settings.conditions import Conditions
from launcher.settings.request import CLUSTERS, TrainerSpec
from strategy.spec import StrategySpec
from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from sweeps.finetuning import FinetuneSpec
from sweeps.hardware import Hardware
from sweeps.shape import FAMILIES
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec


def config_class(noun: type) -> type[Any]:
    """Returns the mutable dataclass that Hydra fills for a frozen noun: same fields and defaults, lists for tuples."""
    hints = typing.get_type_hints(noun)
    fields = [(item.name, _config_type(hints[item.name]), item.default) for item in dataclasses.fields(noun)]
    return _dataclass(f"{noun.__name__}Config", fields)


def _dataclass(name: str, fields: list[tuple[str, Any, Any]]) -> type[Any]:
    return dataclasses.make_dataclass(name, [(key, hint, _default(value)) for key, hint, value in fields])


def _config_type(hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return list[_config_type(args[0])]
    if origin in (types.UnionType, typing.Union):
        return _config_type(next(arg for arg in args if arg is not type(None))) | None
    return config_class(typing.cast(type, hint)) if dataclasses.is_dataclass(hint) else hint


def _default(value: Any) -> Any:
    if value is dict:
        return dataclasses.field(default_factory=dict[str, Any])
    if value is dataclasses.MISSING:
        return MISSING
    if isinstance(value, tuple):
        return dataclasses.field(default_factory=lambda: list(typing.cast(tuple[Any, ...], value)))
    if dataclasses.is_dataclass(value) and isinstance(value, type):
        return dataclasses.field(default_factory=value)
    return value


DataConfig = config_class(DataSpec)
ScheduleConfig = config_class(ScheduleSpec)
RecipeConfig = config_class(RecipeSpec)
HardwareConfig = config_class(Hardware)
SHAPE_CONFIGS = {family: config_class(shape) for family, shape in FAMILIES.items()}
MODEL_CONFIGS = {
    family: _dataclass("ModelConfig", [("name", str, MISSING), ("family", str, MISSING), ("shape", shape, MISSING)])
    for family, shape in SHAPE_CONFIGS.items()
}
"""A class a family: a number of one architecture is refused on another."""
TrainerConfig = config_class(TrainerSpec)
ComputeConfig = config_class(ComputeSpec)
FinetuneConfig = config_class(FinetuneSpec)
RehearseConfig = config_class(Conditions)
FamilyConfig = _dataclass(
    "FamilyConfig",
    [
        ("peak_lrs", list[float], MISSING),
        ("lr_params_exponent", float, 0.0),
        ("lr_at_params", float, 1.0),
        ("recipe", RecipeConfig, RecipeConfig),
    ],
)
CLUSTER_CONFIGS = {name: config_class(spec) for name, spec in CLUSTERS.items()}
"""A class a cluster: a setting of one is refused on another."""
StrategyConfig = config_class(StrategySpec)
TrackingConfig = _dataclass("TrackingConfig", [("uri", str | None, None)])

StudyConfig = _dataclass(
    "StudyConfig",
    [
        ("name", str, MISSING),
        ("title", str, MISSING),
        ("models", list[str], MISSING),  # files below conf/model: scale/f0, nfnet/f7p
        ("epochs", list[float], MISSING),
        ("batch_images", list[int], MISSING),
        ("peak_lrs", list[float], MISSING),
        ("seeds", list[int], MISSING),
        ("recipe", RecipeConfig, RecipeConfig),
        ("families", dict[str, Any], dict),  # family: {peak_lrs, recipe}, of the study's recipe the keys that differ
    ],
)


def _root_config(model: type[Any]) -> type[Any]:
    """Returns every key that may be set; single values stand for their study's axis, data ... cluster are groups."""
    fields: list[tuple[str, Any, Any]] = [
        ("action", str, "plan"),
        ("pick", str | None, None),
        ("budget", str | None, None),
        ("budgets", str | None, None),
        ("spend", str | None, None),
        ("until", str | None, None),
        ("format", str, "table"),
        ("seeds", int | None, None),
        ("epochs", float | None, None),
        ("batch_images", int | None, None),
        ("peak_lr", float | None, None),
        ("seed", int | None, None),
        ("model", model | None, None),
        ("study", StudyConfig, StudyConfig),
        ("data", DataConfig, DataConfig),
        ("schedule", ScheduleConfig, ScheduleConfig),
        ("hardware", HardwareConfig, HardwareConfig),
        ("strategy", StrategyConfig, StrategyConfig),
        ("trainer", TrainerConfig, TrainerConfig),
        ("compute", ComputeConfig, ComputeConfig),
        ("finetune", FinetuneConfig, FinetuneConfig),
        ("rehearse", RehearseConfig, RehearseConfig),
        ("tracking", TrackingConfig, TrackingConfig),
        ("cluster", Any, MISSING),  # one of CLUSTER_CONFIGS, which its file in conf/cluster names
    ]
    return _dataclass("RootConfig", fields)


ROOT_CONFIGS = {family: _root_config(model) for family, model in MODEL_CONFIGS.items()}
"""A class a family of the one model that a command line may name."""


def known_keys(cluster: str | None = None, family: str | None = None) -> tuple[str, ...]:
    """Returns every key that may be set, dotted as on the command line.

    Of clusters and of families of models those of one, by default of all.
    """
    roots = [config for name, config in ROOT_CONFIGS.items() if family in (None, name)]
    clusters = [config for name, config in CLUSTER_CONFIGS.items() if cluster in (None, name)]
    of_roots = (key for config in roots for key in _keys_of(config, ""))
    of_clusters = (key for config in clusters for key in _keys_of(config, "cluster."))
    of_families = (key for name in FAMILIES for key in _family_keys(f"study.families.{name}"))
    return tuple(dict.fromkeys((*of_roots, *of_clusters, *of_families)))


def _family_keys(path: str) -> Iterator[str]:
    yield path
    yield from _keys_of(FamilyConfig, f"{path}.")


def _keys_of(config: type[Any], path: str) -> Iterator[str]:
    hints = typing.get_type_hints(config)
    for item in dataclasses.fields(config):
        yield f"{path}{item.name}"
        for kind in (hints[item.name], *typing.get_args(hints[item.name])):
            if (
                isinstance(kind, type)
                and dataclasses.is_dataclass(kind)
                and typing.get_origin(hints[item.name]) not in (list, dict)
            ):
                yield from _keys_of(kind, f"{path}{item.name}.")


def family_values(study: Any, family: str, own: Any) -> dict[str, Any]:
    """Returns the recipe and the peak_lrs of a family: the study's where the config `own` of the family is silent.

    Raises:
        StudyError: `own` is no group of keys.
        omegaconf.errors.OmegaConfBaseException: a value is of another type; it names the key.
    """
    path = f"study.families.{family}"
    if not OmegaConf.is_dict(own) or not isinstance(own.get("recipe", study.recipe), DictConfig):
        raise StudyError(f"{path} holds peak_lrs, a list, and recipe, keys of the study's (try: {path}.peak_lrs=[...])")
    typed = OmegaConf.create({"study": {"families": {family: OmegaConf.structured(FamilyConfig)}}})
    shared = {"recipe": study.recipe, "peak_lrs": study.peak_lrs}
    merged = OmegaConf.merge(typed, *({"study": {"families": {family: one}}} for one in (shared, own)))
    plain: Any = OmegaConf.to_container(OmegaConf.select(typing.cast(DictConfig, merged), path), resolve=True)
    return plain


def register(family: str | None = None) -> None:
    """Puts the schema where conf/config.yaml and the files of conf/cluster find it.

    Args:
        family: of the model that the command line names; without one, no key of a model can be set.
    """
    ConfigStore.instance().store(name="schema", node=ROOT_CONFIGS[family or next(iter(ROOT_CONFIGS))])
    for name, config in CLUSTER_CONFIGS.items():
        ConfigStore.instance().store(group="cluster_schema", name=name, node=config)
