import math

import numpy as np
import pytest

from analysis.compare.smooth import places_of, shared_draws, smooth
from tests.analysis.synthetic_families import families, family_records, surface


def test_cells_of_one_rank_and_epochs_share_their_numbers() -> None:
    """Whichever family has them: a key is drawn once."""
    a, b = families(family_records("a"), family_records("b", sizes=3))
    shared = shared_draws((a, b), 50, np.random.default_rng(0))
    assert set(shared) == {member.key for member in a.members}
    assert all(member.key in shared for member in b.members)
    again = shared_draws((b, a), 50, np.random.default_rng(0))
    assert all(np.array_equal(shared[key], again[key]) for key in shared)


@pytest.mark.parametrize("best_lr", [0.1, 0.12, 0.08])
def test_an_optimum_between_two_rates_costs_nothing(best_lr: float) -> None:
    """Losses are those at the lowest point of the valley, not at the rate that lies nearest."""
    a, _ = families(family_records("a", best_lr=best_lr), family_records("b"))
    found = smooth(a, shared_draws((a,), 20, np.random.default_rng(0))).cells[0]
    truth = [math.log(surface((c.core_hours or 0) / (c.epochs or 1) / 3200, (c.epochs or 1) / 1.75)) for c in a.cells]
    assert found == pytest.approx(truth, abs=0.002)


def test_an_optimum_beyond_the_rates_is_not_extrapolated() -> None:
    """An octave above the highest rate the valley ends where the rates end: 2 % above its bottom."""
    a, _ = families(family_records("a", best_lr=0.4), family_records("b"))
    found = smooth(a, shared_draws((a,), 20, np.random.default_rng(0))).cells[0]
    truth = [math.log(surface((c.core_hours or 0) / (c.epochs or 1) / 3200, (c.epochs or 1) / 1.75)) for c in a.cells]
    assert found - np.array(truth) == pytest.approx(np.full(30, 0.02), abs=0.002)


def test_with_one_rate_a_cell_its_loss_is_taken_as_it_is() -> None:
    """No valley is made up."""
    a, _ = families(family_records("a", rates=(0.1,)), family_records("b"))
    found = smooth(a, shared_draws((a,), 20, np.random.default_rng(0)))
    assert found.rates is None
    assert found.cells[0] == pytest.approx(np.log([cell.loss for cell in a.cells]), abs=0.002)


def test_a_model_has_one_size_whatever_its_epochs() -> None:
    """Runs end on whole steps, so FLOPs over images differ in their last digits."""
    a, _ = families(family_records("a"), family_records("b"))
    assert len(np.unique(places_of(a).size)) == 5
