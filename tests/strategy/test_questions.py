import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy.belief import Belief, believe
from strategy.evidence import Evidence
from strategy.field import Field
from strategy.questions import (
    Question,
    answer,
    best_within,
    check_question,
    expected_regret,
    outlook_on,
    parse_question,
    weights,
)
from sweeps.errors import StudyError
from tests.strategy.worlds import field_of, runs, true_log_loss

TWO_FAMILIES = ("scale/f0", "scale/f1", "scale/f3", "scale/vit_f0", "scale/vit_f1", "scale/vit_f3")


def well_known(field: Field, truth: np.ndarray) -> Belief:
    """Returns what is believed after many quiet runs of every cell."""
    records = runs(field, truth, range(len(field.cells)), seeds=range(2), noise_sd=0.0002)
    return believe(field, Evidence.read(field, records))


@pytest.mark.parametrize(
    ("text", "kind", "budget"),
    [
        ("optimum@110k", "optimum", 110_000.0),
        ("loss@0.4k", "loss", 400.0),
        (" loss@12500 ", "loss", 12_500.0),
        ("exponent", "exponent", None),
        ("gap@10k", "gap", 10_000.0),
    ],
)
def test_questions_are_understood(text: str, kind: str, budget: float | None) -> None:
    """Each kind with a budget in any spelling; what is printed is understood again."""
    found = parse_question(text)
    assert (found.kind, found.budget_core_hours) == (kind, budget)
    assert parse_question(str(found)) == found


@pytest.mark.parametrize(
    "text", ["", "loss", "optimum", "gap", "exponent@10k", "cost@10k", "Loss@10k", "loss@", "loss 10k"]
)
def test_what_is_no_question_is_told_what_is(text: str) -> None:
    """One sentence with what was typed and what may be."""
    with pytest.raises(
        StudyError, match=r"not understood; write one of optimum@110k, loss@110k, exponent, gap@10k"
    ) as e:
        parse_question(text)
    assert repr(text) in str(e.value)


@pytest.mark.parametrize("budget", ["ten", "-3k", "0", "nan", "inf"])
def test_budget_of_a_question_must_be_one(budget: str) -> None:
    """A word behind the @ that is no compute is refused by name."""
    with pytest.raises(StudyError, match=budget):
        parse_question(f"loss@{budget}")


def test_questions_that_the_field_cannot_answer() -> None:
    """A gap of one family, a budget below the cheapest cell, one far above the dearest."""
    field = field_of(10_000.0)
    for question, why in (
        (Question(kind="gap", budget_core_hours=3_000.0), r"compares two families; this study has 1 \(nfnet\)"),
        (Question(kind="loss", budget_core_hours=100.0), "the cheapest costs 400"),
        (Question(kind="loss", budget_core_hours=110_000.0), "no loss beyond twice that can be answered"),
    ):
        with pytest.raises(StudyError, match=why):
            check_question(question, field)
    check_question(Question(kind="loss", budget_core_hours=15_000.0), field)
    check_question(Question(kind="gap", budget_core_hours=3_000.0), field_of(10_000.0, *TWO_FAMILIES))


@pytest.mark.parametrize("power", [0.05, 0.2])
def test_exponent_of_a_power_law_is_its_power(power: float) -> None:
    """Where the loss of every cell is C^-power, that is the exponent, but for the steps between cells."""
    field = field_of(30_000.0)
    off = field.octaves[0] - field.octaves[0, 2]
    truth = 1.0 - power * np.log(field.core_hours)[:, None] + 0.01 * off[None, :] ** 2
    belief = well_known(field, truth)
    x = np.linspace(math.log(field.core_hours[0]), math.log(field.core_hours[-1]), 9)
    reached = [math.log(field.core_hours[field.core_hours <= 1.01 * math.exp(b)].max()) for b in x]
    of_steps = power * np.polyfit(x, reached, 1)[0]
    found = answer(Question(kind="exponent", budget_core_hours=None), belief)
    assert found.value == pytest.approx(of_steps, abs=0.002)
    assert found.value == pytest.approx(power, rel=0.1)
    assert found.low < of_steps < found.high
    linear = weights(Question(kind="exponent", budget_core_hours=None), belief) @ belief.mean.ravel()
    assert linear == pytest.approx(of_steps, abs=0.002)


@pytest.mark.parametrize("gap", [-0.05, 0.0, 0.03])
def test_gap_of_two_families(gap: float) -> None:
    """The ratio of the second family's best loss to the first's, as the truth has it."""
    field = field_of(6_000.0, *TWO_FAMILIES)
    truth = true_log_loss(field) + gap * field.family[:, None]
    best = [truth[field.family == family][:, 1:4].min() for family in (0, 1)]
    question = Question(kind="gap", budget_core_hours=6_000.0)
    belief = well_known(field, truth)
    found = answer(question, belief)
    assert math.log(found.value) == pytest.approx(best[1] - best[0], abs=0.004)
    assert weights(question, belief).sum() == 0.0


@pytest.mark.parametrize("question", ["loss@10k", "exponent", "optimum@10k"])
def test_noise_widens_the_interval(question: str) -> None:
    """The same runs with more noise leave more open, of every question."""
    field = field_of(10_000.0)
    widths: list[float] = []
    for noise_sd in (0.0005, 0.005, 0.05):
        records = runs(field, true_log_loss(field), range(12), seeds=(0, 1, 2), noise_sd=noise_sd)
        widths.append(answer(parse_question(question), believe(field, Evidence.read(field, records))).half_width)
    assert widths == sorted(widths) and widths[0] < 0.5 * widths[-1]


def test_a_known_optimum_has_no_regret() -> None:
    """Where all is measured well the pick is the best; where little is, regret is expected."""
    field = field_of(10_000.0)
    truth = true_log_loss(field)
    known = well_known(field, truth)
    assert best_within(known.mean, field, 10_000.0) == np.unravel_index(truth.argmin(), truth.shape)
    few = believe(field, Evidence.read(field, runs(field, truth, (0,))))
    assert 0.0 <= expected_regret(known, 10_000.0) < 0.0005 < expected_regret(few, 10_000.0)


@given(budget=st.floats(1.0, 200_000.0), seed=st.integers(0, 10**6), family=st.sampled_from([None, 0, 1]))
def test_best_within_is_the_least_of_what_is_within(budget: float, seed: int, family: int | None) -> None:
    """No cell within the budget and of the family is better; below the cheapest cell, that one is named."""
    field = field_of(110_000.0, *TWO_FAMILIES)
    log_loss = np.random.default_rng(seed).normal(size=(len(field.cells), field.rate_count))
    cell, rate = best_within(log_loss, field, budget, family)
    own = np.ones(len(field.cells), dtype=bool) if family is None else field.family == family
    within = own & (field.core_hours <= 1.01 * budget)
    if not within.any():
        within = own & (field.core_hours <= 1.01 * field.core_hours[own].min())
    assert within[cell]
    assert log_loss[cell, rate] == log_loss[within].min()


def test_outlook_on_a_question_asks_for_it() -> None:
    """The variance of what is asked is that of the weighted losses."""
    field = field_of(3_000.0)
    belief = believe(field, Evidence.read(field, runs(field, true_log_loss(field), (0, 3))))
    question = Question(kind="loss", budget_core_hours=3_000.0)
    view, asked = outlook_on(question, belief), weights(question, belief)
    assert view.asked_variance == pytest.approx(asked @ view.covariance @ asked)
    assert view.asked_variance > 0.0
