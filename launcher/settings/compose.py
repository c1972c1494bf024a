"""From words on a command line to a Request: the only file that knows Hydra's config objects."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from launcher.settings import schema
from launcher.settings.calibrations import with_calibrations
from launcher.settings.conditions import Conditions, check_conditions
from launcher.settings.config_errors import READING_ERRORS, did_you_mean, explain, unknown_key, unknown_option
from launcher.settings.family_settings import families_of, settable
from launcher.settings.pick_file import picked, read_pick_file
from launcher.settings.request import CLUSTERS, ClusterSpec, Request, TrainerSpec
from launcher.settings.strategy_settings import asha_of, check_strategy
from strategy.spec import STRATEGIES, StrategySpec
from sweeps.budget import Budget, parse_core_hours
from sweeps.canonical import from_jsonable
from sweeps.compute import PACKINGS, REMATS, SHARDINGS, ComputeSpec
from sweeps.errors import StudyError
from sweeps.finetuning import FinetuneSpec
from sweeps.grid import Grid
from sweeps.hardware import Hardware
from sweeps.shape import FAMILIES
from sweeps.study import Model, Study
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec
from tracking.paths import project_paths

CONFIG_DIR = Path(__file__).resolve().parents[2] / "conf"
CONFIG_NAME = "config"
DEFAULT_REHEARSALS = 10
SMALL_MODELS = ("scale", "edge")
"""The folders of conf/model that hold scale models and models of small devices, not architectures at full size."""

CHOICES: dict[str, tuple[str, ...]] = {
    "action": ("plan", "sweep", "rehearse", "finetune", "calibrate", "models", "status", "watch", "stop", "retry"),
    "format": ("table", "json"),
    "strategy.name": STRATEGIES,
    "trainer.name": ("jax", "command"),
    "cluster.name": tuple(CLUSTERS),
    "schedule.name": ("cosine", "wsd", "constant"),
    "study.recipe.compute_dtype": ("float32", "bfloat16"),
    "study.recipe.optimiser": ("sgd_agc", "adamw"),
    "finetune.schedule.name": ("cosine", "wsd", "constant"),
    "finetune.recipe.compute_dtype": ("float32", "bfloat16"),
    "finetune.recipe.optimiser": ("sgd_agc", "adamw"),
    "compute.sharding": SHARDINGS,
    "compute.remat": REMATS,
    "compute.packing": PACKINGS,
}

POSITIVE = (
    *("workers", "nodes", "cpus", "mem_gb", "time_min", "trials_per_job", "max_queued", "max_running"),
    *("signal_delay_s", "hosts", "max_workers"),
)
"""Settings of clusters with which nothing runs when they are zero."""

FREE_TEXT = ("pick", "trainer.command", "tracking.uri", "until", "budgets")
"""Settings whose values are a person's own text."""

NAMED_BY_PICKS = ("model", "epochs", "batch_images", "peak_lr")
"""Keys that would contradict a pick file."""

_QUOTES = "'\""

Noun = TypeVar("Noun")


def compose(overrides: Sequence[str]) -> Request:
    """Returns the request that these Hydra overrides (`budget=10k`, `study=jft`) ask for.

    Raises:
        StudyError: a key, group, file or value is unknown or unusable; it lists what is allowed.
    """
    try:
        schema.register(named_family(overrides))
        with initialize_config_dir(config_dir=str(CONFIG_DIR), version_base="1.3"):
            words = with_calibrations(with_study_of_pick(overrides), project_paths())
            return request_from(hydra_compose(CONFIG_NAME, overrides=words))
    except READING_ERRORS as error:
        raise explain(error, CONFIG_DIR) from error


