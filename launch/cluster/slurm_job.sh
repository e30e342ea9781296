#!/bin/bash
# One fleet on several Slurm nodes: sbatch launch/cluster/slurm_job.sh
# IMAGES and WORKDIR are on a file system that all nodes share. See docs/clusters.md.
#SBATCH --job-name=singan-fleet
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

PROJECT=${PROJECT:-$SLURM_SUBMIT_DIR}
IMAGES=${IMAGES:?the images: a folder, a quoted glob or a dataset query}
WORKDIR=${WORKDIR:?the folder of the fleet}

cd "$PROJECT" || exit 2
# One process a node has all its GPUs; without this, JAX gives each process under Slurm one GPU.
if ((${SLURM_GPUS_ON_NODE:-0} > 0)); then
  JAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((SLURM_GPUS_ON_NODE - 1)))
  export JAX_LOCAL_DEVICE_IDS
fi
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY  # the processes talk to each other directly

# Each process ends by itself, after it has saved: Slurm must not kill the rest when one has.
srun --kill-on-bad-exit=0 .venv/bin/python -m launch.train_fleet \
  --images="$IMAGES" --workdir="$WORKDIR" --config=singan
status=$?
# 143: stopped shortly before the time limit, with everything saved.
((status == 143)) && scontrol requeue "$SLURM_JOB_ID"
exit "$status"
