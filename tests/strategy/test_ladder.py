import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy.ladder import rungs
from strategy.round import State
from sweeps.budget import parse_core_hours
from tests.strategy.worlds import field_of, follow, inquiry_of, true_log_loss


@given(
    factor=st.floats(1.01, 100.0),
    budget=st.floats(400.0, 110_000.0),
)
def test_rungs_rise_by_the_factor_to_the_ceiling(factor: float, budget: float) -> None:
    """The highest is the dearest cell; none lies below the cheapest."""
    state = State.read(field_of(budget), [])
    found = rungs(state, factor)
    assert found[-1] == state.field.core_hours.max()
    assert found[0] >= state.field.core_hours.min() * (1 - 1e-9)
    assert np.diff(np.log(found)) == pytest.approx(np.full(len(found) - 1, np.log(factor)))


@pytest.mark.parametrize("ceiling", ["1k", "3k", None])
def test_nothing_is_trained_above_the_ceiling(ceiling: str | None) -> None:
    """Dearer cells are predicted only, and the choice may be one of them."""
    inquiry = inquiry_of("ladder", 10_000.0, ceiling=ceiling)
    records, _ = follow(inquiry, true_log_loss(inquiry.field), noise_sd=0.003)
    limit = {"1k": 1_000.0, "3k": 3_000.0, None: 10_000.0}[ceiling]
    dearest = max(record.cost.core_hours for record in records)
    assert 0.5 * limit < dearest <= 1.01 * limit


def test_goes_up_rung_by_rung() -> None:
    """The dearest run so far rises from round to round, and rounds say on which rung they are."""
    inquiry = inquiry_of("ladder", 10_000.0)
    heads: list[float] = []
    _, rounds = follow(
        inquiry,
        true_log_loss(inquiry.field),
        noise_sd=0.003,
        on_round=lambda found, records: heads.append(max([record.cost.core_hours for record in records], default=0.0)),
    )
    assert heads == sorted(heads) and heads[-1] > 5_000.0
    assert all(found.lines[1].startswith("rung ") for found in rounds[1:-1])
    assert rounds[-1].lines[-1] == "the ladder has no rung left, or nothing left to spend on one"


@pytest.mark.parametrize("question", ["loss@5k", "exponent"])
def test_no_run_is_dearer_than_its_rung(question: str) -> None:
    """Whether it is the rung's optimum or what tells most of the question."""
    inquiry = inquiry_of("ladder", 5_000.0, question=question, spend_share=0.6)
    _, rounds = follow(inquiry, true_log_loss(inquiry.field), noise_sd=0.003)
    for found in rounds[1:-1]:
        rung = parse_core_hours(found.lines[1].split()[1].rstrip(":"))
        places = [inquiry.field.find(trial) for trial in found.trials]
        assert max(inquiry.field.core_hours[place[0]] for place in places if place is not None) <= 1.02 * rung


def test_dear_rungs_get_the_most() -> None:
    """More than half is spent on runs of the upper half of prices."""
    inquiry = inquiry_of("ladder", 10_000.0)
    records, _ = follow(inquiry, true_log_loss(inquiry.field), noise_sd=0.003)
    prices = np.array([record.cost.core_hours for record in records])
    assert prices[prices > 2_000.0].sum() > 0.5 * prices.sum()


def test_until_ends_the_climb() -> None:
    """A rule that is met on a low rung leaves the higher ones untrained."""
    inquiry = inquiry_of("ladder", 10_000.0, until="loss@10k ± 20%")
    records, rounds = follow(inquiry, true_log_loss(inquiry.field), noise_sd=0.003)
    assert rounds[-1].lines[-1].startswith("enough is known")
    assert max(record.cost.core_hours for record in records) < 5_000.0
