"""Which law, which compute axis, and which rows can serve it; the others are set aside with the reason."""

from collections import Counter
from dataclasses import replace

from analysis.laws import LAWS, POWER, SURFACE, Law
from analysis.options import FitOptions
from analysis.tables.points import Point, PointSet, SetAside
from sweeps.errors import StudyError

AXES: tuple[str, ...] = ("core_hours", "flops")
"""What a law is of by itself; where nothing has a compute, one of parameters or of data alone can be had."""
_FEWER: tuple[str, ...] = ("params", "tokens")


def law_of(points: PointSet, options: FitOptions) -> Law:
    """Returns the law that was asked for, or the one that the columns allow; raises StudyError for an unknown one."""
    if options.law is not None:
        if options.law not in LAWS:
            raise StudyError(f"no law called {options.law!r}; there are {', '.join(LAWS)} (try: --law power)")
        return LAWS[options.law]
    with_both = sum(1 for point in points.points if point.params and (point.tokens or point.epochs))
    return SURFACE if points.study is None and with_both > len(points.points) / 2 else POWER


def axis_of(points: PointSet, options: FitOptions, law: Law) -> str:
    """Returns the compute axis: the one asked for, or the one that most rows have.

    Raises:
        StudyError: no row has it.
    """
    wanted: list[str] = [options.axis] if options.axis else list(AXES)
    if options.axis in _FEWER and not law.fits_frontier:
        raise StudyError(
            f"{law.formula} is a law of size and data together; --axis {options.axis} goes with --law power"
        )
    if not options.axis and not any(p.core_hours or p.flops for p in points.points):
        if not law.fits_frontier:
            return "product"
        wanted += _FEWER
    known = {axis: sum(getattr(point, axis) is not None for point in points.points) for axis in wanted}
    best = max(wanted, key=lambda axis: known[axis])
    if points.points and not known[best]:
        raise StudyError(
            f"{points.source} gives no {' and no '.join(wanted)}, which a law of {law.name} needs; "
            "name a column of it (try: --columns loss=loss core_hours=core_hours, or flops=flops)"
        )
    return best


def usable_points(points: PointSet, law: Law, axis: str) -> PointSet:
    """Returns the rows that have what the law needs; the others are set aside."""
    aside: Counter[str] = Counter()
    kept: list[Point] = []
    for point in points.points:
        reason = _missing(point, law, axis)
        if reason:
            aside[reason] += 1
        else:
            kept.append(point)
    if not aside:
        return points
    more = tuple(SetAside(reason=reason, count=count) for reason, count in aside.most_common())
    return replace(points, points=tuple(kept), set_aside=(*points.set_aside, *more))


def _missing(point: Point, law: Law, axis: str) -> str | None:
    if axis != "product" and getattr(point, axis) is None:
        return f"{axis} missing"
    if law.fits_frontier:
        return None
    if point.params is None:
        return "params missing"
    return "tokens missing" if point.tokens is None and point.epochs is None else None
