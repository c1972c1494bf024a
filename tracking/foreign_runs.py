"""Reads the runs of any MLflow tracking store, somebody else's too, and changes nothing in it.

MLflow's own code writes where it should only read: it makes tables and a default experiment in a database, migrates an
older one half-way, and makes a folder among the files of a file store. So it is given a copy of a database, and a
folder of links to the experiments of a file store; both are gone afterwards.
"""

import contextlib
import re
import shutil
import sqlite3
import tempfile
import urllib.parse
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from sweeps.errors import StudyError
from tracking.mlflow_settings import environment

RUNS_PER_PAGE = 1000
HTTP_TIMEOUT_S = 10
"""For each request. MLflow's own two minutes, seven times over, look like a hang."""
_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_ALLOWED = "give sqlite:///FILE, the path of a .db or .sqlite file, an mlruns folder, or http://HOST:PORT"
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(HTTP_TIMEOUT_S),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # Otherwise MLflow 3.17 refuses an mlruns folder.
    "MLFLOW_ALLOW_FILE_STORE": "true",
}


@dataclass(frozen=True, kw_only=True)
class ForeignRun:
    """What MLflow knows of one run that is not deleted."""

    run_id: str
    name: str
    status: str
    """RUNNING | SCHEDULED | FINISHED | FAILED | KILLED."""
    fields: Mapping[str, str | float]
    """run_id, status, params, and the last value of each metric; of a param and a metric of one name it is the metric.

    Under `params.NAME`, `metrics.NAME` and `tags.NAME` each can be had for certain.
    """


class _Store(Protocol):
    """What is used of MLflow's client and of its stores alike, which it leaves without types."""

    def get_experiment_by_name(self, name: str, /) -> Any | None: ...

    def search_experiments(self, *, max_results: int) -> Iterable[Any]: ...

    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str,
        run_view_type: int,
        max_results: int,
        order_by: list[str],
        page_token: str | None,
    ) -> Any: ...


def read_foreign_runs(uri: str, experiment: str) -> tuple[ForeignRun, ...]:
    """Returns the runs of an experiment, in the order in which they were started; deleted ones are left out.

    Args:
        uri: of a server (http, https) or of a database (sqlite:///FILE), or the path of a database or mlruns folder.
        experiment: its name.

    Raises:
        StudyError: there is no such store or experiment, or it cannot be read.
    """
    try:
        with environment(_SETTINGS), _open(uri) as store:
            return tuple(_run(run) for run in _runs(store, uri, experiment))
    except StudyError:
        raise
    # Whatever lies in a stranger's store, and between us and a server, is no fault of this program.
    except Exception as error:
        said = _without_password(" ".join(str(error).split()))[:400] or type(error).__name__
        raise StudyError(
            f"the MLflow store {_without_password(uri)} cannot be read: {said}; check that it is there and can be "
            f"read, or {_ALLOWED}"
        ) from error


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


@contextlib.contextmanager
def _open(uri: str) -> Generator[_Store]:
    scheme = urllib.parse.urlparse(uri).scheme if "://" in uri or uri.startswith("sqlite:") else ""
    if scheme in ("http", "https"):
        from mlflow import MlflowClient

        yield cast("_Store", MlflowClient(tracking_uri=uri))
    elif scheme in ("", "file", "sqlite"):
        path = _path(uri, scheme)
        opened = _open_folder(path) if path.is_dir() and scheme != "sqlite" else _open_database(path)
        with opened as store:
            yield store
    else:
        # MLflow would make or migrate the tables of a database that it cannot be given a copy of.
        raise StudyError(
            f"an MLflow store at {scheme}:// is not read; {_ALLOWED} (type: mlflow server, and its address)"
        )


def _path(uri: str, scheme: str) -> Path:
    """Returns the file or folder that a URI means."""
    if scheme == "sqlite":
        # As SQLAlchemy has it: three slashes before a relative path, four before an absolute one.
        path = Path(uri.removeprefix("sqlite:").removeprefix("///").split("?")[0])
    elif scheme == "file":
        path = Path(urllib.parse.unquote(urllib.parse.urlparse(uri).path))
    else:
        path = Path(uri).expanduser()
    if not path.exists():
        raise StudyError(f"there is no MLflow store at {path}; {_ALLOWED}")
    return path


