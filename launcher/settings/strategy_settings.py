"""Which settings go with which strategy, and with which cluster."""

import dataclasses

from launcher.settings.request import AshaSpec
from strategy.spec import SETTINGS, StrategySpec
from sweeps.errors import StudyError


def check_strategy(spec: StrategySpec, *, until: str | None, has_pick: bool) -> None:
    """Raises StudyError where a setting belongs to another strategy, or the strategy has no use for what else is given.

    Args:
        spec: the strategy with its settings.
        until: the stop rule as it was typed.
        has_pick: whether a pick file names the cells.
    """
    given = {key for key, value in dataclasses.asdict(spec).items() if key != "name" and value is not None}
    for key in sorted(given - set(SETTINGS[spec.name])):
        owner = " or ".join(name for name, keys in SETTINGS.items() if key in keys)
        raise StudyError(f"strategy.{key} belongs to strategy={owner}, not to {spec.name}; leave it out")
    if until is not None and spec.name not in ("informed", "ladder"):
        raise StudyError(
            f"until={until!r} stops a strategy that asks round by round what is worth training, which "
            f"strategy={spec.name} does not (try: STRATEGY=informed, or STRATEGY=ladder)"
        )
    if has_pick and spec.name not in ("grid", "asha"):
        raise StudyError(f"strategy={spec.name} chooses cells, but a pick file names its own; leave one of them out")


def asha_of(spec: StrategySpec, cluster: str) -> AshaSpec | None:
    """Returns how learning rates are stopped early; None where they are not.

    Raises:
        StudyError: the cluster cannot stop them, or a setting cannot be.
    """
    if spec.name != "asha":
        return None
    if cluster != "ray":
        raise StudyError(
            f"strategy=asha stops runs through Ray Tune, so it needs cluster=ray, not {cluster} "
            "(try: make sweep STRATEGY=asha CLUSTER=ray)"
        )
    settings = {key: getattr(spec, key) for key in SETTINGS["asha"] if getattr(spec, key) is not None}
    asha = AshaSpec(**settings)
    if asha.reduction_factor < 2 or not 0.0 < asha.grace_fraction < 1.0:
        raise StudyError(
            f"strategy=asha needs a reduction_factor of 2 or more and a grace_fraction between 0 and 1, not "
            f"{asha.reduction_factor} and {asha.grace_fraction:g}"
        )
    return asha
