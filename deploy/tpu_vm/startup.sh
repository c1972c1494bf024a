#!/bin/bash
# Runs as root at every start of a TPU VM, on each host of a slice: mounts the shared folder, installs the project, and
# (single host) goes on with the sweep. Its output: sudo journalctl --unit=google-startup-scripts
set -euo pipefail

metadata=http://metadata.google.internal/computeMetadata/v1/instance/attributes
curl --fail --silent --show-error --header "Metadata-Flavor: Google" "$metadata/loglog-settings" >/etc/loglog.env
# shellcheck source=deploy/tpu_vm/study.env
source /etc/loglog.env

checkout=/opt/loglog
root=/srv/loglog
mkdir -p "$root"
if ! mountpoint --quiet "$root"; then
  if [[ -n $NFS ]]; then
    DEBIAN_FRONTEND=noninteractive apt-get install --yes nfs-common
    mount -t nfs -o hard "$NFS" "$root"
  elif [[ -n $DISK ]]; then
    # The data disk is the one without partitions. It is formatted only where nothing at all is on it.
    device=$(lsblk --noheadings --nodeps --paths --output NAME,TYPE | awk '$2 == "disk" {print $1}' |
      while read -r disk; do
        if [[ $(lsblk --noheadings "$disk" | wc -l) == 1 ]]; then echo "$disk"; fi
      done | head -n 1)
    [[ -n $device ]] || { echo "startup: no data disk is attached" >&2; exit 1; }
    blkid "$device" || mkfs.ext4 -m 0 "$device"
    mount -o discard,defaults "$device" "$root"
  else
    echo "startup: neither NFS nor DISK is set: runs would be lost with this VM" >&2
    exit 1
  fi
fi

# Ubuntu 22.04 has Python 3.10 and the project needs 3.11: uv brings one.
if [[ ! -x /usr/local/bin/uv ]]; then
  python3 -m pip install --quiet --prefix=/usr/local uv
fi
export UV_PYTHON_INSTALL_DIR=/opt/python
/usr/local/bin/uv python install 3.12
python=$(/usr/local/bin/uv python find 3.12)

if [[ ! -d $checkout/.git ]]; then
  git clone "$REPOSITORY" "$checkout"
fi
git -C "$checkout" fetch --quiet origin
git -C "$checkout" checkout --quiet --detach "$COMMIT"
make --directory="$checkout" setup SYSTEM_PYTHON="$python"
/usr/local/bin/uv pip install --quiet --python "$checkout/.venv/bin/python" --directory "$checkout" \
  --constraint constraints.txt "jax[tpu]"

if [[ -z $SWEEP_WORDS ]]; then
  echo "startup: installed; no driver is started here"
  exit 0
fi
# A unit of its own: it is started again when it dies, but not when it ends with 2 (a person must mend something).
# Not through make, which ends with 2 whatever happened.
read -ra words <<<"$SWEEP_WORDS"
systemctl reset-failed loglog.service 2>/dev/null || true
systemd-run --unit=loglog --collect --working-directory="$checkout" \
  --property=Restart=on-failure --property=RestartSec=30 --property=RestartPreventExitStatus=2 \
  --setenv=LOGLOG_ROOT="$root" --setenv=MLFLOW_DISABLE_TELEMETRY=true --setenv=RAY_USAGE_STATS_ENABLED=0 \
  --setenv=JAX_PLATFORMS=tpu,cpu \
  "$checkout/.venv/bin/python" -m launcher action=sweep "${words[@]}"
