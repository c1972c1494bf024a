"""What only Ray does: clusters it connects to, actors and nodes that die, several hosts, races; on a real one."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.contract.backend import Ended, Event, Lost, Moved, Order, Started, Task
from launcher.contract.batch_folder import Inbox, write_batch
from launcher.on_ray import ray_connection, ray_seat
from launcher.on_ray.ray_backend import RayBackend, cell_of
from launcher.on_ray.ray_connection import needs_of
from launcher.on_ray.ray_tape import CANCELLED, News, Slip, Tape, is_marked, mark
from launcher.settings.request import AshaSpec, RayCluster
from sweeps.errors import StudyError
from sweeps.record import Status
from tests.clusters.private_ray import PrivateRay, missing_client
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

MakeTasks = Callable[..., tuple[Task, ...]]
MakeOrder = Callable[..., Order]
Follow = Callable[..., list[Event]]
OpenRay = Callable[..., RayBackend]

PATIENCE_S = 180.0
"""A loaded machine is no failure."""

TRAINERS = '''
"""Trainers that fake_trainer.py has no need of."""

import time

from sweeps.record import Outcome, Progress, Status

POINTS = 40


def outcome(status, trial, loss):
    return Outcome(
        status=status, steps=trial.steps, val_loss=loss, selection_loss=loss, train_loss=loss, wall_s=1.0, compile_s=0.0
    )


def race(trial, *, data_dir, checkpoint_dir, report, should_stop):
    """Larger learning rates learn more; a rate above 8 diverges in the middle."""
    for point in range(1, POINTS + 1):
        time.sleep(0.1)
        loss = 3.0 - trial.peak_lr * point / POINTS
        if trial.peak_lr > 8 and point > POINTS // 2:
            return outcome(Status.DIVERGED, trial, None)
        step = trial.steps * point // POINTS
        report(Progress(step=step, images=step, train_loss=loss, val_loss=None, wall_s=0.1))
        if point < POINTS and should_stop():
            return outcome(Status.KILLED, trial, None)
    return outcome(Status.FINISHED, trial, loss)


def deaf(trial, *, data_dir, checkpoint_dir, report, should_stop):
    """Never asks whether it should stop, and never ends, but for trials with a seed."""
    while trial.seed == 0:
        time.sleep(0.1)
    return outcome(Status.FINISHED, trial, 1.0)
'''
DRIVER = """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from launcher.contract.backend import Ended, Order, Started
from launcher.contract.batch_folder import Inbox, write_batch
from launcher.contract.batch_folder import Inbox, write_batch
from launcher.on_ray.ray_backend import RayBackend
from launcher.settings.request import RayCluster
from launcher.contract.wire import decode_task
from tracking.paths import ProjectPaths
order = Order(paths=ProjectPaths(root=Path({root!r})), study="small", budget_core_hours=10.0, code_version="test",
              trainer="fake_trainer:train")
tasks = [decode_task(line) for line in json.loads({tasks!r})]
backend = RayBackend(order, RayCluster(max_workers=2, address={address!r}))
job = [backend.submit((task,)) for task in tasks]
ends = 0
while ends < len(tasks):
    for event in backend.poll(0.1):
        ends += isinstance(event, Ended)
        if isinstance(event, Started):
            Path({workers!r}).open("a").write(event.worker + "\\n")
