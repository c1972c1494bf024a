"""Ctrl-C in a terminal: what is saved, what to type, and no traceback, whatever the command is at."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tracking.paths import CHECKOUT

PATIENCE_S = 120.0
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def interrupted(
    words: list[str], root: Path, *, once_shown: str, presses: int = 1, columns: int = 80
) -> tuple[int, str]:
    """Returns exit code and screen of a command in a terminal of its own, Ctrl-C pressed once it shows something."""
    leader, follower = pty.openpty()
    subprocess.run(["stty", "cols", str(columns), "rows", "24"], stdin=follower, check=True)
    environment = {**os.environ, "LOGLOG_ROOT": str(root), "TERM": "xterm", "MAKELEVEL": "1"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=CHECKOUT,
        env=environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=_own_terminal,
    ) as process:
        os.close(follower)
        try:
            screen = _followed(leader, once_shown, presses)
            return process.wait(PATIENCE_S), screen
        finally:
            process.kill()
            os.close(leader)


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that the Ctrl-C typed there is sent to this process


def _followed(leader: int, once_shown: str, presses: int) -> str:
    """Returns all that the terminal shows until nobody writes to it any more."""
    seen, deadline = "", time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ready, _, _ = select.select([leader], [], [], 0.1)
        if ready:
            try:
                chunk = os.read(leader, 1 << 16)
            except OSError:  # the other end is closed
                return seen
            if not chunk:
                return seen
            seen += _COLOURS.sub("", chunk.decode(errors="replace"))
        if presses and once_shown in seen:
            time.sleep(0.3)
            os.write(leader, b"\x03")
            presses -= 1
    raise AssertionError(f"it does not end:\n{seen[-2000:]}")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
def test_a_sweep_that_compiles(presses: int, tmp_path: Path) -> None:
    """It says what is recorded, what begins anew and the words that were typed; pressed twice, it ends as calmly."""
    words = ["-m", "launcher", "action=sweep", "budget=1k", "seeds=2", "study.peak_lrs=[0.1,0.2]"]
    code, screen = interrupted(words, tmp_path, once_shown="compiling", presses=presses)
    assert code == 130
    assert "Traceback" not in screen
    assert "make sweep BUDGET=1k SEEDS=2 EXTRA='study.peak_lrs=[0.1,0.2]'" in " ".join(screen.split())
    if presses == 1:
        assert "interrupted: 0 of 12 runs are recorded" in screen and "begins anew" in screen


@pytest.mark.real
@pytest.mark.slow
def test_rehearsals(tmp_path: Path) -> None:
    """Processes that rehearse at the same time print no traceback of their own."""
    words = ["-m", "launcher", "action=rehearse", "study=jft", "budgets='3k,10k'", "seeds=8"]
    code, screen = interrupted(words, tmp_path, once_shown="rehearsing")
    assert code == 130
    assert "Traceback" not in screen
    assert "make rehearse STUDY=jft" in screen and "BUDGETS=3k,10k" in screen


@pytest.mark.real
@pytest.mark.slow
def test_calibration(tmp_path: Path) -> None:
    """What was measured is kept, and it is said where nothing was."""
    code, screen = interrupted(["-m", "launcher", "action=calibrate"], tmp_path, once_shown="compiling")
    assert code == 130
    assert "Traceback" not in screen and "nothing was measured before the interruption" in screen
