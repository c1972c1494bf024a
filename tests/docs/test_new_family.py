"""The exercise of docs/own-model.md: a family is added in three files, and a cell of it is trained by a sweep."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page_examples import CHECKOUT, blocks

PAGE = CHECKOUT / "docs" / "own-model.md"
PACKAGES = ("analysis", "conf", "launcher", "strategy", "sweeps", "tracking", "training")


def three_files() -> dict[str, str]:
    """Returns what the exercise writes, by path: each file is named in the text before its block."""
    text = PAGE.read_text().split("## A new family")[1]
    paths = re.findall(r"`([\w/]+\.(?:py|yaml))`[^`]*?(?=`|<!--|\n\n)", text)
    own = [path for path in paths if "perceptron" in path]
    written = [block.text for block in blocks(PAGE) if "erceptron" in block.text]
    return dict(zip(own, written, strict=True))


@pytest.mark.real
@pytest.mark.slow
def test_three_files_add_a_family(tmp_path: Path) -> None:
    """In a copy of the project that has them and no other change, a sweep trains the new model and records its cost."""
    tree, root = tmp_path / "tree", tmp_path / "root"
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    files = three_files()
    assert list(files) == [
        "sweeps/perceptron_shape.py",
        "training/networks/perceptron.py",
        "conf/model/perceptron/p8.yaml",
    ]
    for path, text in files.items():
        assert not (tree / path).exists()
        (tree / path).parent.mkdir(exist_ok=True)
        (tree / path).write_text(text)
    words = ["model=perceptron/p8", "budget=400", "epochs=0.02", "peak_lr=0.1", "seeds=1", "format=json"]
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "action=sweep", *words, "cluster=inline"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "LOGLOG_ROOT": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(done.stdout)
    assert answer["runs"]["finished"] == 1, done.stderr  # one cell has no law, and that is said as a refusal
    journal = next((root / "runs").rglob("*.jsonl")).read_text()
    assert '"family":"perceptron"' in journal.replace(": ", ":")
