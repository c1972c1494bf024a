"""The page of the comparative studies says what the files beside its figures say."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from analysis.compare.comparison import RESAMPLES
from analysis.compare.published_families import compare_published
from analysis.compare.verdict import factor_text
from analysis.result import Estimate

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "equal-compute.md"
STUDIES = ("families", "edge", "edge_few", "edge_parts")
OTHERS = ("vit", "separable", "hybrid")
"""Families in the order of the table's columns."""


def comparison(study: str) -> dict[str, Any]:
    """Returns what a comparison has written beside its figures."""
    return json.loads((DOCS / "figures" / study / "compare.json").read_text())


def over_nfnet(pairs: list[dict[str, Any]], family: str, key: str) -> Estimate:
    """Returns the multiplier or the log gap of a family against NFNets."""
    (pair,) = (pair for pair in pairs if {pair["a"], pair["b"]} == {"nfnet", family})
    value, low, high = (pair[key][name] for name in ("value", "low", "high"))
    if pair["a"] == "nfnet":
        return Estimate(value=value, low=low, high=high)
    if key == "mean_multiplier":
        return Estimate(value=1 / value, low=1 / high, high=1 / low)
    return Estimate(value=-value, low=-high, high=-low)


@pytest.mark.parametrize("study", STUDIES)
def test_the_multipliers_are_those_of_the_comparisons(study: str) -> None:
    """A row a study: what each family needs over NFNets at equal core-hours."""
    pairs = comparison(study)["pairs"]
    row = " | ".join(factor_text(over_nfnet(pairs, family, "mean_multiplier")) for family in OTHERS)
    assert f"| `{study}` | {row} |" in PAGE.read_text()


def test_what_is_held_equal_is_read_off_the_comparison() -> None:
    """A row an axis: the multiplier of each family over NFNets where compute is spent, else its gap in per cent."""
    page = PAGE.read_text()
    for one in comparison("families")["by_axis"]:
        words: list[str] = []
        for family in OTHERS:
            if one["axis"] in ("params", "macs"):
                gap = over_nfnet(one["pairs"], family, "mean_gap")
                ends = (100 * math.expm1(end) for end in (gap.value, gap.low or 0.0, gap.high or 0.0))
                value, low, high = (f"{end:+.2g}" for end in ends)
                words.append(f"{value} % ({low} to {high})")
            else:
                words.append(factor_text(over_nfnet(one["pairs"], family, "mean_multiplier")))
        assert f"| {' | '.join(words)} |" in page, one["axis"]


@pytest.mark.parametrize("study", STUDIES[1:])
def test_the_maps_are_those_of_the_comparisons(study: str) -> None:
    """A row a study: the part of each map on which each family leads for sure."""
    by_macs, by_params = comparison(study)["maps"]
    families = ("nfnet", *OTHERS)
    cells = [
        " / ".join(f"{one['area'][family]['sure']:.0%}".replace("%", " %") for family in families)
        for one in (by_macs, by_params)
    ]
    assert f"| `{study}` | {' | '.join(cells)} |" in PAGE.read_text()


def test_the_published_points_are_computed_again() -> None:
    """Multiplier and interval of each transformer, as the command gives them today."""
    page = PAGE.read_text()
    for row in compare_published(resamples=RESAMPLES).rivalries:
        assert f"{row.multiplier.value:.2f} ({row.multiplier.low:.2f} to {row.multiplier.high:.2f})" in page, row
