import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.leftovers import processes_of
from tests.clusters.private_ray import PrivateRay, missing, missing_client

pytestmark = [pytest.mark.real, pytest.mark.slow]

DRIVER = """
import os, sys, time
import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=1, max_retries=2)
def where(seconds):
    time.sleep(seconds)
    return os.environ["PRIVATE_RAY_NODE"].rpartition("/")[2]

if sys.argv[2:]:
    waiting = [where.remote(float(sys.argv[2])) for _ in range(4)]
    print("submitted", flush=True)
    print(*ray.get(waiting))
else:
    print(*sorted(set(ray.get([where.remote(1.0) for _ in range(4)]))))
"""
"""A driver is a process of its own: Ray's threads have no place in the process of the tests."""


def driver(address: str, *words: str) -> subprocess.Popen[str]:
    """Starts the driver on a cluster."""
    return subprocess.Popen([sys.executable, "-c", DRIVER, address, *words], stdout=subprocess.PIPE, text=True)


def say(process: subprocess.Popen[str]) -> str:
    """Returns what a driver has printed at its end."""
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return text.split("\n")[-2]


@pytest.fixture
def own_ray() -> Iterator[PrivateRay]:
    """A Ray of one node for one test alone."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"no Ray on this machine: {reason}")
    with PrivateRay(nodes=1) as cluster:
        yield cluster


def test_nodes_share_the_work(ray_cluster: PrivateRay) -> None:
    """Four tasks of one CPU run on both nodes."""
    assert say(driver(ray_cluster.address)) == " ".join(map(str, ray_cluster.living_nodes()))


def test_client_address(ray_cluster: PrivateRay) -> None:
    """A driver from outside runs its tasks on the nodes too."""
    reason = missing_client()
    if reason is not None:
        pytest.skip(f"no ray:// address: {reason}")
    assert ray_cluster.client_address is not None
    for _ in range(3):  # Ray's proxy takes a server that it has just started on a busy machine for a dead one
        if (asked := driver(ray_cluster.client_address)).wait(120) == 0:
            break
    assert say(asked) == " ".join(map(str, ray_cluster.living_nodes()))


def test_dead_node(ray_cluster: PrivateRay) -> None:
    """The tasks of a killed node run on the other one, and a node that is added takes part."""
    first, second = ray_cluster.living_nodes()
    running = driver(ray_cluster.address, "4.0")
    assert running.stdout is not None and running.stdout.readline() == "submitted\n"
    ray_cluster.kill_node(first)
    assert ray_cluster.living_nodes() == [second] and not ray_cluster.node_pids(first)
    assert set(say(running).split()) == {str(second)}
    added = ray_cluster.add_node()
    assert say(driver(ray_cluster.address)) == f"{second} {added}"


def test_mending(ray_cluster: PrivateRay) -> None:
    """There are as many nodes as before, whatever a test has killed."""
    ray_cluster.kill_node(ray_cluster.living_nodes()[0])
    ray_cluster.mend()
    assert len(ray_cluster.living_nodes()) == 2


def test_stop_leaves_nothing(own_ray: PrivateRay) -> None:
    """After the end no process of the cluster and no file is left, and the home folder has seen nothing of it."""
    home = {path: path.exists() for path in (Path.home() / ".ray", Path("/tmp/ray"))}
    assert say(driver(own_ray.address)) == "0"
    pids = own_ray.pids()
    assert len(pids) >= 6
    own_ray.stop()
    assert not processes_of(str(own_ray.folder)) and not own_ray.folder.exists()
    assert not {pid for pid in pids if Path(f"/proc/{pid}/exe").exists()}
    assert home == {path: path.exists() for path in home}
    own_ray.stop()


def test_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Ray is told so."""
    monkeypatch.setattr("tests.clusters.private_ray.find_spec", lambda _: None)
    assert missing() == "ray is not installed"
