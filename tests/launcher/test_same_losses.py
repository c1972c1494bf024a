"""One small sweep of real training on every back end: the same cells give the same losses, to the last bit."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.settings.request import ClusterSpec, RayCluster
from sweeps.record import RunRecord, Status
from tracking.journal import read_journals
from tracking.paths import ProjectPaths
from tracking.run_table import read_records

CELLS = ("study.models=[scale/f0]", "study.epochs=[0.03125,0.0625,0.125]", "study.peak_lrs=[0.1,0.2]", "seeds=1")
RUNS = 6


def sweep(root: Path, *words: str) -> dict[str, Any]:
    """Returns what the command answers."""
    command = [sys.executable, "-m", "launcher", "action=sweep", "budget=0.4k", "format=json", *CELLS, *words]
    environment = {**os.environ, "LOGLOG_ROOT": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("{"), done.stderr + done.stdout
    return json.loads(done.stdout)


def results(records: list[RunRecord]) -> dict[str, tuple[object, ...]]:
    """Returns every number of every run that training gives, its curve included; times apart."""
    return {
        record.trial.id: (
            *(getattr(record.outcome, name) for name in ("steps", "val_loss", "selection_loss", "train_loss")),
            *((point.step, point.images, point.train_loss, point.val_loss) for point in record.curve),
        )
        for record in records
        if record.status is Status.FINISHED
    }


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> ProjectPaths:
    """Where local workers, each on a core of its own, have trained all cells."""
    root = tmp_path_factory.mktemp("local")
    assert sweep(root, "cluster=local")["runs"]["finished"] == RUNS
    return ProjectPaths(root=root)


@pytest.mark.real
@pytest.mark.slow
def test_small_sweep(backend_name: str, cluster_spec: ClusterSpec, local: ProjectPaths, tmp_path: Path) -> None:
    """The command trains all cells, records them in runs.sqlite, and their losses are those of local workers."""
    paths = ProjectPaths(root=tmp_path)
    # The same programs: compiling them once more on each back end is no part of what is tested.
    shutil.copytree(local.compile_cache, paths.compile_cache)
    words = [f"cluster={cluster_spec.name}"]
    if isinstance(cluster_spec, RayCluster):
        words += [f"cluster.address={cluster_spec.address}", "cluster.max_workers=2"]
    answer = sweep(tmp_path, *words)
    assert answer["runs"]["finished"] == RUNS, answer
    found = results(read_journals(paths, "scale_model"))
    assert len(found) == RUNS and found == results(read_journals(local, "scale_model")), backend_name
    assert results(read_records(paths, "scale_model", curves=True)).keys() == found.keys()
    assert {record.code_version for record in read_records(paths, "scale_model")} != {"unversioned"}


@pytest.mark.real
@pytest.mark.slow
def test_packs_give_the_same_losses_within_rounding(local: ProjectPaths, tmp_path: Path) -> None:
    """Trained in packs of both rates, every number of every run is what it is by itself but for rounding.

    Training makes more of it step by step: of half a unit in the last place of the weights, 1 % after 256 steps.
    """
    paths = ProjectPaths(root=tmp_path)
    shutil.copytree(local.compile_cache, paths.compile_cache)
    assert sweep(tmp_path, "cluster=local", "compute.packing=vmap")["runs"]["finished"] == RUNS
    records = read_journals(paths, "scale_model")
    found, expected = results(records), results(read_journals(local, "scale_model"))
    assert found.keys() == expected.keys()
    for trial_id, numbers in expected.items():
        assert found[trial_id][:4] == pytest.approx(numbers[:4], rel=1e-4 if numbers[0] <= 128 else 1e-2)
        assert [point[0] for point in found[trial_id][4:]] == [point[0] for point in numbers[4:]]
    wall_s = {record.outcome.wall_s for record in records if record.outcome is not None}
    assert len(wall_s) == RUNS / 2, "members of a pack share its time"
