import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare.comparison import compare
from analysis.compare.findings import Duel
from analysis.refusal import FitRefused
from analysis.result import Estimate
from sweeps.errors import StudyError
from tests.analysis.synthetic_families import RESAMPLES, comparison, families, family_records


def only(result) -> Duel:
    """Returns the one pair of a comparison."""
    (duel,) = result.main.duels
    return duel


def mean(duel: Duel) -> Estimate:
    """Returns the mean multiplier of a pair that has one."""
    assert duel.mean_multiplier is not None
    return duel.mean_multiplier


@pytest.mark.parametrize("multiplier", [1.0, 1.2, 2.0])
def test_a_known_multiplier_is_found(multiplier):
    """Without noise only the grid of cells stands between the answer and the truth."""
    found = mean(only(comparison(family_records("a"), family_records("b", multiplier=multiplier))))

    assert found.value == pytest.approx(multiplier, rel=0.02)


def test_noise_widens_the_interval_about_the_truth():
    """Ten times the noise, an interval several times as wide, and the truth within."""
    quiet, loud = (
        mean(
            only(
                comparison(
                    family_records("a", noise=noise, random_seed=1),
                    family_records("b", multiplier=1.5, noise=noise, random_seed=2),
                )
            )
        )
        for noise in (0.001, 0.01)
    )

    assert loud.low < 1.5 < loud.high
    assert math.log(loud.high / loud.low) > 3 * math.log(quiet.high / quiet.low)


def test_identical_families_are_equal_to_the_digit():
    """The same losses under two names: all noise is shared, and nothing is left of it."""
    duel = only(comparison(family_records("a", noise=0.02), family_records("b", noise=0.02)))

    assert mean(duel).value == pytest.approx(1.0, abs=1e-9)
    assert (mean(duel).low, mean(duel).high) == pytest.approx((1.0, 1.0), abs=1e-9)
    assert duel.winner is None
    assert duel.meeting is None


@settings(max_examples=8, deadline=None)
@given(multiplier=st.floats(0.5, 2.0), seed=st.integers(0, 1000))
def test_swapping_the_two_inverts_the_multiplier(multiplier, seed):
    """Of a pair either may be called the first: value and interval are inverted."""
    a, b = families(
        family_records("a", noise=0.01, random_seed=seed),
        family_records("b", multiplier=multiplier, noise=0.01, random_seed=seed + 1),
    )
    there, back = (only(compare(pair, others=False, resamples=RESAMPLES)) for pair in ((a, b), (b, a)))

    assert mean(back).value == pytest.approx(1 / mean(there).value)
    assert (mean(back).low, mean(back).high) == pytest.approx((1 / mean(there).high, 1 / mean(there).low))
    assert back.mean_gap.value == pytest.approx(-there.mean_gap.value)


@settings(max_examples=8, deadline=None)
@given(factor=st.floats(0.7, 1.4), seed=st.integers(0, 1000))
def test_scaling_all_compute_of_one_family_scales_the_multiplier(factor, seed):
    """Whatever the laws are."""
    one = family_records("a", noise=0.005, random_seed=seed)
    other = family_records("b", noise=0.005, random_seed=seed + 1)
    dearer = [replace(run, cost=replace(run.cost, core_hours=factor * run.cost.core_hours)) for run in other]
    before, after = (mean(only(comparison(one, some))) for some in (other, dearer))

    assert after.value == pytest.approx(factor * before.value, rel=1e-6)
    assert after.low == pytest.approx(factor * before.low, rel=1e-6)


def test_noise_that_both_share_cancels():
    """The same noise in both, against noise of its own in each: pairing tells them apart by itself."""
    shared, own = (
        mean(
            only(
                comparison(
                    family_records("a", noise=0.02, random_seed=1),
                    family_records("b", multiplier=1.3, noise=0.02, random_seed=seed),
                )
            )
        )
        for seed in (1, 2)
    )

    assert math.log(shared.high / shared.low) < 0.3 * math.log(own.high / own.low)


def test_a_crossing_is_found_where_it_is():
    """A multiplier that rises through 1 at 5,600 core-hours."""
    duel = only(comparison(family_records("a", noise=0.001), family_records("b", tilt=0.4, noise=0.001, random_seed=1)))

    assert duel.meeting is not None and duel.meeting.is_sure
    assert duel.meeting.amount == pytest.approx(5600, rel=0.15)
    assert (duel.meeting.ahead_below, duel.meeting.ahead_above) == ("b", "a")
    assert duel.winner is None


def test_nothing_is_read_outside_what_both_families_cover():
    """Neither gap nor multiplier leaves the cells of the two."""
    duel = only(comparison(family_records("a"), family_records("b", multiplier=1.5)))

    low, high = duel.span
    assert duel.gap.amount.min() >= low * 0.999 and duel.gap.amount.max() <= high * 1.001
    assert duel.multiplier is not None
    # Half as much again must still lie within b's own cells.
    assert (duel.multiplier.amount * duel.multiplier.value).max() <= 80_000 * 1.02


def test_gap_and_multiplier_agree_on_who_is_behind():
    """A family that needs more compute has the higher loss at equal compute."""
    duel = only(comparison(family_records("a"), family_records("b", multiplier=1.5)))

    assert (duel.gap.value > 0).all()
    assert duel.multiplier is not None and (duel.multiplier.value > 1).all()


def test_flops_are_no_axis_of_their_own_where_they_are_core_hours_times_a_number():
    """Of a scale model FLOPs would only say the same again."""
    result = comparison(family_records("a"), family_records("b"), others=True)

    assert [one.axis.name for one in result.others] == ["billed", "params", "macs"]


def test_an_axis_without_data_is_refused_by_itself():
    """The others still answer, and the reason is a warning."""
    result = comparison(family_records("a"), family_records("b"), others=True)
    billed = next(one for one in result.others if one.axis.name == "billed")

    assert billed.refused is not None and billed.refused.code == "unknown_amount"
    assert any("measured core-seconds" in notice.text for notice in result.notices)


def test_measured_speed_can_turn_the_answer_round():
    """b needs less of the reference's core-hours, but is three times as slow on the machine at hand."""
    result = comparison(
        family_records("a", noise=0.002, billed=lambda hours: hours),
        family_records("b", multiplier=0.7, noise=0.002, random_seed=1, billed=lambda hours: 3 * hours),
        others=True,
    )
    billed = next(one for one in result.others if one.axis.name == "billed")

    assert only(result).winner == "b"
    assert billed.duels[0].winner == "a"
    assert "depends on what is held equal" in result.disagreement


def test_asking_for_nothing_that_exists_is_an_error():
    """An unknown axis, or one that no run has a number on."""
    with pytest.raises(StudyError, match="no axis called 'watts'"):
        comparison(family_records("a"), family_records("b"), axis="watts")
    with pytest.raises(FitRefused, match="no measured core-seconds"):
        comparison(family_records("a"), family_records("b"), axis="billed")


def test_families_without_budgets_in_common_are_refused():
    """One of cheap runs alone, one of dear runs alone."""
    cheap = [run for run in family_records("a") if run.cost.core_hours < 5000]
    dear = [run for run in family_records("b") if run.cost.core_hours > 6000]
    with pytest.raises(FitRefused, match="no range of core-hours in common"):
        comparison(cheap, dear)
