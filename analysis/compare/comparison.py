"""From the families of a study to everything that is said of them."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from analysis.compare.axes import AXES, Axis, all_best_losses, axis_called
from analysis.compare.best import BestLosses
from analysis.compare.cautions import cautions
from analysis.compare.duel import duel
from analysis.compare.family import Family
from analysis.compare.family_law import FamilyLaw, fit_families
from analysis.compare.findings import Comparison, Duel, OnAxis
from analysis.compare.lead_map import LIMITS, LeadMap, lead_map
from analysis.compare.smooth import SmoothLosses, shared_draws, smooth
from analysis.compare.verdict import disagreement_of, sentence_of
from analysis.refusal import FitRefused, Refusal
from analysis.solver.quantiles import LEVEL

RESAMPLES = 2000


def compare(
    families: Sequence[Family], *, axis: str = "core_hours", others: bool = True, resamples: int = RESAMPLES,
    level: float = LEVEL, seed: int = 0,
) -> Comparison:  # fmt: skip
    """Returns what families are to one another on one axis and, with `others`, on every other one.

    Args:
        families: at least two, of one study.
        axis: one of AXES, on which the verdict rests.
        others: whether the other axes are compared and maps are drawn as well.
        resamples: how many are drawn.
        level: coverage that intervals are meant to have.
        seed: of the resampling.

    Raises:
        FitRefused: nothing can be said on that axis.
        StudyError: the axis does not exist.
    """
    asked = axis_called(axis)
    shared = shared_draws(families, resamples, np.random.default_rng(seed))
    smoothed = tuple(smooth(family, shared) for family in families)
    main = _on_axis(families, smoothed, asked, level=level)
    scale = _scale(families)
    rest = [one for one in AXES.values() if one != asked and not _is_same(one, asked, scale)] if others else []
    found = tuple(_said(families, smoothed, one, level=level) for one in rest)
    return Comparison(
        families=tuple(families),
        smoothed=smoothed,
        main=main,
        others=found,
        disagreement=disagreement_of(main, found),
        maps=_maps(families, smoothed, asked, level=level) if others else (),
        notices=cautions(families, smoothed, (main, *found)),
        level=level,
        resamples=resamples,
        flops_per_core_hour=scale,
    )


def _said(families: Sequence[Family], smoothed: Sequence[SmoothLosses], axis: Axis, *, level: float) -> OnAxis:
    """Returns what is said on an axis nobody asked for: a refusal is part of it."""
    try:
        return _on_axis(families, smoothed, axis, level=level)
    except FitRefused as error:
        return _silent(axis, error.refusal)


def _silent(axis: Axis, refusal: Refusal) -> OnAxis:
    return OnAxis(axis=axis, bests=(), laws=(), duels=(), verdict="", refused=refusal)


def _on_axis(families: Sequence[Family], smoothed: Sequence[SmoothLosses], axis: Axis, *, level: float) -> OnAxis:
    bests = all_best_losses(families, smoothed, axis)
    laws = fit_families(families, bests, axis, level=level) if axis.is_spent else ()
    duels = _duels(families, bests, laws, axis, level=level)
    return OnAxis(axis=axis, bests=bests, laws=laws, duels=duels, verdict=sentence_of(duels), refused=None)


def _duels(
    families: Sequence[Family], bests: Sequence[BestLosses], laws: Sequence[FamilyLaw], axis: Axis, *, level: float
) -> tuple[Duel, ...]:
    return tuple(
        duel(
            (families[i].name, bests[i]), (families[j].name, bests[j]), axis, (laws[i], laws[j]) if laws else None,
            level=level,
        )
        for i, j in combinations(range(len(families)), 2)
    )  # fmt: skip


def _maps(
    families: Sequence[Family], smoothed: Sequence[SmoothLosses], asked: Axis, *, level: float
) -> tuple[LeadMap, ...]:
    compute = asked if asked.is_spent else AXES["core_hours"]
    found = (lead_map(families, smoothed, limit, compute, level=level) for limit in LIMITS)
    return tuple(one for one in found if one is not None)


def _scale(families: Sequence[Family]) -> float | None:
    """Returns the FLOPs of a core-hour, where that is one number for all cells of all families."""
    ratios = [(cell.flops or math.nan) / (cell.core_hours or math.nan) for family in families for cell in family.cells]
    return float(np.mean(ratios)) if max(ratios) < 1.001 * min(ratios) else None


def _is_same(one: Axis, other: Axis, scale: float | None) -> bool:
    """Returns whether two axes differ by a constant factor alone."""
    return scale is not None and {one.name, other.name} == {"core_hours", "flops"}
