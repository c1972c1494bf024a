"""Where everything lies: the single owner of every path, always absolute."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).absolute().parents[1]
"""The folder with the Makefile."""
ROOT_VARIABLE = "LOGLOG_ROOT"

_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_RESERVED = ("artifacts", "weights")
_STEM_LETTERS = 40


@dataclass(frozen=True, kw_only=True)
class ProjectPaths:
    """The files of one project folder; nothing here makes a folder."""

    root: Path
    """The folder that holds runs.sqlite; made absolute."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).absolute())

    @property
    def runs_sqlite(self) -> Path:
        """MLflow's database of all runs."""
        return self.root / "runs.sqlite"

    @property
    def runs_dir(self) -> Path:
        """Journals, checkpoints and logs: a folder for each study."""
        return self.root / "runs"

    @property
    def artifacts_dir(self) -> Path:
        """Where MLflow keeps artifacts."""
        return self.runs_dir / "artifacts"

    @property
    def weights_dir(self) -> Path:
        """Final weights of finished runs of all studies, by trial."""
        return self.runs_dir / "weights"

    @property
    def compile_cache(self) -> Path:
        """JAX's persistent compilation cache, shared by all studies."""
        return self.runs_dir / ".compile_cache"

    @property
    def data_dir(self) -> Path:
        """A folder for each image set."""
        return self.root / "data"

    @property
    def calibrations_dir(self) -> Path:
        """What was measured of devices: a second conf/, of which it holds the group `hardware`."""
        return self.root / "calibrations"

    @property
    def reports_dir(self) -> Path:
        """Tables, figures and reports."""
        return self.root / "reports"

    def weights_file(self, trial_id: str) -> Path:
        """Returns where training leaves the final weights of a trial."""
        return self.weights_dir / f"{trial_id}.npz"

    def predictions_file(self, study: str) -> Path:
        """Returns the ledger of a study's predictions."""
        return self.study_dir(study) / "predictions.jsonl"

    def study_dir(self, study: str) -> Path:
        """Returns the folder of a study; different names never share one, whatever letters they have."""
        return self.runs_dir / folder_name(study)

    def journal_dir(self, study: str) -> Path:
        """Returns the folder with one journal for each attempt of the study."""
        return self.study_dir(study) / "journals"

    def checkpoint_dir(self, study: str, trial_id: str) -> Path:
        """Returns the folder of one trial's checkpoint."""
        return self.study_dir(study) / "checkpoints" / trial_id

    def trunks_dir(self, study: str) -> Path:
        """Returns the folder of the states that shorter runs have left to longer ones, by trunk."""
        return self.study_dir(study) / "trunks"


def project_paths() -> ProjectPaths:
    """Returns the paths under $LOGLOG_ROOT, or under the checkout where that is not set."""
    return ProjectPaths(root=Path(os.environ.get(ROOT_VARIABLE) or CHECKOUT))


def folder_name(study: str) -> str:
    """Returns a safe folder name, one for each study name.

    Plain names (small letters, digits, - and _) stay as they are. Any other is spelt with those letters and ends in a
    dot and a hash: no plain name has a dot, and names that differ in case only stay apart where file systems fold it.
    """
    if _PLAIN_NAME.fullmatch(study) and study not in _RESERVED:
        return study
    stem = re.sub(r"[^a-z0-9_-]+", "-", study.lower()).strip("-")[:_STEM_LETTERS]
    digest = hashlib.sha256(study.encode(errors="surrogatepass")).hexdigest()
    return f"{stem or 'study'}.{digest[:12]}"
