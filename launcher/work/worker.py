"""The worker of the local back end: trains one pack of tasks after another in a process that stays warm.

Started as `python -m launcher.work.worker --parent PID [--core N]`. First line on stdin: the order; every further line:
the tasks of a pack, mostly one. Events go to stdout, one JSON line each; everything printed goes to stderr, a log file.
"""

import argparse
import os
import queue
import signal
import sys
import threading
from typing import BinaryIO

from launcher.contract.backend import Event, Refused
from launcher.contract.wire import Ready, decode_order, decode_pack, encode_event
from launcher.work.attempt import device_name
from launcher.work.desk import SEPARATE, Desk
from sweeps.errors import StudyError


def main(argv: list[str] | None = None) -> int:
    """Runs tasks from stdin; the process ends with it. Returns an exit code where it could not begin."""
    parser = argparse.ArgumentParser(prog="python -m launcher.work.worker", description=__doc__)
    parser.add_argument("--name", default="worker")
    parser.add_argument("--parent", type=int, required=True, help="process without which this one ends")
    parser.add_argument("--core", type=int, help="the processor core to stay on")
    args = parser.parse_args(argv)
    _die_with(args.parent)
    if args.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {args.core})
    out = _claim_stdout()
    lines = _read_lines()

    def send(event: Event | Ready) -> None:
        try:
            out.write((encode_event(event) + "\n").encode())
            out.flush()
        except OSError:
            # The driver is gone. Nothing may be recorded as a failure of the trial for that.
            os._exit(0)

    try:
        desk = Desk(decode_order(lines.get()), name=args.name)
    except StudyError as error:
        send(Refused(message=str(error)))
        return 2
    send(Ready(device=device_name()))
    while True:
        tasks = decode_pack(lines.get())
        mode = desk.packing(tasks)
        if mode != SEPARATE:
            desk.run_pack(tasks, send, mode=mode)
            continue
        for task in tasks:
            desk.run(task, send)


def _claim_stdout() -> BinaryIO:
    """Returns the protocol's own stream and sends everything else that writes to stdout into the log."""
    protocol = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    return protocol


def _read_lines() -> queue.Queue[str]:
    """Returns the lines of stdin as they come; its end ends the process at once, in the middle of a trial too."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent dies, where the kernel offers it (Linux)."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1  # <linux/prctl.h>
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
