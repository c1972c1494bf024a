"""The command over families: recorded studies, the published points, what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.compare_families import main
from tests.analysis.synthetic import study_records
from tests.analysis.synthetic_families import family_records
from tracking.paths import ProjectPaths
from tracking.store import ingest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with a study of two families and one of a single family."""
    root = tmp_path_factory.mktemp("project")
    one = family_records("nfnet", noise=0.005, sizes=3)
    other = family_records("vit", noise=0.005, sizes=3, random_seed=1, multiplier=1.6)
    ingest(ProjectPaths(root=root), "both", [*one, *other])
    ingest(ProjectPaths(root=root), "alone", study_records(models=("f0", "f1"), seeds=1))
    return root


@pytest.fixture
def project(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as the project that commands read."""
    monkeypatch.setenv("LOGLOG_ROOT", str(recorded))
    return recorded


def test_a_study_is_compared_as_the_end_of_a_sweep_asks(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--study, --budgets and --json: one object, the same that is written to the study's folder."""
    words = ["--study", "both", "--budgets", "2k,5k", "--json", "--bootstrap", "200"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert "vit needs" in said["verdict"]
    assert said["compute_multiplier"]
    assert {row["budget_core_hours"] for row in said["gap"]} <= {2000.0, 5000.0}
    folder = project / "reports" / "both"
    assert json.loads((folder / "compare.json").read_text()) == said
    assert (folder / "families_laws.png").stat().st_size > 10_000


def test_the_study_with_several_families_is_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without words the latest study with two families is meant, not the latest of all."""
    assert main(["--bootstrap", "200"]) == 0
    said = capsys.readouterr().out
    assert "study both in runs.sqlite: nfnet, vit" in said
    assert "compare.json" in said


def test_maps_of_named_studies(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--maps A,B: who leads where in each of them, one figure of both."""
    assert main(["--maps", "both,both", "--bootstrap", "200"]) == 0
    said = capsys.readouterr().out
    assert said.count("nfnet leads on") == 2 and "families_map.png" in said
    assert (project / "reports" / "families_map.png").stat().st_size > 10_000
    assert main(["--maps", "both", "--bootstrap", "200", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["study"] == "both" and one["maps"][0]["limit"] == "macs"


def test_families_are_held_in_the_order_they_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--families vit,nfnet: the multiplier is that of nfnet, below 1."""
    assert main(["--families", "vit,nfnet", "--json", "--bootstrap", "200"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["pairs"][0]["a"], said["pairs"][0]["b"]) == ("vit", "nfnet")
    assert said["pairs"][0]["mean_multiplier"]["value"] < 1


def test_budgets_are_read_in_flops_on_that_axis(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A budget of core-hours is turned into the FLOPs that it stands for."""
    assert main(["--axis", "flops", "--budgets", "5k", "--json", "--bootstrap", "200"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["gap"]
    assert row["budget"] == pytest.approx(5000 * 3.6e6)
    assert row["budget_core_hours"] == pytest.approx(5000)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--study", "alone"], "holds only nfnet, and a comparison needs two families"),
        (["--study", "none"], "no study called 'none'"),
        (["--families", "nfnet,mlp"], "has no family 'mlp'; it has nfnet, vit"),
        (["--axis", "watts"], "no axis called 'watts'"),
        (["--axis", "params", "--budgets", "5k"], "core-hours of the reference hardware"),
        (["--budgets", "much"], "not understood"),
        (["--bootstrap", "5"], "below 100"),
        (["--level", "7"], "no coverage between"),
        (["--maps", ","], "--maps names no study"),
        (["--maps", "both,none"], "no study called 'none'"),
        (["--nope"], "unrecognized arguments"),
    ],
)
def test_what_makes_no_sense_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    """Exit code 2, one line with what to type, and with --json an object of the usual keys."""
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and "try: " in error
    assert main([*words, "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] is None and said["gap"] == said["compute_multiplier"] == []
    assert message in said["refused"]["reason"]


def test_without_runs_the_study_to_sweep_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A fresh clone has nothing to compare."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    assert main([]) == 2
    assert "make sweep BUDGET=10k STUDY=families" in capsys.readouterr().err


@pytest.mark.real
def test_the_published_comparison_by_its_path(tmp_path: Path) -> None:
    """A real process, as one types it, from another folder: only JSON on stdout, and the files where told."""
    command = [sys.executable, "-I", str(CHECKOUT / "analysis" / "compare_families.py"), "--published", "--json"]
    done = subprocess.run(
        [*command, "--bootstrap", "200", "--out", "here"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    said = json.loads(done.stdout)
    assert [row["b"] for row in said["compute_multiplier"]] == ["ViT-g/14", "SoViT-400m/14", "ViT-G/14"]
    assert json.loads((tmp_path / "here" / "compare.json").read_text()) == said
