"""What training costs: FLOPs from the shape, core-hours from a measured throughput or a stated fallback."""

import enum
import statistics
from dataclasses import dataclass

from sweeps.cost import Cost
from sweeps.errors import StudyError
from sweeps.hardware import CompiledStep, Hardware, Throughput
from sweeps.shape import Shape
from sweeps.trial import DataSpec, RecipeSpec, Trial

FLOPS_PER_MAC = 6
"""Training FLOPs for a forward multiply-accumulate: 2 forward, twice that backward."""

ASSUMED_MFU_SPREAD = 0.2
"""Assumption: relative standard deviation of a core-hour figure that rests on an assumed MFU. The reference study's own
six models span 29 to 37 % (a spread of 0.09); another architecture or device can lie further off."""

_SECONDS_PER_HOUR = 3600.0


class Rule(enum.StrEnum):
    """How core-hours were found; plans show it."""

    MEASURED = "measured"
    """From a measured throughput."""
    DEFINED = "defined"
    """From flops_per_core_hour: a scale model's core-hours are FLOPs in other units."""
    COMPILED = "compiled floor"
    """From a compiled step's floor / the efficiency that measured models reach of theirs."""
    ASSUMED = "assumed MFU"
    """From peak x assumed model FLOPs utilisation: nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one training image costs a model on a hardware."""

    params: int
    """With this data's classifier and input channels."""
    flops_per_image: float
    core_hours_per_image: float
    relative_spread: float
    """Relative standard deviation of core_hours_per_image."""
    rule: Rule

    def cost(self, images: int) -> Cost:
        """Returns the cost of training on this many images."""
        return Cost(
            flops=self.flops_per_image * images,
            core_hours=self.core_hours_per_image * images,
            wall_hours=None,
            relative_spread=self.relative_spread,
        )


def gradients_a_step(recipe: RecipeSpec) -> int:
    """Returns how many gradients a step takes: sharpness-aware minimisation needs a second one, uphill."""
    return 2 if recipe.sam_radius > 0.0 else 1


def flops_per_image(shape: Shape, data: DataSpec) -> float:
    """Returns the training FLOPs of one image and one gradient."""
    macs = shape.forward_macs(image_px=data.image_px, classes=data.classes, channels=data.channels)
    return float(FLOPS_PER_MAC * macs)


def rate(*, shape: Shape, family: str, model: str, data: DataSpec, hardware: Hardware, gradients: int = 1) -> Rate:
    """Returns what one training image costs, by the first rule of Rule that the hardware has figures for.

    Throughputs and compiled steps have one gradient; a step with more of them takes so many times as long.

    Raises:
        StudyError: the hardware gives no way to price this model.
    """
    rates = rates_by_rule(
        shape=shape, family=family, model=model, data=data, hardware=hardware, gradients=gradients
    ).values()
    if not rates:
        raise StudyError(
            f"hardware {hardware.name} cannot price {family} {model} at {data.image_px} px: it has no throughput "
            "for it, no flops_per_core_hour, no compiled step with an assumed_efficiency and no peak with an assumed "
            "MFU (try: hardware.peak_flops_per_s_per_core=137.5e12 hardware.assumed_mfu=0.33)"
        )
    return next(iter(rates))


def rates_by_rule(
    *, shape: Shape, family: str, model: str, data: DataSpec, hardware: Hardware, gradients: int = 1
) -> dict[Rule, Rate]:
    """Returns what one training image costs by each rule that the hardware has figures for, best rule first."""
    flops = flops_per_image(shape, data)
    params = shape.params(image_px=data.image_px, classes=data.classes, channels=data.channels)
    found: dict[Rule, tuple[float, float]] = {}  # core-hours an image, relative spread
    if (throughput := find_throughput(hardware, family, model, data)) is not None:
        seconds = 1.0 / throughput.images_per_s_per_core
        found[Rule.MEASURED] = seconds / _SECONDS_PER_HOUR, throughput.relative_spread
    if hardware.flops_per_core_hour is not None:
        found[Rule.DEFINED] = flops / hardware.flops_per_core_hour, 0.0
    step, efficiency = find_compiled(hardware, family, model, data), hardware.assumed_efficiency
    if step is not None and efficiency is not None:
        seconds = step.floor_s / step.batch_images_per_core / efficiency
        found[Rule.COMPILED] = seconds / _SECONDS_PER_HOUR, hardware.efficiency_spread or ASSUMED_MFU_SPREAD
    if hardware.peak_flops_per_s_per_core is not None and hardware.assumed_mfu is not None:
        seconds = flops / (hardware.peak_flops_per_s_per_core * hardware.assumed_mfu)
        found[Rule.ASSUMED] = seconds / _SECONDS_PER_HOUR, ASSUMED_MFU_SPREAD
    return {
        rule: Rate(
            params=params,
            flops_per_image=gradients * flops,
            core_hours_per_image=gradients * core_hours,
            relative_spread=spread,
            rule=rule,
        )
        for rule, (core_hours, spread) in found.items()
    }


def find_throughput(hardware: Hardware, family: str, model: str, data: DataSpec) -> Throughput | None:
    """Returns the calibration of this model at this image size, if the hardware has one."""
    wanted = (family, model, data.image_px)
    found = (item for item in hardware.throughputs if (item.family, item.model, item.image_px) == wanted)
    return next(found, None)


def find_compiled(hardware: Hardware, family: str, model: str, data: DataSpec) -> CompiledStep | None:
    """Returns the compiled step of this model at this image size, if the hardware has one; one that fits goes first."""
    wanted = (family, model, data.image_px)
    found = [item for item in hardware.compiled if (item.family, item.model, item.image_px) == wanted]
    return min(found, key=lambda step: not step.fits, default=None)


def learned_efficiency(hardware: Hardware, data: DataSpec) -> tuple[float, float] | None:
    """Returns compiled floor / measured time, and its relative standard deviation over models that have both and fit.

    That spread is the error of a price that rests on a compiled floor. None where fewer than two models have both.
    """
    reached: list[float] = []
    for item in hardware.throughputs:
        step = find_compiled(hardware, item.family, item.model, data)
        if step is not None and step.fits and item.image_px == data.image_px:
            reached.append(step.floor_s / step.batch_images_per_core * item.images_per_s_per_core)
    if len(reached) < 2:
        return None
    mean = statistics.mean(reached)
    return mean, statistics.stdev(reached) / mean


def price(
    *, shape: Shape, family: str, model: str, data: DataSpec, images: int, hardware: Hardware, gradients: int = 1
) -> tuple[Cost, Rule]:
    """Returns the cost of training a model on `images` images, and the rule that gave its core-hours."""
    per_image = rate(shape=shape, family=family, model=model, data=data, hardware=hardware, gradients=gradients)
    return per_image.cost(images), per_image.rule


def price_trial(trial: Trial, hardware: Hardware) -> Cost:
    """Returns the cost of training a trial from its start."""
    cost, _ = price(
        shape=trial.shape,
        family=trial.family,
        model=trial.model,
        data=trial.data,
        images=trial.images,
        hardware=hardware,
        gradients=gradients_a_step(trial.recipe),
    )
    return cost
