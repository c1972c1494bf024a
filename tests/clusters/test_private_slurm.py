import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import submitit

from tests.clusters.leftovers import processes_of
from tests.clusters.private_slurm import NODES, PrivateSlurm, missing

pytestmark = pytest.mark.real

CHECKOUT = Path(__file__).resolve().parents[2]
FOREVER = ("--output=/dev/null", "--wrap=sleep 1000 & sleep 1000")


@pytest.fixture
def own_slurm() -> Iterator[PrivateSlurm]:
    """A Slurm for one test alone."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"no Slurm on this machine: {reason}")
    with PrivateSlurm() as cluster:
        yield cluster


def wait(holds: Callable[[], bool], patience_s: float = 180.0) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "waited for nothing"
        time.sleep(0.1)


def states(cluster: PrivateSlurm) -> list[str]:
    """Returns the state of every queued job."""
    return [state for _, state, _ in cluster.squeue()]


@pytest.mark.parametrize("fixture", ["slurm", "slurm_accounted"])
def test_array_of_submitit(request: pytest.FixtureRequest, tmp_path: Path, fixture: str) -> None:
    """An array of submitit's runs on the cluster and its results come back."""
    cluster: PrivateSlurm = request.getfixturevalue(fixture)
    with cluster.in_environment():
        executor = submitit.AutoExecutor(folder=tmp_path / "%j", cluster="slurm")
        executor.update_parameters(timeout_min=2, cpus_per_task=1, mem_gb=1, slurm_partition="main")
        jobs = executor.map_array(functools.partial(pow, 2), range(4))
        assert [job.result() for job in jobs] == [1, 2, 4, 8]
    if cluster.accounting:
        array = jobs[0].job_id.split("_")[0]
        wait(lambda: cluster.sacct("-X", "-j", array, "-o", "State").split() == ["COMPLETED"] * 4)


def test_dead_node(slurm: PrivateSlurm) -> None:
    """The job of a killed node waits and runs again once the node is back; of the first run nothing is left."""
    slurm.run("sbatch", "--requeue", "--nodelist=n2", *FOREVER)
    wait(lambda: states(slurm) == ["RUNNING"] and len(slurm.step_pids("n2")) >= 3)
    first = slurm.step_pids("n2")
    assert not slurm.step_pids("n1", "n3", "n4")
    slurm.kill_slurmd("n2")
    assert set(slurm.node_pids()) == set(NODES) - {"n2"}
    wait(lambda: not slurm.step_pids("n2"))
    slurm.declare_down("n2")
    slurm.wait_until_down("n2")
    assert states(slurm) == ["PENDING"]
    slurm.start_slurmd("n2")
    wait(lambda: states(slurm) == ["RUNNING"] and len(slurm.step_pids("n2")) >= 3)
    assert not slurm.step_pids("n2") & first
    slurm.cancel_all()
    slurm.wait_until_idle()


@pytest.mark.endurance
def test_dead_node_is_noticed(slurm: PrivateSlurm) -> None:
    """Slurm finds out by itself, and soon, that a node is gone."""
    slurm.kill_slurmd("n3")
    slurm.wait_until_down("n3", patience_s=40.0)


def test_preemption(slurm: PrivateSlurm, tmp_path: Path) -> None:
    """A job of the partition high gets a node at once; the one it displaces is warned, requeues itself, runs again."""
    warned, runs = tmp_path / "warned", tmp_path / "runs"
    low = tmp_path / "low.sh"
    on_warning = f"touch {warned}; scontrol requeue $SLURM_JOB_ID"
    low.write_text(f"#!/bin/bash\ntrap '{on_warning}' USR2\necho run >>{runs}\nsleep 1000 &\nwait\n")
    node = ("--nodelist=n1", "--cpus-per-task=2", "--output=/dev/null")
    slurm.run("sbatch", "--requeue", "--signal=B:USR2@30", "--partition=main", *node, str(low))
    wait(runs.exists)
    slurm.run("sbatch", "--partition=high", *node, "--wrap=sleep 3")
    wait(lambda: runs.read_text().count("run") == 2)
    assert warned.exists()
    slurm.cancel_all()
    slurm.wait_until_idle()


