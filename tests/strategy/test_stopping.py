import numpy as np
import pytest

from strategy.belief import believe
from strategy.questions import parse_question
from strategy.round import State
from strategy.stopping import buys_line, parse_until, standing_line
from sweeps.errors import StudyError
from tests.strategy.worlds import field_of, runs, true_log_loss


def state_of(budget: float = 10_000.0, *, left: float = np.inf, noise_sd: float = 0.003) -> State:
    """Returns the state after a few runs of cheap cells."""
    field = field_of(budget)
    records = runs(field, true_log_loss(field), range(4), seeds=(0, 1), noise_sd=noise_sd)
    return State.read(field, records, left_core_hours=left)


@pytest.mark.parametrize(
    ("text", "kind", "width"),
    [
        ("loss@110k ± 1%", "loss", 0.01),
        ("loss@110k +- 0.5 %", "loss", 0.005),
        ("loss@110k+/-2%", "loss", 0.02),
        (" exponent ± 0.005 ", "exponent", 0.005),
        ("exponent ± 5e-3", "exponent", 0.005),
        ("gap@10k ± 2%", "gap", 0.02),
    ],
)
def test_stop_rules_are_understood(text: str, kind: str, width: float) -> None:
    """Each question that has a width, in any spelling; what is printed is understood again."""
    found = parse_until(text)
    assert found.question.kind == kind and found.half_width == pytest.approx(width)
    assert parse_until(str(found)) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not understood"),
        ("loss@110k", "not understood"),
        ("loss@110k < 1%", "not understood"),
        ("cost@110k ± 1%", "not understood"),
        ("loss ± 1%", "not understood"),
        ("loss@110k ± 1", "takes a per cent sign"),
        ("exponent ± 1%", "takes no per cent sign"),
        ("optimum@110k ± 1%", "an optimum has no width"),
        ("loss@110k ± 0%", "above zero"),
        ("exponent ± 1e999", "above zero"),
        ("exponent ± 1.2.3", "above zero"),
        ("exponent ± -1", "above zero"),
    ],
)
def test_what_is_no_stop_rule_is_told_what_is(text: str, why: str) -> None:
    """One sentence with what was typed, why it cannot be, and what may be typed."""
    with pytest.raises(StudyError, match=why) as error:
        parse_until(text)
    assert "loss@110k" in str(error.value) and "exponent" in str(error.value)


def test_a_rule_is_met_when_the_interval_is_narrow() -> None:
    """The same belief meets a wide rule, with the reason, and not a narrow one."""
    state = state_of()
    belief = believe(state.field, state.evidence)
    why = parse_until("loss@10k ± 50%").why_met(belief)
    assert why is not None and "loss@10k ± 50 % was asked for" in why
    assert parse_until("loss@10k ± 0.001%").why_met(belief) is None


def test_standing_of_an_optimum_names_the_choice() -> None:
    """The choice with its rate, its expected regret, and the loss with its interval."""
    state = state_of()
    line = standing_line(parse_question("optimum@10k"), believe(state.field, state.evidence))
    assert line.startswith("best choice f") and "% above the best; loss of the best choice at 10k" in line
    assert standing_line(parse_question("exponent"), believe(state.field, state.evidence)).startswith("exponent 0.")


def test_next_core_hours_bring_a_narrower_interval() -> None:
    """The line says from what to what, and it narrows."""
    state = state_of()
    line = buys_line(state, parse_question("loss@10k"), believe(state.field, state.evidence), core_hours=20_000.0)
    before, after = (float(part.split(" %")[0]) for part in line.split("± ")[1:])
    assert line.startswith("the next 20k core-hours would bring")
    assert after < before


def test_next_core_hours_that_buy_nothing_say_why() -> None:
    """Where the cap leaves less than the cheapest run, no run costs so little; each case has its own reason."""
    state = state_of(left=100.0)
    belief = believe(state.field, state.evidence)
    question = parse_question("loss@10k")
    nothing = "the next 1k core-hours would buy nothing: no run costs so little"
    assert buys_line(state, question, belief) == nothing
    assert buys_line(state_of(), question, belief, core_hours=10.0).endswith("no run costs so little")
