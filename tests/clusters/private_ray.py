"""A real Ray of several nodes on this machine: a head without CPUs and nodes of two CPUs each, on free ports."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.clusters.leftovers import dismiss, end_processes_of, free_ports, processes_of, watch_over

PORTS_OF_A_NODE: tuple[str, ...] = (
    "node-manager-port",
    "object-manager-port",
    "metrics-export-port",
    "runtime-env-agent-port",
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
)
CLIENT_PORT = "ray-client-server-port"
PORTS_OF_THE_HEAD = ("port", *PORTS_OF_A_NODE)
STARTED = "Ray runtime started"
HEAD = "head"
LONGEST_FOLDER = 40
"""Ray puts its sockets another 60 characters below its folder, and their paths end at 107."""

SWITCHES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Without this Ray writes a token into the home folder.
    "RAY_AUTH_MODE": "disabled",
    # A node that is gone is noticed after 3 s, not after half a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120",  # a loaded machine is no failure
}
PASSED_ON = ("PATH", "LANG", "LC_ALL", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH")


def missing() -> str | None:
    """Returns why this machine cannot run a Ray of its own, or None where it can."""
    if not Path("/proc/self/environ").exists():
        return "no /proc: not Linux"
    if find_spec("ray") is None:
        return "ray is not installed"
    return None


def missing_client() -> str | None:
    """Returns why ray:// addresses cannot be used here, or None where they can."""
    return missing() or (None if find_spec("grpc") else "grpcio, which comes with ray[client], is not installed")


class PrivateRay:
    """A Ray of a head and some nodes, each a process group of its own that can be ended as a power cut does."""

    def __init__(self, *, nodes: int = 2, cpus: int = 2) -> None:
        self.folder = Path()
        self.address = ""
        """What ray.init(address=...) takes on this machine."""
        self.client_address: str | None = None
        """What a driver from outside takes, ray://HOST:PORT, where `missing_client` has nothing against it."""
        self.environment: dict[str, str] = {}
        """What a driver needs beside its own environment."""
        self._count, self._cpus = nodes, cpus
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._watcher: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the head and the nodes and waits until they have joined it."""
        reason = missing()
        if reason is not None:
            raise RuntimeError(f"this machine cannot run a Ray: {reason}")
        try:
            self._make_folder()
            self._start_head()
            for index in range(self._count):
                self._start_node(index)
            for index in range(self._count):
                self._wait_for(str(index))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every process of every node, of its workers too, and removes the folder. Twice is no error."""
        if self._watcher is None:
            return
        end_processes_of(str(self.folder))
        for node in self._nodes.values():
            node.wait()
        self._nodes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        dismiss(self._watcher)
        self._watcher = None

    def add_node(self) -> int:
        """Starts another node, waits until it has joined and returns its index."""
        index = 1 + max((int(name) for name in self._nodes if name != HEAD), default=-1)
        self._start_node(index)
        self._wait_for(str(index))
        return index

    def kill_node(self, index: int) -> None:
        """Ends a node and all that runs on it at once, as a power cut does."""
        end_processes_of(self._mark(str(index)) + "\0")
        self._nodes[str(index)].wait()

    def mend(self) -> None:
        """Adds as many nodes as tests have killed. Costs nothing while every node lives."""
        if self._nodes[HEAD].poll() is not None:
            self.stop()
            self.start()
        for _ in range(self._count - len(self.living_nodes())):
            self.add_node()

    def living_nodes(self) -> list[int]:
        """Returns the indices of the nodes that were not killed; the head has none."""
        return [int(name) for name, node in self._nodes.items() if name != HEAD and node.poll() is None]

    def node_pids(self, index: int) -> set[int]:
        """Returns the processes of one node, its workers included."""
        return processes_of(self._mark(str(index)) + "\0")

    def pids(self) -> set[int]:
        """Returns every process of the cluster and of drivers with its environment."""
        return processes_of(str(self.folder)) if self._watcher else set()

    def _make_folder(self) -> None:
        temporary = tempfile.gettempdir() if len(tempfile.gettempdir()) < LONGEST_FOLDER - 15 else "/tmp"
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir=temporary))
        self._watcher = watch_over(self.folder)

    def _start_head(self) -> None:
        options = (*PORTS_OF_THE_HEAD, *(() if missing_client() else (CLIENT_PORT,)))
        ports = dict(zip(options, free_ports(len(options)), strict=True))
        self.address = f"{_host(HEAD)}:{ports['port']}"
        if CLIENT_PORT in ports:
            self.client_address = f"ray://{_host(HEAD)}:{ports[CLIENT_PORT]}"
        self.environment = SWITCHES | {"RAY_ADDRESS": self.address, "RAY_TMPDIR": str(self.folder)}
        self._start(HEAD, "--head", "--num-cpus=0", "--include-dashboard=false", ports=ports)
        self._wait_for(HEAD)

    def _start_node(self, index: int) -> None:
        ports = dict(zip(PORTS_OF_A_NODE, free_ports(len(PORTS_OF_A_NODE)), strict=True))
        self._start(str(index), f"--address={self.address}", f"--num-cpus={self._cpus}", ports=ports)

    def _start(self, name: str, *words: str, ports: Mapping[str, int]) -> None:
        fixed = ("--block", f"--node-ip-address={_host(name)}", "--disable-usage-stats", "--num-gpus=0")
        sizes = ("--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0")
        chosen = [f"--{option}={port}" for option, port in ports.items()]
        passed_on = {variable: os.environ[variable] for variable in PASSED_ON if variable in os.environ}
        marks = dict([self._mark(name).split("=", 1)])
        with self._output(name).open("wb") as output:
            self._nodes[name] = subprocess.Popen(
                [self._ray(), "start", *words, *fixed, *sizes, *chosen, f"--temp-dir={self.folder / name}"],
                env=passed_on | SWITCHES | {"HOME": str(self.folder)} | marks,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )

    def _mark(self, name: str) -> str:
        return f"PRIVATE_RAY_NODE={self.folder}/{name}"

    def _output(self, name: str) -> Path:
        return self.folder / f"{name}.out"

    @staticmethod
    def _ray() -> str:
        return str(Path(sys.executable).with_name("ray"))

    def _wait_for(self, name: str, patience_s: float = 120.0) -> None:
        deadline = time.monotonic() + patience_s
        while STARTED not in (text := self._output(name).read_text(errors="replace")):
            if self._nodes[name].poll() is not None:
                raise RuntimeError(f"Ray's node {name} did not start:\n{text[-2000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"Ray's node {name} did not start within {patience_s:g} s:\n{text[-2000:]}")
            time.sleep(0.05)


def _host(name: str) -> str:
    """Returns an address of the loopback for each node, as machines have; 127.0.0.1 means another one to Ray.

    No driver has the address of a node, so every driver connects to the head, which no test kills.
    """
    return "127.0.0.2" if name == HEAD else f"127.0.0.{int(name) + 3}"
