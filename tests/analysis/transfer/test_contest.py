"""What each budget buys by loss and by error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.transfer.checkpoint import Checkpoint
from analysis.transfer.contest import contests, sentence
from analysis.transfer.published import published_checkpoints
from sweeps.budget import READING_TOLERANCE


def _checkpoint(cost: float, loss: float | None, error: float, *, images: int | None = 10_000) -> Checkpoint:
    return Checkpoint(
        model="f0", epochs=cost / 1000, core_hours=cost, flops=None, loss=loss, peak_lr=0.1, errors=(error,),
        held_out_images=images,
    )  # fmt: skip


CHECKPOINTS = st.lists(
    st.tuples(st.floats(100, 1e5), st.floats(0.5, 3.0), st.floats(1.0, 60.0)), min_size=2, max_size=12
).map(lambda rows: tuple(_checkpoint(*row) for row in rows))


@given(checkpoints=CHECKPOINTS)
def test_both_are_the_best_within_the_budget(checkpoints: tuple[Checkpoint, ...]) -> None:
    """Neither costs more than the budget; no checkpoint within it has less loss, or less error; budgets rise."""
    found = contests(checkpoints)
    budgets = [contest.budget_core_hours for contest in found]
    assert budgets == sorted(budgets)
    assert found, "two checkpoints make a contest"
    assert budgets[-1] * READING_TOLERANCE >= max(item.core_hours for item in checkpoints)
    for contest in found:
        within = [c for c in checkpoints if c.core_hours <= READING_TOLERANCE * contest.budget_core_hours]
        assert contest.by_loss in within
        assert contest.by_error in within
        assert contest.by_loss.loss == min(item.loss or 0.0 for item in within)
        assert contest.by_error.error == min(item.error for item in within)
        assert contest.excess >= 0.0
        assert contest.differs or contest.excess == 0.0


def test_noise_of_counting() -> None:
    """A difference counts as certain only beyond twice the noise of counting errors on so many images."""
    pair = [_checkpoint(1000, 1.0, 20.0), _checkpoint(900, 1.1, 19.5)]
    (contest,) = contests(pair, [1000.0])
    assert contest.differs
    assert contest.is_certain is False  # 0.5 points; sd of the difference 0.56
    clear = [_checkpoint(1000, 1.0, 20.0), _checkpoint(900, 1.1, 17.0)]
    assert contests(clear, [1000.0])[0].is_certain is True
    unknown = [_checkpoint(1000, 1.0, 20.0, images=None), _checkpoint(900, 1.1, 17.0)]
    assert contests(unknown, [1000.0])[0].is_certain is None


def test_budgets_that_buy_no_choice_are_left_out() -> None:
    """A budget with one checkpoint within it, or with losses unknown, says nothing."""
    pair = [_checkpoint(1000, 1.0, 20.0), _checkpoint(400, None, 25.0)]
    assert contests(pair, [500.0, 1000.0]) == ()
    assert contests([], []) == ()
    assert "no pre-training budget" in sentence(())


def test_the_sentence_names_what_differs() -> None:
    """It says at how many budgets loss and error disagree, which checkpoint error prefers and by how much."""
    agreed = [_checkpoint(1000, 1.0, 20.0), _checkpoint(500, 1.2, 25.0)]
    assert "is the one with the least error at all 1 pre-training budget" in sentence(contests(agreed))
    split = [_checkpoint(1000, 1.1, 17.0), _checkpoint(900, 1.0, 20.0)]
    words = sentence(contests(split, [1000.0]))
    assert (
        "at 1 of 1 pre-training budget (1k: f0 x 1 at lr 0.1 instead of f0 x 0.9 at lr 0.1, 3 points better)" in words
    )


def test_the_paper_prefers_larger_models_at_equal_budgets() -> None:
    """On the published points error never prefers a smaller model or more epochs than loss does (its sec. 3)."""
    sizes = ["f1", "f3", "f3p", "f7", "f7p"]
    found = contests(published_checkpoints())
    assert len(found) == 8
    differing = [contest for contest in found if contest.differs]
    assert [contest.budget_core_hours for contest in differing] == pytest.approx([20_800, 83_200])
    for contest in differing:
        assert sizes.index(contest.by_error.model) > sizes.index(contest.by_loss.model)
        assert contest.by_error.epochs < contest.by_loss.epochs