@contextlib.contextmanager
def _open_database(path: Path) -> Generator[_Store]:
    """Opens a copy of an SQLite database, brought to the schema of the MLflow that is installed."""
    if path.is_dir():
        raise StudyError(f"{path} is a folder, not an SQLite database; {_ALLOWED}")
    with tempfile.TemporaryDirectory(prefix="loglog-mlflow-") as folder:
        copy = Path(folder) / "copy.db"
        _copy_database(path, copy)
        from mlflow.store.db import utils
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        engines: Any = utils
        engine = engines.create_sqlalchemy_engine_with_retry(f"sqlite:///{copy}")
        try:
            engines._upgrade_db(engine)
            store: Any = SqlAlchemyStore(f"sqlite:///{copy}", f"{folder}/artifacts")
        finally:
            engine.dispose()
        try:
            yield store
        finally:
            store.engine.dispose()


def _copy_database(path: Path, copy: Path) -> None:
    """Writes a copy of a database as it is at this moment, whoever writes to it.

    Raises:
        StudyError: it is no database, or none of MLflow's.
    """
    log, shared = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    has_log = log.exists()
    try:
        if has_log and not shared.exists():
            # A writer died and left the log. To open it, even for reading, would make a file beside it.
            shutil.copyfile(log, copy.with_name(copy.name + "-wal"))
            shutil.copyfile(path, copy)
            source = sqlite3.connect(copy)
        else:
            way = "immutable=1" if _keeps_log(path) and not has_log else "mode=ro"
            source = sqlite3.connect(f"{path.resolve().as_uri()}?{way}", uri=True, timeout=10.0)
        with contextlib.closing(source):
            tables = {name for (name,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"experiments", "runs", "alembic_version"} <= tables:
                raise StudyError(f"{path} is a database, but not one of MLflow's; {_ALLOWED}")
            if not copy.exists():
                with contextlib.closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
    except sqlite3.Error as error:
        raise StudyError(f"{path} cannot be read as an SQLite database ({error}); {_ALLOWED}") from error


def _keeps_log(path: Path) -> bool:
    """Returns whether SQLite keeps a write-ahead log beside a database, which each reader takes part in."""
    with path.open("rb") as content:
        return content.read(20)[18:] == b"\x02\x02"


@contextlib.contextmanager
def _open_folder(path: Path) -> Generator[_Store]:
    """Opens an mlruns folder through links to its experiments."""
    experiments = [child for child in sorted(path.iterdir()) if (child / "meta.yaml").is_file()]
    if not experiments:
        inner = path / "mlruns"
        hint = f" (try: {inner})" if inner.is_dir() else ""
        raise StudyError(f"{path} is a folder without an MLflow experiment; {_ALLOWED}{hint}")
    with tempfile.TemporaryDirectory(prefix="loglog-mlflow-") as folder:
        for child in experiments:
            (Path(folder) / child.name).symlink_to(child.resolve(), target_is_directory=True)
        from mlflow.store.tracking.file_store import FileStore

        yield cast("_Store", FileStore(folder, folder))


def _runs(store: _Store, uri: str, experiment: str) -> Generator[Any]:
    """Yields the runs of an experiment, page by page."""
    found = store.get_experiment_by_name(experiment)
    if found is None or found.lifecycle_stage != "active":
        names = [str(other.name) for other in store.search_experiments(max_results=1000)]
        there = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
        state = "was deleted" if found is not None else "is not there"
        raise StudyError(
            f"the experiment {experiment!r} {state} in {_without_password(uri)}; it has {there or 'none'} "
            "(name one of them)"
        )
    active_only, token = 1, None
    while True:
        page = store.search_runs(
            [found.experiment_id], "", active_only, RUNS_PER_PAGE, ["attributes.start_time ASC"], token
        )
        yield from page
        token = page.token
        if not token:
            return


def _run(run: Any) -> ForeignRun:
    params: Mapping[str, str] = run.data.params
    metrics: Mapping[str, float] = run.data.metrics
    tags: Mapping[str, str] = run.data.tags
    own = {"run_id": str(run.info.run_id), "status": str(run.info.status)}
    fields: dict[str, str | float] = {**params, **metrics, **own}
    for kind, named in (("params", params), ("metrics", metrics), ("tags", tags)):
        fields |= {f"{kind}.{name}": value for name, value in named.items()}
    return ForeignRun(run_id=own["run_id"], name=str(run.info.run_name or ""), status=own["status"], fields=fields)
