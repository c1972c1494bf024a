import hashlib
import math
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.errors import StudyError
from tracking import foreign_runs
from tracking.foreign_runs import read_foreign_runs
from tracking.paths import ProjectPaths


def _fill(store: Any) -> None:
    """Writes one experiment with a run in each state and a deleted one, and an experiment that is deleted."""
    from mlflow.entities import Metric, Param, RunStatus, RunTag

    experiment = store.create_experiment("scaling", "artifacts", [])
    for place, status in enumerate(("FINISHED", "FINISHED", "RUNNING", "FAILED", "KILLED", "FINISHED")):
        run_id = store.create_run(experiment, "me", place + 1, [RunTag("kind", "tag")], f"run{place}").info.run_id
        metrics = [Metric("val_loss", 3.0, 1, 0), Metric("val_loss", 2.0 - place / 10, 2, 1)]
        metrics += [Metric("flops", 1e18 * (place + 1), 1, 0), Metric("lr", 0.5, 1, 0), Metric("odd", math.inf, 1, 0)]
        params = [Param("n", "70M"), Param("model", "<b>$x"), Param("lr", "0.1")]
        store.log_batch(run_id, metrics, params, [])
        if status != "RUNNING":
            store.update_run_info(run_id, RunStatus.from_string(status), 100, None)
    store.delete_run(run_id)
    store.delete_experiment(store.create_experiment("gone", "artifacts", []))


