"""What surrounds the reconcile loop on a simulated cluster: its time, its records, and nobody who looks on."""

from collections.abc import Callable, Iterable, Sequence

from launcher.contract.backend import Task
from launcher.drive.spending import SpendLedger
from launcher.drive.surroundings import Surroundings
from launcher.rehearse.simulated_backend import SimulatedBackend
from launcher.show.progress import SilentView
from launcher.show.tally import Tally


def surroundings_of(
    backend: SimulatedBackend,
    ledger: SpendLedger,
    pending: Iterable[Task] = (),
    *,
    on_turn: Callable[[], None] = lambda: None,
    more: Callable[[frozenset[str]], Sequence[Sequence[Task]]] = lambda given_up: (),
) -> Surroundings:
    """Returns the surroundings of a driver of the backend; arguments are those of Surroundings.

    Args:
        backend: whose virtual time and records they are.
        ledger: what may be used.
        pending: the tasks that the loop begins with.
        on_turn: called at every turn of the loop.
        more: what is run once nothing is owed.
    """
    tasks = list(pending)
    return Surroundings(
        tally=Tally(pending=tasks, runs=len(tasks), core_hours=0.0, clock=backend.clock.monotonic),
        view=SilentView(),
        ledger=ledger,
        on_settled=lambda trial_id: None,
        known=backend.record,
        saved_mark=backend.saved_mark,
        on_turn=on_turn,
        more=more,
        clock=backend.clock.monotonic,
        sleep=backend.clock.sleep,
    )
