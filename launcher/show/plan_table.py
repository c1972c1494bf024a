"""A plan as people read it, one aligned table, and as programs read it, one JSON object."""

import bisect
import itertools
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from analysis.report.narrow_table import WIDEST, Column, print_fitted, print_line
from launcher.show.rule_table import print_rules
from sweeps.budget import format_core_hours
from sweeps.plan import Cell, Plan
from sweeps.pricing import Rule

TABLE_WIDTH = WIDEST
MAX_ROWS = 100
"""Rows shown of the cells within the budget; format=json holds all."""
MAX_CUTS = 3
"""Rows shown of the cells that are cut for one reason: the cheapest, which a little more would buy."""


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Returns the plan as JSON-ready data: one entry of `cells` for each run, one of `cuts` for each cell left out."""
    return {
        "budget_core_hours": plan.budget.core_hours,
        "total_core_hours": plan.total.core_hours,
        "trained_core_hours": plan.trained_core_hours,
        "total_flops": plan.total.flops,
        "cells": [
            _cell_as_json(cell) | {"peak_lr": peak_lr}
            for cell in plan.cells
            for _ in plan.study.seeds
            for peak_lr in cell.peak_lrs
        ],
        "cuts": [{"model": cut.cell.model.name, "epochs": cut.cell.epochs, "reason": cut.reason} for cut in plan.cuts],
    }


def _cell_as_json(cell: Cell) -> dict[str, Any]:
    return {
        "model": cell.model.name,
        "family": cell.model.family,
        "epochs": cell.epochs,
        "images": cell.images,
        "params": cell.params,
        "flops": cell.cost.flops,
        "core_hours": cell.cost.core_hours,
        **({"trunk_id": cell.trunk_id} if cell.trunk_id else {}),
    }


def print_plan(plan: Plan, console: Console, *, time: str | None = None) -> None:
    """Prints the cells of the plan from cheap to dear, what is cut and why, the totals, the units, and the time."""
    print_line(console, Text.assemble((plan.study.name, "bold"), f": {plan.study.title}"))
    console.print()
    _print_cells(plan, console)
    print_rules(plan.study, console)
    console.print()
    for line in summary_lines(plan):
        print_line(console, line)
    if time is not None:
        print_line(console, time)


def _print_cells(plan: Plan, console: Console) -> None:
    hardware = plan.study.hardware
    price = hardware.price_per_core_hour
    columns = [
        Column(header="cell", is_words=True),
        Column(header="images", wanted=1),
        Column(header="FLOPs", wanted=2),
        Column(header="core-hours"),
        Column(header="runs", wanted=6),
        Column(header="cumulative", wanted=3),
        *([] if price is None else [Column(header=hardware.currency, wanted=5)]),
        Column(header="priced by / cut because", is_words=True, wraps=True, wanted=4),
    ]
    rows: list[tuple[str, ...]] = []
    cumulative = 0.0
    for cell in itertools.islice(plan.cells, MAX_ROWS):
        spent = cell.cost.core_hours * cell.runs
        cumulative += spent
        money = [] if price is None else [_money(price * spent)]
        words = (*_cell_words(plan, cell), str(cell.runs), format_core_hours(cumulative))
        rows.append((*words, *money, _rule_word(cell)))
    rows += _more(len(columns), len(plan.cells) - MAX_ROWS)
    dim_from = len(rows)
    money = [] if price is None else ["-"]
    # From cheap to dear the reason changes once, from the spend cap to the budget: found without making every cell.
    above = bisect.bisect_left(plan.cuts, True, key=lambda cut: not plan.budget.holds(cut.cell.cost.core_hours))
    for cuts in filter(None, (plan.cuts[:above], plan.cuts[above:])):
        rows += [(*_cell_words(plan, cut.cell), "cut", "-", *money, cut.reason) for cut in cuts[:MAX_CUTS]]
        rows += _more(len(columns), len(cuts) - MAX_CUTS, cuts[0].reason)
    print_fitted(console, columns, rows, dim_from=dim_from)


def _more(columns: int, hidden: int, reason: str = "") -> list[tuple[str, ...]]:
    return [(f"... {hidden:,} more", *[""] * (columns - 2), reason)] if hidden > 0 else []


def _cell_words(plan: Plan, cell: Cell) -> tuple[str, ...]:
    study = plan.study
    batches = {*study.batch_images, *(pick.batch_images for pick in study.picks)}
    batch = f"-b{cell.batch_images}" if len(batches) > 1 else ""
    peak_lr = f"-lr{cell.peak_lrs[0]:g}" if study.picks else ""
    trunk = f" from {cell.trunk_id[:8]}" if cell.trunk_id else ""
    name, cost = cell.name + batch + peak_lr + trunk, cell.cost
    return name, f"{cell.images:,}", format_flops(cost.flops), format_core_hours(cost.core_hours)


def _rule_word(cell: Cell) -> str:
    done = f", {cell.settled_runs} of {cell.runs} runs done" if cell.settled_runs else ""
    return f"{cell.rule}{done}"


def summary_lines(plan: Plan) -> Iterator[str]:
    """Yields the lines below the table: totals, cuts, spend, money, and what a core-hour is."""
    runs = len(plan.cells) * plan.grid.runs_per_cell
    total, hardware = plan.total, plan.study.hardware
    spread = f" (+- {100 * total.relative_spread:.0f} %)" if total.relative_spread else ""
    yield (
        f"total: {_count(len(plan.cells), 'cell')}, {_count(runs, 'run')}, {format_flops(total.flops)} FLOPs, "
        f"{format_core_hours(total.core_hours)} core-hours{spread}"
    )
    if plan.sharing_runs:
        part = 100 * plan.trained_core_hours / total.core_hours
        yield (
            f"{plan.sharing_runs:,} of {_count(runs, 'run')} take over the steps of a shorter one: "
            f"{format_core_hours(plan.trained_core_hours)} core-hours to be trained, {part:.1f} % of "
            f"{format_core_hours(total.core_hours)}"
        )
    if hardware.price_per_core_hour is not None:
        money = _money(hardware.price_per_core_hour * plan.trained_core_hours)
        yield f"price: {money} {hardware.currency} at {hardware.price_per_core_hour:g} a core-hour"
    yield from _family_lines(plan)
    yield f"budget: {plan.budget} core-hours for the largest single run; {_count(len(plan.cuts), 'cell')} cut"
    if plan.spend_cap_core_hours is not None or plan.settled:
        cap = plan.spend_cap_core_hours
        limit = "no cap" if cap is None else f"of a cap of {format_core_hours(cap)}"
        spent = format_core_hours(plan.spent_core_hours)
        yield f"spent so far: {spent} core-hours, {limit}; {_count(len(plan.settled), 'run')} done"
    yield from _unit_lines(plan)


def _family_lines(plan: Plan) -> Iterator[str]:
    """Yields how the models of each family are trained, where families have recipes and rates of their own."""
    study = plan.study
    first = {model.family: model for model in reversed(study.models)} if study.families else {}
    for family, model in reversed(first.items()):
        rates = [study.peak_lrs_of(one) for one in study.models if one.family == family]
        words = ", ".join(f"{rate:g}" for rate in rates[0])
        if rates[-1] != rates[0]:
            words += f" ({model.name}) to {', '.join(f'{rate:g}' for rate in rates[-1])}"
        yield f"{family}: {study.recipe_of(model).optimiser}, learning rates {words}"


def _unit_lines(plan: Plan) -> Iterator[str]:
    hardware = plan.study.hardware
    rules = {rate.rule for rate in plan.grid.rates}
    if Rule.DEFINED in rules:
        yield f"scale model, 1 core-hour = {hardware.flops_per_core_hour:.4g} FLOPs"
    if Rule.MEASURED in rules:
        yield f"measured: core-hours of {hardware.name}, from images per second and core of each model"
    if Rule.COMPILED in rules:
        spread = hardware.efficiency_spread
        error = "" if spread is None else f" (+- {100 * spread:.0f} % where both are known)"
        yield (
            f"compiled floor: {hardware.name} has only a compiled step of {_named(plan, Rule.COMPILED)}; "
            f"floor / {hardware.assumed_efficiency:.2f}{error}"
        )
    if Rule.ASSUMED in rules and hardware.peak_flops_per_s_per_core and hardware.assumed_mfu:
        yield (
            f"assumed MFU: {hardware.name} has no throughput for {_named(plan, Rule.ASSUMED)} at "
            f"{plan.study.data.image_px} px; priced at "
            f"{hardware.peak_flops_per_s_per_core / 1e12:g} TFLOP/s x {100 * hardware.assumed_mfu:g} %"
        )


def _named(plan: Plan, rule: Rule) -> str:
    """Returns the names of the models that are priced by a rule."""
    named = zip(plan.study.models, plan.grid.rates, strict=True)
    models = [model.name for model, rate in named if rate.rule is rule]
    return ", ".join(models[:8]) + (" ..." if len(models) > 8 else "")


def format_flops(flops: float) -> str:
    """Returns FLOPs to three digits, 5.75e19."""
    return f"{flops:.2e}".replace("e+", "e")


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount < 1000 else f"{amount:,.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
