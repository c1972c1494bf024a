import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.belief import believe
from strategy.design import outlook
from strategy.evidence import Evidence
from tests.strategy.worlds import field_of, runs, true_log_loss


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_more_runs_never_widen_an_outlook(seed, count):
    """A run that is looked forward to narrows everything or nothing, and never below zero."""
    field = field_of(5_000.0)
    rng = np.random.default_rng(seed)
    cells = rng.integers(len(field.cells), size=count).tolist()
    belief = believe(field, Evidence.read(field, runs(field, true_log_loss(field), sorted({0, *cells}))))
    asked = np.zeros(belief.mean.size)
    asked[int(belief.mean.argmin())] = 1.0
    view = outlook(belief, asked)
    assert (view.variances_left() <= view.asked_variance + 1e-12).all()
    after = view.after(int(rng.integers(len(view.mean))))
    assert (np.diag(after.covariance) <= np.diag(view.covariance) + 1e-12).all()
    assert -1e-12 <= after.asked_variance <= view.asked_variance + 1e-12
    assert (view.gains(np.arange(len(view.mean))) >= 0.0).all()


def test_outlook_tells_what_a_run_would_do():
    """The variance that is foreseen after a run is the one that the outlook after it has."""
    field = field_of(3_000.0)
    belief = believe(field, Evidence.read(field, runs(field, true_log_loss(field), (0, 2))))
    asked = np.zeros(belief.mean.size)
    asked[-3] = 1.0
    view = outlook(belief, asked)
    for place in (0, len(asked) // 2, len(asked) - 3):
        assert np.isclose(view.after(place).asked_variance, view.variances_left()[place], rtol=1e-9)
    assert view.variances_left().argmin() // field.rate_count == len(field.cells) - 1
