"""Runs of one trunk, one after the other: what waits for what, and what is paid for."""

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.contract.backend import Ended, Event, Lost, Moved, Order, Started, Task, TrunkGone
from launcher.drive.reconcile import Settlement, Surroundings, run
from launcher.drive.spending import SpendLedger
from launcher.drive.trunks import milestones_of, with_trunks
from launcher.show.progress import SilentView
from launcher.show.tally import Tally
from launcher.work.desk import Desk
from sweeps.hardware import Hardware
from sweeps.nfnet_shape import NFNetShape
from sweeps.pricing import price_trial
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial
from sweeps.trunk import latest_start, shared_steps, stable_steps, trunk_of
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

HARDWARE = Hardware(name="imagined", flops_per_core_hour=1e6)
WSD = ScheduleSpec(name="wsd", warmup_steps=5)
TRIAL = Trial(
    model="m",
    family="nfnet",
    shape=NFNetShape(stage_depths=(1,), stage_widths=(4,), stage_strides=(1,), stem_widths=(4,), stem_strides=(2,)),
    data=DataSpec(
        name="parts", image_px=8, channels=3, classes=8, images_per_epoch=800, held_out_images=256, selection_images=256
    ),
    epochs=1.0,
    batch_images=8,
    peak_lr=0.1,
    schedule=WSD,
    recipe=RecipeSpec(),
    seed=0,
)


def task_of(epochs: float, *, seed: int = 0, schedule: ScheduleSpec = WSD) -> Task:
    """Returns the task of a run of 100 steps an epoch."""
    trial = dataclasses.replace(TRIAL, epochs=epochs, seed=seed, schedule=schedule)
    return Task(trial=trial, cost=price_trial(trial, HARDWARE))


def packs_of(*lengths: float, seeds: int = 1) -> list[tuple[Task, ...]]:
    """Returns a pack for each length, the dearest first, as plans have them."""
    return [tuple(task_of(length, seed=seed) for seed in range(seeds)) for length in sorted(lengths, reverse=True)]


def nothing(trunk: str) -> Sequence[int]:
    """An empty disk."""
    return ()


def test_each_run_waits_for_the_next_shorter_one() -> None:
    """It expects the steps that this one leaves; seeds do not mix, and the shortest waits for nothing."""
    four, two, one = with_trunks(packs_of(1.0, 2.0, 4.0, seeds=2), nothing)
    assert [task.after for task in four] == [task.trial.id for task in two]
    assert [task.after for task in two] == [task.trial.id for task in one]
    assert [task.after for task in one] == [None, None]
    assert [task.shared_steps for task in (four[0], two[0], one[0])] == [160, 80, 0]


def test_what_lies_on_the_disk_is_waited_for_by_nobody() -> None:
    """A state as far as the pending run's serves at once; a nearer one only where no pending run gets further."""
    trunk = str(trunk_of(TRIAL))
    (four,), (two,), (one,) = with_trunks(packs_of(1.0, 2.0, 4.0), {trunk: (160, 60)}.__getitem__)
    assert (four.after, four.shared_steps) == (None, 160)
    assert (two.after, two.shared_steps) == (one.trial.id, 80)
    assert (one.after, one.shared_steps) == (None, 60)


def test_a_schedule_that_shares_nothing_leaves_tasks_as_they_are() -> None:
    """Runs of a cosine wait for nothing and are paid in full."""
    packs = [(task_of(length, schedule=ScheduleSpec(name="cosine", warmup_steps=5)),) for length in (2.0, 1.0)]
    assert with_trunks(packs, nothing) == packs


@given(lengths=st.lists(st.integers(1, 60).map(lambda n: n / 4), min_size=1, max_size=7, unique=True))
def test_what_is_expected_is_what_planning_counts(lengths: list[float]) -> None:
    """On an empty disk the tasks are to take over exactly the steps that the plan has taken off the price."""
    tasks = [task for pack in with_trunks(packs_of(*lengths), nothing) for task in pack]
    assert [task.shared_steps for task in tasks] == shared_steps([task.trial for task in tasks])


