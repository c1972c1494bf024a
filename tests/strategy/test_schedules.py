import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy.field import Field
from strategy.schedules import COST_SHARE, compare_schedules, comparison_lines, spot_checks
from sweeps.record import RunRecord
from sweeps.study import Study
from tests.strategy.worlds import field_of, study_of, train, true_log_loss

BUDGET = 30_000.0
COSINE = study_of()
TRUNK = study_of(schedule=dataclasses.replace(COSINE.schedule, name="wsd"))


def both(difference: float, *, noise_sd: float = 0.003, seed: int = 0, budget: float = BUDGET) -> list[RunRecord]:
    """Returns runs of spot checks with both schedules, whose laws' slopes differ by so much."""
    records: list[RunRecord] = []
    for study, slope in ((TRUNK, difference), (COSINE, 0.0)):
        field = Field(study=study, budget_core_hours=budget)
        truth = true_log_loss(field) + slope * np.log(field.core_hours)[:, None]
        records += train(spot_checks(study, budget), field, truth, noise_sd=noise_sd, seed=seed)
    return records


@given(budget=st.floats(300.0, 120_000.0), count=st.integers(0, 8), seeds=st.integers(1, 3))
def test_spot_checks_stay_within_their_share(budget: float, count: int, seeds: int) -> None:
    """At most so many cells, at every rate and seed, for their part of the full grid or the cheapest cell alone."""
    study = study_of(seeds=tuple(range(seeds)))
    field = Field(study=study, budget_core_hours=budget)
    trials = spot_checks(study, budget, count)
    places = [field.find(trial) for trial in trials]
    cells = sorted({place[0] for place in places if place is not None})
    assert len({trial.id for trial in trials}) == len(trials) == len(cells) * 3 * seeds
    assert len(cells) <= count
    price = sum(float(field.core_hours[place[0]]) for place in places if place is not None)
    assert cells in ([], [0]) or price <= COST_SHARE * field.grid_core_hours * (1 + 1e-9)
    assert bool(cells) == bool(count and len(field.cells))


def test_spot_checks_are_spread_over_compute() -> None:
    """Three cells, the cheapest among them, a good way apart."""
    field = field_of(BUDGET)
    cells = sorted({place[0] for place in map(field.find, spot_checks(study_of(), BUDGET)) if place is not None})
    assert len(cells) == 3 and cells[0] == 0
    assert field.core_hours[cells[-1]] > 4.0 * field.core_hours[0]


@pytest.mark.parametrize("difference", [-0.05, 0.05])
def test_a_known_difference_is_found(difference: float) -> None:
    """The slope within its interval, which leaves zero out; the sentence says so."""
    found = compare_schedules(TRUNK, COSINE, BUDGET, both(difference))
    assert found.slope_difference == pytest.approx(difference, abs=0.01)
    assert found.low is not None and found.high is not None
    assert found.low < difference < found.high and found.low * found.high > 0.0
    assert "one may not stand for the other" in found.sentence
    assert len(comparison_lines(found)) == len(found.cells) + 1 == 4


def test_no_difference_is_covered_as_often_as_said() -> None:
    """Over many seeds nine in ten intervals hold zero where there is nothing."""
    found = [compare_schedules(TRUNK, COSINE, BUDGET, both(0.0, seed=seed)) for seed in range(60)]
    held = [one.low is not None and one.high is not None and one.low <= 0.0 <= one.high for one in found]
    assert 0.8 <= np.mean(held) <= 1.0
    covered = next(one for one, is_held in zip(found, held, strict=True) if is_held)
    assert covered.sentence.startswith("no difference between the slopes")


def test_more_noise_widens_the_interval() -> None:
    """What scatters more says less."""
    widths: list[float] = []
    for noise_sd in (0.001, 0.05):
        records: list[RunRecord] = []
        for study in (TRUNK, COSINE):
            several: Study = dataclasses.replace(study, seeds=(0, 1, 2))
            field = Field(study=several, budget_core_hours=BUDGET)
            records += train(spot_checks(several, BUDGET), field, true_log_loss(field), noise_sd=noise_sd)
        found = compare_schedules(TRUNK, COSINE, BUDGET, records)
        assert found.low is not None and found.high is not None
        widths.append(found.high - found.low)
    assert widths[1] > 3.0 * widths[0]


def test_too_few_cells_say_so() -> None:
    """One cell, or runs of one schedule alone, make no slope: it is missing, not zero."""
    records = both(0.0)
    one_sided = [record for record in records if record.trial.schedule.name == "cosine"]
    cheapest = [record for record in records if record.trial.epochs == 0.25 and record.trial.model == "f0"]
    for some, cells in ((one_sided, 0), (cheapest, 1), ([], 0)):
        found = compare_schedules(TRUNK, COSINE, BUDGET, some)
        assert len(found.cells) == cells
        assert (found.slope_difference, found.low, found.high) == (None, None, None)
        assert found.sentence.startswith("too few cells")
