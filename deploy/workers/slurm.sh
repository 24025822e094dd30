#!/bin/bash
# A worker for as long as Slurm gives it a node: `sbatch deploy/workers/slurm.sh`, from a clone on a shared disk.
# When the time is up Slurm sends SIGTERM and the stage ends; the pipeline has the next worker go on with it.
#SBATCH --job-name=parrot-worker
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
set -euo pipefail
: "${PREFECT_API_URL:?the server of Prefect, such as http://prefect:4200/api}"
: "${MLFLOW_TRACKING_URI:?the server of MLflow}"
# Jobs of one person may run side by side, and a clone serves one worker.
export PARROT_CLONE="${SCRATCH:-$HOME}/parrot-workers/${SLURM_JOB_ID:?}"
rm -rf "$PARROT_CLONE"  # a job that is queued again has its old number
git clone --quiet --shared "$SLURM_SUBMIT_DIR" "$PARROT_CLONE"
trap 'rm -rf "$PARROT_CLONE"' EXIT
source "$SLURM_SUBMIT_DIR/.venv/bin/activate"
cd "$PARROT_CLONE"
export PYTHONPATH="$PARROT_CLONE"
prefect worker start --pool gpu --type process --limit 1 --name "slurm-$SLURM_JOB_ID" &
worker=$!
trap 'kill -TERM "$worker"' TERM  # Slurm tells only this shell
wait "$worker" || wait "$worker"  # the signal ends the first wait, and not yet the worker
