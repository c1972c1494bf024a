"""What a model costs by each rule of pricing, side by side: how far a stated fallback lies from what was measured."""

import itertools
from collections.abc import Iterator

from rich.console import Console

from analysis.report.narrow_table import Column, print_fitted
from sweeps.budget import format_core_hours
from sweeps.hardware import CompiledStep
from sweeps.pricing import Rule, find_compiled, gradients_a_step, rates_by_rule
from sweeps.study import Model, Study

MAX_MODELS = 40
COMPARED = (Rule.MEASURED, Rule.COMPILED, Rule.ASSUMED)
"""All that say core-hours of real devices."""


def print_rules(study: Study, console: Console) -> None:
    """Prints core-hours an epoch of each model by each rule; nothing where no model can be priced by two of them."""
    models = list(itertools.islice(study.models, MAX_MODELS))
    prices = [_prices(study, model) for model in models]
    steps = [find_compiled(study.hardware, model.family, model.name, study.data) for model in models]
    shown = [rule for rule in COMPARED if any(rule in found for found in prices)]
    if not any(steps) and not any(len(found) > 1 for found in prices):
        return
    columns = [Column(header="core-hours an epoch", is_words=True)]
    columns += [Column(header=_header(study, rule), wanted=2 * (rule is not Rule.MEASURED)) for rule in shown]
    columns += [Column(header="memory a core", wanted=1)] if any(steps) else []
    rows = [
        (model.name, *_words(shown, found), *([_memory(step)] if any(steps) else []))
        for model, found, step in zip(models, prices, steps, strict=True)
    ]
    console.print()
    print_fitted(console, columns, rows)


def _prices(study: Study, model: Model) -> dict[Rule, float]:
    """Returns the core-hours of an epoch by each rule."""
    rates = rates_by_rule(
        shape=model.shape,
        family=model.family,
        model=model.name,
        data=study.data,
        hardware=study.hardware,
        gradients=gradients_a_step(study.recipe_of(model)),
    )
    epoch = study.data.images_per_epoch
    return {rule: epoch * rate.core_hours_per_image for rule, rate in rates.items() if rule in COMPARED}


def _header(study: Study, rule: Rule) -> str:
    hardware = study.hardware
    match rule:
        case Rule.COMPILED:
            return f"floor / {hardware.assumed_efficiency or 0.0:.2f}"
        case Rule.ASSUMED:
            return f"{100 * (hardware.assumed_mfu or 0.0):.3g} % MFU"
        case _:
            return str(rule)


def _words(shown: list[Rule], found: dict[Rule, float]) -> Iterator[str]:
    """Yields the prices, each but the first with how far it lies from the measured one."""
    measured = found.get(Rule.MEASURED)
    for rule in shown:
        price = found.get(rule)
        if price is None:
            yield "-"
        elif measured is None or rule is Rule.MEASURED:
            yield format_core_hours(price)
        else:
            yield f"{format_core_hours(price)} ({100 * (price / measured - 1):+.0f} %)"


def _memory(step: CompiledStep | None) -> str:
    if step is None:
        return "-"
    too_much = "" if step.fits else ", does not fit"
    return f"{step.memory_bytes / 2**30:.1f} GiB at {step.batch_images_per_core}{too_much}"
