"""Which code ran: a git commit, and whether the sources had been changed since."""

import os
import subprocess
from pathlib import Path

from tracking.paths import CHECKOUT

UNVERSIONED = "unversioned"
_SOURCE_SUFFIXES = (".py", ".yaml", ".toml", ".csv")
_WITHOUT_EFFECT = ("tests/", "docs/", "benchmarks/")
_TIMEOUT_S = 20.0


def code_version(root: Path = CHECKOUT) -> str:
    """Returns the short commit of the git checkout `root`, with `-dirty` where its sources differ from that commit.

    A changed test, page or note does not count: it cannot change a loss. Without git or commit: `unversioned`.
    """
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    changes = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".")
    if commit is None or changes is None:
        return UNVERSIONED
    prefix = (_git(root, "rev-parse", "--show-prefix") or "").strip()
    changed = (entry[3:].removeprefix(prefix) for entry in changes.split("\0") if entry)
    is_dirty = any(name.endswith(_SOURCE_SUFFIXES) and not name.startswith(_WITHOUT_EFFECT) for name in changed)
    return commit.strip() + ("-dirty" if is_dirty else "")


def _git(root: Path, *words: str) -> str | None:
    """Returns what git prints, or None where it fails or does not exist."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=root,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},  # a sweep must not stand in the way of a commit
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
