#!/usr/bin/env python3
"""Shows the TPU requests of one study, what they hold without using it, and deletes the dead ones with --delete.

    deploy/tpu_vm/clean_up.py --project=PROJECT_ID --zone=ZONE --study=STUDY_LABEL            # shows, deletes nothing
    deploy/tpu_vm/clean_up.py --project=PROJECT_ID --zone=ZONE --study=STUDY_LABEL --delete   # deletes dead requests
    deploy/tpu_vm/clean_up.py --project=PROJECT_ID --zone=ZONE --study=STUDY_LABEL --delete --all   # the study is over

A request that was pre-empted, has failed or has expired stays in the list and counts against the quota until it is
deleted. Only requests whose label loglog_study is STUDY_LABEL are ever touched. Needs gcloud, and nothing else.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

DEAD = ("SUSPENDED", "FAILED")
"""States whose request can only be deleted. SUSPENDING becomes SUSPENDED."""
LABEL = "loglog_study"
NEWEST_WRITE = "sudo find /srv/loglog/runs -type f -printf '%T@\\n' 2>/dev/null | sort -n | tail -n 1"
"""Says when any run last wrote: a working sweep appends to a journal or saves a checkpoint within minutes."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One queued resource of the study."""

    name: str
    state: str
    node: str
    accelerator: str
    age_h: float

    @property
    def cores(self) -> int:
        """TensorCores: v4-16 counts cores; v5litepod-8 and v6e-8 count chips of one core each."""
        digits = self.accelerator.rpartition("-")[2]
        return int(digits) if digits.isdigit() else 0


def main() -> int:
    """Returns the exit code: 0, or 1 where gcloud refused something."""
    words = _words()
    where = [f"--project={words.project}", f"--zone={words.zone}"]
    listed = _gcloud("queued-resources", "list", *where, "--format=json")
    if listed is None:
        return 1
    requests = of_study(json.loads(listed or "[]"), words.study, now=time.time())
    total_idle, silent = 0.0, 0
    for request in requests:
        note = ""
        if request.state == "ACTIVE" and not words.no_ssh:
            idle_h = _idle_h(request, where)
            note = "  does not answer" if idle_h is None else f"  idle {idle_h * request.cores:.1f} core-hours"
            silent += idle_h is None
            total_idle += (idle_h or 0.0) * request.cores
        print(f"{request.name:<40} {request.state:<22} {request.accelerator:<14} {request.age_h:7.1f} h{note}")
    unknown = f", and {silent} that do not answer" if silent else ""
    print(f"{len(requests)} requests of study {words.study}; held but idle: {total_idle:.1f} core-hours{unknown}")
    doomed = [request for request in requests if words.all or request.state in DEAD]
    if not words.delete:
        if doomed:
            print(f"{len(doomed)} would be deleted with --delete: {' '.join(request.name for request in doomed)}")
        return 0
    done = [_delete(request, where) for request in doomed]
    print(f"deleted {sum(done)} of {len(doomed)}")
    return 0 if all(done) else 1


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", required=True)
    parser.add_argument("--zone", required=True)
    parser.add_argument("--study", required=True, help="value of the label loglog_study: STUDY_LABEL of your settings")
    parser.add_argument("--delete", action="store_true", help="delete dead requests; without it nothing is changed")
    parser.add_argument("--all", action="store_true", help="with --delete: living ones too, with their VMs")
    parser.add_argument("--no-ssh", action="store_true", help="do not ask the VMs when they last wrote")
    words = parser.parse_args()
    if not words.study.strip():
        parser.error("--study is empty: it would match what is not ours")
    return words


def of_study(listed: list[dict[str, Any]], study: str, *, now: float) -> list[Request]:
    """Returns the requests all of whose nodes bear the study's label, in the order of the list."""
    found: list[Request] = []
    for entry in listed:
        nodes = entry.get("tpu", {}).get("nodeSpec", [])
        if not nodes or any(spec.get("node", {}).get("labels", {}).get(LABEL) != study for spec in nodes):
            continue
        created = datetime.fromisoformat(entry["createTime"].split(".")[0].rstrip("Z") + "+00:00").timestamp()
        name = entry["name"].rpartition("/")[2]
        found.append(
            Request(
                name=name,
                state=entry.get("state", {}).get("state", "UNKNOWN"),
                node=nodes[0].get("nodeId", name),
                accelerator=nodes[0]["node"].get("acceleratorType", "").rpartition("/")[2],
                age_h=max(0.0, now - created) / 3600,
            )
        )
    return found


def _idle_h(request: Request, where: list[str]) -> float | None:
    """Returns for how many hours no run has written, 0 within the normal quarter of an hour; None without an answer."""
    said = _gcloud("tpu-vm", "ssh", request.node, *where, "--worker=0", f"--command={NEWEST_WRITE}")
    if said is None:
        return None
    newest = said.strip()
    since_h = (time.time() - float(newest)) / 3600 if newest else request.age_h
    idle_h = min(since_h, request.age_h)
    return idle_h if idle_h > 0.25 else 0.0


def _delete(request: Request, where: list[str]) -> bool:
    # --force deletes the VM first; without it gcloud refuses a request that still has one.
    force = [] if request.state in DEAD else ["--force"]
    words = ["queued-resources", "delete", request.name, *where, "--quiet", *force]
    return _gcloud(*words) is not None


def _gcloud(*words: str) -> str | None:
    """Returns what gcloud prints, or None where it fails; its own message has been shown then."""
    done = subprocess.run(["gcloud", "compute", "tpus", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f"clean_up: gcloud compute tpus {words[0]} {words[1]} failed", file=sys.stderr)
        return None
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
