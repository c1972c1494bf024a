"""How long a trial will take by the clock."""

import dataclasses
from collections.abc import Callable

import pytest

from sweeps.cost import Cost
from sweeps.grid import Grid
from sweeps.hardware import Hardware, Throughput
from sweeps.record import Outcome, RunRecord, Status
from sweeps.study import Study
from sweeps.trial import Trial
from sweeps.wall_time import Speeds, with_wall_hours


@pytest.fixture
def make_trial(make_study: Callable[..., Study]) -> Callable[[], Trial]:
    """The first trial of a study."""
    return lambda: Grid(study=make_study()).trial(0)


COST = Cost(flops=100.0, core_hours=8.0, wall_hours=None, relative_spread=0.0)
REAL, SCALE = Hardware(name="tpu"), Hardware(name="scale", flops_per_core_hour=1.0)


def timed(trial: Trial, wall_s: float, *, steps: int | None = None, status: Status = Status.FINISHED) -> RunRecord:
    """Returns a run that took so long."""
    outcome = Outcome(
        status=status,
        steps=trial.steps if steps is None else steps,
        val_loss=1.0,
        selection_loss=1.0,
        train_loss=1.0,
        wall_s=wall_s,
        compile_s=0.0,
    )
    return RunRecord(
        trial=trial,
        cost=COST,
        budget_core_hours=None,
        status=status,
        outcome=outcome,
        curve=(),
        attempts=1,
        code_version="test",
        device="cpu",
        started_unix_s=0.0,
        ended_unix_s=1.0,
    )


def test_nothing_known_is_missing(make_trial: Callable[..., Trial]) -> None:
    """A scale model's core-hours say no time, and neither do cores that nobody counted."""
    nothing = Speeds.of([])
    for hardware, cores in ((SCALE, 4), (REAL, None)):
        assert with_wall_hours(COST, make_trial(), speeds=nothing, hardware=hardware, cores=cores).wall_hours is None


def test_core_hours_over_cores(make_trial: Callable[..., Trial]) -> None:
    """Without a timed run, measured hardware says it: eight core-hours on four cores are two hours."""
    assert with_wall_hours(COST, make_trial(), speeds=Speeds.of([]), hardware=REAL, cores=4).wall_hours == 2.0


def test_the_slowest_run_of_the_model_counts_first(make_trial: Callable[..., Trial]) -> None:
    """Of two timings the slower one is taken, by the step; runs that never ended say nothing."""
    trial = make_trial()
    longer = dataclasses.replace(trial, epochs=2.0 * trial.epochs)
    speeds = Speeds.of([timed(trial, 36.0), timed(trial, 72.0), timed(trial, 9e9, status=Status.FAILED)])
    found = with_wall_hours(COST, longer, speeds=speeds, hardware=REAL, cores=4).wall_hours
    assert found == pytest.approx(72.0 / 3600.0 * longer.steps / trial.steps)


def test_steps_taken_over_took_no_time(make_trial: Callable[..., Trial]) -> None:
    """A run that went on from half of its steps was timed over the other half."""
    trial = make_trial()
    whole, half = timed(trial, 80.0), timed(trial, 40.0)
    assert half.outcome is not None
    shared = dataclasses.replace(half, outcome=dataclasses.replace(half.outcome, shared_steps=trial.steps // 2))
    assert Speeds.of([shared]) == Speeds.of([whole])


def test_another_model_is_timed_by_its_flops(make_trial: Callable[..., Trial]) -> None:
    """On a scale model a run of another size gives seconds a FLOP; a run that stopped half-way counts its half."""
    trial = make_trial()
    other = dataclasses.replace(trial, model="other")
    half = timed(trial, 50.0, steps=trial.steps // 2, status=Status.DIVERGED)
    found = with_wall_hours(COST, other, speeds=Speeds.of([half]), hardware=SCALE, cores=4).wall_hours
    assert found == pytest.approx(50.0 / 3600.0 / (trial.steps // 2 / trial.steps))


def test_a_calibration_says_it_before_anything_has_run(make_trial: Callable[..., Trial]) -> None:
    """A scale model's wall-hours come from what was measured here, until a run of the model itself was timed."""
    trial = make_trial()
    found = {"family": trial.family, "image_px": trial.data.image_px, "relative_spread": 0.0, "source": "here"}
    fast = Throughput(model=trial.model, images_per_s_per_core=50.0, **found)
    at_hand = Hardware(name="here", throughputs=(fast,))
    known = {"hardware": SCALE, "at_hand": at_hand}
    for cores, factor in ((None, 1), (1, 1), (4, 4)):
        hours = with_wall_hours(COST, trial, speeds=Speeds.of([]), cores=cores, **known).wall_hours
        assert hours == pytest.approx(trial.images / 50.0 / 3600.0 / factor)
    ascent = dataclasses.replace(trial, recipe=dataclasses.replace(trial.recipe, sam_radius=0.05))
    hours = with_wall_hours(COST, ascent, speeds=Speeds.of([]), cores=1, **known).wall_hours
    assert hours == pytest.approx(2.0 * trial.images / 50.0 / 3600.0)
    own = with_wall_hours(COST, trial, speeds=Speeds.of([timed(trial, 36.0)]), cores=1, **known).wall_hours
    assert own == pytest.approx(0.01)
    other = dataclasses.replace(trial, model="other")
    assert with_wall_hours(COST, other, speeds=Speeds.of([]), cores=1, **known).wall_hours is None
