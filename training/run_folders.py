"""Where one run reads and writes."""

import dataclasses
from pathlib import Path

from sweeps.compute import ComputeSpec
from training.disk_budget import DiskBudget


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFolders:
    """The folders of one run; None: nowhere."""

    data_dir: Path
    """Image files."""
    checkpoint_dir: Path | None
    """The trial's own: checkpoints and the heartbeat."""
    weights_dir: Path | None
    """Final weights of finished runs."""
    trunks_dir: Path | None
    """Milestones that runs leave to longer ones."""

    def disk_budget(self, compute: ComputeSpec) -> DiskBudget:
        """Returns the limit on what the study's checkpoints and milestones and all final weights take."""
        limit = None if compute.disk_budget_gb is None else 1e9 * compute.disk_budget_gb
        of_study = None if self.checkpoint_dir is None else self.checkpoint_dir.parent
        folders = (of_study, self.weights_dir, self.trunks_dir)
        return DiskBudget(limit, tuple(folder for folder in folders if folder is not None))
