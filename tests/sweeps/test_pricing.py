"""Prices against the digitised reference study, and the order of the rules."""

import csv
import dataclasses
from pathlib import Path

import pytest

from sweeps.errors import StudyError
from sweeps.hardware import CompiledStep, Hardware, Throughput
from sweeps.nfnet_shape import NFNetShape
from sweeps.pricing import FLOPS_PER_MAC, Rule, learned_efficiency, price, price_trial, rates_by_rule
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial

SHAPE = NFNetShape(stage_depths=(1,), stage_widths=(8,), stage_strides=(1,), stem_widths=(8,), stem_strides=(2,))
DATA = DataSpec(
    name="parts",
    image_px=16,
    channels=3,
    classes=10,
    images_per_epoch=1000,
    held_out_images=10,
    selection_images=10,
)
MEASURED = Throughput(
    model="f0", family="nfnet", image_px=16, images_per_s_per_core=10.0, relative_spread=0.05, source="a stopwatch"
)
COMPILED = CompiledStep(
    model="f0",
    family="nfnet",
    image_px=16,
    batch_images_per_core=64,
    flops=1e9,
    traffic_bytes=1e9,
    memory_bytes=1e9,
    floor_s=3.2,
    fits=True,
    source="a compiler",
)
PRIOR = {"compiled": (COMPILED,), "assumed_efficiency": 0.5, "efficiency_spread": 0.1}
"""3.2 s / 64 images / 0.5 = 0.1 s an image."""
PEAK = {"peak_flops_per_s_per_core": 1e12, "assumed_mfu": 0.5}
FLOPS = FLOPS_PER_MAC * SHAPE.forward_macs(image_px=16, classes=10)

RULES = [
    (Hardware(name="all", throughputs=(MEASURED,), flops_per_core_hour=1e6, **PEAK), Rule.MEASURED, 1 / 36000, 0.05),
    (Hardware(name="scale", flops_per_core_hour=1e6, **PRIOR, **PEAK), Rule.DEFINED, FLOPS / 1e6, 0.0),
    (Hardware(name="compiled", **PRIOR, **PEAK), Rule.COMPILED, 0.1 / 3600, 0.1),
    (Hardware(name="floor", compiled=(COMPILED,), **PEAK), Rule.ASSUMED, FLOPS / 0.5e12 / 3600, 0.2),
    (Hardware(name="peak", **PEAK), Rule.ASSUMED, FLOPS / 0.5e12 / 3600, 0.2),
]


@pytest.mark.parametrize(("hardware", "rule", "core_hours_per_image", "spread"), RULES)
def test_rules_in_order(hardware: Hardware, rule: Rule, core_hours_per_image: float, spread: float) -> None:
    """A throughput, the scale, a compiled floor with an efficiency, peak x MFU: in this order; FLOPs stay the same."""
    cost, used = price(shape=SHAPE, family="nfnet", model="f0", data=DATA, images=500, hardware=hardware)
    assert used is rule
    assert cost.core_hours == pytest.approx(500 * core_hours_per_image)
    assert cost.flops == 500 * FLOPS
    assert cost.relative_spread == spread
    assert cost.wall_hours is None


@pytest.mark.parametrize(("family", "model", "image_px"), [("vit", "f0", 16), ("nfnet", "f1", 16), ("nfnet", "f0", 32)])
def test_a_throughput_counts_for_its_own_model_only(family: str, model: str, image_px: int) -> None:
    """A calibration of another family, model or image size is not borrowed."""
    throughput = Throughput(
        model=model, family=family, image_px=image_px, images_per_s_per_core=1.0, relative_spread=0.0, source="x"
    )
    hardware = Hardware(name="h", throughputs=(throughput,), **PEAK)
    assert price(shape=SHAPE, family="nfnet", model="f0", data=DATA, images=1, hardware=hardware)[1] is Rule.ASSUMED


def test_every_rule_is_there_to_be_compared() -> None:
    """Side by side the rules come in their order, and a second gradient doubles each price."""
    hardware = Hardware(name="all", throughputs=(MEASURED,), flops_per_core_hour=1e6, **PRIOR, **PEAK)
    model = {"shape": SHAPE, "family": "nfnet", "model": "f0", "data": DATA, "hardware": hardware}
    once, twice = rates_by_rule(**model), rates_by_rule(**model, gradients=2)
    assert list(once) == [Rule.MEASURED, Rule.DEFINED, Rule.COMPILED, Rule.ASSUMED]
    for rule, rate in once.items():
        assert rate.rule is rule
        assert twice[rule].core_hours_per_image == 2 * rate.core_hours_per_image


def test_a_compiled_step_that_fits_goes_first() -> None:
    """Of two batches that were compiled the one that fits a core prices the model."""
    large = dataclasses.replace(COMPILED, batch_images_per_core=128, floor_s=9.9, fits=False)
    hardware = Hardware(name="two", compiled=(large, COMPILED), assumed_efficiency=0.5)
    cost, rule = price(shape=SHAPE, family="nfnet", model="f0", data=DATA, images=1, hardware=hardware)
    assert (rule, cost.core_hours) == (Rule.COMPILED, pytest.approx(0.1 / 3600))


def test_an_efficiency_is_learned_where_both_are_known() -> None:
    """Floor / measured time, averaged over models with both; other image sizes and single models teach nothing."""
    second = dataclasses.replace(COMPILED, model="f1", floor_s=6.4)
    measured = tuple(dataclasses.replace(MEASURED, model=model) for model in ("f0", "f1", "f9"))
    other_size = dataclasses.replace(MEASURED, image_px=32, images_per_s_per_core=1e9)
    hardware = Hardware(name="h", throughputs=(*measured, other_size), compiled=(COMPILED, second))
    mean, spread = learned_efficiency(hardware, DATA) or (0.0, 0.0)
    assert mean == pytest.approx((0.5 + 1.0) / 2)
    assert spread == pytest.approx(2**0.5 / 4 / 0.75)
    assert learned_efficiency(dataclasses.replace(hardware, compiled=(COMPILED,)), DATA) is None


def test_hardware_without_any_rule_is_refused() -> None:
    """Nothing measured and nothing assumed is an error that names what to give."""
    with pytest.raises(StudyError, match=r"cannot price nfnet f0 at 16 px.*assumed_mfu"):
        price(shape=SHAPE, family="nfnet", model="f0", data=DATA, images=1, hardware=Hardware(name="bare"))


def test_a_trial_costs_its_images() -> None:
    """The price of a trial is that of the images in its whole steps."""
    trial = Trial(
        model="f0",
        family="nfnet",
        shape=SHAPE,
        data=DATA,
        epochs=0.5,
        batch_images=32,
        peak_lr=0.1,
        schedule=ScheduleSpec(name="cosine", warmup_steps=0),
        recipe=RecipeSpec(),
        seed=0,
    )
    assert trial.images == 512
    assert price_trial(trial, Hardware(name="s", flops_per_core_hour=1.0)).core_hours == 512 * FLOPS


def test_reference_tables_are_whole() -> None:
    """The digitised tables hold 36 losses and 18 learning rates, each cell once."""
    folder = Path(__file__).parents[2] / "sweeps" / "reference"
    for name, rows in (("jft4b_nfnet_loss.csv", 36), ("jft4b_nfnet_optimal_lr.csv", 18)):
        with (folder / name).open() as file:
            cells = [(row["model"], row["epochs"]) for row in csv.DictReader(file)]
        assert len(cells) == len(set(cells)) == rows
