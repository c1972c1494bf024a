"""The connection to Ray: which cluster, what an actor needs of it, and what is said where there is none."""

import contextlib
import fcntl
import math
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher.settings.request import RayCluster
from launcher.work.worker_environment import usable_cores
from sweeps.errors import StudyError

KNOCK_S = 6.0
"""An address where nothing has answered by then is none."""
CONNECT_S = 60.0
"""A cluster whose address answers has so long to let us in: a busy head starts a process for each client."""
CLEAR_S = 5.0
FOLDER, OWNER = "loglog-ray-", "owner.lock"
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # RFC 9113 sec. 3.4
HTTP2_SETTINGS = b"\x04"
"""The kind of frame that every server of HTTP/2, and so of gRPC, answers with."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Of a Ray of our own: what passes through it are file names."""
SWITCHES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # else Ray writes a token file into the user's home
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else every start warns of a future change
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # else dead actors are told of on the terminal too
}
SLICE_HEAD = re.compile(r"TPU-.+-head")
"""What Ray calls the first host of a TPU slice, and no other host has."""
LEAN_RAY = {"enable_worker_prestart": False, "prestart_worker_first_driver": False}
"""Ray starts idle processes to be quick with small tasks; actors with an environment of their own cannot use them."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one pack occupies."""

    bundle: dict[str, float]
    """Of each host, as Ray names it."""
    hosts: int
    leader: dict[str, float] = field(default_factory=dict[str, float])
    """Of the first host besides."""


def needs_of(spec: RayCluster) -> Needs:
    """Returns what the actors of a pack need.

    Raises:
        StudyError: a setting makes no sense.
    """
    bundle = {"CPU": float(spec.cpus), "GPU": float(spec.gpus), "TPU": float(spec.tpus)}
    for item in spec.resources:
        name, _, amount = item.partition("=")
        try:
            bundle[name.strip()] = float(amount)
        except ValueError:
            amount = ""
        if not name.strip() or not amount:
            raise StudyError(
                f"cluster.resources has {item!r}; a resource is written name=amount, amount a number "
                "(try: cluster.resources=[big_mem=1])"
            )
    wrong = [f"{name}={amount:g}" for name, amount in bundle.items() if not (math.isfinite(amount) and amount >= 0)]
    if wrong or spec.hosts < 1 or (spec.max_workers is not None and spec.max_workers < 1):
        got = ", ".join([*wrong, f"hosts={spec.hosts}", f"max_workers={spec.max_workers}"])
        raise StudyError(f"cluster ray was given {got}; amounts are 0 or more, hosts and max_workers 1 or more")
    leader = {name: amount for name, amount in bundle.items() if amount > 0 and SLICE_HEAD.fullmatch(name)}
    bundle = {name: amount for name, amount in bundle.items() if amount > 0 and name not in leader}
    if not bundle:
        raise StudyError("an actor of Ray has to occupy something, or a host would get all of them; set cluster.cpus=1")
    return Needs(bundle=bundle, hosts=spec.hosts, leader=leader)


