import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.errors import StudyError
from tracking.tracking_uri import check_form, shown, user_and_password, with_driver, without_secrets

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "https://mlflow.example.org",
        "https://user:word@example.org/mlflow/",
        "postgresql://user:word@db.example.org:5432/runs",
        "postgresql://user:w%40rd@db/runs?sslmode=require",
        "postgresql+psycopg2:///runs?host=/var/run/postgresql",
        "postgresql+psycopg://db/runs",
    ],
)
def test_servers_and_databases_are_taken(uri: str) -> None:
    """An MLflow server and a PostgreSQL database, with any driver, on a socket too."""
    check_form(uri)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mysql://u:hush@h/d", r"mysql://\*\*\*@h/d is no place.*leave tracking.uri out.*http://HOST:PORT"),
        ("sqlite:///other.db", r"sqlite:///other.db is no place"),
        ("/a/folder", "is no place"),
        ("localhost:5000", "is no place"),
        ("postgresql+:///x", "is no place"),
        ("postgres://u:hush@h/d", r"type tracking.uri=postgresql://\*\*\*@h/d"),
        ("postgresql://u:hu/sh@h/d", "%40 %2F"),
        ("postgresql://u:hu@sh@h/d", "%40 %2F"),
        ("postgresql://u:hu#sh@h/d", "%40 %2F"),
        ("http://127.0.0.1:5000x", "port is no number"),
        ("http://", "names no host"),
        ("http://u:hush@", "names no host"),
    ],
)
def test_anything_else_is_refused(uri: str, expected: str) -> None:
    """What was got without its password, what is allowed, what to type."""
    with pytest.raises(StudyError, match=expected) as refused:
        check_form(uri)
    assert not any(part in str(refused.value) for part in ("hush", "hu@", "sh@", "hu/", "hu#"))


passwords = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=4, max_size=20)


@given(password=passwords)
def test_no_password_is_shown(password: str) -> None:
    """Whatever its letters: neither in the address as it is shown nor in what a library says of it."""
    for uri in (f"postgresql://user:{password}@host/db", f"postgresql://host/db?user=u&password={password}&x=1"):
        if "?" in uri and any(letter in password for letter in "&#@"):
            continue
        assert password not in shown(uri)
        assert password not in without_secrets(f"cannot connect to {uri}: '{password}' is wrong", uri)
        assert "host" in shown(uri)


def test_what_is_shown_can_be_recognised() -> None:
    """Of an address everything stays but user, password and secret options."""
    assert shown("https://example.org:8080/mlflow") == "https://example.org:8080/mlflow"
    assert shown("postgresql://me:word@db:1/runs?sslpassword=two&sslmode=on") == (
        "postgresql://***@db:1/runs?sslpassword=***&sslmode=on"
    )
    assert without_secrets("user me, w@rd, w%40rd", "http://me:w%40rd@h") == "user me, ***, ***"


def test_a_user_is_taken_out_of_an_address() -> None:
    """A server gets user and password in a header, so that no error names them."""
    assert user_and_password("https://me:w%40rd@h:1/x/") == ("https://h:1/x/", "me", "w@rd")
    assert user_and_password("http://h:1") == ("http://h:1", None, None)


def test_the_installed_driver_is_taken() -> None:
    """An address that names no driver gets one that is there; one that names a driver keeps it."""
    assert with_driver("postgresql://u@h/d") == "postgresql+psycopg2://u@h/d"
    assert with_driver("postgresql+psycopg://u@h/d") == "postgresql+psycopg://u@h/d"


def test_importing_and_refusing_need_no_mlflow() -> None:
    """A misspelt address is refused before anything slow is imported."""
    code = (
        "import sys\nfrom tracking.remote_stores import check_tracking_uri\ncheck_tracking_uri(None)\n"
        "try:\n    check_tracking_uri('mysql://h/d')\nexcept Exception as error:\n    print(type(error).__name__)\n"
        "print(*(name for name in ('mlflow', 'sqlalchemy', 'psycopg2') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["StudyError"]
