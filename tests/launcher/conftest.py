"""What the launcher's tests share: a small study, its tasks, a root of their own, and the list of back ends."""

import dataclasses
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.contract.backend import Backend, Ended, Event, Order, Task
from launcher.drive.open_backend import open_backend
from launcher.settings.request import ClusterSpec, InlineCluster, LocalCluster, RayCluster, SlurmCluster
from sweeps.compute import ComputeSpec
from sweeps.pricing import price_trial
from sweeps.study import Study
from sweeps.trial import Trial
from tracking.paths import ProjectPaths

HERE = Path(__file__).parent
FAKE_TRAINER = "fake_trainer:train"
BACKENDS: dict[str, ClusterSpec] = {
    "inline": InlineCluster(),
    "local": LocalCluster(workers=2),
    "slurm": SlurmCluster(time_min=10),
    "slurm_accounted": SlurmCluster(time_min=10),
    "ray": RayCluster(max_workers=2),
}
"""Every back end meets every test of test_backends.py."""
CLUSTERS = {"slurm": "slurm", "slurm_accounted": "slurm_accounted", "ray": "ray_cluster"}
"""The fixtures that start the clusters of back ends."""


@pytest.fixture(autouse=True)
def _modules_of_this_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.syspath_prepend(HERE)
    yield
    for name in ("fake_trainer", "small_study"):
        sys.modules.pop(name, None)


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """A study whose models bear the names given; the fake trainer behaves as they say."""
    return importlib.import_module("small_study").make_study


@pytest.fixture
def make_tasks(make_study: Callable[..., Study]) -> Callable[..., tuple[Task, ...]]:
    """The tasks of `seeds` trials of one model."""

    def make(model: str = "steady", *, seeds: int = 1, epochs: float = 1.0, data: str = "fake") -> tuple[Task, ...]:
        study = make_study(model, epochs=(epochs,), seeds=seeds, data=data)
        trials = (_trial(study, seed) for seed in study.seeds)
        return tuple(Task(trial=trial, cost=price_trial(trial, study.hardware)) for trial in trials)

    return make


def _trial(study: Study, seed: int) -> Trial:
    return Trial(
        model=study.models[0].name,
        family=study.models[0].family,
        shape=study.models[0].shape,
        data=study.data,
        epochs=study.epochs[0],
        batch_images=study.batch_images[0],
        peak_lr=study.peak_lrs[0],
        schedule=study.schedule,
        recipe=study.recipe,
        seed=seed,
    )


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectPaths:
    """A root of the test's own."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    return ProjectPaths(root=tmp_path)


@pytest.fixture
def make_order() -> Callable[..., Order]:
    """An order for the fake trainer."""

    def make(paths: ProjectPaths, *, trainer: str = FAKE_TRAINER, packing: str = "auto") -> Order:
        words = {"study": "small", "budget_core_hours": 10.0, "code_version": "test"}
        return Order(paths=paths, trainer=trainer, compute=ComputeSpec(packing=packing), **words)

    return make


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.real if name in CLUSTERS else ()) for name in BACKENDS])
def backend_name(request: pytest.FixtureRequest) -> str:
    """Each back end in turn."""
    return request.param


@pytest.fixture
def cluster_spec(backend_name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ClusterSpec:
    """The settings of the back end, its cluster running; skipped with the reason where this machine cannot run it."""
    spec = BACKENDS[backend_name]
    if backend_name not in CLUSTERS:
        return spec
    cluster = request.getfixturevalue(CLUSTERS[backend_name])
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    # The disk is this machine's own: events of a dead job are not long under way.
    monkeypatch.setattr("launcher.on_slurm.slurm_backend.GRACE_S", 1.0)
    monkeypatch.setattr("launcher.on_ray.ray_connection.CONNECT_S", 180.0)  # a loaded machine is no failure
    return dataclasses.replace(spec, address=cluster.address) if isinstance(spec, RayCluster) else spec


@pytest.fixture
def open_any(cluster_spec: ClusterSpec) -> Iterator[Callable[[Order], Backend]]:
    """Opens the back end; stops and closes what was opened."""
    opened: list[Backend] = []

    def open_one(order: Order) -> Backend:
        opened.append(open_backend(cluster_spec, order).thing)
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.stop()
        backend.close()


@pytest.fixture
def follow() -> Callable[..., list[Event]]:
    """Polls until so many attempts have ended, or until `until` says that it is enough."""

    def poll(backend: Backend, *, ends: int = 1, until: Callable[[Event], bool] | None = None) -> list[Event]:
        events: list[Event] = []
        is_enough = until or (lambda _: sum(isinstance(event, Ended) for event in events) >= ends)
        idle_polls = 0
        while idle_polls < 1800:  # a loaded machine is no failure
            idle_polls += 1
            for event in backend.poll(0.1):
                idle_polls = 0
                events.append(event)
                if is_enough(event):
                    return events
        raise AssertionError(f"no end after {len(events)} events, the last of which are {events[-3:]}")

    return poll


@pytest.fixture
def drive(paths: ProjectPaths) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a driver in a process group of its own, as a terminal does; what is left of it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, report_s: float = 0.0) -> "subprocess.Popen[str]":
        environment = {**os.environ, "LOGLOG_ROOT": str(paths.root), "FAKE_REPORT_S": str(report_s)}
        started.append(
            subprocess.Popen(
                [sys.executable, str(HERE / "drive.py"), *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
