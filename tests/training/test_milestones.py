"""A run that takes over the steps of a shorter one ends as if it had taken them itself, to the last bit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.certificate import fault
from sweeps.compute import ComputeSpec
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import RecipeSpec, ScheduleSpec, Trial
from sweeps.trunk import LATEST_START, latest_start, milestones_in, stable_steps, trunk_of
from tests.training.small_nets import PARTS, TRIAL, changed
from tests.training.small_pool import TOKENS
from training import loop
from training.curve import curve_steps, evaluated_images, is_scored
from training.optimiser import learning_rate
from training.weights import weights_file

WSD = ScheduleSpec(name="wsd", warmup_steps=4)
SHORT = changed(TRIAL, schedule=WSD)
LONG = changed(SHORT, epochs=2.0)
NOISY = changed(
    LONG,
    family="vit",
    shape=TOKENS,
    peak_lr=0.003,
    recipe=RecipeSpec(optimiser="adamw", weight_decay=0.05, dropout=0.1, ema_decay=0.99),
)


class Killed(Exception):
    """Stands for the moment in which a process dies."""


Train = Callable[..., tuple[Outcome, list[Progress]]]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Trains a trial in the folders of a study; it dies when it reports a step past the given one."""

    def go(
        trial: Trial, study: str = "study", *, die_at_step: int | None = None, every_s: float = 1e9, **words: Any
    ) -> tuple[Outcome, list[Progress]]:
        points: list[Progress] = []

        def report(point: Progress) -> None:
            points.append(point)
            if die_at_step is not None and point.step > die_at_step:
                raise Killed

        outcome = loop.train(
            trial,
            data_dir=Path(),
            checkpoint_dir=tmp_path / study / "checkpoints" / trial.id,
            report=report,
            compute=ComputeSpec(checkpoint_every_s=every_s, disk_budget_gb=words.pop("disk_budget_gb", None)),
            weights_dir=tmp_path / study / "weights",
            trunks_dir=tmp_path / study / "trunks",
            **words,
        )
        return outcome, points

    return go


@pytest.fixture
def trunk(tmp_path: Path) -> Path:
    """Where the milestones of SHORT and LONG lie."""
    return tmp_path / "study" / "trunks" / str(trunk_of(SHORT))


def ending(outcome: Outcome) -> tuple[object, ...]:
    """All that a run is compared by."""
    losses = (outcome.val_loss, outcome.selection_loss, outcome.train_loss, outcome.val_error)
    return outcome.status, outcome.steps, losses, outcome.certificate


def damage(milestone: Path) -> None:
    """Cuts every file of a milestone in half."""
    for file in [path for path in milestone.rglob("*") if path.is_file()]:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    "long",
    [LONG, changed(LONG, schedule=ScheduleSpec(name="constant", warmup_steps=4)), NOISY],
    ids=["wsd", "constant", "vit with noise and an average of weights"],
)
def test_steps_taken_over_change_nothing(train: Train, tmp_path: Path, long: Trial) -> None:
    """Losses, certificate and weights are those of the run from scratch; only the steps that it took itself differ."""
    short = changed(long, epochs=long.epochs / 2)
    scratch, points = train(long, "apart")
    first, _ = train(short)
    second, later = train(long)
    assert (scratch.shared_steps, first.shared_steps) == (0, 0)
    assert second.shared_steps == stable_steps(short) > 0
    assert ending(second) == ending(scratch)
    assert fault(second.certificate, images=long.images, images_per_epoch=PARTS.images_per_epoch) is None
    weights = [weights_file(tmp_path / study / "weights", long.id).read_bytes() for study in ("study", "apart")]
    assert weights[0] == weights[1]
    # Of the curve only the first loss is another mean: its window begins where the run did.
    assert later[1:] and [p.step for p in later] == [p.step for p in points if p.step > second.shared_steps]
    of_scratch = {point.step: (point.train_loss, point.val_loss) for point in points}
    assert all((point.train_loss, point.val_loss) == of_scratch[point.step] for point in later[1:])
    assert later[0].val_loss == of_scratch[later[0].step][1]


def test_the_clock_counts_a_runs_own_time_only(train: Train) -> None:
    """What the shorter run has spent is not billed twice."""
    first, _ = train(SHORT)
    second, points = train(LONG)
    assert first.clock is not None and second.clock is not None
    own_s = points[0].wall_s
    assert 0.0 < own_s < second.wall_s
    assert second.clock.lost_s == 0.0
    assert second.wall_s == pytest.approx(second.clock.step_s + second.clock.input_wait_s)
    assert {point.shared_steps for point in points} == {second.shared_steps}


