"""Every kind of store meets the same tests: runs.sqlite, a real MLflow server, a real PostgreSQL."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.errors import StudyError
from sweeps.record import RunRecord, Status
from tests.tracking.places import POSTGRES, Place, no_postgres
from tests.tracking.places import place as place
from tests.tracking.places import postgres as postgres
from tests.tracking.places import postgres_uri as postgres_uri
from tests.tracking.places import server_uri as server_uri
from tests.tracking.private_stores import PrivatePostgres, private_server
from tracking import run_writer
from tracking.paths import ProjectPaths
from tracking.remote_stores import check_tracking_uri
from tracking.run_store import StoreUnavailableError
from tracking.store import ingest


@pytest.fixture(params=["in bulk", "through MLflow"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How new runs of a database are written; to a server they go through MLflow in any case."""
    if request.param == "through MLflow":
        monkeypatch.setattr(run_writer, "LONGEST_TEXT", 0)
    return request.param


def test_mlflow_reads_what_was_ingested(place: Place, way: str, made: Any) -> None:
    """Names, statuses, times, params, tags, last values and every point of the curve are as MLflow would have them."""
    whole, diverged = made.record(0), made.record(1, status=Status.DIVERGED)
    assert place.ingest(whole, diverged) == 2
    first, second = place.content()
    assert first["info"][:4] == ("f3-e2-lr0.8-s0", "FINISHED", 1_700_000_000_000, 1_700_000_009_500)
    assert second["info"][:2] == ("f3-e2-lr0.8-s1", "FAILED")
    assert first["params"]["model"] == "f3" and first["params"]["peak_lr"] == "0.8"
    assert first["last"]["val_loss"] == 1.5
    assert [step for step, _, _ in first["all"]["val_loss"]] == [50, 100, 150, 200, 200]
    assert first["tags"]["mlflow.runName"] == "f3-e2-lr0.8-s0"
    assert {"loglog.trial", "loglog.record", "loglog.digest"} <= first["tags"].keys()


