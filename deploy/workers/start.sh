#!/bin/sh
# Make the clone if there is none yet, then work for the pool `gpu`. Needs PREFECT_API_URL, MLFLOW_TRACKING_URI
# and PARROT_REPOSITORY, what the servers ask for (PREFECT_API_AUTH_STRING, MLFLOW_TRACKING_USERNAME,
# MLFLOW_TRACKING_PASSWORD) and DVC's remote (AWS_ACCESS_KEY_ID, …). PARROT_CLONE: where the clone is to be.
set -eu
[ -d "$PARROT_CLONE/.git" ] || git clone "$PARROT_REPOSITORY" "$PARROT_CLONE"
cd "$PARROT_CLONE"
uv pip install --quiet --system --no-deps --editable .
exec prefect worker start --pool gpu --type process --limit 1