def test_a_run_killed_behind_its_milestone_has_left_it(train: Train, trunk: Path) -> None:
    """And goes on from its own checkpoint, which lies further; what it took over stays known."""
    scratch, _ = train(changed(SHORT, epochs=4.0), "apart")
    train(SHORT)
    with pytest.raises(Killed):
        train(LONG, die_at_step=stable_steps(LONG) - 60, every_s=1e-9)
    resumed, points = train(LONG, every_s=1e-9)
    assert resumed.shared_steps == stable_steps(SHORT)
    assert points[0].step > stable_steps(SHORT) + 32
    assert milestones_in(trunk) == [stable_steps(SHORT), stable_steps(LONG)]
    longer, _ = train(changed(SHORT, epochs=4.0))
    assert longer.shared_steps == stable_steps(LONG)
    assert ending(longer) == ending(scratch)


def test_a_run_stopped_in_its_cooldown_has_left_its_milestone(train: Train, trunk: Path) -> None:
    """The first checkpoint behind it is written after it, so that none is ever skipped."""
    trial = changed(SHORT, epochs=4.0)
    stopped, _ = train(trial, every_s=1e-9, should_stop=lambda: bool(milestones_in(trunk)))
    assert stopped.status is Status.KILLED and stable_steps(trial) <= stopped.steps < trial.steps
    assert milestones_in(trunk) == [stable_steps(trial)]
    assert train(trial)[0].status is Status.FINISHED


def test_a_damaged_milestone_is_passed_over(train: Train, trunk: Path) -> None:
    """The one before it serves, and where that is damaged too the run begins at 0; the numbers stay the same."""
    longer = changed(SHORT, epochs=4.0)
    scratch, _ = train(longer, "apart")
    train(SHORT)
    train(LONG)
    shutil.copytree(trunk, trunk.with_name("copy"))
    damage(trunk / str(stable_steps(LONG)))
    older, _ = train(longer)
    assert older.shared_steps == stable_steps(SHORT) and ending(older) == ending(scratch)
    shutil.rmtree(trunk)
    trunk.with_name("copy").rename(trunk)
    for step in milestones_in(trunk):
        damage(trunk / str(step))
    fresh, _ = train(longer)
    assert fresh.shared_steps == 0 and ending(fresh) == ending(scratch)
    assert milestones_in(trunk) == [stable_steps(longer)], "what was no good is removed"


@pytest.mark.parametrize("change", [{"seed": 1}, {"peak_lr": 0.05}, {"schedule": changed(WSD, warmup_steps=5)}])
def test_another_runs_milestone_is_never_taken(train: Train, change: dict[str, Any]) -> None:
    """Another seed, rate or warm-up is another trunk."""
    train(changed(SHORT, **change))
    assert train(LONG)[0].shared_steps == 0


def test_a_run_that_may_not_begin_there_trains_nothing(train: Train) -> None:
    """It ends as killed at once, at the step where it would have begun; with the milestone there it trains."""
    needed = stable_steps(SHORT)
    refused, points = train(LONG, least_start_step=needed)
    assert (refused.status, refused.steps, points) == (Status.KILLED, 0, [])
    assert refused.clock is not None and refused.clock.step_s == 0.0
    train(SHORT)
    assert train(LONG, least_start_step=needed)[0].status is Status.FINISHED


def test_two_milestones_stay(train: Train, trunk: Path) -> None:
    """The one just left and the furthest other, in whatever order runs end."""
    lengths = (0.25, 0.5, 1.0, 2.0)
    steps = [stable_steps(changed(SHORT, epochs=length)) for length in lengths]
    for length in lengths[:3]:
        train(changed(SHORT, epochs=length))
    assert milestones_in(trunk) == steps[1:3]
    train(LONG)
    train(changed(SHORT, epochs=0.375))
    assert milestones_in(trunk) == [stable_steps(changed(SHORT, epochs=0.375)), steps[3]]


def test_without_room_on_the_disk_no_milestone_is_left(train: Train, trunk: Path) -> None:
    """The run itself ends well all the same."""
    outcome, _ = train(SHORT, disk_budget_gb=1e-9)
    assert outcome.status is Status.FINISHED and milestones_in(trunk) == []