def with_study_of_pick(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line with the study of its `pick=FILE` named, unless they name one themselves.

    A study is a whole tree of settings, so it must be known before Hydra composes.
    """
    pick, study = "pick=", "study="
    quoted = [settable(_quoted(word)) for word in words]
    paths = [word.removeprefix(pick) for word in words if word.startswith(pick)]
    if not paths or any(word.startswith(study) for word in words):
        return quoted
    name = read_pick_file(paths[-1]).study
    studies = sorted(path.stem for path in (CONFIG_DIR / "study").glob("*.yaml"))
    if name not in studies:
        raise StudyError(
            f"{paths[-1]} holds picks of study {name!r}, but there is no conf/study/{name}.yaml; choose "
            f"{', '.join(studies)}, the one it was run from{did_you_mean(name, studies)} "
            f"(try: make sweep PICK={paths[-1]} STUDY={studies[0]})"
        )
    return [*quoted, f"{study}{name}"]


def _quoted(word: str) -> str:
    """Returns a word whose value is a path, an address or a command line in quotes, which people leave out.

    Hydra's grammar would trip over their brackets, commas and equals signs.
    """
    key, _, value = word.partition("=")
    if key not in FREE_TEXT or (value[:1] in ("'", '"') and value[-1:] == value[:1] and len(value) > 1):
        return word
    return f"{key}='" + value.replace("'", r"\'") + "'"


def named_family(words: Sequence[str]) -> str | None:
    """Returns the family of the model that the words of a command line name; None where they name none, or no file.

    A family decides which keys its shape has, so it must be known before Hydra composes.
    """
    group = "model="
    names = [word.lstrip("+").removeprefix(group) for word in words if word.lstrip("+").startswith(group)]
    file = CONFIG_DIR / "model" / f"{names[-1].strip(_QUOTES)}.yaml" if names else None
    if file is None or not file.is_file():
        return None
    return _known_family(OmegaConf.select(OmegaConf.load(file), "family"))


def _known_family(family: Any) -> str:
    if family not in FAMILIES:
        near = did_you_mean(str(family), FAMILIES)
        raise StudyError(f"model.family {family!r} is unknown; choose {', '.join(FAMILIES)}{near}")
    return str(family)


def action_of(config: DictConfig) -> str:
    """Returns what to do (plan, sweep ...) after checking every key and word of the composed config."""
    _check_keys(config)
    own = [f"study.families.{family}.recipe." for family in config.study.families]
    choices = CHOICES | {
        path + word: CHOICES[f"study.recipe.{word}"]
        for path in own
        for word in ("compute_dtype", "optimiser")
        if OmegaConf.select(config, path + word) is not None
    }
    for key, allowed in choices.items():
        word = OmegaConf.select(config, key)
        if word not in allowed:
            raise StudyError(
                f"{key} {word!r} is unknown; choose {', '.join(allowed)}{did_you_mean(str(word), allowed)}"
            )
    return str(config.action)


def is_json(config: DictConfig) -> bool:
    """Returns whether the answer shall be one JSON object."""
    return config.format == "json"


def request_from(config: DictConfig) -> Request:
    """Returns the request of a composed config; Hydra must still be active, for model files are looked up in it."""
    action_of(config)
    study = _study(config) if config.pick is None else _picked(config, _study(config))
    spend = None if config.spend is None else parse_core_hours(config.spend, what="spend cap")
    strategy = _noun(StrategySpec, config.strategy)
    check_strategy(strategy, until=config.until, has_pick=config.pick is not None)
    own_schedule = None
    if strategy.name == "trunk" and study.schedule.name != "wsd":
        own_schedule = study.schedule
        study = dataclasses.replace(study, schedule=dataclasses.replace(own_schedule, name="wsd"))
    return Request(
        study=study,
        budget=_budget(config, study),
        spend_cap_core_hours=spend,
        cluster=_cluster(config),
        trainer=_noun(TrainerSpec, config.trainer),
        strategy=strategy,
        until=config.until,
        own_schedule=own_schedule,
        asha=asha_of(strategy, config.cluster.name),
        compute=_noun(ComputeSpec, config.compute),
        finetune=_finetune(config),
        tracking_uri=config.tracking.uri,
        json=is_json(config),
    )


def rehearsal_from(config: DictConfig) -> tuple[tuple[Request, ...], int, Conditions]:
    """Returns a request for each of the budgets of a rehearsal, how many seeds each is rehearsed with, and where.

    There `seeds` counts rehearsals: the study keeps its own seeds. Hydra must still be active.
    """
    action_of(config)
    if (config.budget is None) == (config.budgets is None):
        raise StudyError(
            "a rehearsal takes BUDGET, or several BUDGETS (try: make rehearse STUDY=jft BUDGETS=3k,10k,30k,60k,110k)"
        )
    if config.strategy.name == "asha":
        raise StudyError("strategy=asha stops runs within Ray Tune, which no rehearsal has; choose another strategy")
    seeds = DEFAULT_REHEARSALS if config.seeds is None else config.seeds
    if seeds < 1:
        raise StudyError(f"seeds={seeds} rehearses nothing; give how many rehearsals, 1 or more (try: SEEDS=20)")
    words = [config.budget] if config.budgets is None else [word for word in str(config.budgets).split(",") if word]
    plain = {"seeds": None, "budgets": None}
    each = (OmegaConf.merge(config, plain | {"budget": word.strip()}) for word in words)
    conditions = _noun(Conditions, config.rehearse)
    check_conditions(conditions)
    return tuple(request_from(cast(DictConfig, one)) for one in each), seeds, conditions


def study_from(config: DictConfig) -> tuple[Study, ComputeSpec, ClusterSpec]:
    """Returns what is asked for without a budget; Hydra must still be active."""
    action_of(config)
    return _study(config), _noun(ComputeSpec, config.compute), _cluster(config)


def _cluster(config: DictConfig) -> ClusterSpec:
    spec = _noun(CLUSTERS[config.cluster.name], config.cluster)
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.name in POSITIVE and value is not None and not value > 0:
            raise StudyError(f"cluster.{field.name}={value} runs nothing; give a number above zero, or leave it out")
    return spec


def _finetune(config: DictConfig) -> FinetuneSpec:
    """Returns how checkpoints are fine-tuned; there `seeds` says with how many seeds each of them is."""
    spec = _noun(FinetuneSpec, config.finetune)
    if config.action != "finetune" or config.seeds is None:
        return spec
    return dataclasses.replace(spec, seeds=tuple(range(config.seeds)))


def _program(config: DictConfig) -> str | None:
    """Returns what tells trials of a user's program from those of other programs."""
    trainer = _noun(TrainerSpec, config.trainer)
    if trainer.name != "command":
        for key in ("command", "version"):
            if getattr(trainer, key) is not None:
                raise StudyError(f"trainer.{key} belongs to trainer=command; leave it out, or add trainer=command")
        return None
    if not (trainer.command or "").strip():
        raise StudyError(
            "trainer=command needs the program's command line (try: trainer.command='python train.py'; "
            "docs/any-trainer.md has an example)"
        )
    return " @".join(filter(None, (str(trainer.command), trainer.version)))


def full_size_models(data: DataSpec) -> tuple[Model, ...]:
    """Returns every architecture at full size below conf/model, smallest first; Hydra must be active.

    Args:
        data: the size of its images is where a model may have a table of positions.
    """
    loader = _loader()
    families = [family for family in loader.list_groups("model") if family not in SMALL_MODELS]
    names = [f"{family}/{name}" for family in families for name in loader.get_group_options(f"model/{family}")]
    models = (_load_model(name) for name in names)
    return tuple(sorted(models, key=lambda model: model.shape.params(image_px=data.image_px)))


def load_data(name: str) -> DataSpec:
    """Returns the data set of conf/data of this name; Hydra must be active."""
    return _load(DataSpec, schema.DataConfig, f"data/{name}")


def _study(config: DictConfig) -> Study:
    axes = _plain(config.study)
    if config.model is None:
        models = tuple(_load_model(name) for name in axes["models"])
    else:
        models = (_model(config.model),)
    if config.seed is not None and config.seeds is not None:
        raise StudyError("both seed and seeds are given; seed=1 runs seed 1 alone, seeds=3 runs seeds 0, 1 and 2")
    if config.seeds is not None and config.seeds < 1:
        raise StudyError(f"seeds={config.seeds} runs nothing; give how many seeds to run, 1 or more (try: seeds=3)")
    seeds = axes["seeds"] if config.seeds is None else range(config.seeds)
    return Study(
        name=axes["name"],
        title=axes["title"],
        models=models,
        epochs=_axis(config.epochs, axes["epochs"]),
        batch_images=_axis(config.batch_images, axes["batch_images"]),
        peak_lrs=_axis(config.peak_lr, axes["peak_lrs"]),
        seeds=_axis(config.seed, seeds),
        data=_noun(DataSpec, config.data),
        schedule=_noun(ScheduleSpec, config.schedule),
        recipe=_noun(RecipeSpec, config.study.recipe),
        families=families_of(config.study, models, peak_lr=config.peak_lr, names_models=config.model is not None),
        hardware=_noun(Hardware, config.hardware),
        program=_program(config),
    )


def _picked(config: DictConfig, study: Study) -> Study:
    """Returns the study with the picks of config.pick in place of its grid."""
    for key in NAMED_BY_PICKS:
        if config[key] is not None:
            raise StudyError(f"both pick and {key} are given, but a pick file names its own; leave {key} out")
    return picked(study, read_pick_file(config.pick))


def _axis(single: Any, axis: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(axis) if single is None else (single,)


def _budget(config: DictConfig, study: Study) -> Budget:
    if config.budget is not None:
        return Budget.parse(config.budget, hardware=study.hardware.name)
    is_limited = config.action == "finetune" or (config.model is not None and config.epochs is not None)
    if not study.picks and not is_limited:
        raise StudyError(
            "no budget is given; write the core-hours of the largest single run, as 400, 0.4k, 12.5k or 110k "
            "(try: make sweep BUDGET=10k), or name one cell with model= and epochs="
        )
    # Named cells need no limit but their own cost, and checkpoints no other than that they are there.
    return Budget(core_hours=float(Grid(study=study).columns.core_hours.max()), hardware=study.hardware.name)


def _load_model(name: str) -> Model:
    path = f"model/{name}"
    try:
        return _model(_file(path))
    except READING_ERRORS as error:  # a study has many models: say which
        raise StudyError(f"conf/{path}.yaml: {explain(error, CONFIG_DIR)}") from error


def _model(config: Any) -> Model:
    """Returns the model of a config, whose shape may hold what its family knows and nothing else."""
    family = _known_family(config.get("family"))
    typed = OmegaConf.create({"model": schema.MODEL_CONFIGS[family]})  # below `model`, so that errors say model.shape.x
    plain = _plain(OmegaConf.merge(typed, {"model": OmegaConf.to_container(config, resolve=True)}))["model"]
    return Model(name=plain["name"], family=family, shape=from_jsonable(FAMILIES[family], plain["shape"]))


def _load(noun: type[Noun], config_class: type[Any], path: str) -> Noun:
    return _noun(noun, OmegaConf.merge(OmegaConf.structured(config_class), _file(path)))


def _file(path: str) -> Any:
    for source in _loader().get_sources():
        if source.is_config(path):
            return source.load_config(path).config
    raise unknown_option(path, CONFIG_DIR)


def _loader() -> ConfigLoader:
    return GlobalHydra.instance().config_loader()


def _noun(noun: type[Noun], config: Any) -> Noun:
    return from_jsonable(noun, _plain(config))


def _plain(config: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return plain


def _check_keys(config: DictConfig) -> None:
    """Raises StudyError for a key appended with `+`, which Hydra lets pass even where a schema names all keys."""
    cluster = OmegaConf.select(config, "cluster.name")
    family = None if config.model is None else _known_family(config.model.get("family"))
    known = frozenset(schema.known_keys(cluster, family))
    for key in _key_paths(OmegaConf.to_container(config), ""):
        if key not in known:
            raise unknown_key(key, cluster=cluster, family=family)


def _key_paths(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in cast(dict[str, Any], node).items():
            yield f"{path}{key}"
            yield from _key_paths(value, f"{path}{key}.")
