"""What families of a study have of their own: `study.families.vit.peak_lrs` and `study.families.vit.recipe.*`."""

from collections.abc import Sequence
from typing import Any

from launcher.settings import schema
from sweeps.canonical import from_jsonable
from sweeps.errors import StudyError
from sweeps.study import FamilySettings, Model
from sweeps.trial import RecipeSpec

_PATH = "study.families"


def settable(word: str) -> str:
    """Returns a word of a command line; one for a family may then name a key that the study's file leaves out."""
    return f"++{word}" if word.startswith(f"{_PATH}.") else word


def families_of(
    study: Any, models: Sequence[Model], *, peak_lr: float | None, names_models: bool
) -> tuple[FamilySettings, ...]:
    """Returns what families have of their own: the study's recipe with the keys that they change, rates where named.

    Args:
        study: the config below `study`.
        models: those that are run.
        peak_lr: the one rate that all of them are run with; absent: the lists.
        names_models: whether a command line names models, so that families without any are passed over.

    Raises:
        StudyError: a family has no model, or what it has of its own cannot be used.
    """
    used = {model.family for model in models}
    named = {str(family): own for family, own in study.families.items() if own is not None}
    without = sorted(named.keys() - used)
    if without and not names_models:
        has = ", ".join(dict.fromkeys(model.family for model in models))
        raise StudyError(
            f"{_PATH}.{without[0]} is given, but the study has no model of that family; its models are of {has} "
            f"(add some to study.models, or leave the family out: {_PATH}.{without[0]}=null)"
        )
    return tuple(_settings(study, family, own, peak_lr) for family, own in named.items() if family in used)


def _settings(study: Any, family: str, own: Any, peak_lr: float | None) -> FamilySettings:
    plain = schema.family_values(study, family, own)
    exponent, at_params = float(plain["lr_params_exponent"]), float(plain["lr_at_params"])
    if exponent and not at_params > 1.0:
        raise StudyError(
            f"{_PATH}.{family}.lr_params_exponent={exponent:g} needs the parameters at which peak_lrs hold "
            f"(try: {_PATH}.{family}.lr_at_params=5000)"
        )
    return FamilySettings(
        family=family,
        recipe=from_jsonable(RecipeSpec, plain["recipe"]),
        peak_lrs=tuple(plain["peak_lrs"] if peak_lr is None else [peak_lr]),
        # A rate that is named for all of them is the same for all sizes too.
        lr_params_exponent=exponent if peak_lr is None else 0.0,
        lr_at_params=at_params,
    )