backend.close()
"""


@pytest.fixture
def further(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Makes further trainers known to all processes of this test."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "further_trainers.py").write_text(TRAINERS)
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}:{tmp_path / 'trainers'}")


@pytest.fixture
def here(ray_cluster: PrivateRay, further: None, monkeypatch: pytest.MonkeyPatch) -> PrivateRay:
    """The Ray that this test speaks to."""
    monkeypatch.setattr(ray_connection, "CONNECT_S", PATIENCE_S)
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    return ray_cluster


@pytest.fixture
def open_ray(here: PrivateRay, paths: ProjectPaths, make_order: MakeOrder) -> Iterator[OpenRay]:
    """Opens back ends on the cluster of this test and closes them."""
    opened: list[RayBackend] = []

    def open_one(*, trainer: str | None = None, asha: AshaSpec | None = None, **settings: object) -> RayBackend:
        order = make_order(paths) if trainer is None else make_order(paths, trainer=trainer)
        spec = RayCluster(**{"max_workers": 2, "address": here.address, **settings})  # type: ignore[arg-type]
        opened.append(RayBackend(order, spec, asha=asha))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


def ends_of(events: list[Event]) -> list[Ended]:
    """Returns the ends among the events."""
    return [event for event in events if isinstance(event, Ended)]


def is_start(event: Event) -> bool:
    """Returns whether a trial has been started."""
    return isinstance(event, Started)


def pid_of(event: Event) -> int:
    """Returns the process that a trial was started in."""
    assert isinstance(event, Started)
    return int(event.worker.rpartition("-")[2])


def is_alive(pid: int) -> bool:
    """Returns whether a process runs; one that only waits to be counted does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_death(pids: list[int], patience_s: float = 15.0) -> None:
    """Returns once none of the processes runs."""
    deadline = time.monotonic() + patience_s
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"still there after {patience_s} s: {[p for p in pids if is_alive(p)]}"
        time.sleep(0.1)


def driver_code(paths: ProjectPaths, tasks: tuple[Task, ...], address: str | None) -> str:
    """Returns the program of a driver that runs tasks and writes down their workers."""
    from launcher.contract.wire import encode_task

    return DRIVER.format(
        tests=str(Path(__file__).parents[1]),
        root=str(paths.root),
        tasks=json.dumps([encode_task(task) for task in tasks]),
        address=address,
        workers=str(paths.root / "workers.txt"),
    )


