import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.rehearse.reference_law import reference_law
from launcher.rehearse.rehearsal import scaled_down
from launcher.rehearse.world import STABLE_OCTAVES, World
from launcher.settings.compose import compose
from strategy.field import Field
from sweeps.study import Study


@pytest.fixture(scope="module")
def study() -> Study:
    """The reference study with fewer images."""
    return scaled_down(compose(["study=jft", "budget=110k"]).study)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), budget=st.floats(400.0, 60_000.0))
def test_a_seed_has_one_world_whatever_the_budget(study: Study, seed: int, budget: float) -> None:
    """The cells of a smaller budget have the same losses and best rates in a larger one."""
    small, large = (World.drawn(Field(study=study, budget_core_hours=b), seed) for b in (budget, 110_000.0))
    cells = len(small.field.cells)
    assert small.log_loss == pytest.approx(large.log_loss[:cells])
    assert small.best_octave == pytest.approx(large.best_octave[:cells])
    trial = small.field.trial(0, 2, 0)
    assert small.losses(trial) == large.losses(trial)


def test_seeds_differ_and_repeat() -> None:
    """Another seed is another law; the same one is the same."""
    field = Field(study=compose(["study=scale_model", "budget=10k"]).study, budget_core_hours=10_000.0)
    one, again, other = (World.drawn(field, seed) for seed in (1, 1, 2))
    assert (one.truth == again.truth).all()
    assert not np.isclose(one.truth, other.truth).all()


def test_best_rates_move_as_published(study: Study) -> None:
    """Random shifts averaged over many seeds leave the best rates of Fig. 3."""
    field = Field(study=study, budget_core_hours=110_000.0)
    mean = np.mean([World.drawn(field, seed).best_octave for seed in range(400)], axis=0)
    law = reference_law()
    hours = field.core_hours / field.epochs
    for row, per_epoch in zip(law.rate_octaves, law.rate_core_hours_per_epoch, strict=True):
        for octaves, epochs in zip(row, law.rate_epochs, strict=True):
            (cell,) = np.flatnonzero(np.isclose(hours, per_epoch, rtol=0.02) & np.isclose(field.epochs, epochs))
            assert mean[cell] == pytest.approx(math.log2(0.8) + octaves, abs=0.08)


def test_losses_are_those_of_the_law(study: Study) -> None:
    """Averaged over seeds of a run they are the truth; each trial has one loss; far too high a rate diverges."""
    field = Field(study=study, budget_core_hours=10_000.0)
    world = World.drawn(field, 3)
    found = [world.losses(field.trial(5, 2, seed)) for seed in range(200)]
    assert found == [world.losses(field.trial(5, 2, seed)) for seed in range(200)]
    logs = np.log([one[0] for one in found if one is not None])
    assert logs.mean() == pytest.approx(world.truth[5, 2], abs=4 * world.noise_sd / math.sqrt(200))
    assert logs.std() == pytest.approx(world.noise_sd, rel=0.2)
    low = dataclasses.replace(world, best_octave=np.full(len(field.cells), field.octaves[0, 2] - STABLE_OCTAVES - 0.1))
    assert low.losses(field.trial(0, 2, 0)) is None and low.losses(field.trial(0, 1, 0)) is not None


def test_strangers_have_no_loss(study: Study) -> None:
    """A trial of another study is refused."""
    field = Field(study=study, budget_core_hours=1_000.0)
    stranger = dataclasses.replace(field.trial(0, 1, 0), peak_lr=0.123)
    with pytest.raises(ValueError, match="is no trial of this field"):
        World.drawn(field, 0).losses(stranger)


def test_deviations_lie_off_the_surface(study: Study) -> None:
    """As far as the reference fit's own residuals, where they are asked for."""
    field = Field(study=study, budget_core_hours=110_000.0)
    plain, off = (World.drawn(field, 4, deviations=part) for part in (0.0, 1.0))
    moved = np.abs(off.log_loss - plain.log_loss)
    assert 0.0 < moved.max() <= np.abs(reference_law().residuals).max()
    assert (off.best_octave == plain.best_octave).all()
