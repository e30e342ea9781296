#!/bin/bash
# One fleet on a Cloud TPU VM slice with any number of hosts: bash launch/cluster/tpu_vm.sh
# The slice exists, and on each host the project lies in PROJECT with '.[tpu]' installed in its
# .venv; IMAGES and WORKDIR are on a file system that all hosts mount. See docs/clusters.md.
set -euo pipefail

TPU=${TPU:?name of the TPU VM}
ZONE=${ZONE:?its zone}
PROJECT=${PROJECT:?folder of the project on each host}
IMAGES=${IMAGES:?the images: a folder, a quoted glob or a dataset query}
WORKDIR=${WORKDIR:?the folder of the fleet}

printf -v command 'cd %q && exec .venv/bin/python -m launch.train_fleet --distributed=on \
  --images=%q --workdir=%q --config=singan' "$PROJECT" "$IMAGES" "$WORKDIR"
exec gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$command"