def workers_of(paths: ProjectPaths, count: int) -> list[int]:
    """Returns the processes that a driver has written down, once there are so many."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        file = paths.root / "workers.txt"
        lines = file.read_text().split() if file.exists() else []
        if len(lines) >= count:
            return [int(line.rpartition("-")[2]) for line in lines]
        time.sleep(0.1)
    raise AssertionError(f"the driver has started no trial within {PATIENCE_S:.0f} s")


# ---- settings and connections ----------------------------------------------------------------------------------------


def test_needs() -> None:
    """An actor occupies what the settings say, and nothing of what they say zero of."""
    needs = needs_of(RayCluster(cpus=2, gpus=0.5, tpus=4, hosts=2, resources=("big_mem=1", "slice-a = 0.5")))
    assert needs.bundle == {"CPU": 2.0, "GPU": 0.5, "TPU": 4.0, "big_mem": 1.0, "slice-a": 0.5} and needs.hosts == 2
    assert needs_of(RayCluster()).bundle == {"CPU": 1.0}
    slice_of_two = needs_of(RayCluster(tpus=4, hosts=2, resources=("TPU-v4-16-head=1",)))
    assert slice_of_two.bundle == {"CPU": 1.0, "TPU": 4.0} and slice_of_two.leader == {"TPU-v4-16-head": 1.0}


@pytest.mark.parametrize("item", ["big_mem", "big_mem=", "=1", "big_mem=much", ""])
def test_malformed_resource(item: str) -> None:
    """A resource that is no name=amount is refused, with an example."""
    with pytest.raises(StudyError, match="name=amount"):
        needs_of(RayCluster(resources=(item,)))


@pytest.mark.parametrize("settings", [{"cpus": -1.0}, {"hosts": 0}, {"max_workers": 0}, {"resources": ("a=nan",)}])
def test_senseless_amounts(settings: dict[str, object]) -> None:
    """Amounts that nothing can have are refused."""
    with pytest.raises(StudyError, match="or more"):
        needs_of(RayCluster(**settings))  # type: ignore[arg-type]


def test_actor_that_needs_nothing() -> None:
    """Actors that occupy nothing would all be put on one host."""
    with pytest.raises(StudyError, match=r"cluster\.cpus=1"):
        needs_of(RayCluster(cpus=0))


def test_tape(tmp_path: Path) -> None:
    """What one side appends the other reads once; a torn last line is read when it is whole."""
    writer, reader = Tape(tmp_path), Tape(tmp_path)
    assert reader.take() == [] and reader.news() == []
    writer.put([Slip(batch="a", place=0), Slip(batch="a", place=1, cell="c", trial="t", steps=3)])
    assert [slip.place for slip in reader.take()] == [0, 1] and reader.take() == []
    with (tmp_path / "packs.jsonl").open("a") as file:
        file.write('{"batch": "b", "pla')
    assert reader.take() == []
    with (tmp_path / "packs.jsonl").open("a") as file:
        file.write('ce": 7}\n')
    assert reader.take() == [Slip(batch="b", place=7)]
    reader.tell(News(batch="a", place=1, reason="died"))
    assert writer.news() == [News(batch="a", place=1, reason="died")] and not writer.is_closed
    mark(tmp_path, 3, CANCELLED)
    mark(tmp_path, 3, CANCELLED)
    assert is_marked(tmp_path, 3, CANCELLED) and not is_marked(tmp_path, 2, CANCELLED)


def test_cells(make_tasks: MakeTasks) -> None:
    """Learning rates of one cell compete, other seeds and horizons do not."""
    first, other_seed = (task.trial for task in make_tasks(seeds=2))
    assert cell_of(first) == cell_of(dataclasses.replace(first, peak_lr=0.7))
    assert len({cell_of(first), cell_of(other_seed), cell_of(make_tasks(epochs=2.0)[0].trial)}) == 3


HANGING = """
from launcher.on_ray import ray_connection, ray_seat
ray_seat.HANG_GRACE_S = 0.5
ray_seat.Seat().run({folder!r}, 0)
"""


@pytest.mark.real
def test_hanging_trial(make_tasks: MakeTasks, make_order: MakeOrder, paths: ProjectPaths, further: None) -> None:
    """A trial that does not end at its limit is told as lost and ends with its process; its pack is not begun again."""
    (task,) = make_tasks()
    batch = write_batch(
        paths.study_dir("small"),
        make_order(paths, trainer="further_trainers:deaf"),
        [(dataclasses.replace(task, limit_s=2.0),)],
        cluster="ray",
    )
    code = HANGING.format(folder=str(batch.folder))
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (lost,) = [event for _, event in Inbox(batch).read() if isinstance(event, Lost)]
    assert lost.trial_id == task.trial.id and lost.reason.endswith("after the limit of 2 s")
    assert "hung" in (batch.logs_dir / "0.log").read_text()
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
    assert len(Inbox(batch).read()) == 3


@pytest.mark.real
@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "host:port", "nohost.invalid:6379"]
)
def test_unreachable(address: str, paths: ProjectPaths, make_order: MakeOrder) -> None:
    """An address where nobody is found is told at once, with what an address looks like."""
    with pytest.raises(StudyError, match=r"cluster\.address=.*cannot be reached.*ray://host:10001"):
        RayBackend(make_order(paths), RayCluster(address=address))


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_something_else_listens(scheme: str, paths: ProjectPaths, make_order: MakeOrder) -> None:
    """A port where somebody listens who says nothing is told within seconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        start_s = time.monotonic()
        with pytest.raises(StudyError, match="cannot be reached"):
            RayBackend(make_order(paths), RayCluster(address=f"{scheme}127.0.0.1:{server.getsockname()[1]}"))
        assert time.monotonic() - start_s < 15.0


# ---- a Ray of our own ------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_own_ray_is_silent_and_leaves_nothing(
    make_tasks: MakeTasks, paths: ProjectPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own Ray says nothing, not even of dead actors, writes nothing into the home, and goes with the command."""
    (home := tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(home))
    code = driver_code(paths, (*make_tasks(seeds=3), *make_tasks("deadly_once")), None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(read_journals(paths, "small")) == 4
    assert not list(home.iterdir())
    assert not (paths.study_dir("small") / "ray").exists() or not list((paths.study_dir("small") / "ray").iterdir())
    wait_for_death(workers_of(paths, 4))


def test_folders_of_killed_drivers_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray of our own takes away the files of those whose drivers were killed, and leaves living ones theirs."""
    monkeypatch.setattr(ray_connection, "FOLDER", f"loglog-test-{os.getpid()}-")
    living, lock = ray_connection._make_folder()
    dead, its_lock = ray_connection._make_folder()
    os.close(its_lock)
    newest, newest_lock = ray_connection._make_folder()
    assert living.exists() and newest.exists() and not dead.exists()
    for folder, descriptor in ((living, lock), (newest, newest_lock)):
        os.close(descriptor)
        shutil.rmtree(folder)