@pytest.mark.parametrize("place", ["sqlite", POSTGRES], indirect=True)
def test_the_two_ways_are_one(place: Place, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written in bulk reads, through MLflow, exactly as what MLflow wrote itself."""
    curve = tuple(made.progress(step, train_loss=1 / step) for step in range(1, 301))
    records = [*(made.record(n, status=status) for n, status in enumerate(Status)), made.record(100, curve=curve)]
    place.ingest(*records)
    in_bulk = place.content()
    monkeypatch.setattr(run_writer, "LONGEST_TEXT", 0)
    other = dataclasses.replace(place, study=place.study + "_2")
    other.ingest(*records)
    assert [without_study(run) for run in other.content()] == [without_study(run) for run in in_bulk]


def without_study(run: dict[str, Any]) -> dict[str, Any]:
    """A run's content but for the study's name and what depends on it."""
    tags = {key: value for key, value in run["tags"].items() if key not in ("loglog.study", "loglog.digest")}
    return {**run, "tags": tags}


def test_twice_is_once(place: Place, way: str, made: Any) -> None:
    """The second ingestion writes nothing; a growing batch adds the new runs only."""
    batch = [made.record(seed, status=status) for seed, status in enumerate(Status)]
    assert place.ingest(*batch) == len(batch)
    names = [run.info.run_id for run in place.runs()]
    assert place.ingest(*batch) == 0
    assert place.ingest() == 0
    assert place.ingest(*batch, made.record(99)) == 1
    assert [run.info.run_id for run in place.runs(view=3)][:-1] == names


def test_every_status_is_one_of_mlflow(place: Place, made: Any) -> None:
    """Whatever a process that is gone has left, its run is not running in MLflow."""
    place.ingest(*(made.record(seed, status=status) for seed, status in enumerate(Status)))
    told = {run.data.tags["loglog.status"]: run.info.status for run in place.runs()}
    assert told == {
        "running": "RUNNING",
        "finished": "FINISHED",
        "diverged": "FAILED",
        "out_of_memory": "FAILED",
        "failed": "FAILED",
        "stopped": "KILLED",
        "killed": "KILLED",
    }


def cut_after(survived: int, patch: pytest.MonkeyPatch) -> None:
    """Lets so many of a store's writing calls happen and interrupts before the next: a run with a curve has five."""
    from mlflow.store.tracking.rest_store import RestStore
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    left = iter(range(survived))

    def limited(plain: Any) -> Any:
        def call(self: Any, *words: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return plain(self, *words)

        return call

    for store in (RestStore, SqlAlchemyStore):
        for name in ("create_run", "update_run_info", "log_batch"):
            patch.setattr(store, name, limited(getattr(store, name)))


@pytest.mark.parametrize("survived", range(8))
def test_an_interrupted_ingestion_is_completed(
    place: Place, made: Any, survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it was cut, the next one leaves exactly one active run of each trial, and what one alone had left."""
    curve = tuple(made.progress(step) for step in range(1, 201))
    batch = [made.record(0, curve=curve), made.record(1)]
    with monkeypatch.context() as patch:
        patch.setattr(run_writer, "LONGEST_TEXT", 0)
        cut_after(survived, patch)
        with contextlib.suppress(KeyboardInterrupt):
            place.ingest(*batch)
    assert len([run for run in place.runs() if "loglog.digest" in run.data.tags]) == (survived >= 4) + (survived >= 7)
    assert place.ingest(*batch) == 2 - (survived >= 4) - (survived >= 7)
    completed = place.content()
    alone = dataclasses.replace(place, study=place.study + "_2")
    assert alone.ingest(*batch) == 2
    assert [without_study(run) for run in completed] == [without_study(run) for run in alone.content()]


def test_killed_then_finished_is_one_run(place: Place, way: str, made: Any) -> None:
    """A killed run that was taken up again and finished is the same run, finished, with what was missing added."""
    whole: RunRecord = made.record()
    assert place.ingest(made.record(status=Status.KILLED, curve=whole.curve[:3])) == 1
    (killed,) = place.runs()
    assert killed.info.status == "KILLED"
    assert place.ingest(dataclasses.replace(whole, attempts=2)) == 1
    (finished,) = place.runs()
    assert (finished.info.run_id, finished.info.status) == (killed.info.run_id, "FINISHED")
    assert len(place.content()[0]["all"]["images"]) == len(whole.curve)


def test_a_repeated_attempt_leaves_no_stale_point(place: Place, way: str, made: Any) -> None:
    """Points that a later attempt dropped are in no active run; there is one of the trial."""
    stale = made.record(status=Status.FAILED, curve=(made.progress(30), made.progress(60)))
    place.ingest(stale)
    assert place.ingest(made.record(attempts=2)) == 1
    (run,) = place.content()
    assert [step for step, _, _ in run["all"]["images"]] == list(range(25, 201, 25))


def test_a_taint_given_in_mlflow_stays(place: Place, made: Any) -> None:
    """A run that a person marked as tainted stays so, through an update and through a replacement."""
    from mlflow.entities import RunTag

    place.ingest(made.record(status=Status.KILLED))
    (run,) = place.runs()
    with place.open() as store:
        store.api.log_batch(run.info.run_id, [], [], [RunTag("loglog.tainted", "wrong data")])
    for record in (made.record(), made.record(attempts=2, curve=(made.progress(10),))):
        assert place.ingest(record) == 1
        (run,) = place.runs()
        assert run.data.tags["loglog.tainted"] == "true"


def test_what_was_deleted_comes_back_once(place: Place, made: Any) -> None:
    """A deleted run is written again; one that was restored beside its successor is deleted again."""
    place.ingest(made.record())
    (run,) = place.runs()
    with place.open() as store:
        store.api.delete_run(run.info.run_id)
    assert place.ingest(made.record()) == 1
    with place.open() as store:
        api: Any = store.api
        api.restore_run(run.info.run_id)
    assert len(place.runs()) == 2
    assert place.ingest(made.record()) == 1
    assert len(place.runs()) == 1


def test_a_deleted_experiment_is_said(place: Place, made: Any) -> None:
    """The way back is told, and no password with it."""
    place.ingest(made.record())
    with place.open() as store:
        api: Any = store.api
        api.delete_experiment(api.get_experiment_by_name(place.study).experiment_id)
    with pytest.raises(StudyError, match=r"was deleted in MLflow.*experiments restore -x \d+") as refused:
        place.ingest(made.record())
    assert "top-secret-word" not in str(refused.value)


def test_two_ingesters_at_once_write_each_run_once(place: Place, made: Any) -> None:
    """Both have the same records, as two drivers in one folder have; each run is there once."""
    batch = [made.record(seed) for seed in range(6)]
    written: list[int] = []
    threads = [threading.Thread(target=lambda: written.append(place.ingest(*batch))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == [0, 6]
    assert len(place.runs(view=3)) == 6


@pytest.mark.real
@pytest.mark.skipif(bool(no_postgres), reason=str(no_postgres))
def test_two_machines_share_a_database(postgres: PrivatePostgres, tmp_path: Path, made: Any) -> None:
    """Two folders that know nothing of each other meet an empty database: tables and runs are made once."""
    uri = postgres.make_database("met by two")
    batch = [made.record(seed) for seed in range(3)]
    places = [Place(paths=ProjectPaths(root=tmp_path / name), study="shared", uri=uri) for name in ("one", "two")]
    written: list[int] = []

    def write(place: Place) -> None:
        written.append(place.ingest(*batch))

    threads = [threading.Thread(target=write, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == [0, 3]
    assert len(places[0].runs(view=3)) == 3


@pytest.mark.real
@pytest.mark.slow
def test_a_server_that_is_away_and_comes_back(paths: ProjectPaths, tmp_path: Path, made: Any) -> None:
    """While it is away that is said at once and briefly; when it is back everything is written, each run once."""
    batch = [made.record(seed) for seed in range(3)]
    folder = tmp_path / "server"
    folder.mkdir()
    with private_server(folder) as server:
        place = Place(paths=paths, study="away", uri=server.uri)
        assert place.ingest(*batch[:1]) == 1
        server.stop()
        with pytest.raises(StoreUnavailableError, match=r"Connection refused|Connection aborted"):
            place.ingest(*batch)
        with pytest.raises(
            StudyError, match=r"no MLflow server answers at http://127.*Connection refused.*mlflow server"
        ):
            check_tracking_uri(server.uri)
        server.start()
        check_tracking_uri(server.uri)
        assert place.ingest(*batch) == 2
        assert len(place.runs(view=3)) == 3


@pytest.mark.real
@pytest.mark.skipif(bool(no_postgres), reason=str(no_postgres))
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (lambda pg: pg.uri("mlflow", password="not-the-one"), "password authentication failed.*type: createdb"),
        (lambda pg: pg.uri("nowhere"), '"nowhere" does not exist.*type: createdb'),
        (lambda pg: pg.uri("postgres", scheme="postgresql+nodriver"), "driver that is not installed.*pip install"),
    ],
)
def test_a_database_that_cannot_be_used_is_said(
    postgres: PrivatePostgres, address: Callable[[PrivatePostgres], str], expected: str
) -> None:
    """Before anything is launched: what is wrong, what to type, no password."""
    uri = address(postgres)
    with pytest.raises(StudyError, match=expected) as refused:
        check_tracking_uri(uri)
    assert "not-the-one" not in str(refused.value) and "top-secret-word" not in str(refused.value)


@pytest.mark.real
@pytest.mark.skipif(bool(no_postgres), reason=str(no_postgres))
def test_a_database_of_another_program_is_refused(postgres: PrivatePostgres, paths: ProjectPaths, made: Any) -> None:
    """MLflow's tables are not put beside somebody else's, and tables of another MLflow are named."""
    uri = postgres.make_database("others")
    check_tracking_uri(uri)
    postgres.run("CREATE TABLE diary (day date)", "others")
    with pytest.raises(StudyError, match=r"tables of another program \(diary\).*createdb"):
        check_tracking_uri(uri)
    with pytest.raises(StudyError, match="another program"):
        ingest(paths, made.study, [made.record()], tracking_uri=uri)
    uri = postgres.make_database("older")
    assert ingest(paths, made.study, [made.record()], tracking_uri=uri) == 1
    check_tracking_uri(uri)
    postgres.run("UPDATE alembic_version SET version_num = '451aebb31d03'", "older")
    with pytest.raises(StudyError, match=r"another version of MLflow \(451aebb31d03.*mlflow db upgrade"):
        check_tracking_uri(uri)


@pytest.mark.real
@pytest.mark.skipif(bool(no_postgres), reason=str(no_postgres))
def test_tables_may_not_be_made(postgres: PrivatePostgres) -> None:
    """A user that may make no tables in an empty database is told so before anything is launched."""
    postgres.make_database("closed")
    postgres.run("CREATE ROLE guest LOGIN PASSWORD 'guest-word'")
    uri = postgres.uri("closed").replace("loglog:top-secret-word", "guest:guest-word")
    with pytest.raises(StudyError, match=r"may not make tables.*GRANT CREATE"):
        check_tracking_uri(uri)
