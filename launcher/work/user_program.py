"""A running program of the user's with all that it starts: its output copied, ended when asked, never left behind."""

import codecs
import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

PRINTED_LETTERS = 4000
"""So much of the end of the output is kept for error messages."""
_DRAIN_S = 1.0
_LOOK_S = 0.2

_STARTER = """
import os, signal, sys
parent, words = int(sys.argv[1]), sys.argv[2:]
for name in ("SIGPIPE", "SIGXFSZ"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != parent:
    os._exit(1)
try:
    os.execvp(words[0], words)
except OSError as error:
    sys.exit(f"{words[0]!r} cannot be started: {error.strerror}")
"""
"""Has the kernel kill the program when its parent dies (PR_SET_PDEATHSIG, Linux), and becomes the program.

A process of its own instead of Popen's preexec_fn, which is not safe in a process with threads. SIGPIPE and SIGXFSZ are
ignored by Python itself, and other programs do not expect that. SIGUSR2 is what Slurm sends to every process of a job
that has to leave: the worker acts on it, and a program that does not know it would die of it. The kernel takes the
death of the thread that started the program for its parent's; that thread waits here until the program has ended.
"""

_WATCHER = 'read -r group && { read -r rest; kill -s KILL -- "-$group"; }'
"""Kills the program's process group when its stdin ends, that is when the process that holds the other end has died.

The kernel kills the program alone, and on Linux alone; this reaches whatever the program has started.
"""


class UserProgram:
    """A program in a process group of its own, from its start until nothing of the group is left."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], *, folder: Path) -> None:
        """Starts it.

        Args:
            words: its command line.
            environment: added to that of this process.
            folder: where it runs.
        """
        self.printed = ""
        """The end of what it has printed."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what is killed as a group with this process must leave it alive
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _STARTER, str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
                env={**os.environ, **environment},
            )
        except BaseException:
            self._dismiss_watcher()
            raise
        assert self._process.stdout is not None and self._watcher.stdin is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        with contextlib.suppress(BrokenPipeError):
            self._watcher.stdin.write(f"{self._process.pid}\n".encode())
            self._watcher.stdin.flush()

    @property
    def code(self) -> int:
        """How it ended: its exit code, or the negative number of the signal that killed it."""
        return self._process.wait()

    def end_in_words(self) -> str:
        """Returns how it ended: `ended with code 3`, `was killed by signal 9 (SIGKILL)`."""
        if self.code >= 0:
            return f"ended with code {self.code}"
        with contextlib.suppress(ValueError):
            return f"was killed by signal {-self.code} ({signal.Signals(-self.code).name})"
        return f"was killed by signal {-self.code}"

    def look(self, timeout_s: float) -> bool:
        """Returns whether it still runs, at latest after `timeout_s`; what it has printed is copied to stderr.

        Raises:
            OSError: what it prints cannot be written.
        """
        if self._selector.get_map():
            if self._selector.select(timeout_s):
                self._copy()
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        if self._process.poll() is None:
            return True
        self._clear_up()
        return False

    def wait(self, timeout_s: float) -> bool:
        """Returns whether it has ended within `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while self.look(min(_LOOK_S, max(0.0, deadline_s - time.monotonic()))):
            if time.monotonic() >= deadline_s:
                return False
        return True

    def ask_to_end(self) -> None:
        """Sends SIGTERM to it and all that it has started."""
        self._signal(signal.SIGTERM)

    def end(self, grace_s: float) -> None:
        """Asks it to end, where it runs, and kills after `grace_s` what is left. Harmless when repeated."""
        if self._process.poll() is None and grace_s > 0:
            self.ask_to_end()
            self.wait(grace_s)
        self._clear_up()

    def __enter__(self) -> "UserProgram":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._dismiss_watcher()
        self._selector.close()
        self._output.close()

    def _clear_up(self) -> None:
        """Kills what is left of the group, and copies the last of its output."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        deadline_s = time.monotonic() + _DRAIN_S
        # A process that left the group may hold the output open for ever.
        while self._selector.get_map() and (left_s := deadline_s - time.monotonic()) > 0:
            if self._selector.select(left_s):
                self._copy()

    def _copy(self) -> None:
        chunk = os.read(self._output.fileno(), 1 << 16)
        if not chunk:
            self._selector.unregister(self._output)
        text = self._decoder.decode(chunk, final=not chunk)
        self.printed = (self.printed + text)[-PRINTED_LETTERS:]
        # Through Python's stream, which a back end may have put elsewhere than on descriptor 2.
        sys.stderr.write(text)
        sys.stderr.flush()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies may not be killed
            os.killpg(self._process.pid, number)

    def _dismiss_watcher(self) -> None:
        self._watcher.kill()
        self._watcher.wait()
        assert self._watcher.stdin is not None
        with contextlib.suppress(OSError):
            self._watcher.stdin.close()
