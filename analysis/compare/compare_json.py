"""A comparison of families as one JSON object."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.compare.axes import Axis
from analysis.compare.cautions import edges_of
from analysis.compare.duel import gap_at, multiplier_at
from analysis.compare.family import Family
from analysis.compare.findings import Band, Comparison, Duel, OnAxis
from analysis.compare.lead_map import LeadMap
from analysis.compare.smooth import SmoothLosses
from analysis.compare.verdict import duel_sentence
from analysis.laws import Floats
from analysis.refusal import Refusal
from analysis.report.axis_ticks import compute_ticks
from analysis.result import Estimate

_MAP_PLACES = 7
"""Places along each side of a map that are written down."""


def comparison_json(result: Comparison, budgets: Sequence[float] = ()) -> dict[str, Any]:
    """Returns all of a comparison; without `budgets` it is read at round ones and at the ends of the range."""
    main = result.main
    rows = [readings(result, duel, budgets) for duel in main.duels]
    return {
        "study": result.families[0].study,
        "verdict": result.verdict,
        "axis": main.axis.name,
        "unit": main.axis.unit,
        "level": result.level,
        "resamples": result.resamples,
        "flops_per_core_hour": result.flops_per_core_hour,
        "gap": [row for gap, _ in rows for row in gap],
        "compute_multiplier": [row for _, multiplier in rows for row in multiplier],
        "crossing": [_crossing(duel, result) for duel in main.duels if duel.meeting is not None],
        "pairs": [_pair(duel) for duel in main.duels],
        "laws": _laws(main),
        "by_axis": [_on_axis(one) for one in (main, *result.others)],
        "by_axis_verdict": result.disagreement,
        "maps": [_map(one, result) for one in result.maps],
        "families": [_family(f, one) for f, one in zip(result.families, result.smoothed, strict=True)],
        "warnings": [{"code": notice.code, "text": notice.text} for notice in result.notices],
        "refused": None,
    }


def refused_json(refusal: Refusal) -> dict[str, Any]:
    """Returns the object of a comparison that could not be made."""
    return {
        "verdict": None,
        "gap": [],
        "compute_multiplier": [],
        "refused": {"code": refusal.code, "reason": refusal.reason, "next": refusal.next},
    }


def readings(
    result: Comparison, duel: Duel, budgets: Sequence[float]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the gap and the multiplier of a pair at budgets on the main axis, where they can be read."""
    main = result.main
    names = [family.name for family in result.families]
    i, j = names.index(duel.a), names.index(duel.b)
    laws = (main.laws[i], main.laws[j]) if main.laws else None
    ticks = compute_ticks(*duel.span, in_core_hours=False)[0]
    amounts = list(budgets) or sorted({duel.span[0], *ticks, duel.span[1]})
    log_amounts: Floats = np.log(np.array(amounts, dtype=np.float64))
    gap = gap_at(main.bests[i], main.bests[j], laws, log_amounts, level=result.level)
    multiplier = multiplier_at(laws, log_amounts, level=result.level) if laws else None
    return _rows(duel, gap, result), _rows(duel, multiplier, result) if multiplier else []


def _rows(duel: Duel, band: Band, result: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "a": duel.a,
            "b": duel.b,
            "budget": amount,
            "budget_core_hours": core_hours_of(amount, duel.axis, result.flops_per_core_hour),
            "value": float(value),
            "low": float(low),
            "high": float(high),
        }
        # As it was typed: the logarithm of an amount does not come back to its last digit.
        for amount, value, low, high in zip(
            [float(f"{x:.12g}") for x in band.amount], band.value, band.low, band.high, strict=True
        )
    ]


def core_hours_of(amount: float, axis: Axis, flops_per_core_hour: float | None) -> float | None:
    """Returns an amount in core-hours of the reference hardware; None where it is none."""
    if axis.name == "core_hours":
        return amount
    return amount / flops_per_core_hour if axis.name == "flops" and flops_per_core_hour else None


def _estimate(one: Estimate | None) -> dict[str, Any] | None:
    return None if one is None else {"value": one.value, "stderr": one.stderr, "low": one.low, "high": one.high}


def _pair(duel: Duel) -> dict[str, Any]:
    return {
        "a": duel.a,
        "b": duel.b,
        "sentence": duel_sentence(duel),
        "ahead": duel.winner,
        "from": duel.span[0],
        "to": duel.span[1],
        "mean_gap": _estimate(duel.mean_gap),
        "gap_per_decade": _estimate(duel.gap_trend),
        "mean_multiplier": _estimate(duel.mean_multiplier),
        "multiplier_per_decade": _estimate(duel.multiplier_trend),
    }


def _crossing(duel: Duel, result: Comparison) -> dict[str, Any]:
    meeting = duel.meeting
    assert meeting is not None, "only pairs that cross reach this"
    return {
        "a": duel.a,
        "b": duel.b,
        "budget": meeting.amount,
        "budget_core_hours": core_hours_of(meeting.amount, duel.axis, result.flops_per_core_hour),
        "low": meeting.low,
        "high": meeting.high,
        "share": meeting.share,
        "is_sure": meeting.is_sure,
        "ahead_below": meeting.ahead_below,
        "ahead_above": meeting.ahead_above,
    }


def _laws(one: OnAxis) -> list[dict[str, Any]]:
    return [
        {
            "family": law.family,
            "name": law.law.name,
            "formula": law.law.formula,
            "parameters": {name: _estimate(value) for name, value in law.parameters.items()},
            "from": float(np.exp(law.span[0])),
            "to": float(np.exp(law.span[1])),
            "residual_sd": law.residual_sd,
        }
        for law in one.laws
    ]


def _on_axis(one: OnAxis) -> dict[str, Any]:
    refused = one.refused
    return {
        "axis": one.axis.name,
        "unit": one.axis.unit,
        "verdict": one.verdict or None,
        "pairs": [_pair(duel) for duel in one.duels],
        "refused": refused and {"code": refused.code, "reason": refused.reason, "next": refused.next},
    }


def _map(one: LeadMap, result: Comparison) -> dict[str, Any]:
    names = [family.name for family in result.families]
    places = np.linspace(0, len(one.sizes) - 1, _MAP_PLACES).round().astype(np.intp)
    grid = np.ix_(places, places)
    return {
        "limit": one.limit.name,
        "compute": one.compute.name,
        "area": {
            name: {"sure": one.area(k, is_sure=True), "not_sure": one.area(k, is_sure=False)}
            for k, name in enumerate(names)
        },
        "corners": [
            {
                one.limit.name: corner.size,
                one.compute.name: corner.compute,
                "leader": names[corner.leader],
                "is_sure": corner.is_sure,
                "lead": corner.lead,
            }
            for corner in one.corners
        ],
        "sizes": [float(f"{size:.4g}") for size in one.sizes[places]],
        "computes": [float(f"{amount:.4g}") for amount in one.computes[places]],
        "leader": [[names[place] for place in row] for row in one.leader[grid].tolist()],
        "is_sure": one.is_sure[grid].tolist(),
    }


def _family(family: Family, smoothed: SmoothLosses) -> dict[str, Any]:
    return {
        "name": family.name,
        "cells": len(family.cells),
        "sizes": len({cell.model for cell in family.cells}),
        "seeds": family.seeds,
        "runs": family.runs,
        "diverged": family.diverged,
        "set_aside": family.set_aside,
        "best_rate_at_edge": dict(sorted(Counter(edge for edge in edges_of(family, smoothed) if edge).items())),
        "scatter": smoothed.residual_sd,
        "cohort": family.cohort,
        "devices": list(family.devices),
        "code_versions": list(family.code_versions),
    }
