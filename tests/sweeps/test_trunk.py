"""What runs of different lengths share, and what a set of them costs."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.budget import Budget
from sweeps.grid import Grid
from sweeps.plan import Plan, make_plan
from sweeps.record import RunRecord, Status
from sweeps.study import Pick, Study
from sweeps.trial import ScheduleSpec, Trial
from sweeps.trunk import (
    LATEST_START,
    latest_start,
    milestones_in,
    predecessors,
    shared_steps,
    stable_steps,
    trained_steps,
    trunk_of,
)

StudyMaker = Callable[..., Study]
RecordMaker = Callable[..., RunRecord]

WSD = ScheduleSpec(name="wsd", warmup_steps=50)
SIX = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
EVERYTHING = Budget(core_hours=1e12, hardware="toy")


def sharing(study: Study, schedule: ScheduleSpec = WSD, *, images_per_epoch: int = 65536) -> Study:
    """Returns the study with a schedule that lets runs share steps, on epochs of the scale model's length."""
    data = dataclasses.replace(study.data, images_per_epoch=images_per_epoch)
    return dataclasses.replace(study, schedule=schedule, data=data)


def trials_of(study: Study) -> list[Trial]:
    """Returns all trials of a study."""
    grid = Grid(study=study)
    return [grid.trial(index) for index in range(len(grid))]


@pytest.fixture(scope="session")
def trial(make_study: StudyMaker) -> Trial:
    """A run of one epoch, 2048 steps."""
    return trials_of(sharing(make_study(widths=(4,), epochs=(1.0,))))[0]


def test_all_six_runs_of_the_scale_model_share_one_trunk(make_study: StudyMaker) -> None:
    """0.25 to 8 epochs cost 8 + 0.2 x 7.75 epochs instead of 15.75: the shortest has its whole warm-up too."""
    runs = trials_of(sharing(make_study(widths=(4,), peak_lrs=(0.1,), epochs=SIX)))
    assert len({trunk_of(run) for run in runs}) == 1
    assert trained_steps(runs) / 2048 == pytest.approx(8 + 0.2 * 7.75, abs=0.002)
    assert trained_steps(runs) / sum(run.steps for run in runs) == pytest.approx(0.606, abs=0.001)


def test_runs_at_a_constant_rate_share_all_their_steps(make_study: StudyMaker) -> None:
    """Without a cool-down the longest run is all there is to be trained."""
    study = sharing(make_study(widths=(4,), peak_lrs=(0.1,), epochs=SIX), ScheduleSpec(name="constant", warmup_steps=0))
    runs = trials_of(study)
    assert trained_steps(runs) == runs[-1].steps


@pytest.mark.parametrize("name", ["cosine", "wsd"])
def test_a_run_of_a_cosine_or_of_another_program_shares_nothing(trial: Trial, name: str) -> None:
    """Its rate depends on its length from the first step on, or nobody knows what it does."""
    alone = dataclasses.replace(
        trial,
        schedule=ScheduleSpec(name=name, warmup_steps=50),
        program="theirs 1" if name == "wsd" else None,
    )
    assert (trunk_of(alone), stable_steps(alone), latest_start(alone)) == (None, 0, 0)
    assert shared_steps([alone, dataclasses.replace(alone, epochs=9.0)]) == [0, 0]


@pytest.mark.parametrize(
    "change",
    [{"peak_lr": 0.2}, {"seed": 1}, {"batch_images": 64}, {"trunk_id": "a" * 16}, {"epochs": 0.1}, {"model": "other"}],
)
def test_other_runs_have_another_trunk(trial: Trial, change: dict[str, object]) -> None:
    """Whatever moves a step parts two runs: rate, seed, batch, first weights, model, and a warm-up that is cut."""
    assert trunk_of(dataclasses.replace(trial, **change)) != trunk_of(trial)  # type: ignore[arg-type]
    assert trunk_of(dataclasses.replace(trial, epochs=3.0)) == trunk_of(trial)


@given(
    epochs=st.lists(st.floats(0.05, 20.0), min_size=1, max_size=8),
    cooldown=st.floats(0.0, 1.0),
    name=st.sampled_from(["wsd", "constant", "cosine"]),
)
def test_sharing_never_costs_more(trial: Trial, epochs: list[float], cooldown: float, name: str) -> None:
    """Nothing is taken over that no shorter run leaves, nor at a step where the run may not begin."""
    schedule = ScheduleSpec(name=name, warmup_steps=50, cooldown_fraction=cooldown)
    runs = [dataclasses.replace(trial, epochs=length, schedule=schedule) for length in epochs]
    shared = shared_steps(runs)
    longest = max(run.steps for run in runs)
    assert longest <= trained_steps(runs) <= sum(run.steps for run in runs)
    for run, step in zip(runs, shared, strict=True):
        assert 0 <= step <= min(LATEST_START * run.steps, stable_steps(run))
        leaves = {stable_steps(other) for other in runs if trunk_of(other) == trunk_of(run) and other.steps < run.steps}
        assert step == max((s for s in leaves | {0} if s <= latest_start(run)), default=0)


