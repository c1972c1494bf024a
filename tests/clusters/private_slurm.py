"""A real Slurm of a test's own: munged, slurmctld and four slurmd on this machine, in one folder, on free ports."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.clusters.leftovers import dismiss, end_processes_of, free_ports, kill_at_once, processes_of, watch_over

NODES = ("n1", "n2", "n3", "n4")
PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmstepd", "sbatch", "srun", "squeue", "sinfo", "scontrol", "scancel")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb-install-db")
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
LONGEST_FOLDER = 60
"""Paths of sockets end at 107 characters, and the folder is only their beginning."""

CONFIGURATION = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also how long a requeued job waits before it may run again: 120 s where less than 5 or nothing is said.
AuthInfo=socket={folder}/munge.sock,cred_expire={requeue_delay_s}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait={kill_wait_s}
InactiveLimit=0
MinJobAge={min_job_age_s}
SlurmdTimeout={slurmd_timeout_s}
# A node that is gone is noticed after about SlurmdTimeout + MessageTimeout.
MessageTimeout=4
MaxArraySize={max_array_size}
MaxJobCount=20000
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,bf_continue
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
{nodes}
PartitionName=main Nodes=n[1-4] Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace_s} MaxTime=INFINITE
PartitionName=high Nodes=n[1-4] PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
"""

ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={slurmdbd_port}
AccountingStoragePass={folder}/munge.sock
"""

SLURMDBD_CONFIGURATION = """
DbdHost=localhost
DbdPort={slurmdbd_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadbd_port}
StorageUser=root
StorageLoc=slurm
PidFile={folder}/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
"""


def missing(*, accounting: bool = False) -> str | None:
    """Returns why this machine cannot run a Slurm of its own, or None where it can."""
    if not Path("/proc/self/environ").exists():
        return "no /proc: not Linux"
    if os.geteuid() != 0:
        return "not root"
    for program in (*PROGRAMS, *(ACCOUNTING_PROGRAMS if accounting else ())):
        if _which(program) is None:
            return f"{program} is not installed"
    return None


def version() -> str | None:
    """Returns the version of the Slurm that is installed here, if any."""
    program = _which("slurmctld")
    if program is None:
        return None
    return subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stdout.split()[-1]


def _which(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN)))


class PrivateSlurm:
    """A cluster called lab with nodes n1 to n4 of two CPUs each and the partitions main and high.

    High preempts main: its jobs get SIGUSR2 or what else they asked for, `grace_s` to write down their state, and are
    requeued. Between `start` and `stop` any number may run side by side on one machine.
    """

    def __init__(
        self,
        *,
        accounting: bool = False,
        max_array_size: int = 1001,
        grace_s: int = 20,
        kill_wait_s: int = 2,
        min_job_age_s: int = 300,
        slurmd_timeout_s: int = 8,
        requeue_delay_s: int = 5,
        node_memory_mb: int = 16_000,
        extra_configuration: str = "",
    ) -> None:
        self.accounting = accounting
        self.folder = Path()
        self.environment: dict[str, str] = {}
        """What a client needs beside its own environment: SLURM_CONF."""
        self._settings = {
            "max_array_size": max_array_size,
            "grace_s": grace_s,
            "kill_wait_s": kill_wait_s,
            "min_job_age_s": min_job_age_s,
            "slurmd_timeout_s": slurmd_timeout_s,
            "requeue_delay_s": requeue_delay_s,
        }
        self._node_memory_mb = node_memory_mb
        self._extra_configuration = extra_configuration
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._watcher: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts every daemon and waits until all nodes are idle."""
        reason = missing(accounting=self.accounting)
        if reason is not None:
            raise RuntimeError(f"this machine cannot run a Slurm: {reason}")
        try:
            self._make_folder()
            self._start_munged()
            if self.accounting:
                self._start_accounting()
            self._start_slurmctld("-i")
            for node in NODES:
                self.start_slurmd(node)
            self.wait_until_idle()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every process of the cluster, its jobs included, and removes its folder. Twice is no error."""
        if self._watcher is None:
            return
        end_processes_of(str(self.folder))
        for daemon in self._daemons.values():
            daemon.wait()
        self._daemons.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        dismiss(self._watcher)
        self._watcher = None

    def restart_slurmctld(self, *, hard: bool = False) -> None:
        """Ends slurmctld, with SIGKILL when `hard`, and starts it again; its jobs run on.

        After a SIGKILL it has forgotten the last seconds, for it saves its state with a delay: jobs that have just
        started are killed and started again.
        """
        self.stop_slurmctld(hard=hard)
        self.start_slurmctld()

    def stop_slurmctld(self, *, hard: bool = False) -> None:
        """Ends slurmctld: until it is started again every client's call fails."""
        self._end("slurmctld", signal.SIGKILL if hard else signal.SIGTERM)

    def start_slurmctld(self) -> None:
        """Starts slurmctld from the state that it saved and waits until it knows which nodes are there."""
        self._start_slurmctld()
        # Without this the nodes stay unknown until the next round of pings.
        self.scontrol("reconfigure")
        living = self.node_pids()
        self._wait(lambda: all(_is_settled(self.node_states()[node]) for node in living), "the nodes answer")

    def start_slurmd(self, node: str) -> None:
        """Starts the daemon of a node."""
        # The mark is handed down to every slurmstepd of the node.
        self._start(f"slurmd.{node}", "slurmd", "-D", "-N", node, marks={"PRIVATE_SLURM_NODE": node})

    def kill_slurmd(self, node: str, *, with_steps: bool = True) -> None:
        """Ends a node as a power cut does: its daemon and, unless told otherwise, all that its jobs have started."""
        self._end(f"slurmd.{node}", signal.SIGKILL)
        if with_steps:
            kill_at_once(self.step_pids(node))

    def cancel_all(self) -> None:
        """Cancels every job."""
        self.run("scancel", "--user=root")

    def mend(self) -> None:
        """Starts again what a test has killed, cancels what it has left, and waits for idle nodes.

        Costs nothing while every daemon lives.
        """
        dead = set(NODES) - set(self.node_pids())
        controller = self._daemons.get("slurmctld")
        if controller is None or controller.poll() is not None:
            self.start_slurmctld()
        elif not dead:
            return
        for node in sorted(dead):
            self.start_slurmd(node)
        self.cancel_all()
        self.wait_until_idle()

    def node_pids(self) -> dict[str, int]:
        """Returns the process number of every node's daemon that lives."""
        daemons = {node: self._daemons.get(f"slurmd.{node}") for node in NODES}
        return {node: daemon.pid for node, daemon in daemons.items() if daemon is not None and daemon.poll() is None}

    def step_pids(self, *nodes: str) -> set[int]:
        """Returns the processes of the jobs on these nodes, or on all: slurmstepd and what it has started."""
        found: set[int] = set()
        for node in nodes or NODES:
            marks = (f"PRIVATE_SLURM_NODE={node}\0", f"SLURMD_NODENAME={node}\0")
            found |= processes_of(*marks) & processes_of(str(self.folder))
        return found - set(self.node_pids().values())

    def pids(self) -> set[int]:
        """Returns every process of the cluster, its jobs and its clients included."""
        return processes_of(str(self.folder)) if self._watcher else set()

    def wait_until_idle(self, *nodes: str, patience_s: float = 60.0) -> None:
        """Waits until these nodes, or all, are idle."""
        wanted = nodes or NODES
        self._wait(lambda: all(self.node_states().get(node) == "idle" for node in wanted), "idle nodes", patience_s)

    def wait_until_down(self, *nodes: str, patience_s: float = 60.0) -> None:
        """Waits until slurmctld has noticed that these nodes are gone."""
        self._wait(lambda: all("down" in self.node_states()[node] for node in nodes), "nodes down", patience_s)

    def declare_down(self, *nodes: str) -> None:
        """Tells slurmctld at once what it would notice within a quarter of a minute: jobs there are requeued."""
        self.scontrol("update", f"NodeName={','.join(nodes)}", "State=DOWN", "Reason=killed")

    def node_states(self) -> dict[str, str]:
        """Returns the state of every node as sinfo says it: idle, mixed, allocated, completing, down, idle*, ..."""
        try:
            lines = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").splitlines()
        except subprocess.CalledProcessError:
            return {}
        return dict(line.split() for line in lines)

    def squeue(self, *words: str) -> list[tuple[str, str, str]]:
        """Returns (job, state, reason or nodes) of every job and array task that is queued or runs."""
        lines = self.run("squeue", "-h", "-r", "-o", "%i|%T|%R", *words).splitlines()
        jobs = (line.split("|", 2) for line in lines)
        return [(job, state, reason) for job, state, reason in jobs]

    def scontrol(self, *words: str) -> str:
        """Runs scontrol and returns what it prints."""
        return self.run("scontrol", *words)

    def sacct(self, *words: str) -> str:
        """Runs sacct without header, with | between the columns, and returns what it prints."""
        return self.run("sacct", "-n", "-P", *words)

    def run(self, program: str, *words: str) -> str:
        """Runs a client and returns what it prints; a client that fails raises CalledProcessError."""
        done = subprocess.run(
            [_which(program) or program, *words],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    @contextlib.contextmanager
    def in_environment(self) -> Iterator[None]:
        """Makes this cluster the one that this process and the programs it starts speak to."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _make_folder(self) -> None:
        temporary = tempfile.gettempdir() if len(tempfile.gettempdir()) < LONGEST_FOLDER - 20 else "/tmp"
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=temporary))
        self._watcher = watch_over(self.folder)
        for name in ("log", "state", "spool", "database"):
            (self.folder / name).mkdir()
        names = ("slurmctld_port", "slurmdbd_port", "mariadbd_port")
        slurmd_ports = dict(zip(NODES, ports := free_ports(len(NODES) + len(names)), strict=False))
        facts = dict(zip(names, ports[len(NODES) :], strict=True)) | {
            "folder": self.folder,
            "host": socket.gethostname().split(".")[0],
            **self._settings,
        }
        facts["nodes"] = "\n".join(
            f"NodeName={node} NodeHostname={facts['host']} NodeAddr=127.0.0.1 Port={port}"
            f" CPUs=2 RealMemory={self._node_memory_mb} State=UNKNOWN"
            for node, port in slurmd_ports.items()
        )
        self._mariadbd_port = facts["mariadbd_port"]
        text = (CONFIGURATION + (ACCOUNTING if self.accounting else "")).format_map(facts)
        (self.folder / "slurm.conf").write_text(text + self._extra_configuration + "\n")
        (self.folder / "cgroup.conf").touch()
        dbd = self.folder / "slurmdbd.conf"
        dbd.touch(0o600)
        dbd.write_text(SLURMDBD_CONFIGURATION.format_map(facts))
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def _start_munged(self) -> None:
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        names = {"socket": "munge.sock", "pid-file": "munged.pid", "log-file": "log/munged.log", "seed-file": "seed"}
        files = [f"--{option}={self.folder / name}" for option, name in names.items()]
        self._start("munged", "munged", "-F", "--force", f"--key-file={key}", *files)
        self._wait((self.folder / "munge.sock").exists, "munged listens", every_s=0.02)

    def _start_slurmctld(self, *words: str) -> None:
        self._start("slurmctld", "slurmctld", "-D", *words)
        self._wait(lambda: "is UP" in self._ping(), "slurmctld answers")

    def _ping(self) -> str:
        try:
            return self.scontrol("ping")
        except subprocess.CalledProcessError:
            return ""

    def _start_accounting(self) -> None:
        data, mariadb_socket = self.folder / "database", self.folder / "mariadbd.sock"
        who = ("--no-defaults", f"--datadir={data}", "--user=root")
        words = (*who, "--skip-test-db", "--auth-root-authentication-method=normal", "--skip-name-resolve")
        self.run("mariadb-install-db", *words)
        careless = ("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--skip-log-bin")
        network = ("--bind-address=127.0.0.1", f"--port={self._mariadbd_port}", f"--socket={mariadb_socket}")
        files = (f"--pid-file={self.folder / 'mariadbd.pid'}", f"--log-error={self.folder / 'log/mariadbd.log'}")
        self._start("mariadbd", "mariadbd", *who, *network, *careless, *files)
        self._wait(mariadb_socket.exists, "mariadbd listens")
        self._start("slurmdbd", "slurmdbd", "-D")
        self._wait(lambda: self._accounts_answer(), "slurmdbd answers")
        self.run("sacctmgr", "-i", "add", "cluster", "lab")
        self.run("sacctmgr", "-i", "add", "account", "loglog", "cluster=lab")
        self.run("sacctmgr", "-i", "add", "user", "root", "account=loglog", "cluster=lab")

    def _accounts_answer(self) -> bool:
        try:
            self.run("sacctmgr", "-n", "list", "cluster")
        except subprocess.CalledProcessError:
            return False
        return True

    def _start(self, name: str, program: str, *words: str, marks: Mapping[str, str] | None = None) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                [_which(program) or program, *words],
                # The environment of whoever starts the cluster is not for its jobs: they bring their own.
                env={"PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN))}
                | self.environment
                | dict(marks or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )

    def _end(self, name: str, how: signal.Signals) -> None:
        daemon = self._daemons.pop(name)
        daemon.send_signal(how)
        daemon.wait(timeout=30)

    def _wait(self, holds: Callable[[], bool], what: str, patience_s: float = 60.0, every_s: float = 0.1) -> None:
        deadline = time.monotonic() + patience_s
        while not holds():
            if dead := [name for name, daemon in self._daemons.items() if daemon.poll() is not None]:
                raise RuntimeError(f"{', '.join(dead)} ended while waiting for: {what}\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {patience_s:g} s: {what}\n{self.node_states()}\n{self._last_words()}")
            time.sleep(every_s)

    def _last_words(self) -> str:
        logs = sorted((self.folder / "log").iterdir())
        texts = {path.name: path.read_text(errors="replace").splitlines()[-5:] for path in logs}
        return "\n".join(f"{name}: {line}" for name, lines in texts.items() for line in lines)


def _is_settled(state: str) -> bool:
    return not state.endswith("*") and state != "unknown"
