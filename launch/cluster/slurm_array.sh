#!/bin/bash
# One fleet in shards that need nothing of each other: bash launch/cluster/slurm_array.sh
# Submits an array with a task for each shard, and a job that merges them once all are done.
# IMAGES and WORKDIR are on a file system that all nodes share. See docs/clusters.md.
#SBATCH --job-name=singan-shard
#SBATCH --array=0-15
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

SHARDS=16 # one more than the last index of --array, also where only some shards run again
PROJECT=${PROJECT:-${SLURM_SUBMIT_DIR:-$PWD}}
IMAGES=${IMAGES:?the images: a folder, a quoted glob or a dataset query}
WORKDIR=${WORKDIR:?the folder of the fleet}
export PROJECT IMAGES WORKDIR

cd "$PROJECT" || exit 2
if [[ -z ${SLURM_ARRAY_TASK_ID:-} ]]; then
  array=$(sbatch --parsable "${BASH_SOURCE[0]}") || exit
  exec sbatch --job-name=singan-merge --dependency="afterok:$array" \
    --wrap='.venv/bin/python -m launch.merge --workdir="$WORKDIR"'
fi

srun .venv/bin/python -m launch.train_fleet --shard="$SLURM_ARRAY_TASK_ID/$SHARDS" \
  --images="$IMAGES" --workdir="$WORKDIR" --config=singan
status=$?
# 143: stopped shortly before the time limit, with everything saved.
((status == 143)) && scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
exit "$status"
