import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.belief import believe
from strategy.evidence import Evidence
from strategy.predicting import digest_of, predict
from tests.strategy.worlds import field_of, runs, true_log_loss


def test_predictions_cover_runs() -> None:
    """Nine in ten intervals hold a single run, noise included."""
    held: list[bool] = []
    for seed in range(12):
        field = field_of(6_000.0)
        truth = true_log_loss(field) + np.random.default_rng(seed).normal(0.0, 0.002, (len(field.cells), 1))
        evidence = Evidence.read(field, runs(field, truth, range(6), seeds=(0, 1), seed=seed))
        places = [(cell, 2) for cell in range(6, len(field.cells))]
        found = predict(believe(field, evidence), places, made_by="test")
        assert len(found) == len(places)
        for one, record in zip(
            found, runs(field, truth, range(6, len(field.cells)), rates=[2], seed=seed), strict=True
        ):
            assert record.val_loss is not None and one.low < one.predicted_loss < one.high
            held.append(one.low <= record.val_loss <= one.high)
    assert 0.8 <= np.mean(held) <= 1.0


def test_only_what_nobody_has_trained_is_predicted() -> None:
    """A (cell, rate) with a run, or named twice, is not predicted again."""
    field = field_of(3_000.0)
    evidence = Evidence.read(field, runs(field, true_log_loss(field), (0,)))
    belief = believe(field, evidence)
    assert predict(belief, [(0, 2)], made_by="test") == ()
    (one,) = predict(belief, [(0, 2), (4, 2), (4, 2)], made_by="test")
    trial = field.trial(4, 2, 0)
    assert (one.model, one.epochs, one.peak_lr, one.cohort) == (trial.model, trial.epochs, trial.peak_lr, trial.cohort)
    assert (one.runs, one.dearest_core_hours, one.core_hours) == (3, field.core_hours[0], field.core_hours[4])
    assert (one.made_by, one.level, one.made_unix_s) == ("test", 0.9, 0.0)


@settings(max_examples=15)
@given(order=st.permutations(range(6)))
def test_digest_is_that_of_what_was_said(order: list[int]) -> None:
    """The same runs in any order have one digest, and one run less has another."""
    field = field_of(3_000.0)
    records = runs(field, true_log_loss(field), (0, 1))
    digest = digest_of(field, Evidence.read(field, records))
    assert digest_of(field, Evidence.read(field, [records[n] for n in order])) == digest
    assert digest_of(field, Evidence.read(field, [records[n] for n in order[1:]])) != digest
