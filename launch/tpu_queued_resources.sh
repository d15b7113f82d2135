#!/usr/bin/env bash
# Trains on a Cloud TPU pod slice that a queued resource brings: asks for it, waits, installs, starts one process a host.
#
#   NAME=fac-8b PROJECT=my-project ZONE=us-west4-a TYPE=v5litepod-64 BUCKET=/gcs/my-bucket \
#     launch/tpu_queued_resources.sh --config experiments/configs/sft_8b.py --config.mesh.fsdp=-1 \
#     --config.model.init_from=/gcs/my-bucket/8b --config.data.sets.mine.path=/gcs/my-bucket/rows.jsonl
#
# BUCKET is a folder that every host sees (gcsfuse or Filestore): workdir and data sets lie there. After a
# preemption give the same command: a slice that is gone is asked for again, and training resumes from the newest
# checkpoint.
set -euo pipefail
: "${NAME:?}" "${PROJECT:?}" "${ZONE:?}" "${TYPE:?}" "${BUCKET:?}"
VERSION=${VERSION:-v2-alpha-tpuv5-lite}
REPOSITORY=${REPOSITORY:-https://github.com/your-name/fac_jax.git}
AT=(--project="$PROJECT" --zone="$ZONE")

state() {
  gcloud compute tpus queued-resources describe "$NAME" "${AT[@]}" --format='value(state.state)' 2>/dev/null || true
}

on_all() {
  gcloud compute tpus tpu-vm ssh "$NAME" "${AT[@]}" --worker=all --command="$1"
}

case "$(state)" in
  ACTIVE) ;;
  SUSPENDED | FAILED)
    gcloud compute tpus queued-resources delete "$NAME" "${AT[@]}" --force --quiet
    ;;&
  '' | SUSPENDED | FAILED)
    gcloud compute tpus queued-resources create "$NAME" "${AT[@]}" --node-id="$NAME" --accelerator-type="$TYPE" \
      --runtime-version="$VERSION" --spot
    ;;
esac
while [[ "$(state)" != ACTIVE ]]; do sleep "${POLL:-30}"; done

on_all "test -d fac_jax || git clone --depth=1 '$REPOSITORY' fac_jax
  cd fac_jax && test -x .venv/bin/python || (python3 -m venv .venv && .venv/bin/pip install --quiet --editable '.[tpu]')"
on_all "cd fac_jax && .venv/bin/python -m experiments.train --cluster=tpu --workdir='$BUCKET/$NAME' \
  --data_dir='$BUCKET/data' $(printf '%q ' "$@")"
