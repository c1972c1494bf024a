"""A place of each kind that runs go to: runs.sqlite, a real MLflow server, a real PostgreSQL."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest

from sweeps.record import RunRecord
from tests.tracking.private_stores import PrivatePostgres, private_postgres, private_server, why_no_postgres
from tracking.paths import ProjectPaths
from tracking.remote_stores import open_postgresql, open_server
from tracking.run_store import OpenStore
from tracking.sqlite_store import open_sqlite
from tracking.store import ingest

no_postgres = why_no_postgres()
POSTGRES = pytest.param(
    "postgres", marks=[pytest.mark.real, pytest.mark.skipif(bool(no_postgres), reason=str(no_postgres))]
)
SERVER = pytest.param("server", marks=pytest.mark.real)


@pytest.fixture(scope="session")
def server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that all tests share; each has a study of its own."""
    with private_server(tmp_path_factory.mktemp("server")) as server:
        yield server.uri


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """A PostgreSQL that all tests share."""
    with private_postgres() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_uri(postgres: PrivatePostgres) -> str:
    """A database that all tests share; each has a study of its own."""
    return postgres.make_database("mlflow")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where one test's runs go: a study that nobody else has."""

    paths: ProjectPaths
    study: str
    uri: str | None

    def ingest(self, *records: RunRecord) -> int:
        """How many runs were written."""
        return ingest(self.paths, self.study, records, tracking_uri=self.uri)

    def open(self) -> contextlib.AbstractContextManager[OpenStore]:
        """The store, to look at it and to change it through MLflow's own functions."""
        if self.uri is None:
            return open_sqlite(self.paths)
        return open_server(self.uri) if self.uri.startswith("http") else open_postgresql(self.uri)

    def runs(self, view: int = 1) -> list[Any]:
        """The study's runs as MLflow's own search finds them; view 1 is active ones, 3 all."""
        with self.open() as store:
            experiment = store.api.get_experiment_by_name(self.study)
            if experiment is None:
                return []
            order = ["attributes.start_time ASC"]
            return list(store.api.search_runs([experiment.experiment_id], "", view, 1000, order, None))

    def content(self) -> list[dict[str, Any]]:
        """All that MLflow's own functions say of active runs, without their random names."""
        found: list[dict[str, Any]] = []
        for run in self.runs():
            with self.open() as store:
                history = {
                    key: sorted(
                        (m.step, m.timestamp, m.value) for m in store.api.get_metric_history(run.info.run_id, key)
                    )
                    for key in run.data.metrics
                }
            info = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time, run.info.user_id)
            data = run.data
            found.append({"info": info, "params": data.params, "tags": data.tags, "last": data.metrics, "all": history})
        return found


@pytest.fixture(params=["sqlite", SERVER, POSTGRES])
def place(request: pytest.FixtureRequest, paths: ProjectPaths) -> Place:
    """A place of each kind in turn."""
    study = re.sub(r"\W+", "_", request.node.name)
    if request.param == "sqlite":
        request.getfixturevalue("database")
        return Place(paths=paths, study=study, uri=None)
    return Place(paths=paths, study=study, uri=request.getfixturevalue(f"{request.param}_uri"))
