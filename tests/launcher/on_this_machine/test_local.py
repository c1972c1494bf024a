import os
import signal
from collections.abc import Callable, Iterator

import pytest

from launcher.contract.backend import Broken, Ended, Event, Lost, Moved, Order, Started, Task
from launcher.on_this_machine import local
from launcher.on_this_machine.local import MAX_FALSE_STARTS, LocalBackend, local_slots
from launcher.on_this_machine.warm_process import Slot, WarmProcess, worker_environment
from launcher.work.worker_environment import usable_cores
from sweeps.errors import StudyError
from sweeps.record import Status
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

MakeTasks = Callable[..., tuple[Task, ...]]
Follow = Callable[..., list[Event]]


@pytest.fixture
def pool(make_order: Callable[..., Order], paths: ProjectPaths) -> Iterator[LocalBackend]:
    """One worker."""
    backend = LocalBackend(make_order(paths), workers=1)
    yield backend
    backend.close()


def test_cancelling_the_running_job(
    pool: LocalBackend, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running trial is stopped in the middle, counts as killed, and leaves its worker's place to the next job."""
    monkeypatch.setenv("FAKE_REPORT_S", "30")
    job = pool.submit(make_tasks())
    follow(pool, until=lambda event: isinstance(event, Started))
    pool.cancel(job)
    monkeypatch.setenv("FAKE_REPORT_S", "0")
    other = make_tasks("other")
    pool.submit(other)
    events = follow(pool)
    assert {event.trial_id for event in events if isinstance(event, Started | Moved | Ended | Lost)} == {
        other[0].trial.id
    }
    statuses = {record.trial.model: record.status for record in read_journals(paths, "small")}
    assert statuses == {"steady": Status.KILLED, "other": Status.FINISHED}


def test_logs_of_a_running_job(
    pool: LocalBackend, make_tasks: MakeTasks, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a task prints can be read while it runs."""
    monkeypatch.setenv("FAKE_REPORT_S", "0.1")
    job = pool.submit(make_tasks())
    follow(pool, until=lambda event: isinstance(event, Moved))
    assert "hello from steady" in pool.logs(job)


def test_longest_first(pool: LocalBackend, make_tasks: MakeTasks, follow: Follow) -> None:
    """Whatever the order of submission, one worker begins with the longest trial."""
    tasks = {epochs: make_tasks(epochs=epochs)[0] for epochs in (1.0, 4.0, 2.0)}
    for task in tasks.values():
        pool.submit((task,))
    ended = [event.trial_id for event in follow(pool, ends=3) if isinstance(event, Ended)]
    assert ended == [tasks[epochs].trial.id for epochs in (4.0, 2.0, 1.0)]


def test_no_more_workers_than_tasks(
    make_order: Callable[..., Order], make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """Two tasks start two of eight possible workers; none are left after closing."""
    backend = LocalBackend(make_order(paths), workers=8)
    backend.submit(make_tasks(seeds=2))
    backend.poll(0.0)
    pids = backend.pids()
    assert len(pids) == 2
    backend.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_worker_killed_before_it_was_ready_is_replaced(
    pool: LocalBackend, make_tasks: MakeTasks, follow: Follow
) -> None:
    """A kill during start-up loses nothing."""
    pool.submit(make_tasks())
    pool.poll(0.0)
    os.kill(pool.pids()[0], signal.SIGKILL)
    assert [type(event) for event in follow(pool) if not isinstance(event, Moved)] == [Started, Ended]


def test_workers_killed_again_and_again(
    pool: LocalBackend, make_tasks: MakeTasks, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every new worker is killed before it is ready, the pool says so instead of starting for ever."""
    started: list[int] = []

    def start_and_kill(order: Order, slot: Slot) -> WarmProcess:
        worker = WarmProcess(order, slot)
        os.kill(worker.pid, signal.SIGKILL)
        started.append(worker.pid)
        return worker

    monkeypatch.setattr(local, "WarmProcess", start_and_kill)
    pool.submit(make_tasks())
    (event,) = follow(pool, until=lambda event: True)
    assert isinstance(event, Broken) and "killed by signal 9 before it was ready" in event.reason
    assert len(started) == MAX_FALSE_STARTS


def test_slots_follow_the_cores_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a number there is one worker a usable core; more of them share the cores."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    cores = usable_cores()
    assert [slot.core for slot in local_slots(None)] == list(cores)
    assert [slot.core for slot in local_slots(len(cores) + 1)] == [*cores, cores[0]]


@pytest.fixture
def has_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX for NVIDIA is installed."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)


@pytest.mark.usefixtures("has_nvidia")
@pytest.mark.parametrize("gpus", [0, 5])
def test_a_worker_cannot_have_more_devices_than_there_are(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that no worker can have is one error that says how many there are."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    with pytest.raises(StudyError, match=rf"cluster.gpus={gpus}.*4 NVIDIA devices.*cluster.gpus=4"):
        local_slots(None, gpus=gpus)


@pytest.mark.usefixtures("has_nvidia")
@pytest.mark.parametrize(
    ("shown", "each", "gpus"),
    [
        ("0,1,2", 1, ["0", "1", "2"]),
        ("3", 1, ["3"]),
        ("GPU-5f,MIG-7", 1, ["GPU-5f", "MIG-7"]),
        ("0,1,2,3", 4, ["0,1,2,3"]),
        ("0,1,2,3,4", 2, ["0,1", "2,3"]),
    ],
)
def test_slots_follow_the_devices(shown: str, each: int, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With JAX for NVIDIA there is one worker a visible device, or a group of them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    slots = local_slots(None, gpus=each)
    assert [slot.gpu for slot in slots] == gpus
    assert all(slot.core is None for slot in slots)


def test_environment_is_the_same_for_all(paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker on a core gets the same flags, once, beside those of the user; else the compile cache misses."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_the_user=1")
    first = worker_environment(paths.compile_cache, is_on_cpu=True)
    assert first["XLA_FLAGS"].split() == ["--xla_of_the_user=1", "--xla_cpu_multi_thread_eigen=false"]
    assert first["JAX_COMPILATION_CACHE_DIR"] == str(paths.compile_cache)
    monkeypatch.setenv("XLA_FLAGS", first["XLA_FLAGS"])
    assert worker_environment(paths.compile_cache, is_on_cpu=True).items() <= first.items()
    monkeypatch.setenv("XLA_FLAGS", "")
    assert "XLA_FLAGS" not in worker_environment(paths.compile_cache, is_on_cpu=False)


def test_a_worker_that_dies_loses_its_whole_pack(
    make_order: Callable[..., Order], make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A pack is one worker's: with it every member is lost, each with its own journal."""
    tasks = make_tasks("deadly", seeds=3)
    backend = LocalBackend(make_order(paths, packing="vmap"), workers=2)
    backend.submit(tasks)
    lost: list[str] = []

    def is_last(event: Event) -> bool:
        lost.extend([event.trial_id] if isinstance(event, Lost) else [])
        return len(lost) == len(tasks)

    try:
        follow(backend, until=is_last)
    finally:
        backend.close()
    assert sorted(lost) == sorted(task.trial.id for task in tasks)
    assert (paths.data_dir / "calls.txt").read_text().count("pack of 3") == 1
    assert [(record.status, record.attempts) for record in read_journals(paths, "small")] == [(Status.KILLED, 1)] * 3


def test_a_pack_that_ends_well_leaves_its_worker_to_the_next_task(
    make_order: Callable[..., Order], make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """The worker is free once the last member has ended, not before."""
    backend = LocalBackend(make_order(paths, packing="scan"), workers=1)
    try:
        backend.submit(make_tasks(seeds=3))
        backend.submit(make_tasks("other"))
        events = follow(backend, ends=4)
    finally:
        backend.close()
    single = next(task.trial.id for task in make_tasks("other"))
    turns = [event.trial_id == single for event in events if isinstance(event, Started | Ended)]
    assert turns in ([False] * 6 + [True] * 2, [True] * 2 + [False] * 6)
    assert [record.status for record in read_journals(paths, "small")] == [Status.FINISHED] * 4
