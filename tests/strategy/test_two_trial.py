import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.evidence import Evidence
from strategy.two_trial import admissible, tuned_rates, tunings
from sweeps.record import Status
from tests.strategy.worlds import field_of, follow, inquiry_of, record_of, runs, study_of, true_log_loss

TOP = 4
"""Position of the rate one octave above the study's highest."""


def falling(field, *, start: float, by_size: float, by_data: float, kappa: float) -> np.ndarray:
    """Returns losses whose best rate lies `start` octaves above the study's lowest in the cheapest cell, and falls."""
    doublings = (field.log_params - field.log_params.min()) / np.log(2), np.log2(field.epochs / field.epochs.min())
    best = field.octaves[0, 1] + start - by_size * doublings[0] - by_data * doublings[1]
    best = np.maximum(best, field.octaves[0, 0])
    base = true_log_loss(field).min(axis=1)
    return base[:, None] + kappa * (field.octaves - best[:, None]) ** 2


@settings(max_examples=15)
@given(
    start=st.floats(0.0, 3.0),
    by_size=st.floats(0.0, 0.5),
    by_data=st.floats(0.0, 0.9),
    kappa=st.floats(0.005, 0.1),
    budget=st.sampled_from([3_000.0, 10_000.0]),
)
def test_finds_the_best_rate_in_two_trials(start, by_size, by_data, kappa, budget):
    """Where the best rate falls slowly, every cell gets its grid's best, up to what noise would hide."""
    inquiry = inquiry_of("two_trial", budget)
    field = inquiry.field
    truth = falling(field, start=start, by_size=by_size, by_data=by_data, kappa=kappa)
    records, _ = follow(inquiry, truth)
    evidence = Evidence.read(field, records)
    found = tuned_rates(field, evidence)
    assert sorted(found) == list(range(len(field.cells)))
    for cell, rate in found.items():
        tried = int((evidence.cell == cell).sum())
        assert tried <= (4 if cell == 0 else 2)
        assert truth[cell, rate] - truth[cell].min() < 0.005


def test_an_edge_is_extended_by_one_octave():
    """Only the first cell, at either end, and by one rate alone."""
    for start, extra in ((-3.0, 0), (4.0, TOP)):
        inquiry = inquiry_of("two_trial", 3_000.0)
        field = inquiry.field
        off = field.octaves[0] - field.octaves[0, 1] - start
        truth = true_log_loss(field).min(axis=1)[:, None] + 0.01 * off[None, :] ** 2
        records, rounds = follow(inquiry, truth)
        first = [field.find(trial) for trial in rounds[0].trials]
        assert sorted(first) == [(0, 1), (0, 2), (0, 3)]
        assert [field.find(trial) for trial in rounds[1].trials] == [(0, extra)]
        assert tuned_rates(field, Evidence.read(field, records))[0] == extra


def test_waves_respect_neighbours():
    """A cell is proposed only once its next smaller and next shorter neighbours are decided."""
    inquiry = inquiry_of("two_trial", 20_000.0)
    field = inquiry.field

    def check(found, records):
        evidence = Evidence.read(field, records)
        tuned = set(tuned_rates(field, evidence))
        decided = {cell for cell, tuning in tunings(field, evidence).items() if tuning.is_decided}
        for trial in found.trials:
            cell, _ = field.find(trial)
            same_model = (field.model == field.model[cell]) & (field.epochs < field.epochs[cell])
            same_length = (field.epochs == field.epochs[cell]) & (field.log_params < field.log_params[cell] - 1e-9)
            for near, by in ((same_model, field.epochs), (same_length, field.log_params)):
                if near.any():
                    neighbour = max(np.flatnonzero(near), key=lambda other, by=by: by[other])
                    assert neighbour in tuned and neighbour in decided

    _, rounds = follow(inquiry, true_log_loss(field), on_round=check)
    assert len(rounds) > 5


@settings(max_examples=10)
@given(stable=st.integers(0, 3), seed=st.integers(0, 1000))
def test_nothing_above_a_rate_that_diverged(stable, seed):
    """Once a rate diverged in a cell, no higher one is proposed there; the walk still comes to its end."""
    inquiry = inquiry_of("two_trial", 3_000.0)
    field = inquiry.field

    def check(found, records):
        diverged = Evidence.read(field, records).diverged
        for trial in found.trials:
            cell, rate = field.find(trial)
            assert not any(cell == c and rate >= r for c, r in diverged)

    octave = float(field.octaves[0, stable])
    records, rounds = follow(
        inquiry, true_log_loss(field), on_round=check, stable_octave=octave, noise_sd=0.003, seed=seed
    )
    assert rounds[-1].is_over and records


def test_all_seeds_of_the_study_are_run():
    """Each (cell, rate) that is tried is run with every seed."""
    inquiry = inquiry_of("two_trial", 1_000.0, study=study_of(seeds=(0, 1, 2)))
    records, _ = follow(inquiry, true_log_loss(inquiry.field))
    assert set(Evidence.read(inquiry.field, records).runs[:, 2].tolist()) == {3}


def test_a_wave_goes_as_far_as_the_cap():
    """What may not be spent is not proposed, the cheapest cells first."""
    inquiry = inquiry_of("two_trial", 110_000.0)
    records, rounds = follow(inquiry, true_log_loss(inquiry.field), cap=20_000.0)
    spent = sum(record.cost.core_hours for record in records)
    assert 15_000.0 < spent <= 20_000.0
    assert rounds[-1].is_over and "of 36 cells" in rounds[-1].lines[0]


def test_the_lower_of_two_neighbours_counts():
    """Where the shorter one is best at a higher rate than the smaller one, or the other way round."""
    field = field_of(3_000.0)
    names = [field.name(cell) for cell in range(len(field.cells))]
    cell, shorter, smaller = (names.index(name) for name in ("f1-e0.5", "f1-e0.25", "f0-e0.5"))
    for high, low in ((shorter, smaller), (smaller, shorter)):
        best = np.full(len(field.cells), 2)
        best[low] = 1
        off = np.arange(field.rate_count)[None, :] - best[:, None]
        truth = true_log_loss(field).min(axis=1)[:, None] + 0.05 * off**2
        records = runs(field, truth, (0, shorter, smaller), seeds=(0, 1, 2), noise_sd=0.0005)
        assert tuned_rates(field, Evidence.read(field, records)) == {0: 2, high: 2, low: 1}
        assert tunings(field, Evidence.read(field, records))[cell].rates == (1, 0)


def test_admissible_rates_need_no_neighbour():
    """Of a far cell the nearest tuned smaller and shorter ones speak; of the first, all rates of the study do."""
    field = field_of(10_000.0)
    truth = falling(field, start=1.0, by_size=0.1, by_data=0.1, kappa=0.05)
    evidence = Evidence.read(field, runs(field, truth, (0,), noise_sd=0.0))
    found = admissible(field, evidence)
    assert found[0] == (1, 2, 3)
    assert tuned_rates(field, evidence) == {0: 2}
    assert all(found[cell] == (1, 2) for cell in range(1, len(field.cells)))
    nothing = admissible(field, Evidence.read(field, []))
    assert all(rates == (1, 2, 3) for rates in nothing.values())


def test_a_diverged_rate_bounds_what_is_admissible():
    """Rates above it are none, it itself was tried."""
    field = field_of(3_000.0)
    records = runs(field, true_log_loss(field), (0,), noise_sd=0.0)
    wild = record_of(field.trial(1, 2, 0), field, None, status=Status.DIVERGED)
    found = admissible(field, Evidence.read(field, [*records, wild]))
    assert max(found[1]) <= 2
