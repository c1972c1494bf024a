import os
from pathlib import Path

import pytest

from launcher.drive.driver_lock import driver_lock
from sweeps.errors import StudyError


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second holder is told who the first is; other studies are free; afterwards the study is too."""
    with driver_lock(tmp_path / "a", "a"):
        with pytest.raises(StudyError, match=f"study a is being run by process {os.getpid()} on "):
            driver_lock(tmp_path / "a", "a").__enter__()
        with driver_lock(tmp_path / "b", "b"):
            pass
    with driver_lock(tmp_path / "a", "a"):
        pass


def test_lock_of_a_dead_driver(tmp_path: Path) -> None:
    """The file that a killed driver left behind stops nobody."""
    (tmp_path / "driver.lock").write_text("process 1 on somewhere\n")
    with driver_lock(tmp_path, "a"):
        assert str(os.getpid()) in (tmp_path / "driver.lock").read_text()
