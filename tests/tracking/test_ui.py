import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
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
from tracking.study_view import VIEW_TAG

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


@pytest.mark.parametrize("host", ["0.0.0.0", "lab.example.org", "192.168.1.5", "::"])
def test_the_pages_are_for_this_machine_alone(
    database: ProjectPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    """Pages without a password are not opened to a network; what to type instead is said."""
    monkeypatch.setenv("LOGLOG_ROOT", str(database.root))
    assert ui.main(["--host", host]) == 2
    assert "ssh -L 5000:127.0.0.1:5000" in capsys.readouterr().err


def test_each_study_has_its_address(database: ProjectPaths, made: Any) -> None:
    """The latest study comes first; one without a view, from an older version, opens as MLflow opens it."""
    ingest(database, made.study, [made.record(5)])
    with contextlib.closing(sqlite3.connect(database.runs_sqlite)) as connection, connection:
        connection.execute(
            "DELETE FROM experiment_tags WHERE key = ? AND experiment_id = "
            "(SELECT experiment_id FROM experiments WHERE name = 'another')",
            (VIEW_TAG,),
        )
    (study, view), (other, plain) = ui.study_addresses(database, 5001)
    assert (study, other) == (made.study, "another")
    assert re.fullmatch(r"http://127\.0\.0\.1:5001/#/experiments/\d+/runs\?\S+&viewStateShareKey=loglog", view)
    assert "viewStateShareKey" not in plain


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
