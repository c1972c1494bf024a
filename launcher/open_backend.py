"""Which back end a cluster's name stands for."""

import contextlib

from launcher.backend import Backend, Order
from launcher.inline import InlineBackend
from launcher.local import LocalBackend
from sweeps.errors import StudyError


def open_backend(name: str, order: Order, *, workers: int | None = None) -> contextlib.closing[Backend]:
    """Returns the back end called `name`, to be used in a with statement.

    Raises:
        StudyError: no back end of that name exists.
    """
    if name == "inline":
        return contextlib.closing[Backend](InlineBackend(order))
    if name == "local":
        return contextlib.closing[Backend](LocalBackend(order, workers=workers))
    raise StudyError(f"cluster {name!r} is not known; inline and local are (try: CLUSTER=local)")
