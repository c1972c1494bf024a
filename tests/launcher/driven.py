"""Sweeps in processes of their own, as a terminal starts them, and what the fake trainer noted of them."""

import os
import time
from pathlib import Path

from tracking.paths import ProjectPaths


def calls(paths: ProjectPaths) -> list[list[str]]:
    """Returns trial id, word and process of each note of the fake trainer."""
    file = paths.data_dir / "calls.txt"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(paths: ProjectPaths, count: int) -> None:
    """Waits until so many trials were begun."""
    for _ in range(1200):
        if sum(word == "begin" for _, word, _ in calls(paths)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("the sweep does not begin")


def wait_until_gone(pids: set[int]) -> None:
    """Waits until none of the processes is there any more, or only as a zombie of a dead parent."""
    for _ in range(200):
        if not any(is_running(pid) for pid in pids):
            return
        time.sleep(0.05)
    raise AssertionError("workers outlive their driver")


def is_running(pid: int) -> bool:
    """Returns whether the process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and ") Z" in state.read_text())