@pytest.mark.real
def test_own_ray_dies_with_its_driver(make_tasks: MakeTasks, paths: ProjectPaths) -> None:
    """kill -9 of the driver ends its Ray, and the trials with it."""
    code = driver_code(paths, make_tasks("slow", seeds=4), None)
    driver = subprocess.Popen([sys.executable, "-c", code])
    try:
        pids = workers_of(paths, 2)
    finally:
        driver.kill()
        driver.wait()
    wait_for_death(pids)


@pytest.mark.real
def test_own_ray_too_small(paths: ProjectPaths, make_order: MakeOrder) -> None:
    """What this machine has not is told before anything is queued; several hosts need a cluster."""
    with pytest.raises(StudyError, match="this machine has 0"):
        RayBackend(make_order(paths), RayCluster(resources=("no_such_thing=1",)))
    with pytest.raises(StudyError, match=r"cluster\.address=auto"):
        RayBackend(make_order(paths), RayCluster(hosts=2))


# ---- a cluster -------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_client_address(open_ray: OpenRay, here: PrivateRay, make_tasks: MakeTasks, follow: Follow) -> None:
    """A driver outside the cluster, behind ray://, hands in packs and hears of them as one inside does."""
    if (reason := missing_client()) is not None or here.client_address is None:
        pytest.skip(reason or "the cluster has no client server")
    backend = open_ray(address=here.client_address)
    job = backend.submit(make_tasks(seeds=2))
    assert {end.outcome.status for end in ends_of(follow(backend, ends=2))} == {Status.FINISHED}
    assert backend.logs(job).count("hello from steady") == 2


@pytest.mark.real
def test_actors_stay_warm(open_ray: OpenRay, make_tasks: MakeTasks, follow: Follow) -> None:
    """Two actors run all packs; a pack costs far less than the 300 ms that are allowed."""
    backend = open_ray()
    for task in make_tasks(seeds=100):
        backend.submit((task,))
    events: list[Event] = []
    while not events:
        events += backend.poll(0.1)
    start_s = time.monotonic()
    events += follow(backend, ends=100 - len(ends_of(events)))
    assert (time.monotonic() - start_s) / 100 < 0.3
    assert len({pid_of(event) for event in events if is_start(event)}) <= 2
    time.sleep(1.0)
    backend.submit(make_tasks("other"))
    (again,) = [event for event in follow(backend) if is_start(event)]
    assert pid_of(again) in {pid_of(event) for event in events if is_start(event)}


@pytest.mark.real
def test_killed_actor_in_a_pack(open_ray: OpenRay, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow) -> None:
    """After kill -9 of the actor Tune starts the pack again: what is settled is not repeated, the rest is run."""
    tasks = (*make_tasks("steady", seeds=2), *make_tasks("slow"), *make_tasks("other"))
    backend = open_ray()
    backend.submit(tasks)
    events = follow(backend, until=lambda event: isinstance(event, Moved) and event.trial_id == tasks[2].trial.id)
    os.kill(pid_of(events[0]), signal.SIGKILL)
    until = {task.trial.id for task in tasks} - {end.trial_id for end in ends_of(events)}
    rest = follow(
        backend, until=lambda event: isinstance(event, Ended) and not (until.discard(event.trial_id) or until)
    )
    assert not [event for event in rest if isinstance(event, Lost)]
    records = {record.trial.id: record for record in read_journals(paths, "small")}
    assert {record.status for record in records.values()} == {Status.FINISHED} and len(records) == 4
    assert [records[task.trial.id].attempts for task in tasks] == [1, 1, 2, 1]


