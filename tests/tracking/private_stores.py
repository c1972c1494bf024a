"""Real MLflow servers and a real PostgreSQL of a test session's own, on this machine only."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
START_S = 90.0
_POSTGRES_FOLDERS = ("/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class PrivateServer:
    """An MLflow server over a database of its own; it can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://{HOST}:{self._port}"

    def start(self) -> None:
        """Returns once it answers."""
        words = ["--host", HOST, "--port", str(self._port), "--workers", "1"]
        store = ["--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}"]
        artifacts = ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words, *store, *artifacts],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with (
                contextlib.suppress(OSError, urllib.error.URLError),
                urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer,
            ):
                if answer.status == 200:
                    return
            time.sleep(0.2)
        log_text = (self._folder / "log").read_text()
        self.stop()
        raise RuntimeError(f"mlflow server did not start: {log_text[-2000:]}")

    def stop(self) -> None:
        """Ends it and its workers; harmless when repeated."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def private_server(folder: Path) -> Iterator[PrivateServer]:
    """A server that runs."""
    server = PrivateServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def postgres_binaries() -> Path | None:
    """The newest folder with initdb and pg_ctl, or None."""
    found = [path.parent for folder in _POSTGRES_FOLDERS for path in Path(folder).glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    return sorted(found)[-1] if found else Path(on_path).parent if on_path else None


def why_no_postgres() -> str | None:
    """Why no private PostgreSQL can be started here; None where it can."""
    if postgres_binaries() is None:
        return "PostgreSQL is not installed here (apt-get install postgresql)"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user postgres"
        if not shutil.which("runuser"):
            return "PostgreSQL does not run as root, and there is no runuser"
    return None


@dataclass(frozen=True, kw_only=True)
class PrivatePostgres:
    """A running PostgreSQL; its only user needs a password."""

    port: int
    user: str
    password: str
    psql: tuple[str, ...]

    def uri(self, database: str, *, password: str | None = None, scheme: str = "postgresql") -> str:
        """The address of one of its databases."""
        return f"{scheme}://{self.user}:{password or self.password}@{HOST}:{self.port}/{database}"

    def run(self, sql: str, database: str = "postgres") -> None:
        """Does something in a database, as its owner."""
        environment = {**os.environ, "PGPASSWORD": self.password}
        words = [*self.psql, "-h", HOST, "-p", str(self.port), "-U", self.user, "-d", database, "-qc", sql]
        subprocess.run(words, env=environment, check=True, capture_output=True)

    def make_database(self, name: str) -> str:
        """The address of a new, empty database."""
        self.run(f'CREATE DATABASE "{name}"')
        return self.uri(name)


@contextlib.contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """A PostgreSQL that runs, in a folder that goes with it."""
    binaries = postgres_binaries()
    assert binaries is not None
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    password, port = "top-secret-word", free_port()
    folder = Path(tempfile.mkdtemp(prefix="loglog-pg-"))
    try:
        (folder / "password").write_text(password)
        if as_user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        data, sockets = folder / "data", folder
        words = ["-D", str(data), "-U", "loglog", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "-N"]
        _quietly([*as_user, str(binaries / "initdb"), *words], folder)
        options = f"-p {port} -k {sockets} -h {HOST} -F"
        start = ["-D", str(data), "-l", str(folder / "log"), "-w", "-t", str(int(START_S)), "-o", options, "start"]
        _quietly([*as_user, str(binaries / "pg_ctl"), *start], folder)
        try:
            yield PrivatePostgres(port=port, user="loglog", password=password, psql=(str(binaries / "psql"),))
        finally:
            stop = ["-D", str(data), "-m", "immediate", "-w", "stop"]
            _quietly([*as_user, str(binaries / "pg_ctl"), *stop], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _quietly(words: list[str], folder: Path) -> None:
    # A server that pg_ctl starts keeps what it is given as stdout, so a pipe would never end.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
        if done.returncode:
            said.seek(0)
            raise RuntimeError(f"{words}: {said.read().decode(errors='replace')[-2000:]}")
