"""When enough is known: stop rules as people type them, and what more core-hours would buy."""

import math
import re
from dataclasses import dataclass

from strategy.batch import choose
from strategy.belief import Belief
from strategy.questions import Answer, Question, answer, best_within, expected_regret, outlook_on, parse_question
from strategy.round import State
from sweeps.budget import format_core_hours
from sweeps.errors import StudyError

NEXT_CORE_HOURS = 1000.0
"""What every round says what it would buy."""
_RULE = re.compile(r"(?P<question>[a-z]+(?:@[^\s±+]+)?)\s*(?:±|\+-|\+/-)\s*(?P<width>[0-9.eE+-]+)\s*(?P<percent>%?)")
_EXAMPLES = "UNTIL='loss@110k ± 1%' or UNTIL='exponent ± 0.005'; +- may stand for ±"


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """A question with how well it shall be known."""

    question: Question
    half_width: float
    """Of the 90 % interval; a part of the value where the question is relative, else in its own unit."""

    def __str__(self) -> str:
        return f"{self.question} ± {_width(self.question, self.half_width)}"

    def why_met(self, belief: Belief) -> str | None:
        """Returns why nothing more is needed; None where more is."""
        known = answer(self.question, belief)
        if known.half_width > self.half_width:
            return None
        return f"enough is known: {answer_text(self.question, known)}, and {self} was asked for"


def parse_until(text: str) -> StopRule:
    """Returns the stop rule that a person typed; raises StudyError where it is none."""
    found = _RULE.fullmatch(text.strip())
    if found is None:
        raise StudyError(f"until {text!r} not understood; write {_EXAMPLES}")
    question = parse_question(found["question"])
    if question.kind == "optimum":
        raise StudyError(
            f"until {text!r}: an optimum has no width; write loss@, exponent or gap@ ({_EXAMPLES}), or set "
            "strategy.tolerance, by which strategy=informed stops"
        )
    try:
        width = float(found["width"])
    except ValueError:
        width = 0.0
    if question.is_relative != bool(found["percent"]):
        unit = "a per cent sign, for it is a part of a loss" if question.is_relative else "no per cent sign"
        raise StudyError(f"until {text!r}: the width of {question} takes {unit} (write {_EXAMPLES})")
    width = width / 100.0 if found["percent"] else width
    if not 0.0 < width < math.inf:
        raise StudyError(f"until {text!r}: the width must be above zero (write {_EXAMPLES})")
    return StopRule(question=question, half_width=width)


def answer_text(question: Question, known: Answer) -> str:
    """Returns an answer with its interval, in words."""
    what = {
        "loss": "best loss", "exponent": "exponent", "gap": "loss of the second family over that of the first",
        "optimum": "loss of the best choice",
    }[question.kind]  # fmt: skip
    at = "" if question.budget_core_hours is None else f" at {format_core_hours(question.budget_core_hours)}"
    width = _width(question, known.half_width)
    return f"{what}{at} {known.value:.4g} ± {width} ({known.low:.4g} to {known.high:.4g}, 90 %)"


def standing_line(question: Question, belief: Belief) -> str:
    """Returns what is known of a question now."""
    known = answer_text(question, answer(question, belief))
    if question.kind != "optimum" or question.budget_core_hours is None:
        return known
    field = belief.field
    cell, rate = best_within(belief.mean, field, question.budget_core_hours)
    regret = 100 * expected_regret(belief, question.budget_core_hours)
    return (
        f"best choice {field.name(cell)} at {field.peak_lrs(cell)[rate]:g}, "
        f"expected {regret:.2g} % above the best; {known}"
    )


def buys_line(state: State, question: Question, belief: Belief, *, core_hours: float = NEXT_CORE_HOURS) -> str:
    """Returns what the next core-hours would buy, spent on the runs that tell most."""
    asked = f"the next {format_core_hours(core_hours)} core-hours"
    room = min(core_hours, state.left_core_hours)
    places = choose(state, belief, question, core_hours=room, room=room)
    if not places:
        cheapest = float(state.field.core_hours.min())
        why = "no run costs so little" if cheapest > room else "no run within them tells anything"
        return f"{asked} would buy nothing: {why}"
    before = view = outlook_on(question, belief)
    rates = state.field.rate_count
    for cell, rate in places:
        view = view.after(cell * rates + rate)
    shrink = math.sqrt(max(view.asked_variance, 0.0) / before.asked_variance) if before.asked_variance > 0 else 1.0
    known = answer(question, belief)
    runs = " and ".join(dict.fromkeys(state.field.name(cell) for cell, _ in places[:3]))
    more = "" if len(places) <= 3 else f" and {len(places) - 3} more"
    return (
        f"{asked} would bring ± {_width(question, known.half_width)} to ± "
        f"{_width(question, known.half_width * shrink)} ({runs}{more})"
    )


def _width(question: Question, half_width: float) -> str:
    return f"{100 * half_width:.2g} %" if question.is_relative else f"{half_width:.2g}"
