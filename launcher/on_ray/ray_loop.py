"""The Ray Tune loop that runs the queued packs, in an actor of its own.

Not in a thread of the driver: one way serves all addresses (a driver behind ray:// cannot run the loop itself), what
Tune prints and sets in its environment stays out of the driver, and killing that one actor ends all the others, which
it owns, at once.
"""

import contextlib
import importlib
import os
import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.contract.backend import Order
from launcher.on_ray.ray_connection import Needs
from launcher.on_ray.ray_tape import News, Slip, Tape
from launcher.settings.request import AshaSpec
from launcher.work.worker_environment import worker_environment

MAX_FAILURES = 1
"""So often Tune starts a pack again whose actor or node died; then the driver counts, who knows whether it gets on."""
MAX_PENDING = 8
"""Packs that ask for room in a cluster of unknown size: what an autoscaler sees of our need."""
TUNE_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # journals say it all
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # never: the plan and the journals are the state
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


class TuneLoop:
    """The driver's handle of a loop: started with the first packs, ended with all its actors."""

    def __init__(self, ray: Any, order: Order, needs: Needs, *, max_running: int | None, asha: AshaSpec | None) -> None:
        self._ray = ray
        self._order, self._needs, self._max_running, self._asha = order, needs, max_running, asha
        self._runs_dir = order.paths.study_dir(order.study) / "ray"
        self._actor: Any = None
        self._end: Any = None
        self._tape: Tape | None = None

    def clear(self) -> None:
        """Takes away what earlier drivers have left."""
        shutil.rmtree(self._runs_dir, ignore_errors=True)

    @property
    def is_there(self) -> bool:
        """Whether a loop has been started and not ended by us."""
        return self._tape is not None

    def put(self, slips: Sequence[Slip]) -> None:
        """Queues packs; starts the loop where there is none. Returns before they run."""
        if self._tape is None:
            self._tape = self._start()
        self._tape.put(slips)

    def news(self) -> Sequence[News]:
        """Returns which packs Tune is done with since the last call."""
        return [] if self._tape is None else self._tape.news()

    def death(self) -> str | None:
        """Returns why the loop has ended, if it has without being asked to."""
        if self._end is None:
            return None
        try:
            if not self._ray.wait([self._end], timeout=0)[0]:
                return None
            self._ray.get(self._end)
        except Exception as error:
            lines = [line for line in str(error).strip().splitlines() if line.strip()]
            return (lines[-1] if lines else type(error).__name__).strip()
        return "it took its work for done"

    def end(self) -> None:
        """Kills the loop and with it every actor it has started. Harmless when repeated."""
        if self._tape is not None:
            self._tape.close()
            if self._ray.is_initialized():
                with contextlib.suppress(Exception):  # whatever Ray says to that, it is over
                    self._ray.kill(self._actor)
            shutil.rmtree(self._tape.folder, ignore_errors=True)
        self._actor = self._end = self._tape = None

    def _start(self) -> Tape:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        order = self._order
        tape = Tape(self._runs_dir / uuid.uuid4().hex[:12])
        tape.folder.mkdir(parents=True)
        order.log_dir.mkdir(parents=True, exist_ok=True)
        # Beside the driver, or behind ray:// beside the server it talks to: where one is, the other is needed too.
        here = NodeAffinitySchedulingStrategy(node_id=self._ray.get_runtime_context().get_node_id(), soft=False)
        remote: Any = self._ray.remote(Conductor)
        settings = {"runtime_env": {"env_vars": self._environment()}, "scheduling_strategy": here, "num_cpus": 0}
        self._actor = remote.options(**settings).remote(str(tape.folder), str(order.log_dir / "ray.log"))
        self._end = self._actor.conduct.remote(
            batches_dir=str(order.paths.study_dir(order.study) / "batches"),
            needs=vars(self._needs),
            max_running=self._max_running,
            halving=None if self._asha is None else vars(self._asha),
        )
        return tape

    def _environment(self) -> dict[str, str]:
        """Returns what the processes of all actors get in their environment, the loop's too."""
        is_on_cpu = not any(name in self._needs.bundle for name in ("GPU", "TPU"))
        environment = worker_environment(self._order.paths.compile_cache, is_on_cpu=is_on_cpu)
        pending = {"TUNE_MAX_PENDING_TRIALS_PG": str(self._max_running or MAX_PENDING)}
        passed = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return {**environment, **TUNE_SETTINGS, **pending, **passed}


class Conductor:
    """The actor that runs the loop."""

    def __init__(self, tape_folder: str, log: str) -> None:
        """Sends what Tune prints to a file of the study's."""
        self._tape = Tape(Path(tape_folder))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in (1, 2):
            os.dup2(descriptor, number)
        sys.stdout = sys.stderr = os.fdopen(descriptor, "a", buffering=1, errors="replace")

    def conduct(
        self,
        *,
        batches_dir: str,
        needs: dict[str, Any],
        max_running: int | None,
        halving: dict[str, Any] | None,
    ) -> None:
        """Runs packs until no more come."""
        from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner

        from launcher.on_ray.asha_by_cell import AshaByCell
        from launcher.on_ray.pack_scheduler import PackScheduler
        from launcher.on_ray.plan_searcher import Gazette, PlanSearcher
        from launcher.on_ray.ray_trainable import PackTrainable

        file_systems: Any = importlib.import_module("pyarrow.fs")  # without types
        folder, batches = self._tape.folder, Path(batches_dir)
        asha = None if halving is None else AshaByCell(**halving)
        config = {"batches_dir": batches_dir, "rendezvous_dir": str(folder), **needs}
        tuner: Any = Tuner(
            PackTrainable,
            param_space=config,
            tune_config=TuneConfig(
                search_alg=PlanSearcher(self._tape, batches, max_running=max_running),
                scheduler=PackScheduler(batches, warm_actors=max_running or 10**6, asha=asha),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_pack_name,
                trial_dirname_creator=_pack_name,
            ),
            run_config=RunConfig(
                name="tune",
                storage_path=str(folder),
                storage_filesystem=file_systems.LocalFileSystem(),  # or letters in the path would be read as a URI's
                failure_config=FailureConfig(max_failures=MAX_FAILURES),
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                callbacks=[Gazette(self._tape)],
                verbose=0,
            ),
        )
        tuner.fit()


def _pack_name(trial: Any) -> str:
    return f"{trial.config['batch']}-{trial.config['place']}"
