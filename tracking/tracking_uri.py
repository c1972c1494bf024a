"""What tracking.uri may name, and how it is told without its password; neither MLflow nor a driver is loaded for it."""

import importlib.util
import re
import urllib.parse

from sweeps.errors import StudyError

ALLOWED = (
    "leave tracking.uri out for runs.sqlite, or give the address of an MLflow server (http://HOST:PORT, https://HOST) "
    "or of a PostgreSQL database (postgresql://USER:PASSWORD@HOST:PORT/DATABASE)"
)
_SERVERS = ("http", "https")
_DATABASE = re.compile(r"postgresql(\+[a-z0-9_]+)?")
_DRIVERS = ("psycopg2", "psycopg")
_USER = re.compile(r"//.*@", re.DOTALL)
_PASSWORD = re.compile(r"//[^:]*:(.*)@", re.DOTALL)
_SECRET_OPTION = re.compile(r"([?&;][^=&]*(?:pass|secret|token)[^=&]*=)([^&#]*)", re.IGNORECASE)
_HIDDEN = "***"


def is_server(uri: str) -> bool:
    """Returns whether the address is that of an MLflow server."""
    return _scheme(uri) in _SERVERS


def check_form(uri: str) -> None:
    """Raises StudyError unless the address is one of a kind that runs can be written to; asks nobody."""
    scheme = _scheme(uri)
    if scheme == "postgres":
        raise StudyError(
            f"tracking.uri={shown(uri)} begins with postgres://, which is no longer read; "
            f"type tracking.uri={shown(uri).replace('postgres:', 'postgresql:', 1)}"
        )
    if scheme not in _SERVERS and not _DATABASE.fullmatch(scheme):
        raise StudyError(f"tracking.uri={shown(uri)} is no place that runs can be written to; {ALLOWED}")
    rest = uri.partition("://")[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    beyond = rest[len(authority) :].partition("?")
    try:
        has_port = urllib.parse.urlsplit(uri).port is not None or True
    except ValueError:
        has_port = False
    if not has_port or authority.count("@") > 1 or "@" in beyond[0]:
        raise StudyError(
            f"tracking.uri={shown(uri)} cannot be read: the port is no number, or user or password hold one of @ / ? # "
            "as it is; write those as %40 %2F %3F %23"
        )
    if not authority.rpartition("@")[2] and scheme in _SERVERS:
        raise StudyError(f"tracking.uri={shown(uri)} names no host; {ALLOWED}")


def with_driver(uri: str) -> str:
    """Returns the address of a database with the driver that is installed, where it names none.

    SQLAlchemy's own choice changed with its version 2.1, and one of the two drivers is enough.
    """
    if _scheme(uri) != "postgresql":
        return uri
    driver = next((name for name in _DRIVERS if importlib.util.find_spec(name)), _DRIVERS[0])
    return f"postgresql+{driver}://{uri.partition('://')[2]}"


def shown(uri: str) -> str:
    """Returns the address as messages may show it: without user, password and other secrets."""
    return _SECRET_OPTION.sub(rf"\1{_HIDDEN}", _USER.sub(f"//{_HIDDEN}@", uri))


def without_secrets(text: str, uri: str) -> str:
    """Returns what a library says about the address, without the password that is in it."""
    secrets = [match[1] for match in [_PASSWORD.search(uri)] if match]
    secrets += [match[2] for match in _SECRET_OPTION.finditer(uri)]
    for secret in sorted({form for one in secrets for form in (one, urllib.parse.unquote(one))}, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN) if secret else text
    return re.sub(r"//[^/\s]*@", f"//{_HIDDEN}@", text)


def user_and_password(uri: str) -> tuple[str, str | None, str | None]:
    """Returns the address of a server without its user, the user and the password."""
    parts = urllib.parse.urlsplit(uri)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    unquote = urllib.parse.unquote
    return plain, parts.username and unquote(parts.username), parts.password and unquote(parts.password)


def _scheme(uri: str) -> str:
    return uri.partition("://")[0].lower() if "://" in uri else ""
