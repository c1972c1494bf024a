"""`make ui`: MLflow's own pages over runs.sqlite, for this machine only, opened at each study's own view."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence

from sweeps.errors import StudyError
from tracking.paths import ProjectPaths, project_paths
from tracking.run_table import RECORD_TAG, list_studies, open_runs
from tracking.study_view import VIEW_TAG, view_address

HOST = "127.0.0.1"
SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else a dozen processes wait for jobs that nobody gives
}
FIRST_PORT, PORTS_TRIED = 5000, 100
_OWN = ("127.0.0.1", "localhost", "::1")
_VIEWS = """
    SELECT experiments.name, experiments.experiment_id, view.value IS NOT NULL
    FROM experiments
    JOIN runs ON runs.experiment_id = experiments.experiment_id AND runs.lifecycle_stage = 'active'
    JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = :record
    LEFT JOIN experiment_tags AS view ON view.experiment_id = experiments.experiment_id AND view.key = :view
    WHERE experiments.lifecycle_stage = 'active'
    GROUP BY experiments.experiment_id ORDER BY MAX(runs.start_time) DESC
"""


def server_command(paths: ProjectPaths, port: int) -> list[str]:
    """Returns the command of MLflow's server over the recorded runs.

    Raises:
        StudyError: there are none; MLflow would make an empty database by itself.
    """
    list_studies(paths)
    return [
        *(sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{paths.runs_sqlite}"),
        *("--artifacts-destination", paths.artifacts_dir.as_uri()),
    ]


def free_port(first: int = FIRST_PORT) -> int:
    """Returns the first port from `first` on that nothing listens on: macOS itself sits on 5000.

    Raises:
        StudyError: none of a hundred is free.
    """
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise StudyError(
        f"nothing can listen on {HOST}, ports {first} to {first + PORTS_TRIED - 1}; "
        "name another between 1024 and 65535 (type: make ui EXTRA='--port 8080')"
    )


def study_addresses(paths: ProjectPaths, port: int) -> list[tuple[str, str]]:
    """Returns each study with the address of its view, the latest first; runs of older versions have no view yet."""
    base = f"http://{HOST}:{port}"
    with open_runs(paths) as connection:
        rows = connection.execute(_VIEWS, {"record": RECORD_TAG, "view": VIEW_TAG}).fetchall()
    plain = "/#/experiments/{}/runs?workflowType=machine_learning"
    return [(name, view_address(base, str(i)) if has_view else base + plain.format(i)) for name, i, has_view in rows]


def _check_host(host: str) -> None:
    """Raises StudyError for any machine but this one: MLflow's pages ask nobody who he is, and let all delete runs."""
    if host not in _OWN:
        raise StudyError(
            f"--host {host} would let everybody in that network read, change and delete the runs, for these pages ask "
            f"for no password; from the other machine, type: ssh -L {FIRST_PORT}:{HOST}:{FIRST_PORT} THIS_MACHINE, or "
            "start a server with a password (docs/tracking.md, Looking from another machine)"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Becomes MLflow's server, until it is interrupted; returns 2 where there is nothing to show."""
    parser = argparse.ArgumentParser(prog="make ui", description=__doc__)
    parser.add_argument("--port", type=int, default=FIRST_PORT, help="the first port to try (default: %(default)s)")
    parser.add_argument("--host", default=HOST, help="this machine's own address; any other is refused")
    words = parser.parse_args(argv)
    paths = project_paths()
    try:
        _check_host(words.host)
        port = free_port(words.port)
        command = server_command(paths, port)
        studies = study_addresses(paths, port)
    except StudyError as error:
        print(f"make ui: {error}", file=sys.stderr)
        return 2
    os.environ.update(SERVER_ENVIRONMENT)
    print(f"MLflow opens at http://{HOST}:{port} in some seconds; Ctrl-C ends it", flush=True)
    for study, address in studies:
        print(f"  {study}: {address}", flush=True)
    return os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
