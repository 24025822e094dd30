#!/bin/sh
# Make the clone if there is none yet, then work for the pool `gpu`. Needs PREFECT_API_URL and PARROT_REPOSITORY,
# and what DVC needs to reach its remote (AWS_ACCESS_KEY_ID, …). PARROT_CLONE: where the clone is to be.
set -eu
[ -d "$PARROT_CLONE/.git" ] || git clone "$PARROT_REPOSITORY" "$PARROT_CLONE"
cd "$PARROT_CLONE"
uv pip install --quiet --system --no-deps --editable .
exec prefect worker start --pool gpu --type process --limit 1
