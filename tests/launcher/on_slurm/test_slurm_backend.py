"""What only Slurm does: arrays and their limits, signals, requeues, restarts, adoption; on a real one."""

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from launcher.contract.backend import Backend, Ended, Event, Lost, Moved, Order, Paused, Refused, Started, Task
from launcher.contract.batch_folder import open_batches
from launcher.on_slurm import slurm_commands, slurm_submission
from launcher.on_slurm.left_behind import cancel_open_batches, open_tasks
from launcher.on_slurm.slurm_backend import LAUNCHES_REPEATED, SlurmBackend
from launcher.on_slurm.slurm_submission import plain_path, split_pack, time_limit_min
from launcher.settings.request import SlurmCluster
from sweeps.cost import Cost
from sweeps.record import Status
from tests.clusters.private_slurm import PrivateSlurm
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

MakeTasks = Callable[..., tuple[Task, ...]]
MakeOrder = Callable[..., Order]
Follow = Callable[..., list[Event]]
OpenSlurm = Callable[..., SlurmBackend]


@pytest.fixture
def here(slurm: PrivateSlurm, monkeypatch: pytest.MonkeyPatch) -> PrivateSlurm:
    """The Slurm that this test's commands speak to."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("launcher.on_slurm.slurm_backend.GRACE_S", 1.0)
    return slurm


@pytest.fixture
def open_slurm(here: PrivateSlurm, paths: ProjectPaths, make_order: MakeOrder) -> Iterator[OpenSlurm]:
    """Opens drivers' ends of the study's queue; what is left in it is cancelled."""
    opened: list[SlurmBackend] = []

    def open_one(**settings: object) -> SlurmBackend:
        spec = SlurmCluster(**{"time_min": 10, **settings})  # type: ignore[arg-type]
        opened.append(SlurmBackend(make_order(paths), spec))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.stop()


def test_launch_that_fails(
    open_slurm: OpenSlurm, make_tasks: MakeTasks, monkeypatch: pytest.MonkeyPatch, follow: Follow
) -> None:
    """A job that Slurm could not launch is let go again, twice; then it is cancelled and told as lost."""
    backend = open_slurm()
    tasks = make_tasks("slow", seeds=40)
    backend.submit(tasks)
    follow(backend, until=first(Started))
    listed, released = slurm_commands.listed_jobs, list[str]()

    def held(names: Sequence[str]) -> list[slurm_commands.ListedJob]:
        return [dataclasses.replace(job, state="PD", reason="launch failed requeued held") for job in listed(names)]

    monkeypatch.setattr(slurm_commands, "listed_jobs", held)
    monkeypatch.setattr(slurm_commands, "release", released.append)
    (*_, lost) = follow(backend, until=first(Lost))
    assert len(released) == LAUNCHES_REPEATED and len(set(released)) == 1
    assert isinstance(lost, Lost) and not backend.underway()


def ends_of(events: list[Event]) -> list[Ended]:
    """Returns the ends among the events."""
    return [event for event in events if isinstance(event, Ended)]


def first(kind: type) -> Callable[[Event], bool]:
    """Returns the question whether an event is of a kind."""
    return lambda event: isinstance(event, kind)


def running_job(backend: SlurmBackend) -> str:
    """Returns Slurm's name of the one job that is followed."""
    (carrier,) = backend._carriers
    assert carrier.full_job is not None
    return carrier.full_job


def settle(slurm: PrivateSlurm) -> None:
    """Does what an administrator does after a crash: nodes that drained over a job met twice are taken back."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        states = slurm.node_states()
        if not any(word in state for state in states.values() for word in ("drain", "down", "unk", "*")):
            return
        for node in (node for node, state in states.items() if "drain" in state or "down" in state):
            with contextlib.suppress(subprocess.CalledProcessError):  # it has come back by itself meanwhile
                slurm.scontrol("update", f"NodeName={node}", "State=RESUME")
        time.sleep(0.5)
    raise AssertionError(f"the nodes do not settle: {slurm.node_states()}")


@pytest.mark.real
def test_arrays_stay_below_the_limit(
    open_slurm: OpenSlurm, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More packs than an array may hold go in as several arrays, each of them accepted whole."""
    monkeypatch.setattr("launcher.on_slurm.slurm_commands.max_array_size", lambda: 6)
    backend = open_slurm()
    for task in make_tasks(seeds=12):
        backend.submit((task,))
    assert len(ends_of(follow(backend, ends=12))) == 12
    folder = paths.study_dir("small") / "batches"
    assert sorted(len((path / "packs.jsonl").read_text().splitlines()) for path in folder.iterdir()) == [2, 5, 5]
    assert not open_batches(folder, cluster="slurm")


