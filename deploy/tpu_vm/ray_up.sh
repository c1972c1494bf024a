#!/bin/bash
# Joins the hosts of one TPU slice into a Ray cluster, and starts the driver on its first host.
#   deploy/tpu_vm/ray_up.sh MY.env NODE budget=10k study=fashion_mnist cluster.hosts=2 cluster.tpus=4
# NODE is the name that request.sh printed. Without words behind it the cluster is started and no driver.
set -euo pipefail

settings=${1:?usage: ray_up.sh MY.env NODE [WORDS OF THE SWEEP]}
node=${2:?usage: ray_up.sh MY.env NODE [WORDS OF THE SWEEP]}
shift 2
# shellcheck source=deploy/tpu_vm/study.env
source "$settings"
[[ -n $NFS ]] || { echo "ray_up: a slice of several hosts needs NFS in $settings: a disk is for one host" >&2; exit 2; }

on() { # on WORKERS COMMAND: runs COMMAND as root on these hosts of the slice
  gcloud compute tpus tpu-vm ssh "$node" --project="$PROJECT" --zone="$ZONE" --worker="$1" \
    --command="sudo bash -c $(printf %q "$2")"
}

# Every command below starts with these lines, on the host. One token for all hosts lies in the shared folder: without
# it everyone in the network may run code on the cluster.
# shellcheck disable=SC2016
prelude='set -eu
export LOGLOG_ROOT=/srv/loglog RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true JAX_PLATFORMS=tpu,cpu
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/srv/loglog/ray_token
export PATH=/opt/loglog/.venv/bin:$PATH
cd /opt/loglog
'

addresses=$(gcloud compute tpus tpu-vm describe "$node" --project="$PROJECT" --zone="$ZONE" \
  --format="value(networkEndpoints[].ipAddress)")
IFS=';' read -ra hosts <<<"$addresses"
echo "$node has ${#hosts[@]} hosts"

# Pre-flight: all hosts answer and have the same versions. A slice whose hosts differ hangs without a word.
# shellcheck disable=SC2016
ask='echo "versions $(git rev-parse HEAD) $(python --version) $(uv pip freeze --python .venv/bin/python | grep --extended-regexp "^(jax|libtpu|ray)==" | tr "\n" " ")"'
versions=$(on all "$prelude$ask" | grep --only-matching 'versions .*' | sort) || versions=none
uniq -c <<<"$versions"
if [[ $versions == none || $(wc -l <<<"$versions") != "${#hosts[@]}" || $(uniq <<<"$versions" | wc -l) != 1 ]]; then
  echo "ray_up: not all hosts answer alike; look at: sudo journalctl --unit=google-startup-scripts" >&2
  exit 1
fi

# shellcheck disable=SC2016
on 0 "$prelude"'umask 077
test -s "$RAY_AUTH_TOKEN_PATH" || head -c 32 /dev/urandom | base64 >"$RAY_AUTH_TOKEN_PATH"
ray stop --force >/dev/null
ray start --head --port=6379 --disable-usage-stats'
# Every host but the first, which is the head already.
# shellcheck disable=SC2016
on all "$prelude"'number=$(curl --fail --silent --header "Metadata-Flavor: Google" \
  http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number)
test "$number" = 0 && exit 0
ray stop --force >/dev/null
ray start --address='"${hosts[0]}"':6379 --disable-usage-stats'
on 0 "$prelude"'ray status'

if [[ $# -gt 0 ]]; then
  # A unit on the first host, so that the driver outlives this connection. Not through make, which ends with 2 whatever
  # happened: the driver is not started again when it ends with 2, for then a person must mend something.
  on 0 "$prelude"'systemctl reset-failed loglog.service 2>/dev/null || true
systemd-run --unit=loglog --collect --working-directory=/opt/loglog \
  --property=Restart=on-failure --property=RestartSec=30 --property=RestartPreventExitStatus=2 \
  --setenv=LOGLOG_ROOT --setenv=RAY_USAGE_STATS_ENABLED --setenv=MLFLOW_DISABLE_TELEMETRY \
  --setenv=RAY_AUTH_MODE --setenv=RAY_AUTH_TOKEN_PATH \
  /opt/loglog/.venv/bin/python -m launcher action=sweep cluster=ray cluster.address=auto '"$(printf '%q ' "$@")"
  echo "the driver runs; to follow it:"
  echo "gcloud compute tpus tpu-vm ssh $node --project=$PROJECT --zone=$ZONE --worker=0 --command='sudo journalctl --unit=loglog --follow'"
fi
