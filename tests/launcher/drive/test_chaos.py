"""The benchmark of two hundred faults, shortened: one of each kind that a back end may meet."""

import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.clusters import private_ray, private_slurm
from tracking.paths import ProjectPaths


@pytest.fixture
def chaos(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark's module, with fewer trials."""
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("chaos_benchmark", checkout / "benchmarks" / "chaos.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SEEDS", 2)
    yield module
    sys.path[:] = before


@pytest.fixture(params=["local", "slurm", "ray"])
def name(request: pytest.FixtureRequest) -> str:
    """Each back end that outlives a fault, where this machine can run it."""
    reason = {"slurm": private_slurm.missing, "ray": private_ray.missing}.get(request.param, lambda: None)()
    if reason is not None:
        pytest.skip(f"no {request.param} on this machine: {reason}")
    return request.param


@pytest.mark.real
@pytest.mark.endurance
def test_a_sweep_under_fire_equals_an_unbroken_one(chaos: ModuleType, name: str, tmp_path: Path) -> None:
    """Whatever breaks, the same command typed again ends with the same records: none lost, changed, twice or stuck."""
    unbroken = ProjectPaths(root=tmp_path / "unbroken")
    unbroken.root.mkdir()
    chaos.run_unbroken(unbroken)
    faults = len(chaos.BY_CLUSTER[name])
    with chaos.cluster_of(name) as cluster:
        result = chaos.storm(
            name, faults=faults, rng=random.Random(5), unbroken=unbroken, cluster=cluster, locked_s=3.0
        )
    assert result.faults.total() == faults
    assert (result.lost, result.changed, result.duplicates, result.stuck) == (0, 0, 0, 0)
    assert result.runs == result.sweeps * len(chaos.MODELS) * len(chaos.EPOCHS) * chaos.SEEDS
