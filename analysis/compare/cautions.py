"""What a reader of a comparison should know before believing it."""

from collections import Counter
from collections.abc import Sequence

from analysis.compare.family import Family
from analysis.compare.findings import OnAxis
from analysis.compare.smooth import SmoothLosses
from analysis.estimators.bootstrap import seed_noise
from analysis.result import Notice

_LOPSIDED = 1.25
"""Factor in cells or seeds from which on one family was looked at more closely than another."""
_NOISIER = 2.0
"""Factor in noise from which on the choice of the best learning rate favours the noisier family."""
_DIVERGED_POINTS = 0.05


def cautions(
    families: Sequence[Family], smoothed: Sequence[SmoothLosses], on_axes: Sequence[OnAxis]
) -> tuple[Notice, ...]:
    """Returns every warning that applies to the comparison, the gravest first."""
    found = [
        *_software(families, on_axes), *_edges(families, smoothed), *_lopsided(families), *_diverged(families),
        *_noise(families, smoothed), *_recipes(families), *_refused(on_axes),
    ]  # fmt: skip
    return tuple(found)


def _software(families: Sequence[Family], on_axes: Sequence[OnAxis]) -> list[Notice]:
    """Speeds compare only where they were measured with the same code on the same device."""
    found: list[Notice] = []
    is_timed = any(one.axis.name == "billed" and one.duels for one in on_axes)
    for code, what, values in (
        ("device_differs", "devices", [family.devices for family in families]),
        ("code_differs", "versions of the code", [family.code_versions for family in families]),
    ):
        if len(set(values)) > 1:
            words = "; ".join(f"{family.name}: {', '.join(v)}" for family, v in zip(families, values, strict=True))
            rest = ", so their measured core-seconds do not compare" if is_timed else ""
            found.append(Notice(code=code, text=f"the families were run on different {what} ({words}){rest}"))
    return found


def _edges(families: Sequence[Family], smoothed: Sequence[SmoothLosses]) -> list[Notice]:
    """An optimum at an edge may lie beyond it: that family's losses may be too high."""
    found: list[Notice] = []
    for family, one in zip(families, smoothed, strict=True):
        edges = edges_of(family, one)
        counts = Counter(edge for edge in edges if edge)
        if counts:
            words = ", ".join(f"{counts[edge]} {_EDGES[edge]}" for edge in _EDGES if counts[edge])
            cells = [f"{c.model} x {c.epochs:g}" for c, edge in zip(family.cells, edges, strict=True) if edge]
            named = ", ".join(cells[:4]) + (f" and {len(cells) - 4} more" if len(cells) > 4 else "")
            text = (
                f"{family.name}: the best learning rate of {len(cells)} of {len(family.cells)} cells is "
                f"censored ({words}: {named}), so its losses may be too high"
            )
            found.append(Notice(code="rate_at_edge", text=text))
    return found


def edges_of(family: Family, smoothed: SmoothLosses) -> tuple[str | None, ...]:
    """Returns at which edge of the rates tried the best one of each cell lies: low, high, single, or None within.

    As the valley of all cells has it; where none could be fitted, as the cell's own losses have it.
    """
    if smoothed.edges is None:
        return tuple(cell.edge for cell in family.cells)
    return tuple({-1: "low", 1: "high"}.get(int(edge)) for edge in smoothed.edges)


_EDGES = {"low": "at the low edge or below", "high": "at the high edge or above", "single": "with one rate tried"}


def _lopsided(families: Sequence[Family]) -> list[Notice]:
    found: list[Notice] = []
    cells = {family.name: len(family.cells) for family in families}
    if max(cells.values()) > _LOPSIDED * min(cells.values()):
        words = ", ".join(f"{name} {count}" for name, count in cells.items())
        found.append(Notice(code="cells_differ", text=f"the families have different numbers of cells: {words}"))
    seeds = {family.name: family.seeds for family in families}
    if max(seeds.values()) > _LOPSIDED * min(seeds.values()):
        words = ", ".join(f"{name} {count:g}" for name, count in seeds.items())
        found.append(Notice(code="seeds_differ", text=f"the families have different numbers of seeds a cell: {words}"))
    rates = {family.name: _rates(family) for family in families}
    if max(rates.values()) > _LOPSIDED * min(rates.values()):
        words = ", ".join(f"{name} {count:.2g}" for name, count in rates.items())
        text = f"the families were tuned over different numbers of learning rates a cell: {words}"
        found.append(Notice(code="rates_differ", text=text))
    return found


def _rates(family: Family) -> float:
    return sum(len(cell.tried) for cell in family.cells) / len(family.cells)


def _diverged(families: Sequence[Family]) -> list[Notice]:
    shares = {family.name: family.diverged / max(1, family.runs + family.diverged) for family in families}
    if max(shares.values()) - min(shares.values()) < _DIVERGED_POINTS:
        return []
    words = ", ".join(f"{family.name} {family.diverged} of {family.runs + family.diverged}" for family in families)
    text = f"one family diverged more than another ({words} runs): its grid of learning rates lies higher"
    return [Notice(code="diverged_more", text=text)]


def _noise(families: Sequence[Family], smoothed: Sequence[SmoothLosses]) -> list[Notice]:
    """The least of several noisy rates is too low, the more so the noisier they are."""
    noise = {
        family.name: seed_noise(family.cells).relative_sd or one.residual_sd
        for family, one in zip(families, smoothed, strict=True)
    }
    if min(noise.values()) < 1e-6 or max(noise.values()) < _NOISIER * min(noise.values()):
        return []
    words = ", ".join(f"{name} {sd:.2%}" for name, sd in noise.items())
    text = (
        f"losses scatter unequally ({words}); choosing the best of several learning rates flatters the noisier "
        "family by up to that much"
    )
    return [Notice(code="noise_differs", text=text)]


def _recipes(families: Sequence[Family]) -> list[Notice]:
    return [
        Notice(
            code="several_cohorts",
            text=f"{family.name} was run with {family.cohorts} recipes or schedules; the one with most finished runs "
            "is compared",
        )
        for family in families
        if family.cohorts > 1
    ]


def _refused(on_axes: Sequence[OnAxis]) -> list[Notice]:
    return [
        Notice(code=one.refused.code, text=f"nothing at equal {one.axis.equal}: {one.refused.reason}")
        for one in on_axes
        if one.refused is not None
    ]
