import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.clusters.run_clusters import BACKENDS, backend_of, count, main

REPORT = """
<testsuites><testsuite>
  <testcase classname="tests.launcher.test_backends" name="test_success[inline]"/>
  <testcase classname="tests.launcher.test_backends" name="test_success[ray]"><failure message="no"/></testcase>
  <testcase classname="tests.launcher.test_backends" name="test_success[ray]"><error message="no"/></testcase>
  <testcase classname="tests.launcher.test_backends" name="test_success[slurm]"/>
  <testcase classname="tests.launcher.test_backends" name="test_success[slurm_accounted]">
    <skipped message="no Slurm on this machine: slurmdbd is not installed"/>
  </testcase>
</testsuite></testsuites>
"""


@pytest.mark.parametrize(
    ("module", "test", "backend"),
    [
        ("tests.launcher.test_backends", "test_odd_paths[slurm-a 'quote]", "slurm"),
        ("tests.launcher.test_backends", "test_odd_paths[a\nnewline-slurm_accounted]", "slurm_accounted"),
        ("tests.launcher.test_backends", "test_opening", "local"),
        ("tests.launcher.test_slurm_backend", "test_requeue", "slurm"),
        ("tests.launcher.test_slurm_backend", "test_accounted_death", "slurm_accounted"),
        ("tests.clusters.test_private_ray", "test_dead_node", "ray"),
        ("", "tests.launcher.test_ray_backend", "ray"),
    ],
)
def test_whose_test(module: str, test: str, backend: str) -> None:
    """A test counts for the back end among its parameters, else for that of its file."""
    assert backend_of(module, test) == backend


def test_counts() -> None:
    """Every test counts once, and every back end has its row."""
    rows = {row.name: row for row in count(ElementTree.fromstring(REPORT).iter("testcase"))}
    assert tuple(rows) == BACKENDS
    counts = {name: (row.passed, row.failed, row.skipped) for name, row in rows.items()}
    assert counts == {
        "inline": (1, 0, 0),
        "local": (0, 0, 0),
        "slurm": (1, 0, 0),
        "slurm_accounted": (0, 0, 1),
        "ray": (0, 1, 0),
    }


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json stdout holds one object; a failed test shows in the exit code."""

    def write_report(report: Path, _words: list[str]) -> int:
        report.write_text(REPORT)
        return 0

    monkeypatch.setattr("tests.clusters.run_clusters._run_pytest", write_report)
    assert main(["--json"]) == 1
    (first, *_) = json.loads(capsys.readouterr().out)["backends"]
    assert {"name": "inline", "passed": 1, "failed": 0, "skipped": 0}.items() <= first.items()
    assert set(first) == {"name", "version", "passed", "failed", "skipped"}
