"""The same trials on other numbers of devices, processes and layouts, in processes of their own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ACCURACY = 1e-5
"""To this part the losses of a run agree on any number of devices, for sums are added up in another order.

Measured: 5e-7 at most, over 64 steps.
"""
SAVED_AT, SAVED_AGAIN_AT = 16, 32
WAIT_S = 1800
FLAGS = " ".join(
    (
        "--xla_cpu_multi_thread_eigen=false",
        "--xla_backend_optimization_level=0",  # these programs are compiled for longer than they run
        "--xla_llvm_disable_expensive_passes=true",
    )
)


def start(folder: Path, name: str, jobs: list[dict], *words: str, devices: int = 1) -> "subprocess.Popen[bytes]":
    """Begins to train the jobs on so many devices; their results come into a file of this name."""
    (folder / f"{name}.jobs").write_text(json.dumps(jobs))
    flags = f"--xla_force_host_platform_device_count={devices} {FLAGS}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(HERE / "train_jobs.py"), str(folder / f"{name}.jobs"), str(folder / name), *words],
        env=environment,
        cwd=folder,
    )


def results(folder: Path, name: str, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """What became of the jobs, once they are done."""
    try:
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
    return json.loads((folder / name).read_text())


def run(folder: Path, name: str, jobs: list[dict], *, devices: int = 1) -> dict[str, Any]:
    """Trains the jobs on so many devices of one process."""
    return results(folder, name, start(folder, name, jobs, devices=devices))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where checkpoints and results lie."""
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def eight(folder: Path) -> dict[str, Any]:
    """Eight devices: a run to its end, one that is stopped, and a batch that does not fit."""
    jobs = [
        {"name": "nfnet", "net": "nfnet", "sharding": "data"},
        {
            "name": "vit",
            "net": "vit",
            "sharding": "fsdp",
            "microbatches": 2,
            "folder": str(folder / "vit"),
            "stop_at_step": SAVED_AT,
        },
        {"name": "misfit", "net": "vit", "batch_images": 20},
    ]
    return run(folder, "eight", jobs, devices=8)


@pytest.fixture(scope="module")
def two(folder: Path, eight: dict[str, Any]) -> dict[str, Any]:
    """Two devices that go on where the eight have stopped, and stop again."""
    job = {"name": "vit", "net": "vit", "sharding": "fsdp", "folder": str(folder / "vit")}
    return run(folder, "two", [{**job, "stop_at_step": SAVED_AGAIN_AT}], devices=2)


@pytest.fixture(scope="module")
def hosts(folder: Path, two: dict[str, Any]) -> dict[str, Any]:
    """Two processes of one device each, which train together.

    A run to its end, one until the second process is asked to stop, and one that a single process has left.
    """
    shutil.copytree(folder / "vit", folder / "for_hosts")
    job = {"net": "vit", "folder": str(folder / "of_hosts"), "stop_at_step": SAVED_AT, "stop_rank": 1}
    jobs = [{"name": "fsdp", "net": "vit", "sharding": "fsdp", "microbatches": 2}, {**job, "name": "stopped"}]
    jobs.append({"name": "resumed", "net": "vit", "folder": str(folder / "for_hosts")})
    words = ("2", str(folder / "rendezvous"))
    processes = [start(folder, f"host{rank}", jobs, str(rank), *words) for rank in range(2)]
    return {str(rank): results(folder, f"host{rank}", process) for rank, process in enumerate(processes)}


