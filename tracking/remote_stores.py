"""MLflow stores that tracking.uri names: a server (http, https) or a PostgreSQL database, checked and opened.

Importing this loads neither MLflow nor a driver. A server's user and password may be part of the address or lie in
MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; no message shows them.
"""

import contextlib
import re
from collections.abc import Callable, Generator
from typing import Any

from sweeps.errors import StudyError
from tracking.mlflow_settings import CHECK_TIMEOUT_S, mlflow_settings
from tracking.run_store import OpenStore
from tracking.tracking_uri import ALLOWED, check_form, is_server, shown, user_and_password, with_driver, without_secrets

LOCK_WAIT_S = 300
"""How long an ingester waits for another one at the same database."""
_ADVISORY_LOCK = 7_106_107
"""Any number, the same in every ingester."""
_LETTERS = 300
_ARTIFACTS = "mlflow-artifacts:"
"""Left to the server that shows the database: a folder of one machine is nowhere on the others, and often too long."""
_MAY_CREATE = "SELECT has_schema_privilege(current_schema(), 'CREATE')"


def check_tracking_uri(uri: str | None) -> None:
    """Raises StudyError unless runs could be written to this address now; writes nothing. None and '' are runs.sqlite.

    It answers within some seconds, or after CHECK_TIMEOUT_S where a machine is silent.
    """
    if not uri:
        return
    check_form(uri)
    with mlflow_settings(timeout_s=CHECK_TIMEOUT_S):
        if is_server(uri):
            _check_server(uri)
        else:
            _check_postgresql(uri)


def _check_server(uri: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        with open_server(uri) as store:
            store.api.search_experiments(max_results=1)
    except MlflowException as error:
        raise StudyError(_server_refusal(uri, error)) from None


def _server_refusal(uri: str, error: Any) -> str:
    code = error.get_http_status_code()
    said = brief(error, uri)
    if is_denied(error):
        return (
            f"the MLflow server {shown(uri)} does not let us in ({said}); give it a user and a password (type: export "
            "MLFLOW_TRACKING_USERNAME=... MLFLOW_TRACKING_PASSWORD=..., then the same command)"
        )
    what = "no MLflow server answers at" if code >= 500 else "what answers is no MLflow server:"
    return (
        f"{what} {shown(uri)} ({said}); start it (type: .venv/bin/mlflow server --host HOST --port PORT "
        "--backend-store-uri ...), or leave tracking.uri out to write into runs.sqlite"
    )


def is_denied(error: Any) -> bool:
    """Returns whether a server refused because of who asks, which no waiting mends."""
    codes = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
    return str(getattr(error, "error_code", "")) in codes or " 401" in str(error)[:200] or " 403" in str(error)[:200]


def brief(error: BaseException, uri: str | None) -> str:
    """Returns what an error of a library says, in a line and without a password."""
    text = " ".join(str(error).split())
    # The statement, the class and the way through urllib3 say nothing to a person.
    text = re.split(r"\[SQL:|\(Background on this error", text)[0].rpartition("Caused by ")[2]
    text = re.sub(r"""^\w+\(["'](\w+\(.*?\): )?(.*?)["']?\)+$""", r"\2", text)
    text = re.sub(r"', \w+\((?:\d+, )?'?", ": ", text)
    text = re.sub(r"^\([\w.]+Error\) ", "", text).strip()
    text = without_secrets(text, uri) if uri else text
    return (text if len(text) <= _LETTERS else text[:_LETTERS] + " ...") or type(error).__name__


@contextlib.contextmanager
def open_server(uri: str) -> Generator[OpenStore]:
    """Opens the store behind a server; nothing is asked yet."""
    from mlflow.store.tracking.rest_store import RestStore

    store: Any = RestStore(server_credentials(uri))
    yield OpenStore(api=store, engine=None, artifacts_uri=None, shown_uri=shown(uri))


def server_credentials(uri: str) -> Callable[[], Any]:
    """Returns what MLflow asks before each request to a server: its address, and who we are."""
    from mlflow.utils import credentials as mlflow_credentials

    known: Any = mlflow_credentials
    plain, user, password = user_and_password(uri)

    def credentials() -> Any:
        found = known.get_default_host_creds(plain)
        if user and password:
            found.username, found.password = user, password
        return found

    return credentials


def _check_postgresql(uri: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with _connected(uri) as connection:
            _check_tables(connection, uri)
    except SQLAlchemyError as error:
        raise StudyError(
            f"the database {shown(uri)} cannot be reached ({brief(error, uri)}); see that it runs and that user, "
            "password and name are right (type: createdb DATABASE where it does not exist), or leave tracking.uri out "
            "to write into runs.sqlite"
        ) from None


@contextlib.contextmanager
def open_postgresql(uri: str) -> Generator[OpenStore]:
    """Opens a database, with MLflow's tables in it, for this ingester alone.

    Raises:
        StudyError: it belongs to another program or another version of MLflow, or there is no driver.
    """
    from sqlalchemy import text

    with _connected(uri) as connection:
        # Others with the same database may ingest on other machines. The lock goes with this connection.
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        _check_tables(connection, uri)
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        store: Any = SqlAlchemyStore(with_driver(uri), _ARTIFACTS)
        try:
            yield OpenStore(api=store, engine=store.engine, artifacts_uri=_ARTIFACTS, shown_uri=shown(uri))
        finally:
            store.engine.dispose()


@contextlib.contextmanager
def _connected(uri: str) -> Generator[Any]:
    """Connects to a database; raises StudyError without a driver, and SQLAlchemy's errors where it is not reached."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    address = with_driver(uri)
    try:
        driver = create_engine(address, poolclass=NullPool).driver
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StudyError(
            f"tracking.uri={shown(uri)} needs a driver that is not installed ({brief(error, uri)}); install one (type: "
            ".venv/bin/python -m pip install 'psycopg2-binary>=2.9') and write postgresql://..."
        ) from None
    except (ArgumentError, ValueError) as error:
        raise StudyError(f"tracking.uri={shown(uri)} cannot be read ({brief(error, uri)}); {ALLOWED}") from None
    # Drivers over libpq know this word; otherwise a silent machine is waited for two minutes.
    options = {"connect_timeout": CHECK_TIMEOUT_S} if driver.startswith("psycopg") else {}
    engine = create_engine(address, poolclass=NullPool, connect_args=options)
    with engine.connect() as connection:
        yield connection


def _check_tables(connection: Any, uri: str) -> None:
    """Refuses tables of another program, those of another version of MLflow, and a database that can have none."""
    from sqlalchemy import inspect, text

    tables = set(inspect(connection).get_table_names())
    if not tables:
        if not connection.execute(text(_MAY_CREATE)).scalar():
            raise StudyError(
                f"the database {shown(uri)} is empty and we may not make tables in it; let its owner type: "
                "GRANT CREATE ON SCHEMA public TO ..."
            )
        return
    if "experiments" not in tables:
        raise StudyError(
            f"the database {shown(uri)} has tables of another program ({', '.join(sorted(tables)[:3])}); give MLflow "
            "one of its own (type: createdb loglog)"
        )
    if "alembic_version" not in tables:
        return  # MLflow was stopped while it made its tables, and goes on with them
    from mlflow.store.db import utils

    schemas: Any = utils
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    wanted = schemas._get_latest_schema_revision()
    if found is not None and found != wanted:
        raise StudyError(
            f"the tables in {shown(uri)} are of another version of MLflow ({found}, ours are {wanted}); after a "
            "backup, bring the older side up to date (type: .venv/bin/mlflow db upgrade with the full address)"
        )