class RayConnection:
    """This process's connection to Ray, and how many packs may run at once."""

    def __init__(self, spec: RayCluster, needs: Needs) -> None:
        """Connects; one that this process has already is used, and left as it is.

        Raises:
            StudyError: no such cluster answers, or a Ray of our own cannot give what a pack needs.
        """
        for name, value in SWITCHES.items():
            os.environ.setdefault(name, value)
        import ray

        self.ray: Any = ray
        """The library, loaded; its own types say little."""
        self._folder: Path | None = None
        self._lock: int | None = None
        self.max_running = spec.max_workers
        """Packs at once; None: as many as the cluster has room for."""
        self._is_ours = not ray.is_initialized()
        if not self._is_ours:
            return
        if spec.address is None:
            self._start(spec, needs)
        else:
            self._connect(spec.address)

    def close(self) -> None:
        """Disconnects; a Ray of our own ends. Harmless when repeated."""
        if self._is_ours:
            self._is_ours = False
            self.ray.shutdown()
        deadline = time.monotonic() + CLEAR_S
        while self._folder is not None and self._folder.exists() and time.monotonic() < deadline:
            shutil.rmtree(self._folder, ignore_errors=True)  # what is ending may still write into it
            time.sleep(0.05 if self._folder.exists() else 0.0)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _start(self, spec: RayCluster, needs: Needs) -> None:
        """Starts a Ray on this machine, of the size that is wanted."""
        if needs.hosts > 1:
            raise StudyError(
                f"cluster.hosts={needs.hosts} needs a Ray that runs on so many hosts; say where it is "
                "(try: cluster.address=auto)"
            )
        cpus = needs.bundle.get("CPU", 0.0)
        workers = spec.max_workers or max(1, int(len(usable_cores()) / cpus) if cpus else len(usable_cores()))
        self._folder, self._lock = _make_folder()
        with _signals_left_alone():
            self.ray.init(
                address="local",
                num_cpus=math.ceil(workers * cpus),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(self._folder),
                _system_config=LEAN_RAY,
                **_QUIET,
            )
        room, wanted = self.ray.cluster_resources(), {**needs.bundle, **needs.leader}
        lacking = [name for name, amount in wanted.items() if amount > room.get(name, 0.0)]
        if lacking:
            self.close()
            raise StudyError(
                f"an actor needs {wanted[lacking[0]]:g} {lacking[0]}, and this machine has "
                f"{room.get(lacking[0], 0.0):g} as far as Ray sees; say where the cluster is (try: "
                "cluster.address=auto), or ask for less"
            )
        here = min(int(room[name] / amount) for name, amount in wanted.items())
        self.max_running = min(workers, here)

    def _connect(self, address: str) -> None:
        """Connects to a cluster that runs already."""
        parts = urlsplit(address if "://" in address else f"//{address}")
        if address != "auto":
            _knock(address, parts.hostname, _port(address))
        failure: list[BaseException] = []

        def connect() -> None:
            try:
                self.ray.init(address=address, **_QUIET)
            except BaseException as error:
                failure.append(error)

        with _signals_left_alone():
            # A cluster that hangs would be waited for much longer.
            attempt = threading.Thread(target=connect, daemon=True)
            attempt.start()
            attempt.join(CONNECT_S)
        if attempt.is_alive():
            raise _unreachable(address, f"it has not answered within {CONNECT_S:.0f} s")
        if failure:
            raise _unreachable(address, _first_line(failure[0])) from failure[0]


def _make_folder() -> tuple[Path, int]:
    """Returns a folder for the files of a Ray of our own, and a lock that ends with this process.

    Its name is short, since Ray makes sockets in it. Folders that drivers left which were killed are taken away.
    """
    parent = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
    for left in parent.glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):  # it is another user's, or its driver lives
            lock = os.open(left / OWNER, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=parent))
    lock = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}


def _port(address: str) -> int | None:
    try:
        return urlsplit(address if "://" in address else f"//{address}").port
    except ValueError:
        return None


def _knock(address: str, host: str | None, port: int | None) -> None:
    """Raises StudyError where nobody listens, or somebody else: Ray itself would wait for a minute and end us then."""
    if not host or port is None:
        raise _unreachable(address, "that is no address of a Ray cluster")
    try:
        with socket.create_connection((host, port), timeout=KNOCK_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return
            connection.sendall(HTTP2_HELLO)
            answer = connection.recv(9)
    except OSError as error:
        raise _unreachable(address, str(error)) from error
    if answer[3:4] != HTTP2_SETTINGS:
        raise _unreachable(address, "something listens there that is no Ray")


def _unreachable(address: str, why: str) -> StudyError:
    return StudyError(
        f"cluster.address={address} cannot be reached: {why}. It is auto (a Ray that runs on this machine), host:port "
        "(what ray start --head printed) or ray://host:10001; ray status says whether it is up. To run on a Ray of "
        "this machine's own, leave it out (type: cluster.address=null)"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


@contextlib.contextmanager
def _signals_left_alone() -> Generator[None]:
    """Keeps Ray from deciding what becomes of this process at SIGTERM; the driver has its own way to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
