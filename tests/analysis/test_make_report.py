import json
import sqlite3
from pathlib import Path

import pytest

from analysis.make_report import main
from tests.analysis.synthetic import REFERENCE, study_records
from tracking.paths import ProjectPaths
from tracking.store import ingest

QUICK = ["--quick", "--bootstrap", "50"]
TABLE = ["--data", str(REFERENCE), "--columns", "loss=loss", "core_hours=core_hours", "epochs=epochs", "group=model"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a recorded study."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    ingest(ProjectPaths(root=tmp_path), "small", study_records(models=("f0", "f1"), seeds=1, noise=0.01))
    return tmp_path


def test_page_of_a_study(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer and the page's address are printed; the page names each run's own place in MLflow."""
    assert main(["--study", "small", "--budgets", "5k", *QUICK]) == 0
    printed = capsys.readouterr().out
    page = root / "reports" / "small" / "report.html"
    assert "With 5k core-hours, train" in printed and page.as_uri() in printed
    with sqlite3.connect(root / "runs.sqlite") as connection:
        known = {run for (run,) in connection.execute("SELECT run_uuid FROM runs JOIN tags USING (run_uuid) "
                 "WHERE key = 'loglog.trial_id'")}  # fmt: skip
    html = page.read_text(encoding="utf-8")
    assert len(known) == 36 and all(f"/runs/{run}" in html for run in known)


def test_same_records_make_the_same_page(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once its predictions are frozen, the page is written again to the last byte."""
    words = ["--study", "small", *QUICK]
    pages: list[bytes] = []
    for _ in range(3):
        assert main(words) == 0
        pages.append((root / "reports" / "small" / "report.html").read_bytes())
    assert pages[1] == pages[2]
    capsys.readouterr()


def test_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object: the page and the figures, all of which are there."""
    assert main(["--study", "small", "--json", *QUICK]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"html", "figures"}
    assert Path(answer["html"]).read_text().startswith("<!doctype html>")
    assert answer["figures"] and all(Path(path).stat().st_size for path in answer["figures"])


def test_page_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table needs no runs.sqlite; its page goes where it is told to."""
    assert main([*TABLE, "--out", str(tmp_path / "mine"), *QUICK]) == 0
    assert (tmp_path / "mine" / "report.html").is_file()
    assert "report: file://" in capsys.readouterr().out


def test_nothing_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without runs it says what to type, and leaves no page."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    assert main([]) == 2
    assert "make sweep" in capsys.readouterr().err and not list(tmp_path.rglob("*.html"))
