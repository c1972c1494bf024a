"""The benchmark of exactness, shortened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.real
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(checkout: Path, tmp_path: Path) -> None:
    """After four kill -9s, from outside, in a step and in a checkpoint: the same weights, curve, losses and samples."""
    words = ["--kills", "4", "--kills-a-run", "2", "--families", "vit", "--processes", "1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(checkout / "benchmarks" / "exactness.py"), *words],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = {
        name: item["value"] for name, item in json.loads((tmp_path / "exactness.json").read_text())["figures"].items()
    }
    assert figures["kills"] == 4
    assert (figures["different"], figures["other_samples"]) == (0, 0)
