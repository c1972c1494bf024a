import base64
import http.server
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sweeps.errors import StudyError
from tracking.paths import ProjectPaths
from tracking.remote_stores import brief, check_tracking_uri
from tracking.store import ingest


class Answering(http.server.BaseHTTPRequestHandler):
    """Says the same to everybody and keeps what it was told of users."""

    answer: tuple[int, str] = (200, "{}")
    users: list[str]

    def do_POST(self) -> None:
        """Answers any question."""
        self.users.append(self.headers.get("Authorization", ""))
        code, text = self.answer
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST  # noqa: N815 -- as http.server names it

    def log_message(self, *words: Any) -> None:
        """Says nothing."""


@pytest.fixture
def stand_in() -> Iterator[tuple[str, type[Answering]]]:
    """The address of something that answers, and what decides how."""
    handler = type("OneTest", (Answering,), {"users": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", handler
        finally:
            server.shutdown()
            thread.join()


def test_user_and_password_reach_the_server(stand_in: tuple[str, type[Answering]]) -> None:
    """Those of the address, decoded."""
    address, handler = stand_in
    check_tracking_uri(f"http://me:w%40rd@{address}")
    assert handler.users == ["Basic " + base64.b64encode(b"me:w@rd").decode()]


@pytest.mark.parametrize("code", [401, 403])
def test_who_is_not_let_in_is_told_how(
    stand_in: tuple[str, type[Answering]], paths: ProjectPaths, made: Any, code: int
) -> None:
    """Where the password belongs is said, without the one that was wrong; no waiting mends it."""
    address, handler = stand_in
    handler.answer = (code, "You are not authenticated.")
    for call in (
        lambda uri: check_tracking_uri(uri),
        lambda uri: ingest(paths, made.study, [made.record()], tracking_uri=uri),
    ):
        with pytest.raises(StudyError, match=r"does not let us in.*MLFLOW_TRACKING_PASSWORD") as refused:
            call(f"http://me:hush@{address}")
        assert "hush" not in str(refused.value)


@pytest.mark.parametrize("answer", [(200, "<html>hello</html>"), (404, "<html>what?</html>"), (404, json.dumps({}))])
def test_what_is_no_mlflow_server_is_refused(stand_in: tuple[str, type[Answering]], answer: tuple[int, str]) -> None:
    """Some page that answers is not enough."""
    address, handler = stand_in
    handler.answer = answer
    with pytest.raises(StudyError, match=r"no MLflow server.*mlflow server"):
        check_tracking_uri(f"http://{address}")


def test_settings_of_mlflow_are_given_back(stand_in: tuple[str, type[Answering]]) -> None:
    """Our patience with a server is not everybody's."""
    check_tracking_uri(f"http://{stand_in[0]}")
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("(sqlite3.OperationalError) database is locked\n[SQL: INSERT INTO x]", "database is locked"),
        ("it is\n  full (Background on this error at: https://x)", "it is full"),
        ("way (Caused by NewError(\"Connection(host='h', port=1): [Errno 111] refused\"))", "[Errno 111] refused"),
        ("postgresql://me:hush@h said hush", "postgresql://***@h said ***"),
        ("", "ValueError"),
    ],
)
def test_what_libraries_say_is_made_short(said: str, expected: str) -> None:
    """Of an error of a library its reason remains."""
    assert brief(ValueError(said), "postgresql://me:hush@h/d") == expected


def test_a_long_error_is_cut() -> None:
    """A page of HTML is no reason."""
    assert len(brief(ValueError("x" * 5000), None)) < 400
