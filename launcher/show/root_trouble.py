"""What is wrong with the folder that records go to, for the person who chose it."""

import errno
from pathlib import Path

from tracking.paths import ROOT_VARIABLE, ProjectPaths

_CAUSES = {
    errno.ENOSPC: "its disk is full: make room there; what is recorded stays as it is",
    errno.EDQUOT: "the quota of its disk is used up: make room there; what is recorded stays as it is",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.EROFS: "its disk is mounted for reading only",
    errno.ENOTDIR: "it is no folder",
    errno.ENOENT: "it cannot be made",
}


def root_trouble(error: OSError, paths: ProjectPaths) -> str | None:
    """Returns what to say of an error met in the project's folder; None where it lies elsewhere, or is another kind."""
    cause = _CAUSES.get(error.errno or 0)
    if cause is None or not isinstance(error.filename, str) or not Path(error.filename).is_relative_to(paths.root):
        return None
    return (
        f"{error.filename} cannot be used: {cause} (records lie in {paths.root}; "
        f"for another folder, type: {ROOT_VARIABLE}=/path/to/folder before the command)"
    )