class World:
    """A back end whose runs leave milestones on a disk that loses some, in no time."""

    silence = None

    def __init__(self, seed: int, *, vanishing: float = 0.0, diverging: float = 0.0, dying: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._vanishing, self._diverging, self._dying = vanishing, diverging, dying
        self._queue: list[Task] = []
        self._died: set[str] = set()
        self.disk: defaultdict[str, set[int]] = defaultdict(set)
        self.handed_in: list[tuple[Task, frozenset[str]]] = []
        """Each task with the trials that were settled by then."""
        self.settled: set[str] = set()
        self.jobs: list[int] = []
        self.trained_core_hours = 0.0
        self.gone = 0

    def submit(self, tasks: Sequence[Task]) -> str:
        """Queues the tasks."""
        self.jobs.append(len(tasks))
        self.handed_in += [(task, frozenset(self.settled)) for task in tasks]
        self._queue += tasks
        return "job"

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Runs one of the queued tasks, any one."""
        if not self._queue:
            return ()
        return self._run(self._queue.pop(self._random.randrange(len(self._queue))))

    def _run(self, task: Task) -> list[Event]:
        trial, trunk = task.trial, str(trunk_of(task.trial))
        if self._random.random() < self._vanishing:
            self.disk[trunk].clear()
        begin = max((step for step in self.disk[trunk] if step <= latest_start(trial)), default=0)
        events: list[Event] = [Started(trial_id=trial.id, worker="w", is_compiling=False)]
        if begin < task.shared_steps:
            self.gone += 1
            return [*events, TrunkGone(trial_id=trial.id)]
        end, status = trial.steps, Status.FINISHED
        if self._random.random() < self._diverging:
            end, status = self._random.randint(begin, trial.steps), Status.DIVERGED
        is_dying = trial.id not in self._died and self._random.random() < self._dying
        end = self._random.randint(begin, end) if is_dying else end
        self.trained_core_hours += task.cost.core_hours * (end - begin) / trial.steps
        if end >= stable_steps(trial):
            self.disk[trunk].add(stable_steps(trial))
        point = Progress(step=end, images=end, train_loss=1.0, val_loss=None, wall_s=1.0, shared_steps=begin)
        events.append(Moved(trial_id=trial.id, progress=point))
        if is_dying:
            self._died.add(trial.id)  # once: the second death in a row is followed by a pause
            return [*events, Lost(trial_id=trial.id, reason="killed")]
        return [*events, Ended(trial_id=trial.id, outcome=outcome(status, end, begin))]

    def cancel(self, job: str) -> None:
        """Is not asked for."""
        raise NotImplementedError

    def logs(self, job: str) -> str:
        """Says nothing."""
        return ""

    def underway(self) -> Sequence[Task]:
        """Returns nothing."""
        return ()

    def stop(self) -> None:
        """Drops what waits."""
        self._queue.clear()

    def close(self) -> None:
        """Does nothing."""


def outcome(status: Status, steps: int, shared: int = 0) -> Outcome:
    """Returns an outcome without a loss."""
    return Outcome(
        status=status,
        steps=steps,
        val_loss=None,
        selection_loss=None,
        train_loss=None,
        wall_s=1.0,
        compile_s=0.0,
        shared_steps=shared,
    )


def follow(packs: Sequence[Sequence[Task]], world: World, ledger: SpendLedger) -> Settlement:
    """Runs the loop over packs in a world."""
    tasks = [task for pack in packs for task in pack]
    around = Surroundings(
        tally=Tally(pending=tasks, runs=len(tasks), core_hours=1.0),
        view=SilentView(),
        ledger=ledger,
        on_settled=world.settled.add,
        known=lambda trial_id: None,
    )
    return run(packs, world, around)


def trained_price(packs: Sequence[Sequence[Task]]) -> float:
    """Returns what the packs cost where all goes well [core-hours]."""
    tasks = [task for pack in packs for task in pack]
    return sum(task.cost.core_hours * (1 - task.shared_steps / task.trial.steps) for task in tasks)


@pytest.mark.parametrize("seed", range(5))
def test_the_loop_hands_a_run_in_once_its_predecessor_is_settled(seed: int) -> None:
    """What is free goes in, a cell's seeds together; a cap that holds the shared price alone leaves nothing."""
    packs = with_trunks(packs_of(0.5, 1.0, 2.0, 4.0, seeds=3), nothing)
    world, cap = World(seed), trained_price(packs)
    ledger = SpendLedger(cap)
    settlement = follow(packs, world, ledger)
    assert (settlement.finished, settlement.left) == (12, ())
    assert all(task.after is None or task.after in settled for task, settled in world.handed_in)
    assert world.jobs[0] == 3, "the three shortest runs, which wait for nothing, are one job"
    assert world.trained_core_hours == pytest.approx(cap) == ledger.spent_core_hours
    assert ledger.reserved_core_hours == 0.0


SHARE = st.floats(0.0, 1.0)


@given(
    lengths=st.lists(st.integers(1, 40).map(lambda n: n / 4), min_size=1, max_size=6, unique=True),
    seed=st.integers(0, 10**6),
    cap_part=st.floats(0.0, 3.0),
    vanishing=SHARE,
    diverging=SHARE,
    dying=SHARE,
)
def test_no_cap_is_passed_whatever_vanishes(
    lengths: list[float], seed: int, cap_part: float, vanishing: float, diverging: float, dying: float
) -> None:
    """States vanish, runs diverge, workers die: what is really trained stays within the cap, nothing is forgotten."""
    packs = with_trunks(packs_of(*lengths, seeds=2), nothing)
    world = World(seed, vanishing=vanishing, diverging=diverging, dying=dying)
    ledger = SpendLedger(cap_part * trained_price(packs))
    settlement = follow(packs, world, ledger)
    assert ledger.cap_core_hours is not None
    assert world.trained_core_hours <= ledger.spent_core_hours * (1 + 1e-9)  # of a death more may have to be counted
    assert ledger.spent_core_hours <= ledger.cap_core_hours * (1 + 1e-9)
    assert settlement.finished + settlement.diverged + len(settlement.left) == 2 * len(lengths)
    assert ledger.reserved_core_hours == pytest.approx(0.0)


def test_a_run_whose_steps_are_gone_is_paid_in_full_or_left() -> None:
    """It is handed in again with its full price where the cap holds that, and left to the next command where not."""
    packs = with_trunks(packs_of(1.0, 2.0), nothing)
    for spare, left in ((0.0, 1), (80 / 200, 0)):
        world = World(0, vanishing=1.0)
        long = packs[0][0]
        settlement = follow(packs, world, SpendLedger(trained_price(packs) + spare * long.cost.core_hours * 1.001))
        assert (world.gone, len(settlement.left), settlement.finished) == (1, left, 2 - left)
        assert all("past the spend cap" in line for line in settlement.left)


def test_behind_a_run_that_diverged_the_full_price_is_reserved_at_once() -> None:
    """No worker has to find out that nothing was left."""
    packs = with_trunks(packs_of(1.0, 2.0), nothing)
    world = World(1, diverging=1.0)
    follow(packs, world, SpendLedger(None))
    assert [task.shared_steps for task, _ in world.handed_in] == [0, 0] and world.gone == 0


def test_what_runs_for_an_earlier_driver_waits_for_nothing() -> None:
    """A job in the queue is handed in as it is, its predecessor owed or not."""
    packs = with_trunks(packs_of(1.0, 2.0), nothing)
    world = World(0)
    world.underway = lambda: (packs[0][0],)  # type: ignore[method-assign]
    follow(packs, world, SpendLedger(None))
    assert [task.trial.epochs for task, _ in world.handed_in] == [2.0, 1.0]


def test_milestones_are_looked_for_in_the_studys_folder(tmp_path: Path) -> None:
    """By trunk and step."""
    paths = ProjectPaths(root=tmp_path)
    (paths.trunks_dir("a study") / "abc" / "80").mkdir(parents=True)
    assert list(milestones_of(paths, "a study")("abc")) == [80]
    assert list(milestones_of(paths, "another")("abc")) == []


def test_the_desk_refuses_what_it_was_not_paid_for(paths: ProjectPaths, make_order: Callable[..., Order]) -> None:
    """The attempt is journalled as one of no steps; with the state there, the same task trains the rest only."""
    short, long = task_of(1.0), dataclasses.replace(task_of(2.0), shared_steps=80)
    desk = Desk(make_order(paths, trainer="training.loop:train"), name="desk")
    events: list[Event] = []
    desk.run(long, events.append)
    assert events[1:] == [TrunkGone(trial_id=long.trial.id)]
    (record,) = read_journals(paths, "small")
    assert (record.status, record.steps_done, record.repeated_steps) == (Status.KILLED, 0, 0)
    desk.run(short, events.append)
    desk.run(long, events.append)
    end = events[-1]
    assert isinstance(end, Ended) and (end.outcome.steps, end.outcome.shared_steps) == (200, 80)
    records = {record.trial.id: record for record in read_journals(paths, "small")}
    assert records[long.trial.id].shared_steps == 80 and records[long.trial.id].status is Status.FINISHED
    assert SpendLedger(None, records.values()).spent_core_hours == pytest.approx(
        short.cost.core_hours + 0.6 * long.cost.core_hours
    )
