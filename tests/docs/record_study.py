"""Records the default study as `make sweep` does, trained in microseconds: `python record_study.py budget=3k`."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORDS = ("budget=10k", "cluster=inline")


def record_study(root: Path, *words: str) -> None:
    """Records the default study under `root`, in a process of its own."""
    environment = {**os.environ, "LOGLOG_ROOT": str(root), "PYTHONPATH": str(HERE)}
    command = [sys.executable, str(HERE / "record_study.py"), *(words or WORDS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def main() -> int:
    """Sweeps what the words say; the law that a sweep ends with is left to those who ask for it."""
    from launcher.drive import sweep
    from launcher.settings.compose import compose
    from tracking.paths import project_paths

    sweep._fit = lambda sweep, answer: 0
    return sweep.run_sweep(compose(sys.argv[1:]), project_paths(), trainer="law_trainer:train")


if __name__ == "__main__":
    sys.exit(main())