@pytest.fixture(scope="session")
def filled(template: ProjectPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one experiment of somebody else's; runs.sqlite keeps a write-ahead log, this one does not."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path = tmp_path_factory.mktemp("foreign") / "other.db"
    shutil.copy(template.runs_sqlite, path)
    sqlite3.connect(path).execute("PRAGMA journal_mode = delete").connection.close()
    store = SqlAlchemyStore(f"sqlite:///{path}", "artifacts")
    _fill(store)
    store.engine.dispose()
    return path


@pytest.fixture
def mlruns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same experiment in a folder of files, without the folder for what was deleted."""
    from mlflow.store.tracking.file_store import FileStore

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = tmp_path / "mlruns"
    _fill(FileStore(str(folder), str(folder)))
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    shutil.rmtree(folder / ".trash")
    return folder


def _contents(folder: Path) -> dict[str, str]:
    """Returns every file below a folder with what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def _check_runs(uri: str) -> None:
    runs = read_foreign_runs(uri, "scaling")
    assert [run.status for run in runs] == ["FINISHED", "FINISHED", "RUNNING", "FAILED", "KILLED"]
    assert [run.name for run in runs] == [f"run{place}" for place in range(5)]
    first = runs[0].fields
    assert first["val_loss"] == 2.0
    assert (first["n"], first["lr"], first["params.lr"], first["metrics.lr"]) == ("70M", 0.5, "0.1", 0.5)
    assert (first["tags.kind"], first["run_id"], first["status"]) == ("tag", runs[0].run_id, "FINISHED")
    assert first["odd"] >= 1e300


@pytest.mark.parametrize("form", [str, lambda path: f"sqlite:///{path}"])
def test_a_database_is_read_and_left_as_it_is(filled: Path, form: Callable[[Path], str]) -> None:
    """By path and by URI; nothing is written to it or beside it."""
    before = _contents(filled.parent)
    _check_runs(form(filled))
    assert _contents(filled.parent) == before


@pytest.mark.parametrize("is_dead", [False, True])
def test_a_database_with_a_log_is_read_with_it(filled: Path, tmp_path: Path, is_dead: bool) -> None:
    """Runs that stand in the write-ahead log only are read, whether its writer lives or died; no file is made."""
    live = tmp_path / "live.db"
    shutil.copy(filled, live)
    writer = sqlite3.connect(live)
    writer.execute("PRAGMA journal_mode = wal")
    writer.execute("UPDATE runs SET name = 'renamed'")
    writer.commit()
    path = live
    if is_dead:
        path = tmp_path / "dead" / "live.db"
        path.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", f"{path}{suffix}")
    before = set(_contents(path.parent))
    runs = read_foreign_runs(str(path), "scaling")
    assert {run.name for run in runs} == {"renamed"}
    assert set(_contents(path.parent)) == before
    writer.close()


def test_an_idle_database_that_keeps_a_log_gets_no_files_beside_it(database: ProjectPaths) -> None:
    """Our own runs.sqlite is read like any other."""
    before = _contents(database.root)
    (run,) = read_foreign_runs(str(database.runs_sqlite), "another")
    assert run.fields["metrics.val_loss"]
    assert _contents(database.root) == before


def _older(path: Path) -> Path:
    """Returns a database with one run, of MLflow as it was some years ago."""
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base

    engine = utils.create_sqlalchemy_engine_with_retry(f"sqlite:///{path}")
    config = utils._get_alembic_config(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revisions[len(revisions) // 2])
    engine.dispose()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (1, 'scaling', 'active')")
    connection.execute(
        "INSERT INTO runs (run_uuid, name, user_id, experiment_id, status, lifecycle_stage, artifact_uri, start_time) "
        "VALUES ('abc', 'old', 'me', 1, 'FINISHED', 'active', 'a', 1)"
    )
    connection.execute("INSERT INTO params (key, value, run_uuid) VALUES ('n', '5', 'abc')")
    connection.commit()
    connection.close()
    return path


def test_an_older_schema_is_read_from_a_copy(tmp_path: Path) -> None:
    """A database of an older MLflow is migrated nowhere but in the copy, which is deleted."""
    old = _older(tmp_path / "old.db")
    before = _contents(tmp_path)
    (run,) = read_foreign_runs(str(old), "scaling")
    assert run.fields == {"n": "5", "params.n": "5", "run_id": "abc", "status": "FINISHED"} | {
        name: value for name, value in run.fields.items() if name.startswith("tags.")
    }
    assert _contents(tmp_path) == before


def test_a_schema_of_a_later_mlflow_is_refused(filled: Path, tmp_path: Path) -> None:
    """What this MLflow does not know cannot be read, and is left alone."""
    later = tmp_path / "later.db"
    shutil.copy(filled, later)
    connection = sqlite3.connect(later)
    connection.execute("UPDATE alembic_version SET version_num = 'unknown'")
    connection.commit()
    connection.close()
    before = _contents(tmp_path)
    with pytest.raises(StudyError, match=r"cannot be read: .*unknown"):
        read_foreign_runs(str(later), "scaling")
    assert _contents(tmp_path) == before


def test_a_folder_of_files_is_read_and_left_as_it_is(mlruns: Path) -> None:
    """MLflow's refusal of such folders is lifted for the call only, and no folder is made in it."""
    before = _contents(mlruns)
    _check_runs(str(mlruns))
    _check_runs(mlruns.as_uri())
    assert _contents(mlruns) == before


def test_all_pages_are_read(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment with more runs than a page holds is read whole."""
    monkeypatch.setattr(foreign_runs, "RUNS_PER_PAGE", 2)
    assert len(read_foreign_runs(str(filled), "scaling")) == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [("scalign", "is not there in .*; it has another, Default, scaling|it has .*scaling"), ("gone", "was deleted")],
)
def test_an_experiment_that_is_not_there_says_which_are(filled: Path, name: str, message: str) -> None:
    """The error lists the experiments."""
    with pytest.raises(StudyError, match=message):
        read_foreign_runs(str(filled), name)


@pytest.mark.parametrize("form", ["{}/none.db", "sqlite:///{}/none.db", "{}/a/b/mlruns", "file://{}/none"])
def test_a_store_that_is_not_there_is_not_made(form: str, tmp_path: Path) -> None:
    """MLflow would make it."""
    with pytest.raises(StudyError, match=r"there is no MLflow store at .*give sqlite:///FILE"):
        read_foreign_runs(form.format(tmp_path), "scaling")
    assert not list(tmp_path.iterdir())


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    """An empty file, another database, text, an empty folder, a folder under a database's URI, another server."""
    (tmp_path / "empty.db").write_bytes(b"")
    (tmp_path / "text.db").write_text("no database " * 100)
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE runs (id)")
    connection.close()
    (tmp_path / "folder").mkdir()
    before = _contents(tmp_path)
    for uri, message in {
        f"{tmp_path}/empty.db": "not one of MLflow's",
        f"{tmp_path}/other.db": "not one of MLflow's",
        f"{tmp_path}/text.db": "cannot be read as an SQLite database",
        f"{tmp_path}/folder": "folder without an MLflow experiment",
        f"sqlite:///{tmp_path}/folder": "is a folder",
        "postgresql://me:secret@host/db": "at postgresql:// is not read",
        "": "without an MLflow experiment",
        "sqlite://": "is a folder",
    }.items():
        with pytest.raises(StudyError, match=message):
            read_foreign_runs(uri, "scaling")
    assert _contents(tmp_path) == before


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://me:secret@127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_does_not_answer_is_given_up(silent_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon, with the reason, without the password, and with the environment as it was."""
    monkeypatch.setitem(foreign_runs._SETTINGS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    began = time.monotonic()
    with pytest.raises(StudyError, match=r"(?i)cannot be read: .*timed? ?out") as raised:
        read_foreign_runs(silent_server, "scaling")
    assert time.monotonic() - began < 15
    assert "secret" not in str(raised.value)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"


def test_a_server_that_is_not_there_says_so() -> None:
    """A refused connection is an error at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(StudyError, match=r"cannot be read: .*refused"):
        read_foreign_runs(f"http://127.0.0.1:{port}", "scaling")
