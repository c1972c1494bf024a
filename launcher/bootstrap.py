"""Makes .venv and installs the project into it: `make setup`, and every other command when .venv is missing or stale.

Runs before anything is installed, on whatever python3 the machine has: standard library only, and nothing newer than
Python 3.7 in it, so that an old Python can say what is missing instead of failing to read this file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST, TOO_NEW = (3, 11), (3, 14)
"""As requires-python in pyproject.toml (a test ties them)."""
ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "constraints.txt")
STAMP = ".ready"


class SetupError(Exception):
    """Something a person can mend; printed without a traceback."""


def main() -> int:
    """Returns the exit code of the set-up: 0 with a complete .venv, 2 with one message otherwise."""
    started = time.monotonic()
    try:
        with open(ROOT / SOURCES[0]) as lock:
            _wait_for_turn(lock.fileno())
            if not is_stale(ROOT):
                return 0  # another make has just done it
            set_up(ROOT)
    except SetupError as error:
        print(f"make setup: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make setup: interrupted; the next make goes on from here", file=sys.stderr)
        return 130
    _say(f"ready after {time.monotonic() - started:.0f} s")
    return 0


def is_stale(root: Path) -> bool:
    """Returns whether .venv is missing, half made, or older than what it is made from."""
    stamp = root / ".venv" / STAMP
    if not stamp.exists() or not venv_python(root).exists():
        return True
    made = stamp.stat().st_mtime_ns
    return any((root / name).stat().st_mtime_ns > made for name in SOURCES)


def venv_python(root: Path) -> Path:
    """Returns where the Python of .venv is."""
    return root / ".venv" / "bin" / "python"


def set_up(root: Path) -> None:
    """Leaves a .venv with everything of constraints.txt in it, and the stamp only once all of that is done."""
    stamp = root / ".venv" / STAMP
    if stamp.exists():
        stamp.unlink()  # an interrupted update must look half made
    newest_source = max((root / name).stat().st_mtime_ns for name in SOURCES)
    if not is_usable(version_of(str(venv_python(root)))):
        python = find_python()
        _say(f"making .venv with {python}")
        _check([python, "-m", "venv", "--clear", str(root / ".venv")], "python could not make a virtual environment")
    install(root)
    unfinished = stamp.with_name(STAMP + ".new")
    unfinished.write_text("made by launcher/bootstrap.py\n")
    os.utime(str(unfinished), ns=(newest_source, newest_source))  # an edit made meanwhile counts as newer
    unfinished.replace(stamp)


def install(root: Path) -> None:
    """Installs the project and its tools with uv, within the versions of constraints.txt; else with pip.

    Raises:
        SetupError: neither found all packages, in the network or in the cache.
    """
    python = str(venv_python(root))
    wanted = ["-c", "constraints.txt", "-e", ".", "--group", "dev"]
    uv = find_uv(root)
    if uv:
        # Its bars are for people; a log would keep each of their states.
        quiet = [] if sys.stderr.isatty() else ["--quiet"]
        install_with_uv = [uv, "pip", "install", *quiet, "--python", python]
        _say("installing the packages of constraints.txt with uv: 2 GB, half a minute once they are in its cache")
        if _works([*install_with_uv, *wanted], root):
            return
        _say("uv did not succeed; trying what it has in its cache")
        if _works([*install_with_uv, "--offline", *wanted], root):
            return
    _say("installing with pip, as uv did not do it; this takes about six minutes")
    # Old pips know no dependency groups.
    if _works([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1"], root) and _works(
        [python, "-m", "pip", "install", "--quiet", *wanted], root
    ):
        return
    raise SetupError(
        "the packages of constraints.txt could not be installed (see above); with the network back, or with pip or uv "
        "pointed at a mirror, type: make setup"
    )


def find_uv(root: Path) -> str | None:
    """Returns the uv to call: the machine's, else one of our own in .venv; None where neither can be had."""
    own = root / ".venv" / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.exists() else None)
    if found and _answers(found):
        return found
    _say("putting uv into .venv")
    works = _works([str(venv_python(root)), "-m", "pip", "install", "--quiet", "uv"], root)
    return str(own) if works and own.exists() else None


def _answers(uv: str) -> bool:
    """Returns whether a uv runs here at all."""
    try:
        return subprocess.run([uv, "--version"], stdout=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def find_python() -> str:
    """Returns the command of a Python that this project runs on: the one running, else the newest on PATH.

    Raises:
        SetupError: there is none.
    """
    names = [f"python3.{minor}" for minor in range(TOO_NEW[1] - 1, OLDEST[1] - 1, -1)]
    seen: list[str] = []
    for name in [sys.executable, *names, "python3", "python"]:
        version = version_of(name)
        if is_usable(version):
            return name
        if version:
            seen.append(f"{name} is {version[0]}.{version[1]}")
    oldest, too_new = (".".join(map(str, version)) for version in (OLDEST, TOO_NEW))
    found = "; ".join(seen) or "none was found"
    raise SetupError(
        f"Python {oldest} or newer, below {too_new}, is needed ({found}); install one so that python{oldest} is on "
        "PATH, then type: make setup"
    )


def version_of(python: str) -> tuple[int, int] | None:
    """Returns the version of a Python, or None where it does not run."""
    try:
        words = subprocess.run(
            [python, "-c", "import sys; print(*sys.version_info[:2])"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        ).stdout.split()
        return int(words[0]), int(words[1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def is_usable(version: tuple[int, int] | None) -> bool:
    """Returns whether the project runs on this version."""
    return version is not None and OLDEST <= version < TOO_NEW


def _wait_for_turn(lock: int) -> None:
    """Lets one set-up at a time into a checkout; the lock goes with the process, however that ends."""
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("waiting for another set-up of this checkout")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        _say(f"going on without a lock ({error})")  # some network file systems have none


def _works(command: list[str], root: Path) -> bool:
    # Compiled at once, in parallel: else every first import of a library does it, for half a minute in all.
    environment = {**os.environ, "UV_COMPILE_BYTECODE": "1", "VIRTUAL_ENV": str(root / ".venv")}
    # A person who forbids bytecode in the shell would pay for it in every process that trains.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        return subprocess.run(command, cwd=str(root), env=environment, stdout=sys.stderr, check=False).returncode == 0
    except OSError:
        return False


def _check(command: list[str], what: str) -> None:
    if not _works(command, ROOT):
        raise SetupError(f"{what} (on Debian: apt-get install python3-venv); then type: make setup")


def _say(line: str) -> None:
    print(f"setup: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
