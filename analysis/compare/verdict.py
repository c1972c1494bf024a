"""The verdict of a comparison in one sentence, and whether the axes agree."""

import math
from collections.abc import Sequence

from analysis.compare.axes import Axis
from analysis.compare.findings import Duel, OnAxis
from analysis.report.axis_ticks import count_text
from analysis.result import Estimate
from sweeps.budget import format_core_hours


def amount_text(amount: float, axis: Axis) -> str:
    """Returns an amount on an axis as people write it: 2.3k, 4.1e9, 35k."""
    rounded = float(f"{amount:.3g}")
    if axis.name == "core_hours":
        return format_core_hours(rounded)
    if axis.name in ("billed", "params", "macs"):
        return count_text(rounded)
    return f"{rounded:.3g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def span_text(duel: Duel) -> str:
    """Returns the range that a verdict speaks of, in words."""
    low, high = (amount_text(end, duel.axis) for end in duel.span)
    return f"between {low} and {high} {duel.axis.unit}"


def factor_text(one: Estimate) -> str:
    """Returns a multiplier with its interval: 1.62 (1.41 to 1.88)."""
    if one.low is None or one.high is None:
        return f"{one.value:.3g}"
    return f"{one.value:.3g} ({one.low:.3g} to {one.high:.3g})"


def gap_text(one: Estimate, *, is_signed: bool = True) -> str:
    """Returns a gap with its interval, in per cent of the loss: +2.1 % (+1.5 to +2.7)."""

    def said(log_ratio: float) -> str:
        number = f"{100 * math.expm1(log_ratio):+.2g}"
        return number if is_signed else number.removeprefix("+")

    if one.low is None or one.high is None:
        return f"{said(one.value)} %"
    return f"{said(one.value)} % ({said(one.low)} to {said(one.high)})"


def duel_sentence(duel: Duel) -> str:
    """Returns what two families are to one another on one axis, without a full stop.

    It rests on the mean over the whole span; a crossing is named only where the trend makes it sure.
    """
    meeting = duel.meeting
    if meeting is not None and meeting.is_sure:
        where = amount_text(meeting.amount, duel.axis)
        within = ""
        if meeting.low is not None and meeting.high is not None:
            within = f" ({amount_text(meeting.low, duel.axis)} to {amount_text(meeting.high, duel.axis)})"
        return f"{meeting.ahead_below} is ahead below {where}{within} {duel.axis.unit}, {meeting.ahead_above} above"
    if duel.winner is None:
        return f"{duel.a} and {duel.b} are indistinguishable {span_text(duel)}: {_evidence(duel)}"
    return _ahead(duel)


def _evidence(duel: Duel) -> str:
    if duel.mean_multiplier is not None:
        return f"multiplier {factor_text(duel.mean_multiplier)}"
    return f"loss of {duel.b} {gap_text(duel.mean_gap)} against {duel.a}'s"


def _ahead(duel: Duel) -> str:
    ahead, behind = (duel.a, duel.b) if duel.winner == duel.a else (duel.b, duel.a)
    is_swapped = duel.winner == duel.b
    if duel.mean_multiplier is not None:
        factor = _inverse(duel.mean_multiplier) if is_swapped else duel.mean_multiplier
        return f"{behind} needs {factor_text(factor)} times the compute of {ahead} {span_text(duel)}"
    gap = _negative(duel.mean_gap) if is_swapped else duel.mean_gap
    sentence = f"{behind}'s loss is {gap_text(gap, is_signed=False)} above {ahead}'s {span_text(duel)}"
    if duel.axis.is_spent:
        sentence += ", and they reach no loss in common"
    return sentence


def _inverse(one: Estimate) -> Estimate:
    low, high = (None if end is None else 1.0 / end for end in (one.high, one.low))
    return Estimate(value=1.0 / one.value, stderr=one.stderr, low=low, high=high)


def _negative(one: Estimate) -> Estimate:
    low, high = (None if end is None else -end for end in (one.high, one.low))
    return Estimate(value=-one.value, stderr=one.stderr, low=low, high=high)


def sentence_of(duels: Sequence[Duel]) -> str:
    """Returns the verdict on one axis: of two families theirs, of more each one against the one that is ahead."""
    if len(duels) == 1:
        return duel_sentence(duels[0])
    names = list(dict.fromkeys(name for duel in duels for name in (duel.a, duel.b)))
    leader = min(names, key=lambda name: sum(behind_by(duel, name) for duel in duels if name in (duel.a, duel.b)))
    own = [duel for duel in duels if leader in (duel.a, duel.b)]
    level = [duel for duel in own if _is_level(duel)]
    ahead = [leader, *(duel.b if duel.a == leader else duel.a for duel in level)]
    parts = [duel_sentence(duel) for duel in (*level, *(duel for duel in own if not _is_level(duel)))]
    who = f"{', '.join(ahead[:-1])} and {ahead[-1]} lead" if level else f"{leader} leads on average"
    return f"{who}: " + "; ".join(parts)


def _is_level(duel: Duel) -> bool:
    return duel.winner is None and not (duel.meeting is not None and duel.meeting.is_sure)


def behind_by(duel: Duel, name: str) -> float:
    """Returns how far one of the two is behind the other: a log ratio, of compute or of loss."""
    return duel.log_edge.value if name == duel.b else -duel.log_edge.value


def disagreement_of(main: OnAxis, others: Sequence[OnAxis]) -> str:
    """Returns whether the answer is the same on every axis, in one sentence."""
    answered = [one for one in (main, *others) if one.duels]
    if len(answered) < 2:
        return "No other axis can be compared."
    parts: list[str] = []
    for duel in main.duels:
        outcomes = {one.axis.equal: _outcome(one, duel) for one in answered}
        if len(set(outcomes.values())) > 1:
            by_outcome: dict[str, list[str]] = {}
            for equal, outcome in outcomes.items():
                by_outcome.setdefault(outcome, []).append(equal)
            said = "; ".join(f"at equal {' and '.join(axes)} {outcome}" for outcome, axes in by_outcome.items())
            parts.append(f"{duel.a} against {duel.b}: {said}")
    if not parts:
        return f"The answer is the same at equal {', '.join(one.axis.equal for one in answered)}."
    return f"The answer depends on what is held equal: {'. '.join(parts)}."


def _outcome(one: OnAxis, like: Duel) -> str:
    found = next((duel for duel in one.duels if (duel.a, duel.b) == (like.a, like.b)), None)
    if found is None:
        return "nothing can be said"
    if found.meeting is not None and found.meeting.is_sure:
        return f"{found.meeting.ahead_below} is ahead at first and {found.meeting.ahead_above} later"
    return "neither is ahead" if found.winner is None else f"{found.winner} is ahead"
