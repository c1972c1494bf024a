"""`make ui`: MLflow's own pages over runs.sqlite, for this machine only."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence

from sweeps.errors import StudyError
from tracking.paths import ProjectPaths, project_paths
from tracking.run_table import list_studies

HOST = "127.0.0.1"
FIRST_PORT, PORTS_TRIED = 5000, 100


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


def main(argv: Sequence[str] | None = None) -> int:
    """Becomes MLflow's server, until it is interrupted; returns 2 where there is nothing to show."""
    parser = argparse.ArgumentParser(prog="make ui", description=__doc__)
    parser.add_argument("--port", type=int, default=FIRST_PORT, help="the first port to try (default: %(default)s)")
    words = parser.parse_args(argv)
    try:
        port = free_port(words.port)
        command = server_command(project_paths(), port)
    except StudyError as error:
        print(f"make ui: {error}", file=sys.stderr)
        return 2
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    print(f"MLflow opens at http://{HOST}:{port} in some seconds; Ctrl-C ends it", flush=True)
    return os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
