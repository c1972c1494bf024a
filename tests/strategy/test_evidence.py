import dataclasses
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strategy.evidence import Evidence, best_rates
from sweeps.record import Status
from tests.strategy.worlds import begun, field_of, record_of, runs, true_log_loss


@given(order=st.randoms(use_true_random=False))
def test_order_of_records_is_of_no_account(order):
    """The same records in any order say the same."""
    field = field_of(3_000.0)
    records = runs(field, true_log_loss(field), range(4), seeds=(0, 1))
    shuffled = list(records)
    order.shuffle(shuffled)
    one, other = Evidence.read(field, records), Evidence.read(field, shuffled)
    for name in ("cell", "rate", "seed", "log_loss", "log_selection", "is_tainted"):
        assert (getattr(one, name) == getattr(other, name)).all()


def test_only_finished_runs_of_the_field_count():
    """Runs of other studies, begun, diverged, failed or without a usable loss are no rows."""
    field, other = field_of(3_000.0), field_of(3_000.0, peak_lrs=(0.11, 0.22))
    records = [
        record_of(field.trial(0, 1, 0), field, 2.5),
        record_of(other.trial(0, 1, 0), other, 2.5),
        begun(field.trial(1, 1, 0), field),
        record_of(field.trial(2, 3, 0), field, None, status=Status.DIVERGED),
        record_of(field.trial(3, 1, 0), field, None, status=Status.FAILED),
        *(record_of(field.trial(4, 1, n), field, bad) for n, bad in enumerate((0.0, -1.0, math.inf, math.nan))),
    ]
    found = Evidence.read(field, records)
    assert found.runs.tolist() == [[0, 1, 1]]
    assert found.diverged == {(2, 3)}
    assert not len(Evidence.read(field, [])) and Evidence.read(field, []).runs.shape == (0, 3)


def test_tainted_runs_are_marked():
    """A finished run that shows no certificate is kept and marked."""
    field = field_of(3_000.0)
    record = record_of(field.trial(0, 1, 0), field, 2.5)
    assert record.outcome is not None
    bare = dataclasses.replace(record, outcome=dataclasses.replace(record.outcome, certificate=()))
    assert Evidence.read(field, [record, bare]).is_tainted.tolist() == [False, True]


def test_best_rates_read_the_selection_loss():
    """The least mean selection loss decides, and a rate at which a run diverged is never the best."""
    field = field_of(3_000.0)
    flat = np.zeros((len(field.cells), field.rate_count))
    flat[:, 1:4] = [0.3, 0.1, 0.0]
    records = runs(field, flat, (0, 1, 2), noise_sd=0.0)
    assert best_rates(Evidence.read(field, records)) == {0: 3, 1: 3, 2: 3}
    wild = [record_of(field.trial(cell, 3, 9), field, None, status=Status.DIVERGED) for cell in (0, 1)]
    wild += [record_of(field.trial(1, rate, 9), field, None, status=Status.DIVERGED) for rate in (1, 2)]
    assert best_rates(Evidence.read(field, [*records, *wild])) == {0: 2, 2: 3}
    chosen = [
        dataclasses.replace(record, outcome=dataclasses.replace(record.outcome, selection_loss=1.0))
        if record.outcome and record.trial.peak_lr == field.peak_lrs(0)[1]
        else record
        for record in records
    ]
    assert best_rates(Evidence.read(field, [r for r in chosen if field.find(r.trial) in ((0, 1), (0, 2))])) == {0: 1}
