"""What the checkpoints and final weights of one study may take on disk."""

import contextlib
import dataclasses
import logging
import os
import shutil
from pathlib import Path

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DiskBudget:
    """A limit on some folders together; without a limit there is always room."""

    limit_bytes: float | None = None
    folders: tuple[Path, ...] = ()
    """What counts: the checkpoints and milestones of all trials of the study, and all final weights."""

    def has_room(self, new_bytes: int) -> bool:
        """Returns whether so many more bytes stay within the limit."""
        return self.limit_bytes is None or self.used_bytes() + new_bytes <= self.limit_bytes

    def makes_room(self, folder: Path, new_bytes: int) -> bool:
        """Returns whether a checkpoint of so many bytes may be written into a trial's folder.

        Where the limit is near, the older of the trial's two complete checkpoints goes first; the newest never does.
        Where that is not enough nothing is written, which is logged: a kill then loses more work, and no result.
        """
        steps = sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))
        for old in steps[:-1]:
            if self.has_room(new_bytes):
                return True
            shutil.rmtree(old, ignore_errors=True)
        if self.has_room(new_bytes):
            return True
        _LOG.warning(
            "no checkpoint: %.3g GB more would exceed compute.disk_budget_gb=%.3g (%.3g GB are used)",
            new_bytes / 1e9,
            (self.limit_bytes or 0.0) / 1e9,
            self.used_bytes() / 1e9,
        )
        return False

    def used_bytes(self) -> int:
        """Returns what lies in the folders now; files that vanish meanwhile count nothing."""
        total = 0
        for folder in self.folders:
            for parent, _, names in os.walk(folder):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        total += (Path(parent) / name).stat().st_size
        return total