@pytest.mark.real
def test_killed_node(
    open_ray: OpenRay, here: PrivateRay, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A node that goes in the middle of packs loses none: they are run again elsewhere, from their checkpoints."""
    tasks = make_tasks("slow", seeds=4)
    backend = open_ray(max_workers=4)
    for task in tasks:
        backend.submit((task,))
    moved: set[str] = set()
    pids: list[int] = []

    def have_all_moved(event: Event) -> bool:
        if isinstance(event, Started):
            pids.append(pid_of(event))
        if isinstance(event, Moved):
            moved.add(event.trial_id)
        return len(moved) == 4

    events = follow(backend, until=have_all_moved)
    node = next(index for index in here.living_nodes() if here.node_pids(index) & set(pids))
    here.kill_node(node)
    events += follow(backend, ends=4 - len(ends_of(events)))
    assert not [event for event in events if isinstance(event, Lost)]
    records = read_journals(paths, "small")
    assert Counter(end.trial_id for end in ends_of(events)) == {task.trial.id: 1 for task in tasks}
    assert {record.status for record in records} == {Status.FINISHED}
    assert any(record.attempts == 2 for record in records)
    assert all(len(record.curve) == 6 for record in records)


@pytest.mark.real
def test_deadly_trial_is_lost(open_ray: OpenRay, make_tasks: MakeTasks, follow: Follow) -> None:
    """A trial that kills whatever runs it is lost with what Ray says of it; other packs are run."""
    deadly, others = make_tasks("deadly"), make_tasks(seeds=2)
    backend = open_ray()
    backend.submit(deadly)
    backend.submit(others)
    ends: list[Event] = []

    def is_over(event: Event) -> bool:
        ends.extend([event] if isinstance(event, (Ended, Lost)) else [])
        return len(ends) == 3

    follow(backend, until=is_over)
    (lost,) = [event for event in ends if isinstance(event, Lost)]
    assert lost.trial_id == deadly[0].trial.id and lost.reason.startswith("Ray gave up on it: its actor died")


@pytest.mark.real
def test_killed_loop(
    open_ray: OpenRay, here: PrivateRay, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """When the process of the Tune loop dies, what it had is lost, and what is handed in again is run."""
    (task,) = make_tasks("slow")
    backend = open_ray()
    backend.submit((task,))
    events = follow(backend, until=lambda event: isinstance(event, Moved))
    actors = [pid for pid in here.pids() if "Conductor" in command_of(pid)]
    assert actors
    for pid in actors:
        os.kill(pid, signal.SIGKILL)
    (lost,) = [
        event for event in follow(backend, until=lambda event: isinstance(event, Lost)) if isinstance(event, Lost)
    ]
    assert lost.reason.startswith("Ray Tune's loop ended")
    wait_for_death([pid_of(events[0])])
    backend.submit((task,))
    assert ends_of(follow(backend))[0].outcome.status is Status.FINISHED
    (record,) = read_journals(paths, "small")
    assert record.attempts == 2 and len(record.curve) == 6


def command_of(pid: int) -> str:
    """Returns the command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.real
def test_cancelled_while_it_runs(open_ray: OpenRay, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow) -> None:
    """A cancelled pack that runs ends at its next step without a word, and its actor takes the next."""
    slow, steady = make_tasks("slow", seeds=3), make_tasks("steady")
    backend = open_ray(max_workers=1)
    cancelled = backend.submit(slow)
    backend.submit(steady)
    (start,) = follow(backend, until=is_start)
    backend.cancel(cancelled)
    events = follow(backend)
    assert {event.trial_id for event in events if not isinstance(event, Lost)} == {steady[0].trial.id}
    assert not [event for event in events if isinstance(event, Lost)]
    assert pid_of(events[0]) == pid_of(start)
    assert len(read_journals(paths, "small")) == 2


@pytest.mark.real
def test_cancelled_and_deaf(open_ray: OpenRay, make_tasks: MakeTasks, follow: Follow) -> None:
    """A cancelled pack that does not hear is killed within seconds, and the next one runs."""
    deaf, listening = make_tasks(seeds=2)
    backend = open_ray(trainer="further_trainers:deaf", max_workers=1)
    cancelled = backend.submit((deaf,))
    backend.submit((listening,))
    (start,) = follow(backend, until=is_start)
    backend.cancel(cancelled)
    wait_for_death([pid_of(start)], patience_s=ray_seat.CANCEL_GRACE_S + 6.0)
    events = follow(backend)
    assert {event.trial_id for event in events} == {listening.trial.id}


@pytest.mark.real
def test_stop_and_close_end_the_actors(open_ray: OpenRay, make_tasks: MakeTasks, follow: Follow) -> None:
    """stop ends the actors, a back end that was stopped can be used again, and close ends them for good."""
    backend = open_ray(trainer="further_trainers:deaf")
    for end in (backend.stop, backend.close):
        backend.submit(make_tasks(seeds=1))
        (start,) = follow(backend, until=is_start)
        end()
        wait_for_death([pid_of(start)])


@pytest.mark.real
def test_driver_killed_on_a_cluster(here: PrivateRay, make_tasks: MakeTasks, paths: ProjectPaths) -> None:
    """kill -9 of the driver leaves none of its actors on the cluster."""
    driver = subprocess.Popen([sys.executable, "-c", driver_code(paths, make_tasks("slow", seeds=4), here.address)])
    try:
        pids = workers_of(paths, 2)
    finally:
        driver.kill()
        driver.wait()
    wait_for_death(pids)
    deadline = time.monotonic() + 15.0
    while any("Conductor" in command_of(pid) for pid in here.pids()):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.real
def test_hosts_train_together(open_ray: OpenRay, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow) -> None:
    """With two hosts every trial is trained by two processes that JAX has connected; only the leader journals."""
    backend = open_ray(hosts=2, max_workers=1)
    backend.submit(make_tasks("together", seeds=2))
    backend.submit(make_tasks("together", epochs=2.0))
    events = follow(backend, ends=3)
    assert {end.outcome.status for end in ends_of(events)} == {Status.FINISHED}
    assert (paths.data_dir / "together.txt").read_text().split() == ["2"] * 6
    assert len({pid_of(event) for event in events if is_start(event)}) == 1
    assert all(record.attempts == 1 for record in read_journals(paths, "small"))


# ---- races -----------------------------------------------------------------------------------------------------------


def rates(task: Task, *peak_lrs: float) -> tuple[Task, ...]:
    """Returns the task at several learning rates."""
    return tuple(dataclasses.replace(task, trial=dataclasses.replace(task.trial, peak_lr=lr)) for lr in peak_lrs)


@pytest.mark.real
def test_learning_rates_race(open_ray: OpenRay, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow) -> None:
    """Rates that fall behind are stopped and journalled as such; the best of each cell goes to its end."""
    cells = [rates(task, 0.4, 0.2, 0.1) for task in make_tasks("racing", seeds=2, epochs=5.0)]
    backend = open_ray(trainer="further_trainers:race", asha=AshaSpec())
    for cell in cells:
        backend.submit(cell)
    status = {end.trial_id: end.outcome.status for end in ends_of(follow(backend, ends=6))}
    for best, _, worst in cells:
        assert (status[best.trial.id], status[worst.trial.id]) == (Status.FINISHED, Status.STOPPED)
    assert {record.trial.id: record.status for record in read_journals(paths, "small")} == status


@pytest.mark.real
def test_last_rate_is_never_stopped(open_ray: OpenRay, make_tasks: MakeTasks, follow: Follow) -> None:
    """Where the only rate ahead diverges, the one behind goes on: a cell is not left without a run."""
    (task,) = make_tasks("racing", epochs=5.0)
    diverging, late = rates(task, 9.0, 0.1)
    backend = open_ray(trainer="further_trainers:race", asha=AshaSpec(), max_workers=1)
    backend.submit((diverging, late))
    status = {end.trial_id: end.outcome.status for end in ends_of(follow(backend, ends=2))}
    assert status == {diverging.trial.id: Status.DIVERGED, late.trial.id: Status.FINISHED}
