#!/bin/bash
# Queues one request for a TPU VM that installs the project and goes on with the sweep by itself.
#   deploy/tpu_vm/request.sh MY.env [NAME]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
settings=${1:?usage: request.sh MY.env [NAME]}
# shellcheck source=deploy/tpu_vm/study.env
source "$settings"
name=${2:-loglog-$STUDY_LABEL-$(date +%m%d-%H%M%S)}

words=(
  "$name" "--node-id=$name" "--project=$PROJECT" "--zone=$ZONE"
  "--accelerator-type=$ACCELERATOR_TYPE" "--runtime-version=$RUNTIME_VERSION"
  "--labels=loglog_study=$STUDY_LABEL" "--valid-until-duration=$VALID_UNTIL"
  "--metadata-from-file=startup-script=$here/startup.sh,loglog-settings=$settings"
)
if [[ $SPOT == yes ]]; then
  words+=(--spot)
fi
if [[ -n $DISK ]]; then
  words+=("--data-disk=source=$DISK,mode=read-write")
fi
gcloud compute tpus queued-resources create "${words[@]}" --async
echo "queued as $name; to see it: deploy/tpu_vm/clean_up.py --project=$PROJECT --zone=$ZONE --study=$STUDY_LABEL"
