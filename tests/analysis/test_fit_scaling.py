import contextlib
import json
import math
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.fit_scaling import main
from analysis.report.report_text import WIDTH
from sweeps.record import RunRecord, Status
from tests.analysis.synthetic import REFERENCE, TRUTHS, record, sample, study_records, write_csv
from tracking.paths import ProjectPaths
from tracking.store import ingest

COLUMNS = ["--columns", "loss=loss", "core_hours=core_hours", "epochs=epochs", "group=model"]
ON_REFERENCE = ["--data", str(REFERENCE), *COLUMNS, "--bootstrap", "200"]
LAW_KEYS = {"name", "n_points", "objective", "r2", "converged", "parameters"}
PICK_KEYS = {
    "budget_core_hours",
    "flops",
    "model",
    "params",
    "epochs",
    "tokens",
    "peak_lr",
    "predicted_loss",
    "low",
    "high",
    "extrapolation_factor",
    "refused",
}


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose runs.sqlite holds a small study, an older one, and one in which nothing ended well."""
    root = tmp_path_factory.mktemp("root")
    paths = ProjectPaths(root=root)
    ingest(paths, "older", [record(epochs=e, loss=2.0) for e in (1.0, 2.0)])
    ingest(paths, "ruined", [record(epochs=e, status=Status.DIVERGED, loss=None) for e in (1.0, 2.0)])
    ingest(paths, "small", [_later(run) for run in study_records(models=("f0", "f1", "f3"), seeds=2, noise=0.01)])
    return root


def _later(run: RunRecord) -> RunRecord:
    return replace(run, started_unix_s=1.7e9, ended_unix_s=1.7e9 + 5)


@pytest.fixture
def at_recorded(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes the recorded root the project's."""
    monkeypatch.setenv("LOGLOG_ROOT", str(recorded))
    return recorded


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the one JSON object of a command with --json."""
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_reference_table_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The object on stdout has every field that it promises, and the numbers of the paper's figure."""
    code, found = answer(capsys, *ON_REFERENCE, "--budgets", "10k,110k", "--out", str(tmp_path))
    assert code == 0
    assert found["refused"] is None
    law = found["law"]
    assert set(law) >= LAW_KEYS
    assert law["slope"] == pytest.approx(-0.043, abs=0.001)
    assert law["coefficient"] == pytest.approx(3.83, rel=0.02)
    assert law["r2"] >= 0.99
    for estimate in law["parameters"].values():
        assert estimate["low"] < estimate["value"] < estimate["high"]
        assert estimate["stderr"] > 0
    assert set(found["frontier"][0]) >= {"model", "epochs", "core_hours", "flops", "loss"}
    assert len(found["frontier"]) == law["n_points"] == 24
    ten, top = found["picks"]
    assert set(ten) >= PICK_KEYS
    assert (ten["budget_core_hours"], ten["model"], ten["refused"]) == (10_000, "F3+", None)
    assert ten["low"] < ten["predicted_loss"] < ten["high"]
    assert top["model"] == "F7+" and top["epochs"] == 8
    assert [h["to"] for h in found["handovers"][:4]] == ["F1", "F3", "F3+", "F7"]
    assert found["compute_unit"] == "core-hours"
    kept = json.loads((tmp_path / "fit.json").read_text())
    assert len(kept.pop("draws")["b"]) >= 100
    assert kept == found
    names = {path.name for path in tmp_path.iterdir()}
    assert {name for name in names if not name.endswith((".svg", ".pdf"))} == {
        "fit.json", "pick.yaml", "report.html", "loss_vs_compute.png", "residuals.png", "backtest.png",
    }  # fmt: skip
    assert {Path(name).stem for name in names if name.endswith(".pdf")} == {
        "loss_vs_compute", "residuals", "backtest",
    }  # fmt: skip


def test_the_objective_is_the_sum_of_huber_over_the_frontier(capsys: pytest.CaptureFixture[str]) -> None:
    """It can be recomputed from the printed frontier, parameters and delta."""
    _, found = answer(capsys, *ON_REFERENCE, "--huber", "2e-3")
    values = {name: e["value"] for name, e in found["law"]["parameters"].items()}
    residuals = [math.log(values["a"] * row["core_hours"] ** -values["b"] / row["loss"]) for row in found["frontier"]]
    total = sum(0.5 * r * r if abs(r) <= 2e-3 else 2e-3 * (abs(r) - 1e-3) for r in residuals)
    assert found["law"]["objective"] == pytest.approx(total)


