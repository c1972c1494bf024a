"""Finds and ends every process that belongs to a folder, even when the one who started them was killed.

A process belongs to a folder when its environment names the folder, or when its parent belongs to it. Daemons that
detach themselves and jobs that open process groups of their own are found all the same.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

PROC = Path("/proc")
PORTS = range(10_000, 32_000)
"""Below what Linux hands out to clients (32768 and up), so that no client takes a port between choice and use."""


def processes_of(*marks: str) -> set[int]:
    """Returns the living processes whose environment holds one of the marks, and their descendants.

    The caller and its ancestors never count.
    """
    words = [mark.encode() for mark in marks]
    parents: dict[int, int] = {}
    found: set[int] = set()
    for pid in [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] in "ZX":
                continue
            parents[pid] = int(fields[1])
            environment = (PROC / str(pid) / "environ").read_bytes()
            if any(word in environment for word in words):
                found.add(pid)
    found -= _self_and_ancestors(parents)
    descendants = found
    while descendants:
        descendants = {pid for pid, parent in parents.items() if parent in found} - found
        found |= descendants
    return found


def _self_and_ancestors(parents: dict[int, int]) -> set[int]:
    line: set[int] = set()
    pid = os.getpid()
    while pid and pid not in line:
        line.add(pid)
        pid = parents.get(pid, 0)
    return line


def end_processes_of(*marks: str, patience_s: float = 10.0) -> None:
    """Kills what `processes_of` finds until nothing is found."""
    deadline = time.monotonic() + patience_s
    empty_looks = 0
    # Twice, for a process that is just becoming another program has no environment for a moment.
    while empty_looks < 2:
        pids = processes_of(*marks)
        empty_looks = 0 if pids else empty_looks + 1
        if pids and time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(pids)} of {marks} do not end")
        kill_at_once(pids)
        time.sleep(0.02)


def kill_at_once(pids: Collection[int]) -> None:
    """Kills processes as a power cut does: none lives to see, and to report, that another is gone."""
    for how in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)


def free_ports(count: int) -> list[int]:
    """Returns ports on which nobody listens, all different."""
    ports: list[int] = []
    # A chooser of its own: several clusters that start at once, from the same seed, must not agree.
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if len(ports) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            ports.append(port)
    return ports


def watch_over(folder: Path) -> subprocess.Popen[bytes]:
    """Starts a process that ends the folder's processes and removes it as soon as this one is gone, however it went.

    It reads a pipe whose other end only this process holds: the kernel closes it even after a SIGKILL.
    """
    words = [sys.executable, "-I", __file__, str(folder)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True, cwd="/")


def dismiss(watcher: subprocess.Popen[bytes]) -> None:
    """Ends the watcher."""
    watcher.kill()
    watcher.wait()
    if watcher.stdin:
        watcher.stdin.close()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_processes_of(sys.argv[1])
    shutil.rmtree(sys.argv[1], ignore_errors=True)
