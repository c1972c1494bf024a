"""What MLflow is told before it is asked: no report of use, no log of its own, and how long to wait for a server.

MLflow's own patience, seven tries of two minutes, looks like a hang. And a try whose answer was lost may have been
carried out: only who looks before writing, as ingestion does, may try again.
"""

import contextlib
import logging
import os
from collections.abc import Generator, Mapping

CHECK_TIMEOUT_S = 10
REQUEST_TIMEOUT_S = 60
"""For each request of an ingestion: a server with ten thousand runs needs some time to list them."""
_NOISY = ("mlflow.store.db.utils", "mlflow.store.tracking.sqlalchemy_store", "mlflow.utils.rest_utils")
"""They log what they raise as well, with a traceback."""


@contextlib.contextmanager
def mlflow_settings(*, timeout_s: int = REQUEST_TIMEOUT_S) -> Generator[None]:
    """Sets how MLflow behaves while it is imported and asked; [s] for each request to a server."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    settings = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_s), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with environment(settings):
        yield


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Generator[None]:
    """Sets variables of the environment and puts back what was there."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