def test_recorded_runs_of_the_latest_study(at_recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without words the study run last is read, said, fitted and reported under its name."""
    assert main([]) == 0
    text = capsys.readouterr().out
    assert "study small in runs.sqlite" in text
    assert "scale model, 1 core-hour = 3.6e+06 FLOPs" in text
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    folder = at_recorded / "reports" / "small"
    names = {path.name for path in folder.iterdir()}
    assert {"fit.json", "pick.yaml", "loss_vs_compute.png", "loss_vs_compute.svg", "best_peak_lr.pdf"} <= names
    kept = json.loads((folder / "fit.json").read_text())
    assert kept["study"] == "small"
    assert kept["code_version"] == "abc1234"
    assert kept["law"]["interval"]["method"] == "seeds"
    assert kept["seed_noise"]["relative_sd"] == pytest.approx(0.01, rel=0.5)
    assert kept["flops_per_core_hour"] == pytest.approx(3.6e6)
    assert len(kept["best_peak_lr"]) == 18
    # 10k is the BUDGET that the runs were launched for; their dearest cell costs 39.2k.
    assert kept["picks"][-1]["flops"] == pytest.approx(kept["picks"][-1]["budget_core_hours"] * 3.6e6)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--study", "older"], "too_few_cells", "make sweep BUDGET="),
        (["--study", "ruined"], "no_points", "2 diverged"),
        (["--study", "nope"], "unknown_study", "older, ruined, small"),
        (["--law", "cubic"], "bad_input", "power, power_floor, saturating, broken, surface"),
        (["--budgets", "10kk"], "bad_input", "10kk"),
        (["--budgets-flops", "x"], "bad_input", "1e21,1e22"),
        (["--huber", "0"], "bad_input", "--huber 1e-3"),
        (["--bootstrap", "-1"], "bad_input", "--bootstrap 4000"),
        (["--columns", "loss=loss"], "bad_input", "--data FILE"),
        (["--data", "x.csv", "--study", "small"], "bad_input", "without --data"),
        (["--data", "missing.csv"], "bad_input", "no table at"),
        (["--data", str(REFERENCE), "--columns", "loss=error"], "bad_input", "core_hours, loss"),
        (["--data", str(REFERENCE), "--columns", "loss=loss"], "bad_input", "core_hours=core_hours"),
        (["--data", str(REFERENCE), "--filter", "model=F9"], "bad_input", "there are F0, F1, F3"),
        (["--data", str(REFERENCE), "--filter", "model=F0", "epochs=1"], "too_few_cells", "has 1"),
    ],
)
@pytest.mark.usefixtures("at_recorded")
def test_refusals(words: list[str], code: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake gets one message and exit code 2: on stderr for people, as `refused` for programs."""
    assert main(words) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == "" and "Traceback" not in printed.err
    exit_code, found = answer(capsys, *words)
    assert exit_code == 2
    assert found["law"] is None
    assert found["refused"]["code"] == code
    assert message in f"{found['refused']['reason']} {found['refused']['next']}"


def test_nothing_run_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without runs.sqlite the next command is named, and no database is made."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    assert main([]) == 2
    assert "make sweep BUDGET=10k" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database whose runs were all deleted is told from a missing one."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.sqlite")) as copy:
        with contextlib.closing(sqlite3.connect(recorded / "runs.sqlite")) as original:
            original.backup(copy)
        copy.execute("UPDATE runs SET lifecycle_stage = 'deleted'")
        copy.commit()
    assert main([]) == 2
    assert "holds no runs" in capsys.readouterr().err


def test_one_bad_pick_does_not_spoil_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """A budget that cannot be served is refused by itself, and the command succeeds."""
    code, found = answer(capsys, *ON_REFERENCE, "--budgets", "100,10k,10M")
    assert code == 0
    assert [p["refused"] and p["refused"]["code"] for p in found["picks"]] == [
        "below_sampled_range",
        None,
        "outside_sampled_range",
    ]


def test_a_table_of_params_and_tokens_gets_a_surface(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its parameters bear their names, and the pick splits a FLOP budget as the closed form does."""
    rows = sample("surface")
    params, tokens = (list(map(math.exp, rows.log_values[k])) for k in ("params", "data"))
    table = [
        {"n": n, "d": d, "c": 6 * n * d, "l": math.exp(loss)}
        for n, d, loss in zip(params, tokens, rows.log_loss, strict=True)
    ]
    path = write_csv(tmp_path / "runs.csv", table)
    words = ["--data", str(path), "--columns", "loss=l", "params=n", "tokens=d", "flops=c", "--bootstrap", "100"]
    code, found = answer(capsys, *words, "--budgets-flops", "1e17,1e24")
    assert code == 0
    assert found["law"]["name"] == "surface" and found["law"]["n_points"] == 48
    truth = TRUTHS["surface"]
    for name, value in truth.items():
        assert found["law"]["parameters"][name]["value"] == pytest.approx(value, rel=1e-6)
    inside, outside = found["picks"]
    a, b = truth["alpha"], truth["beta"]
    split = (a * truth["A"] / (b * truth["B"])) ** (1 / (a + b)) * (1e17 / 6) ** (b / (a + b))
    assert inside["params"] == pytest.approx(split, rel=1e-6)
    assert inside["params"] * inside["tokens"] * 6 == pytest.approx(1e17)
    assert inside["refused"] is None
    assert outside["refused"]["code"] == "outside_sampled_range"


def test_the_script_runs_from_anywhere_without_heavy_imports(tmp_path: Path) -> None:
    """`python -I analysis/fit_scaling.py` works from another folder; --json on a table writes nothing."""
    script = Path(__file__).resolve().parents[2] / "analysis" / "fit_scaling.py"
    words = [sys.executable, "-I", str(script), *ON_REFERENCE, "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["law"]["name"] == "power"
    assert list(tmp_path.iterdir()) == []
    watch = (
        "import sys, analysis.fit_scaling as f; f.main(sys.argv[1:]); "
        "print([m for m in ('mlflow', 'jax', 'matplotlib', 'scipy') if m in sys.modules], file=sys.stderr)"
    )
    words = [sys.executable, "-c", watch, *ON_REFERENCE, "--json"]
    done = subprocess.run(words, cwd=script.parents[1], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def test_no_module_here_hides_another() -> None:
    """Running the script puts this folder first on the path: none of its files may bear a library's name."""
    import importlib.metadata

    folder = Path(__file__).resolve().parents[2] / "analysis"
    ours = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert not ours & (set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions()))