@given(
    ratios=st.lists(st.floats(1.4, 4.0), min_size=1, max_size=6),
    cooldown=st.floats(0.05, 0.25),
)
def test_a_trunk_costs_its_longest_run_and_the_cooldowns(trial: Trial, ratios: list[float], cooldown: float) -> None:
    """Where lengths are some way apart, only the cool-downs of the shorter runs come on top of the longest."""
    lengths = [float(math.prod(ratios[:count])) for count in range(len(ratios) + 1)]
    schedule = dataclasses.replace(WSD, cooldown_fraction=cooldown)
    runs = [dataclasses.replace(trial, epochs=length, schedule=schedule) for length in lengths]
    cooldowns = sum(run.steps - stable_steps(run) for run in runs[:-1])
    assert trained_steps(runs) == runs[-1].steps + cooldowns


ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12)


@given(rows=ROWS)
def test_predecessors_are_the_furthest_allowed(rows: list[tuple[int, int, int]]) -> None:
    """The sorted search finds what looking at every pair finds."""
    trunk, stable, drawn = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    latest = np.minimum(np.maximum(stable - 1, 0), drawn)
    found = predecessors(trunk, stable, latest)
    for row, place in enumerate(found):
        allowed = [s for t, s in zip(trunk, stable, strict=True) if t == trunk[row] and 0 < s <= latest[row]]
        assert (int(stable[place]) if place >= 0 else 0) == max(allowed, default=0)
        assert place < 0 or trunk[place] == trunk[row]


@given(
    epochs=st.lists(st.floats(0.01, 20.0), min_size=1, max_size=4, unique=True).map(tuple),
    batches=st.lists(st.integers(8, 64), min_size=1, max_size=2, unique=True).map(tuple),
    name=st.sampled_from(["wsd", "constant", "cosine"]),
)
def test_cells_share_what_their_trials_share(
    make_study: StudyMaker, epochs: tuple[float, ...], batches: tuple[int, ...], name: str
) -> None:
    """The columns of a grid say what its trials say one by one."""
    study = sharing(
        make_study(epochs=epochs, batch_images=batches, seeds=(0, 1)), ScheduleSpec(name=name, warmup_steps=9)
    )
    study = dataclasses.replace(study, data=dataclasses.replace(study.data, images_per_epoch=1000))
    grid = Grid(study=study)
    by_trial = shared_steps(trials_of(study))
    for cell in range(grid.cell_count):
        assert {by_trial[index] for index in grid.cell_trials(cell)} == {int(grid.shared_steps[cell])}
    owned = sum(run.steps for run in trials_of(study)) - sum(by_trial)
    assert int((grid.columns.steps - grid.shared_steps).sum()) * grid.runs_per_cell == owned


def test_picks_share_where_only_their_length_differs(make_study: StudyMaker) -> None:
    """Two picks of one model and rate are a trunk; another rate and other first weights are not of it."""
    picks = tuple(
        Pick(model="w4", epochs=epochs, batch_images=32, peak_lr=peak_lr, trunk_id=trunk_id)
        for epochs, peak_lr, trunk_id in [(1.0, 0.1, None), (2.0, 0.1, None), (4.0, 0.2, None), (4.0, 0.1, "b" * 16)]
    )
    grid = Grid(study=dataclasses.replace(sharing(make_study()), picks=picks))
    assert list(grid.predecessors) == [-1, 0, -1, -1]


def plan_of(study: Study, records: Sequence[RunRecord] = (), cap: float | None = None) -> Plan:
    """Returns the plan of everything in a study."""
    return make_plan(study, EVERYTHING, records=records, spend_cap_core_hours=cap)


def test_a_cap_holds_what_is_trained_and_not_what_is_priced(make_study: StudyMaker) -> None:
    """The cap that just holds the trunk keeps every cell; a little less cuts the dearest."""
    study = sharing(make_study(widths=(4,), peak_lrs=(0.1,), epochs=SIX))
    whole = plan_of(study)
    assert whole.trained_core_hours == pytest.approx(0.606 * whole.total.core_hours, rel=1e-3)
    assert len(plan_of(study, cap=1.0001 * whole.trained_core_hours).cells) == 6
    assert len(plan_of(study, cap=0.9999 * whole.trained_core_hours).cells) == 5


def test_behind_a_run_that_diverged_the_full_price_is_owed(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """It may have left nothing; a finished one has."""
    study = sharing(make_study(widths=(4,), peak_lrs=(0.1,), epochs=(1.0, 2.0)))
    short, long = trials_of(study)
    price = plan_of(study).cost(long).core_hours
    for status, owed in ((Status.FINISHED, 0.6 * price), (Status.DIVERGED, price)):
        record = make_record(short, status, steps=0)
        assert len(plan_of(study, [record], cap=1.001 * owed).cells) == 2
        assert len(plan_of(study, [record], cap=0.999 * owed).cells) == 1


def test_steps_taken_over_are_not_spent(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """A run that went on from half of its steps has used half of its price."""
    trial = trials_of(sharing(make_study()))[0]
    record = make_record(trial, steps=trial.steps)
    assert record.outcome is not None
    outcome = dataclasses.replace(record.outcome, shared_steps=trial.steps // 2)
    record = dataclasses.replace(record, outcome=outcome)
    plan = plan_of(dataclasses.replace(sharing(make_study())), [record])
    assert plan.spent_core_hours == pytest.approx(0.5 * record.cost.core_hours)


def test_milestones_are_folders_named_by_their_step(tmp_path: Path) -> None:
    """Nothing else counts, and a folder that is not there holds none."""
    for name in ("512", "64", "milestone", "64.new"):
        (tmp_path / name).mkdir()
    assert milestones_in(tmp_path) == [64, 512]
    assert milestones_in(tmp_path / "nowhere") == []
