"""The notebook runs on a recorded study, in a kernel of this very Python."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.docs.record_study import record_study

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebooks" / "study.ipynb"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook as it is after every cell was run; an error in a cell is an error here."""
    root = tmp_path_factory.mktemp("notebook")
    record_study(root)
    folders = ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = {**os.environ, "LOGLOG_ROOT": str(root), **{name: str(root / name) for name in folders}}
    environment.pop("MPLBACKEND", None)  # the notebook draws inline
    script, result = NOTEBOOK.parents[2] / "tests" / "docs" / "run_notebook.py", root / "ran.ipynb"
    done = subprocess.run(
        [sys.executable, str(script), str(NOTEBOOK), str(result)],
        cwd=root, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return nbformat.read(result, as_version=4)


@pytest.mark.real
def test_every_cell_says_something(ran: Any) -> None:
    """Each cell of code shows what it found, and none complains."""
    for cell in ran.cells:
        if cell.cell_type == "code":
            assert cell.outputs, cell.source
            assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source


@pytest.mark.real
def test_the_notebook_shows_law_picks_and_figure(ran: Any) -> None:
    """The slope with its interval, a table of picks and a picture are among the outputs."""
    outputs = [output for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs]
    texts = " ".join(str(output.get("text", "")) for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    tables = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert "b = 0.2" in texts
    assert len(pictures) == 1
    assert any("predicted_loss" in table for table in tables)


def test_the_committed_notebook_is_small_and_plain() -> None:
    """It is committed without outputs, so that no stale number stands in it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 300_000
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