@pytest.fixture(scope="module")
def one(folder: Path, two: dict[str, Any], hosts: dict[str, Any]) -> dict[str, Any]:
    """One device: unbroken runs, and what the two devices and the two processes have left."""
    jobs = [
        {"name": "nfnet", "net": "nfnet"},
        {"name": "vit", "net": "vit"},
        {"name": "resumed", "net": "vit", "folder": str(folder / "vit")},
        {"name": "resumed from hosts", "net": "vit", "folder": str(folder / "of_hosts")},
    ]
    return run(folder, "one", jobs)


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    """Same certificate, and losses that agree to the stated accuracy, at the end and on the way."""
    assert got["status"] == expected["status"] == "finished"
    assert got["certificate"] == expected["certificate"]
    assert got["losses"] == pytest.approx(expected["losses"], rel=ACCURACY)
    for step, loss in got["curve"].items():
        assert loss == pytest.approx(expected["curve"][step], rel=ACCURACY), step


@pytest.mark.real
def test_eight_devices_train_to_the_losses_of_one(eight: dict[str, Any], one: dict[str, Any]) -> None:
    """A batch that is spread over eight devices is the same batch."""
    assert eight["nfnet"]["cores"] == 8 and one["nfnet"]["cores"] == 1
    assert_same(eight["nfnet"], one["nfnet"])


@pytest.mark.real
def test_fsdp_spreads_parameters_and_optimiser_state(eight: dict[str, Any], two: dict[str, Any]) -> None:
    """One device of eight holds little more than an eighth of the numbers, and all that start from are the same."""
    assert eight["nfnet"]["held"] == 1.0
    assert eight["vit"]["held"] < 0.2
    assert 0.5 <= two["vit"]["held"] < 0.55
    assert eight["vit"]["digest"] == two["vit"]["digest"]


@pytest.mark.real
def test_a_run_goes_on_on_any_number_of_devices(
    eight: dict[str, Any], two: dict[str, Any], one: dict[str, Any]
) -> None:
    """Eight devices with fsdp and microbatches, then two with fsdp, then one: each sample once, the losses of one."""
    assert (eight["vit"]["status"], eight["vit"]["steps"]) == ("killed", SAVED_AT)
    assert (two["vit"]["status"], two["vit"]["steps"]) == ("killed", SAVED_AGAIN_AT)
    assert_same(one["resumed"], one["vit"])
    for part in (eight, two, one):
        for step, loss in part["vit"]["curve"].items():
            assert loss == pytest.approx(one["vit"]["curve"][step], rel=ACCURACY), step
    assert min(map(int, two["vit"]["curve"])) > SAVED_AT


@pytest.mark.real
def test_a_batch_that_does_not_fit_is_refused(eight: dict[str, Any]) -> None:
    """Before anything is compiled."""
    assert "cannot be split evenly over 8 devices" in eight["misfit"]["error"]


@pytest.mark.real
def test_two_processes_train_to_the_losses_of_one(hosts: dict[str, Any], one: dict[str, Any]) -> None:
    """Real processes that share a batch and, by fsdp, the parameters: both say the same, as one does."""
    for rank in ("0", "1"):
        assert hosts[rank]["fsdp"]["cores"] == 2 and hosts[rank]["fsdp"]["held"] < 0.6
        assert_same(hosts[rank]["fsdp"], one["vit"])
    assert hosts["0"]["fsdp"]["losses"] == hosts["1"]["fsdp"]["losses"]


@pytest.mark.real
def test_a_signal_on_one_host_stops_both_at_one_step(hosts: dict[str, Any], one: dict[str, Any]) -> None:
    """Only the second was asked; the checkpoint that both wrote is read by one process alone."""
    stopped = [hosts[rank]["stopped"] for rank in ("0", "1")]
    assert [(each["status"], each["steps"]) for each in stopped] == [("killed", SAVED_AT)] * 2
    assert_same(one["resumed from hosts"], one["vit"])


@pytest.mark.real
def test_two_processes_go_on_where_one_has_stopped(hosts: dict[str, Any], one: dict[str, Any]) -> None:
    """A checkpoint of one process, with fsdp over its two devices, is read by two processes without."""
    for rank in ("0", "1"):
        assert_same(hosts[rank]["resumed"], one["vit"])
        assert min(map(int, hosts[rank]["resumed"]["curve"])) > SAVED_AGAIN_AT