@pytest.mark.parametrize("hard", [False, True])
def test_restart_of_the_controller(slurm: PrivateSlurm, hard: bool) -> None:
    """Over a restart of slurmctld jobs run on and nodes are soon known again."""
    slurm.run("sbatch", "--nodelist=n1", *FOREVER)
    wait(lambda: states(slurm) == ["RUNNING"] and len(slurm.step_pids("n1")) >= 3)
    before, changed_at = slurm.step_pids("n1"), time.time()
    slurm.scontrol("update", f"JobId={slurm.squeue()[0][0]}", "Comment=changed")
    wait(lambda: (slurm.folder / "state/job_state").stat().st_mtime >= changed_at)
    slurm.restart_slurmctld(hard=hard)
    assert states(slurm) == ["RUNNING"] and slurm.step_pids("n1") >= before
    slurm.cancel_all()
    slurm.wait_until_idle(patience_s=20.0)


def test_mending(slurm: PrivateSlurm) -> None:
    """Whatever a test has killed is there again for the next one."""
    slurm.run("sbatch", "--nodelist=n1", *FOREVER)
    slurm.kill_slurmd("n4")
    slurm.stop_slurmctld(hard=True)
    slurm.mend()
    assert slurm.node_states() == dict.fromkeys(NODES, "idle") and not slurm.squeue()


def test_two_side_by_side(slurm: PrivateSlurm, own_slurm: PrivateSlurm) -> None:
    """Two clusters on one machine know nothing of each other."""
    own_slurm.run("sbatch", *FOREVER)
    assert len(own_slurm.squeue()) == 1 and not slurm.squeue()
    assert not slurm.pids() & own_slurm.pids()


def test_stop_leaves_nothing(own_slurm: PrivateSlurm) -> None:
    """After the end no process and no file of the cluster is left, nor of a job that hides in a group of its own."""
    own_slurm.run("sbatch", "--output=/dev/null", "--wrap=setsid env -i sleep 1000 & sleep 1000")
    wait(lambda: len(own_slurm.step_pids()) >= 4)
    pids = own_slurm.pids()
    assert len(pids) >= 10
    own_slurm.stop()
    assert not processes_of(str(own_slurm.folder)) and not own_slurm.folder.exists()
    assert not {pid for pid in pids if Path(f"/proc/{pid}/exe").exists()}
    own_slurm.stop()


def test_killed_owner_leaves_nothing() -> None:
    """Where the process that started a cluster is killed, the cluster ends all the same."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"no Slurm on this machine: {reason}")
    code = (
        "import time; from tests.clusters.private_slurm import PrivateSlurm; cluster = PrivateSlurm(); "
        "cluster.start(); print(cluster.folder, flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert folder.is_dir() and len(processes_of(str(folder))) >= 6
        os.kill(owner.pid, signal.SIGKILL)
    wait(lambda: not folder.exists() and not processes_of(str(folder)), patience_s=20.0)


def test_failed_start_leaves_nothing() -> None:
    """A cluster that does not come up says what its daemons wrote, and leaves nothing behind."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"no Slurm on this machine: {reason}")
    cluster = PrivateSlurm(extra_configuration="NoSuchWord=1")
    with pytest.raises(RuntimeError, match="NoSuchWord"):
        cluster.start()
    assert not processes_of(str(cluster.folder)) and not cluster.folder.exists()


def test_long_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder whose name is too long for sockets does not keep a cluster from starting."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"no Slurm on this machine: {reason}")
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with PrivateSlurm() as cluster:
        assert set(cluster.node_states().values()) == {"idle"}


def test_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that cannot run a Slurm is told why."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert missing() == "not root"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda program, **_: None if program == "slurmctld" else program)
    assert missing() == "slurmctld is not installed"
