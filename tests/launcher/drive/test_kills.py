"""The benchmark of kill -9s, shortened and with the fake trainer."""

import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from launcher.contract.backend import Order, Task
from launcher.drive.open_backend import open_backend
from launcher.settings.request import InlineCluster
from sweeps.pricing import price_trial
from sweeps.study import Study
from tracking.paths import ProjectPaths

HERE = Path(__file__).parents[1]
KILLS, SEEDS = 3, 12


@pytest.fixture
def kills(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark's module."""
    monkeypatch.syspath_prepend(checkout / "benchmarks")
    spec = importlib.util.spec_from_file_location("kills_benchmark", checkout / "benchmarks" / "kills.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.real
def test_killed_sweep_equals_an_unbroken_one(
    kills: ModuleType,
    make_study: Callable[..., Study],
    make_order: Callable[..., Order],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After kills of driver and workers the same command ends with the same records: none lost, none twice."""
    monkeypatch.setattr(kills, "EARLIEST_S", 0.3)
    killed, unbroken = (ProjectPaths(root=tmp_path / name) for name in ("killed", "unbroken"))
    words = ("--models", "steady", "other", "--epochs", "1", "2", "4", "--seeds", str(SEEDS), "--json")
    study = make_study("steady", "other", epochs=(1.0, 2.0, 4.0), seeds=SEEDS)
    with open_backend(InlineCluster(), make_order(unbroken)) as backend:
        backend.submit(_tasks(study))
        while backend.poll(0.0):
            pass
    monkeypatch.setenv("FAKE_REPORT_S", "0.03")
    victims = kills.run_under_fire(
        (sys.executable, str(HERE / "drive.py"), *words), killed.root, kills=KILLS, latest_s=1.5, rng=random.Random(3)
    )
    assert len(victims) == KILLS
    assert kills.compare(killed, unbroken, "small") == kills.Comparison(runs=6 * SEEDS, lost=0, changed=0, duplicates=0)


def _tasks(study: Study) -> tuple[Task, ...]:
    from sweeps.grid import Grid

    grid = Grid(study=study)
    trials = (grid.trial(number) for number in range(len(grid)))
    return tuple(Task(trial=trial, cost=price_trial(trial, study.hardware)) for trial in trials)
