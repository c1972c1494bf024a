"""A comparison of families on the terminal: the verdict, laws, pairs by budget, the other axes and every warning."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.compare.cautions import edges_of
from analysis.compare.compare_json import readings
from analysis.compare.findings import Comparison, Duel
from analysis.compare.verdict import amount_text, duel_sentence, factor_text, gap_text
from analysis.report.report_text import WIDTH
from analysis.result import Estimate

_CORNERS = ("small, cheap", "large, cheap", "small, dear", "large, dear")


def print_comparison(
    result: Comparison, budgets: Sequence[float] = (), written: Sequence[Path] = (), *, console: Console | None = None
) -> None:
    """Prints the verdict first, then what it rests on, every warning and where the files are."""
    console = console or Console(width=WIDTH, highlight=False)
    names = ", ".join(family.name for family in result.families)
    console.print(Text(f"{result.families[0].source}: {names}", style="bold"))
    console.print(Text(f"{result.verdict}."))
    for line in basis_lines(result):
        console.print(Text(line, style="dim"))
    tables = [families_table(result), laws_table(result), *(pair_table(result, d, budgets) for d in result.main.duels)]
    for table in (*tables, axes_table(result), map_table(result)):
        if table is not None:
            console.print()
            console.print(table)
    console.print(Text(result.disagreement))
    console.print()
    for notice in result.notices:
        console.print(Text(f"warning: {notice.text}", style="yellow"))
    for path in written:
        console.print(Text(str(path), style="dim"))


def print_maps(results: Sequence[Comparison], written: Sequence[Path] = (), *, console: Console | None = None) -> None:
    """Prints of each study the verdict and who leads where, then where the files are."""
    console = console or Console(width=WIDTH, highlight=False)
    for result in results:
        console.print(Text(f"{result.families[0].source}", style="bold"))
        console.print(Text(f"{result.verdict}."))
        if (table := map_table(result)) is not None:
            console.print(table)
        for notice in result.notices:
            console.print(Text(f"warning: {notice.text}", style="yellow"))
        console.print()
    for path in written:
        console.print(Text(str(path), style="dim"))


def basis_lines(result: Comparison) -> list[str]:
    """Returns what the numbers rest on."""
    lines = [
        f"{result.level:.0%} intervals from {result.resamples} resamples, paired by size rank and epochs; best losses "
        "are read off surfaces smoothed over size, data and learning rate"
    ]
    if result.main.axis.is_spent and result.main.bests and not all(best.is_free for best in result.main.bests):
        lines.append("the best size lies at the edge of those that were run: the grids are compared, not the families")
    if result.flops_per_core_hour:
        lines.append(f"scale model, 1 core-hour = {result.flops_per_core_hour:.4g} FLOPs")
    return lines


def families_table(result: Comparison) -> Table:
    """Returns how closely each family was looked at."""
    table = _table("family", "cells", "sizes", "seeds", "runs", "diverged", "best rate at edge", "scatter")
    for family, smoothed in zip(result.families, result.smoothed, strict=True):
        table.add_row(
            family.name,
            str(len(family.cells)),
            str(len({cell.model for cell in family.cells})),
            f"{family.seeds:g}",
            str(family.runs),
            str(family.diverged),
            str(sum(edge is not None for edge in edges_of(family, smoothed))),
            f"{smoothed.residual_sd:.2%}",
        )
    return table


def laws_table(result: Comparison) -> Table | None:
    """Returns the laws side by side; None on an axis of size."""
    laws = result.main.laws
    if not laws:
        return None
    table = _table("law", *laws[0].law.parameters, "from", "to")
    for law in laws:
        low, high = (amount_text(float(np.exp(end)), result.main.axis) for end in law.span)
        table.add_row(law.family, *(_ranged(law.parameters[name]) for name in law.law.parameters), low, high)
    table.caption = f"{laws[0].law.formula}  [C in {result.main.axis.unit}]"
    table.caption_justify = "left"
    return table


def pair_table(result: Comparison, duel: Duel, budgets: Sequence[float]) -> Table:
    """Returns gap and multiplier of a pair at each budget."""
    gaps, multipliers = readings(result, duel, budgets)
    table = _table(result.main.axis.unit, f"loss of {duel.b} against {duel.a}", f"multiplier of {duel.b}")
    by_budget = {row["budget"]: row for row in multipliers}
    for row in gaps:
        factor = by_budget.get(row["budget"])
        table.add_row(
            amount_text(row["budget"], duel.axis),
            gap_text(Estimate(value=row["value"], low=row["low"], high=row["high"])),
            factor_text(Estimate(value=factor["value"], low=factor["low"], high=factor["high"])) if factor else "-",
        )
    mean = factor_text(duel.mean_multiplier) if duel.mean_multiplier else "-"
    table.add_row("mean", gap_text(duel.mean_gap), mean, style="bold")
    if duel.meeting is not None:
        m = duel.meeting
        sure = "" if m.is_sure else ", not sure"
        table.caption = f"draw level at {amount_text(m.amount, duel.axis)} in {m.share:.0%} of resamples{sure}"
        table.caption_justify = "left"
    return table


def axes_table(result: Comparison) -> Table | None:
    """Returns the verdict of each pair on every axis; None where no other axis can be compared."""
    answered = [one for one in result.others if one.duels]
    if not answered:
        return None
    table = _table("at equal", "verdict")
    table.columns[1].justify = "left"
    for one in (result.main, *answered):
        for k, duel in enumerate(one.duels):
            table.add_row(one.axis.equal if not k else "", duel_sentence(duel))
    return table


def map_table(result: Comparison) -> Table | None:
    """Returns who leads within limits of size and compute, a column a map; None where there is none."""
    if not result.maps:
        return None
    names = [family.name for family in result.families]
    table = _table("within limits of", *(f"{one.limit.unit}, {one.compute.unit}" for one in result.maps))
    for k, name in enumerate(names):
        table.add_row(f"{name} leads on", *(f"{one.area(k, is_sure=True):.0%}" for one in result.maps))
    for k, corner in enumerate(_CORNERS):
        found = [one.corners[k] for one in result.maps]
        table.add_row(corner, *(names[c.leader] if c.is_sure else f"({names[c.leader]})" for c in found))
    table.caption = f"of the map in log-log, in {result.level:.0%} of resamples or more; (name): ahead, not for sure"
    table.caption_justify = "left"
    return table


def _ranged(one: Estimate) -> str:
    if one.low is None or one.high is None:
        return f"{one.value:.4g}"
    return f"{one.value:.4g} ({one.low:.3g} to {one.high:.3g})"


def _table(first: str, *headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table
