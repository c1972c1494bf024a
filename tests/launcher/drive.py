"""A driver in a process of its own, to be interrupted and killed: `python drive.py --models steady --seeds 4`."""

import argparse
import sys
from collections.abc import Callable

from launcher.drive import ingestion, sweep
from launcher.on_slurm import slurm_backend
from launcher.settings.request import CLUSTERS, InlineCluster, LocalCluster, RayCluster, Request, SlurmCluster
from sweeps.budget import Budget
from sweeps.errors import StudyError
from sweeps.study import Study
from tracking.paths import project_paths


def request_of(words: list[str], make_study: Callable[..., Study]) -> Request:
    """Returns the request that the words describe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=["steady"])
    parser.add_argument("--epochs", nargs="+", type=float, default=[1.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--budget", default="100k")
    parser.add_argument("--data", default="fake")
    parser.add_argument("--cluster", choices=sorted(CLUSTERS), default="local")
    parser.add_argument("--address", help="of an existing Ray")
    parser.add_argument("--spend", type=float)
    parser.add_argument("--max-queued", type=int, default=5000)
    parser.add_argument("--single", action="store_true", help="one trial a job")
    parser.add_argument("--patience", type=float, default=1.0, help="how long Slurm's dead jobs are waited for [s]")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--journals-only", action="store_true", help="no MLflow and no fit, which take seconds")
    parser.add_argument("--ingest-every", type=float, default=ingestion.INTERVAL_S, help="seconds between ingestions")
    args = parser.parse_args(words)
    ingestion.INTERVAL_S = args.ingest_every
    if args.journals_only:
        sweep.ingest_ended = ingestion.ingest_ended = lambda paths, study, **_: 0
        sweep._fit = lambda sweep, answer: 0
    slurm_backend.GRACE_S = args.patience
    clusters = {
        "local": LocalCluster(workers=args.workers),
        "slurm": SlurmCluster(time_min=10, max_queued=args.max_queued, trials_per_job=1 if args.single else None),
        "ray": RayCluster(address=args.address, max_workers=args.workers),
    }
    study = make_study(*args.models, epochs=tuple(args.epochs), seeds=args.seeds, data=args.data)
    return Request(
        study=study,
        budget=Budget.parse(args.budget, hardware=study.hardware.name),
        spend_cap_core_hours=args.spend,
        cluster=clusters.get(args.cluster, InlineCluster()),
        json=args.json,
    )


def main() -> int:
    """Runs the sweep as `python -m launcher` does, with the fake trainer."""
    from small_study import make_study

    try:
        return sweep.run_sweep(request_of(sys.argv[1:], make_study), project_paths(), trainer="fake_trainer:train")
    except StudyError as error:
        print(f"loglog: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
