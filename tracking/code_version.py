"""Which code ran: a git commit, and whether the sources had been changed since."""

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tracking.paths import CHECKOUT

UNVERSIONED = "unversioned"
_SOURCE_SUFFIXES = (".py", ".yaml", ".toml", ".csv")
_WITHOUT_EFFECT = ("tests/", "docs/", "benchmarks/")
_TIMEOUT_S = 20.0


def code_version(root: Path = CHECKOUT) -> str:
    """Returns the short commit of the checkout `root`, with `-dirty-HASH` where its sources differ from that commit.

    The hash is of the sources that differ, so that two changes are two versions. A changed test, page or note does not
    count: it cannot change a loss. Without git or commit: `unversioned`.
    """
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    changes = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".")
    if commit is None or changes is None:
        return UNVERSIONED
    prefix = (_git(root, "rev-parse", "--show-prefix") or "").strip()
    names = (entry[3:].removeprefix(prefix) for entry in changes.split("\0") if entry)
    changed = sorted(name for name in names if name.endswith(_SOURCE_SUFFIXES) and not name.startswith(_WITHOUT_EFFECT))
    return commit.strip() + (f"-dirty-{_hash_of(root, changed)}" if changed else "")


def _hash_of(root: Path, names: Sequence[str]) -> str:
    """Returns eight hexadecimal digits that change with any of the files, one that was deleted included."""
    found = hashlib.sha256()
    for name in names:
        path = root / name
        found.update(f"\0{name}\0".encode(errors="surrogateescape"))
        found.update(path.read_bytes() if path.is_file() else b"deleted")
    return found.hexdigest()[:8]


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