def test_the_same_milestone_is_left_twice_in_peace(train: Train, trunk: Path, tmp_path: Path) -> None:
    """A second process finds it there and drops its own; nothing else remains."""
    train(SHORT)
    first = (trunk / str(stable_steps(SHORT))).stat().st_ino
    outcome, _ = train(SHORT)
    assert outcome.status is Status.FINISHED
    assert (trunk / str(stable_steps(SHORT))).stat().st_ino == first
    assert [path.name for path in trunk.iterdir()] == [str(stable_steps(SHORT))]
    assert not (tmp_path / "study" / "checkpoints" / SHORT.id / "milestone").exists()


def test_what_a_kill_left_half_written_is_written_anew(train: Train, trunk: Path, tmp_path: Path) -> None:
    """A run that died while it wrote its milestone leaves it at the next attempt, and nothing of the torn one."""
    making = tmp_path / "study" / "checkpoints" / SHORT.id / "milestone"
    for name in (str(stable_steps(SHORT)), f"{stable_steps(SHORT)}.orbax-checkpoint-tmp"):
        (making / name / "state").mkdir(parents=True)
        (making / name / "state" / "manifest.ocdbt").write_bytes(b"torn")
    assert train(SHORT, every_s=1e-9)[0].status is Status.FINISHED
    assert milestones_in(trunk) == [stable_steps(SHORT)] and not making.exists()
    longer, _ = train(LONG)
    assert longer.shared_steps == stable_steps(SHORT)
    assert ending(longer) == ending(train(LONG, "apart")[0])


@given(
    steps=st.integers(10, 20_000),
    longer=st.floats(1.0, 40.0),
    cooldown=st.floats(0.01, 0.9),
    name=st.sampled_from(["wsd", "constant"]),
)
def test_rates_before_the_cooldown_do_not_depend_on_the_length(
    steps: int, longer: float, cooldown: float, name: str
) -> None:
    """Every step that a longer run takes over has, to the last bit, the rate that it would have had there."""
    schedule = ScheduleSpec(name=name, warmup_steps=50, cooldown_fraction=cooldown)
    short, long = (changed(SHORT, schedule=schedule, epochs=n * 8 / 1024) for n in (steps, round(steps * longer)))
    if trunk_of(short) != trunk_of(long):
        return
    last = min(stable_steps(short), latest_start(long))
    places = np.unique(np.linspace(0, max(0, last - 1), 50).astype(np.int32))
    rates = [
        learning_rate(
            schedule,
            step=jnp.asarray(places),
            steps=jnp.int32(trial.steps),
            peak_lr=jnp.float32(0.3),
            warmup_steps=jnp.float32(schedule.warmup_of(trial.steps)),
        )
        for trial in (short, long)
    ]
    assert last == 0 or bool(jnp.all(rates[0] == rates[1]))


@pytest.mark.parametrize("steps", [10, 64, 2048, 16_384])
def test_the_last_stable_step_is_at_the_peak(steps: int) -> None:
    """And two steps on the rate falls: nothing that could be shared is left out."""
    trial = changed(SHORT, epochs=steps * 8 / 1024)
    rates = learning_rate(
        WSD,
        step=jnp.arange(steps),
        steps=jnp.int32(steps),
        peak_lr=jnp.float32(1.0),
        warmup_steps=jnp.float32(WSD.warmup_of(steps)),
    )
    last = stable_steps(trial)
    assert float(rates[last - 1]) == 1.0 and float(rates[min(last + 2, steps - 1)]) < 1.0


@given(steps=st.integers(1, 100_000))
def test_no_run_begins_within_its_last_window(steps: int) -> None:
    """The final training loss is a mean over steps that every run takes itself."""
    assert int(LATEST_START * steps) <= ([0, *curve_steps(steps)])[-2]


@given(steps=st.integers(2, 20_000), part=st.floats(0.0, 1.0))
def test_the_held_out_loss_is_measured_where_it_would_have_been(steps: int, part: float) -> None:
    """Whoever begins in the middle knows when the loss was last measured."""
    trial = changed(SHORT, epochs=steps * 8 / 1024)
    evaluated, begin = 0, int(part * steps)
    for point in curve_steps(trial.steps):
        if point <= begin and is_scored(trial, point * trial.batch_images, evaluated):
            evaluated = point * trial.batch_images
    assert evaluated_images(trial, begin) == evaluated
