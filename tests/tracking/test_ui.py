import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from sweeps.errors import StudyError
from tracking import ui
from tracking.paths import ProjectPaths
from tracking.store import ingest

PATIENCE_S = 180.0
"""MLflow's server answers after 25 seconds on a loaded machine; this is only a limit for one that never does."""


def test_without_runs_there_is_nothing_to_show(
    paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first sweep `make ui` says what to type, with exit code 2, and makes no empty database."""
    monkeypatch.setenv("LOGLOG_ROOT", str(paths.root))
    assert ui.main([]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "no runs have been recorded" in printed.err
    assert "make sweep" in printed.err
    assert not paths.runs_sqlite.exists()


def test_a_taken_port_is_passed_by() -> None:
    """Where another program listens, the next port is taken; where none is free, that is said."""
    with socket.socket() as taken:
        taken.bind((ui.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ui.free_port(port) > port
    with pytest.raises(StudyError, match="--port 8080"):
        ui.free_port(65536)


@pytest.mark.real
@pytest.mark.slow
def test_the_pages_show_the_study(database: ProjectPaths, made: Any) -> None:
    """`make ui` starts MLflow's server on 127.0.0.1, says where, and the study and its run are listed there."""
    ingest(database, made.study, [made.record()])
    server = subprocess.Popen(
        [sys.executable, "-m", "tracking.ui", "--port", str(ui.free_port(5200))],
        cwd=database.root,
        env={**os.environ, "LOGLOG_ROOT": str(database.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        address = next(word for word in server.stdout.readline().split() if word.startswith("http://127.0.0.1:"))
        studies = ask(server, f"{address}/api/2.0/mlflow/experiments/search", {"max_results": 10})["experiments"]
        (experiment,) = [study for study in studies if study["name"] == made.study]
        (run,) = ask(
            server, f"{address}/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment["experiment_id"]]}
        )["runs"]
        with urllib.request.urlopen(address, timeout=30) as page:
            assert b"MLflow" in page.read()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()
    assert run["info"]["run_name"] == made.trial.name
    assert {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}["val_loss"] == 1.5
    assert {path.name.split("-")[0] for path in database.root.iterdir()} <= {"runs.sqlite", "runs"}


def ask(server: "subprocess.Popen[str]", url: str, question: dict[str, Any]) -> dict[str, Any]:
    """MLflow's answer, once its server answers at all."""
    request = urllib.request.Request(
        url, data=json.dumps(question).encode(), headers={"Content-Type": "application/json"}
    )
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise
        time.sleep(0.5)