@pytest.mark.real
def test_an_array_that_was_cut_is_refused(
    open_slurm: OpenSlurm, make_tasks: MakeTasks, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm that took fewer tasks than were handed in is no reason to wait for ever for the others."""
    monkeypatch.setattr(slurm_submission, "accepted_places", lambda job: {0})
    monkeypatch.setattr(slurm_submission, "ACCEPTANCE_S", 0.5)
    backend = open_slurm()
    for task in make_tasks(seeds=3):
        backend.submit((task,))
    (refused,) = follow(backend, until=first(Refused))
    assert isinstance(refused, Refused) and "accepted 1 of the 3 tasks" in refused.message


@pytest.mark.real
def test_only_so_many_are_queued(open_slurm: OpenSlurm, make_tasks: MakeTasks, follow: Follow) -> None:
    """With max_queued the rest waits in the driver, and goes in as there is room."""
    backend = open_slurm(max_queued=2)
    for task in make_tasks(seeds=6):
        backend.submit((task,))
    backend.poll(0.0)
    assert len(backend.underway()) == 2
    assert len(ends_of(follow(backend, ends=6))) == 6


@pytest.mark.real
def test_a_setting_that_slurm_refuses(open_slurm: OpenSlurm, make_tasks: MakeTasks, follow: Follow) -> None:
    """A partition that does not exist is one message with Slurm's own words."""
    backend = open_slurm(partition="nowhere")
    backend.submit(make_tasks())
    (refused,) = follow(backend, until=first(Refused))
    assert isinstance(refused, Refused)
    assert "invalid partition specified: nowhere" in refused.message and "cluster.partition" in refused.message


@pytest.mark.real
def test_requeue_without_a_signal_resumes(
    here: PrivateSlurm,
    open_slurm: OpenSlurm,
    make_tasks: MakeTasks,
    paths: ProjectPaths,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`scontrol requeue` sends no signal: the job begins again and goes on from the checkpoint; nothing is lost."""
    monkeypatch.setenv("FAKE_REPORT_S", "1.5")  # Slurm gives a job some seconds to end by itself
    done, task = make_tasks(seeds=2)
    backend = open_slurm()
    backend.submit((done, task))
    follow(backend, until=lambda event: isinstance(event, Moved) and event.trial_id == task.trial.id)
    here.scontrol("requeue", running_job(backend))
    events = follow(backend, until=lambda event: isinstance(event, Ended) and event.trial_id == task.trial.id)
    assert not [event for event in events if isinstance(event, Lost)]
    records = {record.trial.id: record for record in read_journals(paths, "small")}
    assert records[task.trial.id].attempts == 2 and records[done.trial.id].attempts == 1
    assert len(records[task.trial.id].curve) == 6
    assert (paths.data_dir / "calls.txt").read_text().count(f"{done.trial.id} begin") == 1


@pytest.mark.real
def test_preemption_saves_at_a_step_and_comes_back(
    here: PrivateSlurm,
    open_slurm: OpenSlurm,
    make_tasks: MakeTasks,
    paths: ProjectPaths,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job of a higher partition takes the nodes: the trial saves, waits, and goes on where it was."""
    monkeypatch.setenv("FAKE_REPORT_S", "1.0")
    (task,) = make_tasks()
    backend = open_slurm(cpus=2, nodes=1)
    backend.submit((task,))
    follow(backend, until=first(Moved))
    here.run(
        "sbatch", "--partition", "high", "--nodes", "4", "--exclusive", "--output", "/dev/null", "--wrap", "sleep 3"
    )
    events = follow(backend)
    assert [event for event in events if isinstance(event, Paused)]
    (record,) = read_journals(paths, "small")
    assert record.status is Status.FINISHED and record.attempts == 2
    assert [point.step for point in record.curve] == [1, 2, 4, 5, 6, 8] and record.repeated_steps == 0


@pytest.mark.real
@pytest.mark.endurance
def test_time_limit_of_slurm_saves_and_comes_back(
    here: PrivateSlurm,
    open_slurm: OpenSlurm,
    make_tasks: MakeTasks,
    paths: ProjectPaths,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job that runs into Slurm's own limit is told before, saves, and is requeued until it is done."""
    monkeypatch.setenv("FAKE_REPORT_S", "8")
    (task,) = make_tasks()
    backend = open_slurm(time_min=1, signal_delay_s=40)
    backend.submit((task,))
    events = follow(backend)
    assert [event for event in events if isinstance(event, Paused)]
    assert not [event for event in events if isinstance(event, Lost)]
    (record,) = read_journals(paths, "small")
    assert record.status is Status.FINISHED and record.attempts >= 2 and record.repeated_steps == 0


@pytest.mark.real
def test_controller_that_restarts_is_no_news(
    here: PrivateSlurm, open_slurm: OpenSlurm, make_tasks: MakeTasks, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the controller is away nothing is taken for lost, and what is submitted meanwhile goes in later."""
    monkeypatch.setattr("launcher.on_slurm.slurm_backend.RETRY_SUBMISSION_S", 1.0)
    monkeypatch.setenv("FAKE_REPORT_S", "0.5")
    running, later = make_tasks(seeds=2)
    backend = open_slurm()
    backend.submit((running,))
    follow(backend, until=first(Started))
    here.stop_slurmctld(hard=True)
    try:
        backend.submit((later,))
        deadline = time.monotonic() + 6.0
        events: list[Event] = []
        while time.monotonic() < deadline:
            events += backend.poll(1.0)
        assert backend.silence is not None
        assert not [event for event in events if isinstance(event, (Lost, Refused))]
    finally:
        here.start_slurmctld()
        settle(here)
    events += follow(backend, until=lambda event: isinstance(event, Ended) and event.trial_id == later.trial.id)
    assert {event.trial_id for event in ends_of(events)} == {running.trial.id, later.trial.id}


@pytest.mark.real
def test_a_node_that_dies(
    here: PrivateSlurm,
    open_slurm: OpenSlurm,
    make_tasks: MakeTasks,
    paths: ProjectPaths,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node lost under a trial costs what came after its last checkpoint, and nobody hears of it otherwise."""
    monkeypatch.setenv("FAKE_REPORT_S", "0.7")
    (task,) = make_tasks()
    backend = open_slurm()
    backend.submit((task,))
    started = follow(backend, until=first(Moved))
    (worker,) = {event.worker for event in started if isinstance(event, Started)}
    node = worker.rpartition(" ")[2]
    here.kill_slurmd(node)
    here.declare_down(node)  # as Slurm itself does after its time-out
    try:
        settled = False

        def is_over(event: Event) -> bool:
            nonlocal settled
            if isinstance(event, Lost):
                backend.submit((task,))
            settled = isinstance(event, Ended)
            return settled

        follow(backend, until=is_over)
    finally:
        here.start_slurmd(node)
        settle(here)
    (record,) = read_journals(paths, "small")
    assert settled and record.status is Status.FINISHED and record.attempts == 2


@pytest.mark.real
def test_a_second_driver_goes_on_with_what_the_first_has_queued(
    open_slurm: OpenSlurm, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that died leaves its packs in the queue; the next one submits none of them again."""
    monkeypatch.setenv("FAKE_REPORT_S", "0.3")
    tasks = make_tasks(seeds=3)
    first_driver = open_slurm()
    for task in tasks:
        first_driver.submit((task,))
    follow(first_driver, until=first(Started))
    second = open_slurm()
    assert {task.trial.id for task in second.underway()} == {task.trial.id for task in tasks}
    jobs = [second.submit((task,)) for task in tasks]
    assert len({event.trial_id for event in ends_of(follow(second, ends=3))}) == 3
    assert all("hello from" in second.logs(job) for job in jobs)
    assert {record.attempts for record in read_journals(paths, "small")} == {1}
    assert len(list((paths.study_dir("small") / "batches").iterdir())) == 1


@pytest.mark.real
def test_what_an_earlier_driver_was_told_is_no_news(
    open_slurm: OpenSlurm, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failures that are in the journals already are not told again to the driver that takes over."""
    monkeypatch.setenv("FAKE_REPORT_S", "0.5")
    raising, steady = make_tasks("raising", seeds=2), make_tasks("steady")
    before = open_slurm()
    before.submit((*raising, *steady))
    follow(before, until=lambda event: isinstance(event, Moved))
    after = open_slurm()
    assert [task.trial.id for task in after.underway()] == [steady[0].trial.id]
    events = follow(after)
    assert {event.trial_id for event in events if isinstance(event, (Ended, Lost))} == {steady[0].trial.id}
    assert not open_batches(paths.study_dir("small") / "batches", cluster="slurm")


@pytest.mark.real
def test_open_tasks_are_those_that_slurm_still_has(
    here: PrivateSlurm, open_slurm: OpenSlurm, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """After a driver's death its ended trials and cancelled jobs are not taken for queued ones."""
    tasks = make_tasks(seeds=2)
    backend = open_slurm(trials_per_job=1)
    backend.submit(tasks)
    follow(backend, ends=1)
    folder = paths.study_dir("small") / "batches"
    here.cancel_all()
    deadline = time.monotonic() + 20.0
    while open_tasks(folder, is_asked=True) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not open_tasks(folder, is_asked=True)
    assert cancel_open_batches(folder) == 0 and not open_batches(folder, cluster="slurm")


@pytest.mark.real
def test_a_batch_that_slurm_never_saw_is_forgotten(
    open_slurm: OpenSlurm, make_tasks: MakeTasks, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that dies between writing a batch and handing it in leaves nothing that would be waited for."""

    def die(*args: object) -> str:
        raise KeyboardInterrupt

    backend = open_slurm()
    backend.submit(make_tasks())
    with monkeypatch.context() as patch:
        patch.setattr("launcher.on_slurm.slurm_backend.submit_array", die)
        with pytest.raises(KeyboardInterrupt):
            backend.poll(0.0)
    again = open_slurm()
    assert not again.underway()
    again.submit(make_tasks())
    assert len(ends_of(follow(again))) == 1


@pytest.mark.real
def test_hosts_of_a_job_train_together(
    open_slurm: OpenSlurm, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A job of two nodes connects its processes by jax.distributed; one of them journals, both train."""
    backend = open_slurm(nodes=2)
    job = backend.submit(make_tasks("together", seeds=2))
    events = follow(backend, ends=2)
    assert [end.outcome.status for end in ends_of(events)] == [Status.FINISHED] * 2, backend.logs(job)
    assert len(read_journals(paths, "small")) == 2
    assert (paths.data_dir / "calls.txt").read_text().count(" begin ") == 4
    assert (paths.data_dir / "together.txt").read_text().split() == ["2", "2", "2", "2"]


def test_time_limits_follow_from_the_prediction(make_tasks: MakeTasks) -> None:
    """Twice the predicted time and ten minutes, in steps of a quarter; what is given wins; the unknown gets 2 h."""
    (task,) = make_tasks()

    def limit(wall_hours: float | None, **settings: int) -> int:
        cost = Cost(flops=1.0, core_hours=1.0, wall_hours=wall_hours, relative_spread=0.0)
        return time_limit_min([Task(trial=task.trial, cost=cost)], SlurmCluster(**settings))

    assert 10 < limit(0.0) <= 13 and 130 <= limit(1.0) <= 163
    assert limit(1.0, time_min=7) == 7 and limit(None) == slurm_submission.UNKNOWN_TIME_MIN


def test_packs_are_split_where_they_would_last(make_tasks: MakeTasks) -> None:
    """Long trials get a job each, short ones share one, and what is asked for wins."""
    tasks = make_tasks(seeds=6)

    def parts(wall_hours: float | None, **settings: int) -> list[int]:
        cost = Cost(flops=1.0, core_hours=1.0, wall_hours=wall_hours, relative_spread=0.0)
        pack = tuple(Task(trial=task.trial, cost=cost) for task in tasks)
        return [len(part) for part in split_pack(pack, SlurmCluster(**settings))]

    assert parts(3.0) == [1] * 6 and parts(0.2) == [2, 2, 2] and parts(0.001) == [6] and parts(None) == [6]
    assert parts(None, trials_per_job=4) == [4, 2]


@pytest.mark.parametrize("name", ["plain", "a space", "%A", "a\nnewline"])
def test_paths_that_slurm_would_misread_get_a_plain_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder whose name Slurm would expand or cut is reached by a link; others are left as they are."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / name
    folder.mkdir()
    for _ in range(2):
        plain = plain_path(folder)
        assert plain.samefile(folder)
        assert (plain == folder) == (name == "plain")


def test_without_slurm_the_message_says_so(
    paths: ProjectPaths, make_order: MakeOrder, make_tasks: MakeTasks, monkeypatch: pytest.MonkeyPatch, follow: Follow
) -> None:
    """Where Slurm's commands are missing, that is one message."""
    monkeypatch.setenv("PATH", "/nowhere")
    backend: Backend = SlurmBackend(make_order(paths), SlurmCluster())
    backend.submit(make_tasks())
    (refused,) = follow(backend, until=first(Refused))
    assert isinstance(refused, Refused) and "scontrol is not found here" in refused.message
