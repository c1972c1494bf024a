"""What a study is asked, as numbers that follow from the losses of its cells."""

import math
import re
from dataclasses import dataclass

import numpy as np

from analysis.solver.quantiles import LEVEL
from strategy.belief import Belief
from strategy.design import Outlook, outlook
from strategy.field import Field, Floats
from sweeps.budget import format_core_hours, parse_core_hours
from sweeps.errors import StudyError

KINDS = ("optimum", "loss", "exponent", "gap")
_BUDGETS = 9
"""Budgets, evenly spaced in their logs, at which the best loss is read for the exponent."""
_WORDS = re.compile(r"(?P<kind>[a-z]+)(?:@(?P<budget>\S+))?")
_EXAMPLES = "optimum@110k, loss@110k, exponent, gap@10k"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be known.

    optimum: which model, epochs and learning rate are best for a budget. loss: the best loss for it [log]. exponent:
    -d log L / d log C of the best loss between the field's cheapest and dearest cell. gap: log of the best loss of the
    second family over that of the first at equal compute.
    """

    kind: str
    budget_core_hours: float | None
    """Of optimum, loss and gap; absent for the exponent."""

    def __str__(self) -> str:
        at = "" if self.budget_core_hours is None else f"@{format_core_hours(self.budget_core_hours)}"
        return f"{self.kind}{at}"

    @property
    def is_relative(self) -> bool:
        """Whether half-widths are parts of the value: of losses, not of the exponent."""
        return self.kind != "exponent"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is known of a question."""

    value: float
    """exp of the log loss, the exponent, or the ratio of two losses."""
    low: float
    high: float
    half_width: float
    """Half of the 90 % interval; a part of the value where the question is relative."""


def parse_question(text: str) -> Question:
    """Returns the question that a person typed; raises StudyError where it is none."""
    found = _WORDS.fullmatch(text.strip())
    kind, budget = (found["kind"], found["budget"]) if found else ("", None)
    if kind not in KINDS or (budget is None) != (kind == "exponent"):
        raise StudyError(f"question {text!r} not understood; write one of {_EXAMPLES} (core-hours after the @)")
    return Question(kind=kind, budget_core_hours=None if budget is None else parse_core_hours(budget))


def check_question(question: Question, field: Field) -> None:
    """Raises StudyError where the field has no cell that could answer."""
    budget, families = question.budget_core_hours, field.families
    if question.kind == "gap" and len(families) != 2:
        named = ", ".join(families)
        raise StudyError(f"question {question} compares two families; this study has {len(families)} ({named})")
    if budget is not None and not field.is_within(budget).any():
        cheapest = format_core_hours(float(field.core_hours.min()))
        raise StudyError(f"question {question}: no cell is within that budget; the cheapest costs {cheapest}")
    dearest = float(field.core_hours.max())
    if budget is not None and budget > 2.0 * dearest:
        raise StudyError(
            f"question {question}: the dearest cell of study {field.study.name} costs "
            f"{format_core_hours(dearest)}, and no loss beyond twice that can be answered "
            f"(try: more study.epochs or study.models)"
        )


def weights(question: Question, belief: Belief) -> Floats:
    """Returns the question as a weighted sum of the expected log losses, (cells x rates,)."""
    field, mean = belief.field, belief.mean
    found = np.zeros(mean.shape)
    if question.kind == "exponent":
        x, at = _log_budgets(field), _log_budgets(field) - _log_budgets(field).mean()
        for budget, weight in zip(x, -at / (at @ at), strict=True):
            found[best_within(mean, field, math.exp(budget))] += weight
        return found.ravel()
    assert question.budget_core_hours is not None
    if question.kind == "gap":
        for family, sign in ((0, -1.0), (1, 1.0)):
            found[best_within(mean, field, question.budget_core_hours, family)] += sign
        return found.ravel()
    found[best_within(mean, field, question.budget_core_hours)] = 1.0
    return found.ravel()


def answer(question: Question, belief: Belief) -> Answer:
    """Returns what is known of a question, from draws of the belief; a loss is that of the best cell in each draw."""
    draws = _drawn(question, belief)
    low, middle, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    half = float(high - low) / 2
    if not question.is_relative:
        return Answer(value=float(middle), low=float(low), high=float(high), half_width=half)
    return Answer(value=math.exp(middle), low=math.exp(low), high=math.exp(high), half_width=half)


def expected_regret(belief: Belief, budget_core_hours: float) -> float:
    """Returns by how much the pick's loss is expected to lie above that of the best (cell, rate), relatively."""
    field = belief.field
    place = best_within(belief.mean, field, budget_core_hours)
    is_within = field.is_within(budget_core_hours)
    draws = belief.draws
    least = draws[:, is_within].reshape(len(draws), -1).min(axis=1)
    return float((draws[:, place[0], place[1]] - least).mean())


def outlook_on(question: Question, belief: Belief) -> Outlook:
    """Returns the outlook on a question."""
    return outlook(belief, weights(question, belief))


def best_within(log_loss: Floats, field: Field, budget_core_hours: float, family: int | None = None) -> tuple[int, int]:
    """Returns the (cell, rate) of the least loss within a budget; the cheapest cell where none is.

    Args:
        log_loss: (cells, rates).
        field: whose cells they are.
        budget_core_hours: of one run.
        family: position of the only family that counts.
    """
    allowed = field.is_within(max(budget_core_hours, float(field.core_hours.min())))
    if family is not None:
        own = field.family == family
        allowed = own & field.is_within(max(budget_core_hours, float(field.core_hours[own].min())))
    masked = np.where(allowed[:, None], log_loss, np.inf)
    cell, rate = np.unravel_index(int(masked.argmin()), masked.shape)
    return int(cell), int(rate)


def _drawn(question: Question, belief: Belief) -> Floats:
    field = belief.field
    draws = belief.draws.min(axis=2)
    if question.kind == "exponent":
        x = _log_budgets(field)
        best = np.stack([draws[:, field.is_within(math.exp(b))].min(axis=1) for b in x], axis=1)
        return -(best @ (x - x.mean())) / ((x - x.mean()) @ (x - x.mean()))
    assert question.budget_core_hours is not None
    within = field.is_within(question.budget_core_hours)
    if question.kind == "gap":
        one, other = (draws[:, within & (field.family == k)].min(axis=1) for k in (0, 1))
        return other - one
    return draws[:, within].min(axis=1)


def _log_budgets(field: Field) -> Floats:
    return np.linspace(math.log(field.core_hours.min()), math.log(field.core_hours.max()), _BUDGETS)
